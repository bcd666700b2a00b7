"""Probabilities + truth -> scores, each pixel predicted once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigsf.arrays import FloatArray
from bigsf.folds.folds import Folds
from bigsf.maps.tiling import in_bands
from bigsf.metrics import Metric
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.training.components.losses import Loss
from bigsf.training.distributed import World

_CHUNK_PX = 8192  # columns that are scored at a time, to bound memory


@dataclass(frozen=True)
class Evaluation:
    """Scores of a map on some folds.

    `labelled` counts pixels with a label. `whole` counts all valid pixels, unlabelled ones as background: it is what
    a user of the map sees, although a catalogue that is incomplete calls some true structures false.
    """

    loss: float
    metrics: dict[str, float]
    labelled: ThresholdCurve
    whole: ThresholdCurve

    @property
    def quantities(self) -> dict[str, float]:
        """All numbers by name, for logs."""
        return {
            "loss": self.loss,
            **self.metrics,
            "whole_average_precision": self.whole.average_precision(),
            "whole_dice": self.whole.best_dice()[0],
        }

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of best Dice, on all valid pixels and on labelled ones."""
        return {"whole": self.whole.best_dice()[1], "labelled": self.labelled.best_dice()[1]}


def evaluate(
    predictor: SlidingWindowPredictor,
    folds: Folds,
    which: list[int],
    metrics: Mapping[str, Metric],
    loss: Loss,
    unlabelled_weight: float,
    world: World | None = None,
) -> Evaluation:
    """SlidingWindowPredictor the areas of some folds and score them.

    Windows may reach into neighbouring areas for context; only pixels of the folds are predicted. Metrics see one
    row of areas at a time, in pieces of at most 8192 columns.

    Parameters
    ----------
    predictor
        With one model.
    folds
        Of a patch file with labels.
    which
        The folds to score.
    metrics, loss, unlabelled_weight
        As in training.
    world
        Processes that share the work, a row of areas each in turn; all get the same scores.
    """
    world = world or World()
    file = folds.patch_file
    target, labelled = file.labels()
    curves = {"labelled": ThresholdCurve(), "whole": ThresholdCurve()}
    total = weight = 0.0
    for metric in metrics.values():
        metric.reset()

    edges = folds.areas.y_edges

    def rank_of_row(y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        return np.asarray((np.searchsorted(edges, y, side="right") - 1) % world.size)

    def allowed(y0: int, y1: int) -> npt.NDArray[np.bool_]:
        mine = rank_of_row(np.arange(y0, y1)) == world.rank
        return np.asarray(np.isin(folds.rows(y0, y1), which) & mine[:, None] & folds.areas.first_sky)[None]

    for y0, y1, x0, x1, probability in _pieces(predictor.predict_bands(file, allowed), edges):
        if rank_of_row(y0) != world.rank:
            continue
        predicted = np.isfinite(probability)
        truth, known = target[y0:y1, x0:x1] > 0, (labelled[y0:y1, x0:x1] > 0) & predicted
        curves["labelled"].update(probability[known], truth[known])
        curves["whole"].update(probability[predicted], truth[predicted])
        for metric in metrics.values():
            metric.update(probability, truth, known)
        pixel_weight = np.where(known, 1.0, unlabelled_weight) * predicted
        part = loss(*map(_as_batch, (_logit(probability), truth, pixel_weight)))
        total, weight = total + float(part.total), weight + float(part.weight)
    pooled: dict[str, Any] = {**metrics, **{f"curve {name}": curve for name, curve in curves.items()}}
    for rank, others in enumerate(world.gather(pooled)):
        for name in pooled if rank != world.rank else ():
            pooled[name].merge(others[name])
    total, weight = world.sums([total, weight], predictor.device)
    values = {name: float(metric.compute()) for name, metric in metrics.items()}
    evaluation = Evaluation(total / weight if weight else float("nan"), values, **curves)
    first: Evaluation = world.gather(evaluation)[0]  # the same bits for all, so that all decide alike
    return first


def _pieces(
    rows: Iterable[tuple[int, int, FloatArray]], edges: Sequence[int]
) -> Iterator[tuple[int, int, int, int, FloatArray]]:
    """Cut rows of one model into pieces (y0, y1, x0, x1, probability) of a row of areas, of equal width."""
    for y0, y1, (probability,) in in_bands(rows, edges):
        nx = probability.shape[1]
        for x0, x1 in pairwise(np.linspace(0, nx, -(-nx // _CHUNK_PX) + 1).astype(int).tolist()):
            yield y0, y1, x0, x1, probability[:, x0:x1]


def _as_batch(plane: npt.NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(plane.astype(np.float32))[None, None]


def _logit(probability: FloatArray) -> FloatArray:
    p = np.clip(np.nan_to_num(probability.astype(np.float64), nan=0.5), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p), np.float32)
