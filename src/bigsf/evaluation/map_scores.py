"""Scores of a map beside the baselines, on the same pixels, at every threshold."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bigsf.arrays import FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.folds.folds import Folds
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges

MODEL = "BigSF"
"""The name of the model's map in tables."""


Table = dict[str, dict[str, dict[str, float]]]
"""From the name of a map and "labelled", "whole" or "truth" to its scores."""


_SAMPLE = 1_000_000  # pixels from which the bins of a baseline are taken


_RECALLS = np.linspace(0.01, 1, 100)


_THRESHOLDS = np.linspace(0.01, 0.99, 99)


class MapScores:
    """Pools the scores of the model's map and of the baselines, band by band.

    They are counted on labelled pixels ("labelled"), on all valid pixels with unlabelled ones as background ("whole")
    and, where the patch file holds it, against the truth ("truth"). Sky that the map shows a second time is left out.

    Parameters
    ----------
    folds
        Of a patch file with labels.
    """

    def __init__(self, folds: Folds) -> None:
        self.folds = folds
        file = folds.patch_file
        self.target, self.labelled = file.labels()
        self.kinds = ["labelled", "whole"] + ["truth"] * (file.truth is not None)
        self._baselines = BaselineMaps(file)
        self.predicted = self.valid = 0
        self._curves = {name: self._new_curves(self._edges(name)) for name in BASELINES}
        self._marked: dict[str, npt.NDArray[np.int64]] = {}

    def _new_curves(self, edges: npt.NDArray[np.float64] | None = None) -> dict[str, ThresholdCurve]:
        return {kind: ThresholdCurve(edges) for kind in self.kinds}

    def _edges(self, name: str) -> npt.NDArray[np.float64]:
        """Return bin edges from some bands of a baseline."""
        ny, nx = self.folds.patch_file.shape
        if ny * nx <= _SAMPLE:
            return quantile_edges(self._baselines.rows(name, 0, ny))
        rows = min(ny, max(1, _SAMPLE // (4 * nx)))
        starts = np.linspace(0, ny - rows, 4).astype(int)
        return quantile_edges(np.concatenate([self._baselines.rows(name, y, y + rows) for y in starts]))

    def update(
        self,
        y0: int,
        y1: int,
        predicted: npt.NDArray[np.bool_],
        probability: FloatArray | None = None,
        marked: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        """Score rows y0 to y1.

        Parameters
        ----------
        y0, y1
            The rows.
        predicted
            Which pixels count, `(rows, nx)`.
        probability
            The model's map, where there is one.
        marked
            What it marks at thresholds that validation chose, "labelled" and "whole".
        """
        file = self.folds.patch_file
        valid = np.isfinite(file.read_rows(y0, y1)).all(axis=0)
        self.valid += int(valid.sum())
        self.predicted += int(predicted.sum())
        predicted = predicted & self.folds.areas.first_sky
        target = self.target[y0:y1] > 0
        pixels = {"labelled": ((self.labelled[y0:y1] > 0) & predicted, target), "whole": (predicted, target)}
        if file.truth is not None:
            pixels["truth"] = predicted, file.truth[y0:y1] > 0
        maps = {} if probability is None else {MODEL: probability}
        maps |= {name: self._baselines.rows(name, y0, y1) for name in BASELINES}
        for name, score in maps.items():
            curves = self._curves.setdefault(name, self._new_curves())
            for kind, (where, truth) in pixels.items():
                curves[kind].update(score[where], truth[where])
        for kind, mask in (marked or {}).items():
            where, truth = pixels[kind]
            counts = [(mask & truth & where).sum(), (mask & where).sum(), (truth & where).sum()]
            self._marked[kind] = self._marked.get(kind, np.zeros(3, np.int64)) + counts

    def table(self) -> Table:
        """Return all scores, the model's first."""
        return {name: {kind: _scores(curve) for kind, curve in self._curves[name].items()} for name in self._names}

    @property
    def _names(self) -> list[str]:
        return [name for name in (MODEL, *BASELINES) if name in self._curves]

    def thresholds_cost(self) -> dict[str, dict[str, float]]:
        """Return, for the thresholds that validation chose, Dice beside the best Dice of any one threshold."""
        costs = {}
        for kind, (both, marked, true) in self._marked.items():
            dice = float(2 * both / (marked + true)) if marked + true else float("nan")
            best, threshold = self._curves[MODEL][kind].best_dice()
            costs[kind] = {"dice": dice, "best_dice": best, "best_threshold": threshold, "cost": best - dice}
        return costs

    def curves(self) -> dict[str, Any]:
        """Return what is drawn: precision against recall of all maps, and scores against threshold and calibration."""
        ours = self._curves[MODEL]
        found: dict[str, Any] = {
            "precision_recall": {
                name: {kind: curve.by_recall(_RECALLS) for kind, curve in self._curves[name].items()}
                for name in self._names
            },
            "by_threshold": {kind: curve.by_threshold(_THRESHOLDS) for kind, curve in ours.items()},
            "calibration": {},
        }
        for kind, curve in ours.items():
            probability, frequency, pixels = (values.tolist() for values in curve.calibration())
            found["calibration"][kind] = {"probability": probability, "frequency": frequency, "pixels": pixels}
        return found


def _scores(curve: ThresholdCurve) -> dict[str, float]:
    dice, threshold = curve.best_dice()
    scores = curve.at(threshold)
    return {
        "average_precision": curve.average_precision(),
        "roc_auc": curve.roc_auc(),
        "best_dice": dice,
        "threshold": threshold,
        **{name: scores[name] for name in ("iou", "precision", "recall", "marked_ratio")},
    }


def baseline_scores(folds: Folds, which: list[int]) -> Table:
    """Return the scores of the baselines on the valid pixels of some folds."""
    scores = MapScores(folds)
    edges = folds.areas.y_edges
    for y0, y1 in pairwise(edges):
        valid = np.isfinite(folds.patch_file.read_rows(y0, y1)).all(axis=0)
        scores.update(y0, y1, valid & np.isin(folds.rows(y0, y1), which))
    return scores.table()
