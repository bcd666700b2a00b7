"""Probabilities + labels -> scores of a map at every threshold, next to those of the baselines on the same pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray
from bigsf.evaluation.baseline_scales import BaselineTiles, ScaledBaselines, choose_scales
from bigsf.evaluation.baselines import BASELINES, sampled_tiles
from bigsf.evaluation.records import Calibration, Curves, Score, ScoreTable, ThresholdCost
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.maps.tiling import Tile
from bigsf.metrics.metric import Counts, SentState, State
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.patches.patch_file import PatchFile

MODEL = "BigSF"
"""The name of the model's map in tables."""

_RECALLS = np.linspace(0.01, 1, 100)
_THRESHOLDS = np.linspace(0.01, 0.99, 99)


@dataclass
class _PixelCounts:
    """Numbers of pixels of the model's map."""

    valid: int = 0
    predicted: int = 0
    marked: dict[str, IntArray] = field(default_factory=dict)
    """(true and marked, marked, true) pixels at the thresholds of validation, by kind of score."""

    def state(self) -> State:
        return {"valid": self.valid, "predicted": self.predicted, **self.marked}

    def merge(self, state: SentState) -> None:
        self.valid, self.predicted = self.valid + int(state["valid"]), self.predicted + int(state["predicted"])
        for kind, pixels in state.items():
            if kind not in ("valid", "predicted"):
                self.add_marked(kind, pixels)

    def add_marked(self, kind: str, pixels: npt.ArrayLike) -> None:
        """Add (true and marked, marked, true) pixels `(3,)` for a kind of score."""
        self.marked[kind] = self.marked.get(kind, np.zeros(3, np.int64)) + np.asarray(pixels)


class MapScores:
    """Scores of the model's map and of the baselines, pooled over bands of rows.

    There are up to three kinds of score:

    - "labelled" counts pixels with a label;
    - "whole" counts all valid pixels and takes those without a label as background;
    - "truth" counts all valid pixels against the ground truth, where the patch file holds it.

    Where a map shows the same sky twice, the repeated columns are not counted.

    Parameters
    ----------
    folds
        Folds of a patch file with labels.
    baselines
        The baselines of the map, at the scales that are scored.
    with_model
        Whether there is a map of the model; otherwise the baselines alone are scored.
    """

    def __init__(self, folds: Folds, baselines: BaselineTiles, with_model: bool = True) -> None:
        self.folds, self._baselines = folds, baselines
        file = folds.patch_file
        kinds = label_kinds(file)
        self._pixels = _PixelCounts()
        edges: dict[str, Float64Array | None] = {MODEL: None} if with_model else {}
        edges |= {name: self._edges(name) for name in BASELINES}
        self._curves = {
            name: {kind: ThresholdCurve(edges_of_map) for kind in kinds} for name, edges_of_map in edges.items()
        }

    @property
    def counts(self) -> dict[str, Counts]:
        """What is counted, by name. Once those of other processes are merged into it, the scores are those of all."""
        curves = {f"{name} {kind}": curve for name, kinds in self._curves.items() for kind, curve in kinds.items()}
        return {"pixels": self._pixels, **curves}

    @property
    def valid(self) -> int:
        """Number of valid pixels so far."""
        return self._pixels.valid

    @property
    def predicted(self) -> int:
        """Number of predicted pixels so far, those that show sky twice included."""
        return self._pixels.predicted

    def _edges(self, name: str) -> Float64Array:
        """Return the bin edges of a baseline's curve, from a sample."""
        file = self.folds.patch_file
        tiles = sampled_tiles(file.shape, lambda tile: np.asarray(np.isfinite(file.read_tile(tile)).all(axis=0)))
        return quantile_edges(np.concatenate([self._baselines.tile(name, tile)[valid] for tile, valid in tiles]))

    def update(
        self,
        y0: int,
        y1: int,
        predicted: BoolArray,
        probability: FloatArray | None = None,
        marked: Mapping[str, BoolArray] | None = None,
    ) -> None:
        """Score rows y0 to y1 (exclusive).

        Parameters
        ----------
        y0, y1
            The rows.
        predicted
            Which pixels are scored, `(rows, nx)`.
        probability
            The model's map `(rows, nx)`, where there is one.
        marked
            What the model marks at the thresholds of validation, `(rows, nx)`, for "labelled" and for "whole".
        """
        assert (probability is not None) == (MODEL in self._curves)
        file = self.folds.patch_file
        valid = np.isfinite(file.read_rows(y0, y1)).all(axis=0)
        self._pixels.valid += int(valid.sum())
        self._pixels.predicted += int(predicted.sum())
        predicted = predicted & self.folds.areas.first_sky
        part = Tile(y0, y1, 0, predicted.shape[1])
        scored = scored_pixels(file, part, predicted)
        maps = {} if probability is None else {MODEL: probability}
        maps |= {name: self._baselines.tile(name, part) for name in BASELINES}
        for name, values in maps.items():
            for kind, (where, true) in scored.items():
                self._curves[name][kind].update(values[where], true[where])
        for kind, mask in (marked or {}).items():
            where, true = scored[kind]
            self._pixels.add_marked(kind, [(mask & true & where).sum(), (mask & where).sum(), (true & where).sum()])

    def table(self) -> ScoreTable:
        """Return the scores of all maps, the model's first."""
        return {
            name: {kind: curve_scores(curve) for kind, curve in curves.items()} for name, curves in self._curves.items()
        }

    def best_thresholds(self) -> dict[str, dict[str, float]]:
        """Return the threshold of best Dice of each map, for each kind of score."""
        return {
            name: {kind: curve.best_dice().threshold for kind, curve in curves.items()}
            for name, curves in self._curves.items()
        }

    def threshold_costs(self) -> dict[str, ThresholdCost]:
        """Return, for "labelled" and "whole", how Dice changes with the thresholds of validation."""
        costs = {}
        for kind, (both, marked, true) in self._pixels.marked.items():
            dice = float(2 * both / (marked + true)) if marked + true else float("nan")
            best, threshold = self._curves[MODEL][kind].best_dice()
            costs[kind] = ThresholdCost(dice=dice, best_dice=best, best_threshold=threshold, cost=best - dice)
        return costs

    def curves(self) -> Curves:
        """Return precision against recall of all maps, and the model's scores against threshold and calibration."""
        model = self._curves[MODEL]
        return Curves(
            precision_recall={
                name: {kind: curve.by_recall(_RECALLS) for kind, curve in curves.items()}
                for name, curves in self._curves.items()
            },
            by_threshold={kind: curve.by_threshold(_THRESHOLDS) for kind, curve in model.items()},
            calibration={kind: _calibration(curve) for kind, curve in model.items()},
        )


def label_kinds(file: PatchFile) -> list[str]:
    """Return the kinds of labels that a map is scored against; "truth" is one where the file holds the ground truth.

    Raises
    ------
    DataError
        Where the file has no labels.
    """
    file.labels()
    return ["labelled", "whole"] + ["truth"] * (file.truth is not None)


def scored_pixels(file: PatchFile, part: Tile, predicted: BoolArray) -> dict[str, tuple[BoolArray, BoolArray]]:
    """Return, for each kind of labels, which pixels of a part of the map count and which are true, `(rows, columns)`.

    Parameters
    ----------
    file
        A patch file with labels.
    part
        The part.
    predicted
        Which of its pixels are scored.
    """
    target, labelled = (plane[part.rows, part.columns] > 0 for plane in file.labels())
    scored = {"labelled": (labelled & predicted, target), "whole": (predicted, target)}
    if file.truth is not None:
        scored["truth"] = predicted, file.truth[part.rows, part.columns] > 0
    return scored


def curve_scores(curve: ThresholdCurve) -> dict[str, Score]:
    """Return the scores of a map at every threshold, and those at its threshold of best Dice."""
    dice, threshold = curve.best_dice()
    scores = curve.at(threshold)
    return {
        "average_precision": curve.average_precision(),
        "roc_auc": curve.roc_auc(),
        "best_dice": dice,
        "threshold": threshold,
        **{name: scores[name] for name in ("iou", "precision", "recall", "marked_ratio")},
    }


def _calibration(curve: ThresholdCurve) -> Calibration:
    probability, frequency, pixels = curve.calibration()
    return Calibration(probability=probability.tolist(), frequency=frequency.tolist(), pixels=pixels.tolist())


class BaselineScores(NamedTuple):
    """How good the baselines are on the test folds of a split, as `RunScores` holds it."""

    baselines: ScoreTable
    """Scores on the valid pixels of the test folds."""
    baseline_scales: dict[str, str]
    """The scale of each baseline that is best on the validation folds."""


def baseline_scores(folds: Folds, split: Split) -> BaselineScores:
    """Return the scores of the baselines on the test folds of a split, at the scales best on its validation folds."""
    scales = choose_scales(folds, [split])
    scores = MapScores(folds, ScaledBaselines(folds.patch_file, scales), with_model=False)
    for y0, y1 in pairwise(folds.areas.y_edges):
        valid = np.isfinite(folds.patch_file.read_rows(y0, y1)).all(axis=0)
        scores.update(y0, y1, valid & np.isin(folds.rows(y0, y1), split.test))
    return BaselineScores(scores.table(), {name: of_split[0] for name, of_split in scales.items()})
