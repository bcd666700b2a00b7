"""How fast is a network in 8-bit integers, and what does its answer lose? (pip install openvino nncf)

    python tests/benchmarks/quantized.py FOLDER

The network of `higal-small` on all windows of the Hi-GAL sample, at half overlap: in torch as `bigsf segment` runs it,
and in OpenVINO, whose 8-bit network nncf calibrates on the same windows. Speeds are those of the network alone. AP is
that of the mean of the windows on the sample, against its catalogue; the model has seen both.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import torch
from astropy.io import fits
from measuring import alternating, machine, show
from torch import Tensor, nn

from bigsf.arrays import BoolArray, FloatArray
from bigsf.maps.tiling import window_starts
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.models.device import autocast
from bigsf.models.segmentation_model import with_folded_norms
from bigsf.segmentation.ensemble import Ensemble

BATCH = 64
"""Windows. Those that fill no batch are left out."""


class OneInput(nn.Module):
    """A network without its positions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)  # type: ignore[no-any-return]


def in_openvino(network: Any, precision: str, threads: int) -> Callable[[Tensor], FloatArray]:
    """Return a converted network, compiled for this CPU."""
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(network, "CPU", hints).create_infer_request()
    return lambda batch: np.asarray(request.infer([batch.contiguous().numpy()])[0], np.float32).copy()


def average_precision(
    logits: list[FloatArray], places: list[tuple[int, int]], window: int, truth: BoolArray, valid: BoolArray
) -> float:
    """Return the AP of the mean probability over windows."""
    total, count = np.zeros((2, *truth.shape))
    for plane, (y, x) in zip(np.concatenate(logits)[:, 0], places, strict=False):
        total[y : y + window, x : x + window] += 1 / (1 + np.exp(-plane))
        count[y : y + window, x : x + window] += 1
    scored = valid & (count > 0)
    score = np.asarray(total[scored] / count[scored], np.float32)
    curve = ThresholdCurve(quantile_edges(score))
    curve.update(score, truth[scored])
    return curve.average_precision()


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the network (%(default)s)")
    options.add_argument("data", type=Path, metavar="FOLDER", help="the planes of the Hi-GAL sample")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    image = fits.getdata(next(arguments.data.glob("*_image.fits*"))).astype(np.float32)
    truth = fits.getdata(next(arguments.data.glob("*_target.fits*"))) > 0
    ensemble = Ensemble.load("higal-small")
    window, model = ensemble.window, with_folded_norms(ensemble.snapshots[0].build_model())
    starts = [window_starts(size, window, window // 2).tolist() for size in image.shape]
    places = [(y, x) for y in starts[0] for x in starts[1]]
    raw = torch.from_numpy(np.stack([image[y : y + window, x : x + window] for y, x in places])[:, None])
    normalised = torch.where(raw.isfinite(), model.normalization(raw, raw.isfinite()), 0.0)
    normalised = normalised.contiguous(memory_format=torch.channels_last)
    batches = [normalised[n : n + BATCH] for n in range(0, len(normalised) - BATCH + 1, BATCH)]

    @torch.inference_mode()
    def in_torch(batch: Tensor, dtype: torch.dtype) -> FloatArray:
        with autocast(torch.device("cpu"), dtype):
            return np.asarray(model.network(batch).float())

    converted = openvino.convert_model(OneInput(model.network), example_input=batches[0], input=list(batches[0].shape))
    samples = nncf.Dataset([batch.contiguous().numpy() for batch in batches])
    networks: dict[str, Callable[[Tensor], FloatArray]] = {
        "torch fp32": lambda batch: in_torch(batch, torch.float32),
        "torch bf16": lambda batch: in_torch(batch, torch.bfloat16),
        "OpenVINO fp32": in_openvino(converted, "f32", arguments.threads),
        "OpenVINO bf16": in_openvino(converted, "bf16", arguments.threads),
        "OpenVINO int8": in_openvino(
            nncf.quantize(converted, samples, subset_size=len(batches)), "f32", arguments.threads
        ),
    }
    answers: dict[str, list[FloatArray]] = {}

    def runs(name: str) -> Callable[[], object]:
        def run() -> None:
            answers[name] = [networks[name](batch) for batch in batches]

        return run

    times = alternating({name: runs(name) for name in networks}, repeats=7)
    valid = np.isfinite(image)
    rows = [
        [
            name,
            f"{times['torch bf16'] / times[name]:.2f}",
            f"{average_precision(answers[name], places, window, truth, valid):.4f}",
        ]
        for name in networks
    ]
    show(["network", "speed / torch bf16", "whole-map AP"], rows)


if __name__ == "__main__":
    main()
