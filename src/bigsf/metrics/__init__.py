"""Probabilities and labels -> numbers: the family of metrics, threshold curves, skeleton scores."""

from bigsf.metrics.config import MetricConfig, build_metrics
from bigsf.metrics.metric import MSSIM, CountRatio, CurveMetric, Metric
from bigsf.metrics.torch_metric import TorchMetric

__all__ = ["MSSIM", "CountRatio", "CurveMetric", "Metric", "MetricConfig", "TorchMetric", "build_metrics"]
