"""Scores of a map beside the baselines, on the same pixels."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bigsf.baselines import BASELINES, BaselineMaps
from bigsf.curves import ThresholdCurve, quantile_edges
from bigsf.fits_image import FloatArray
from bigsf.folds import Folds

Table = dict[str, dict[str, dict[str, float]]]
"""From the name of a map and "labelled" or "whole" to its scores."""

_SAMPLE = 1_000_000  # pixels from which the bins of a baseline are taken


class MapScores:
    """Pools the scores of the model's map, "BigSF", and of the baselines, band by band.

    Sky that the map shows a second time is left out.

    Parameters
    ----------
    folds
        Of a patch file with labels.
    """

    def __init__(self, folds: Folds) -> None:
        self.folds = folds
        self.target, self.labelled = folds.patch_file.labels()
        self._baselines = BaselineMaps(folds.patch_file)
        self.judged = self.valid = 0
        self._curves = {name: self._two(self._edges(name)) for name in BASELINES}

    @staticmethod
    def _two(edges: npt.NDArray[np.float64] | None = None) -> dict[str, ThresholdCurve]:
        return {"labelled": ThresholdCurve(edges), "whole": ThresholdCurve(edges)}

    def _edges(self, name: str) -> npt.NDArray[np.float64]:
        """Return bin edges from some bands of a baseline."""
        ny, nx = self.folds.patch_file.shape
        if ny * nx <= _SAMPLE:
            return quantile_edges(self._baselines.rows(name, 0, ny))
        rows = min(ny, max(1, _SAMPLE // (4 * nx)))
        starts = np.linspace(0, ny - rows, 4).astype(int)
        return quantile_edges(np.concatenate([self._baselines.rows(name, y, y + rows) for y in starts]))

    def update(self, y0: int, y1: int, judged: npt.NDArray[np.bool_], probability: FloatArray | None = None) -> None:
        """Score rows y0 to y1 where `judged` `(rows, nx)`, the model's too where its probabilities are given."""
        first_sky = np.arange(judged.shape[1]) < self.folds.areas.x_edges[-1]
        valid = np.isfinite(self.folds.patch_file.read_rows(y0, y1)).all(axis=0)
        self.valid += int(valid.sum())
        self.judged += int(judged.sum())
        judged = judged & first_sky
        truth, known = self.target[y0:y1] > 0, (self.labelled[y0:y1] > 0) & judged
        maps = {} if probability is None else {"BigSF": probability}
        maps |= {name: self._baselines.rows(name, y0, y1) for name in BASELINES}
        for name, score in maps.items():
            curves = self._curves.setdefault(name, self._two())
            curves["labelled"].update(score[known], truth[known])
            curves["whole"].update(score[judged], truth[judged])

    def table(self) -> Table:
        """Return all scores, the model's first."""
        names = [name for name in ("BigSF", *BASELINES) if name in self._curves]
        return {name: {kind: _scores(curve) for kind, curve in self._curves[name].items()} for name in names}


def _scores(curve: ThresholdCurve) -> dict[str, float]:
    dice, threshold = curve.best_dice()
    return {
        "average_precision": curve.average_precision(),
        "roc_auc": curve.roc_auc(),
        "best_dice": dice,
        "threshold": threshold,
        "marked_ratio": curve.marked_ratio(threshold),
    }


def baseline_scores(folds: Folds, which: list[int]) -> Table:
    """Return the scores of the baselines on the valid pixels of some folds."""
    scores = MapScores(folds)
    edges = folds.areas.y_edges
    for y0, y1 in pairwise(edges):
        valid = np.isfinite(folds.patch_file.read_rows(y0, y1)).all(axis=0)
        scores.update(y0, y1, valid & np.isin(folds.rows(y0, y1), which))
    return scores.table()
