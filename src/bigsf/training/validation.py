"""Probabilities and labels -> scores of some folds, each pixel predicted once."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from bigsf.arrays import BoolArray, FloatArray, IntArray
from bigsf.errors import TrainingError
from bigsf.evaluation.map_scores import curve_scores, label_kinds, scored_pixels
from bigsf.evaluation.records import RunScores, Score
from bigsf.folds.folds import Folds
from bigsf.maps.tiling import Tile, in_bands
from bigsf.metrics import Metric
from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.batch_size import batch_size_on
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.training.components.losses import Loss, checked
from bigsf.training.distributed import World
from bigsf.training.run import TrainingRun
from bigsf.training.shared_counts import merge_counts

CHUNK_COLUMNS = 8192
"""Columns of a row of areas that are scored at a time, to bound memory."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a map on some folds."""

    loss: float
    """The loss of training."""
    metrics: dict[str, float]
    """The metrics of the configuration, by name."""
    labelled: ThresholdCurve
    """Counts on pixels with a label."""
    whole: ThresholdCurve
    """Counts on all valid pixels, those without a label as background.

    This is what a user of the map sees, although an incomplete catalogue makes some true structures count as false.
    """
    truth: ThresholdCurve | None = None
    """Counts on all valid pixels against the ground truth, where the patch file holds it; the training ignores them."""

    @property
    def table(self) -> dict[str, dict[str, Score]]:
        """The scores against each kind of labels."""
        curves = {"labelled": self.labelled, "whole": self.whole, "truth": self.truth}
        return {kind: curve_scores(curve) for kind, curve in curves.items() if curve is not None}

    @property
    def quantities(self) -> dict[str, float]:
        """All numbers by name, for logs."""
        return {
            "loss": self.loss,
            **self.metrics,
            "whole_average_precision": self.whole.average_precision(),
            "whole_dice": self.whole.best_dice().dice,
        }

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds of best Dice."""
        return Thresholds(whole=self.whole.best_dice().threshold, labelled=self.labelled.best_dice().threshold)


class Validator:
    """Predicts the areas of some folds with one model, and scores them.

    Windows may reach into neighbouring areas for context; only pixels of the folds are scored. Metrics see one row of
    areas at a time, in chunks of columns. Several processes share the work, one row of areas each in turn, and all of
    them get the same scores, up to float rounding.

    Parameters
    ----------
    predictor
        A predictor with one model.
    folds
        The folds of a patch file with labels.
    metrics, loss, unlabelled_weight
        As in training.
    world
        The processes that share the work; by default this one alone.
    chunk_columns
        Columns that are scored at a time.
    """

    def __init__(
        self,
        predictor: SlidingWindowPredictor,
        folds: Folds,
        metrics: Mapping[str, Metric],
        loss: Loss,
        unlabelled_weight: float,
        world: World | None = None,
        chunk_columns: int = CHUNK_COLUMNS,
    ) -> None:
        self.predictor, self.folds, self.metrics, self.loss = predictor, folds, metrics, loss
        self.unlabelled_weight, self.world, self.chunk_columns = unlabelled_weight, world or World(), chunk_columns

    @classmethod
    def of_run(cls, run: TrainingRun) -> "Validator":
        """Return the validator of the model of a training, as that model stands."""
        predictor = SlidingWindowPredictor(
            [run.model],
            run.patch_file.patch_size,
            batch_size=batch_size_on(
                run.device,
                [run.model],
                run.patch_file.patch_size,
                run.patch_file.channels,
                run.config.trainer.deterministic,
            ),
            device=run.device,
            dtype=run.dtype,
            wcs=run.patch_file.wcs,
            scales=run.config.trainer.model.scales,
        )
        unlabelled_weight = run.config.trainer.loss.unlabelled_weight
        return cls(predictor, run.folds, run.metrics, run.loss, unlabelled_weight, run.world)

    def evaluate(self, which: list[int], after_chunk: Callable[[], object] = lambda: None) -> Evaluation:
        """Return the scores of some folds, by their numbers.

        Parameters
        ----------
        which
            The numbers of the folds.
        after_chunk
            What to do after each chunk of this process.

        Raises
        ------
        TrainingError
            Where a prediction or its loss is not a number.
        """
        file = self.folds.patch_file
        curves = {kind: ThresholdCurve() for kind in label_kinds(file)}
        total = weight = 0.0
        for metric in self.metrics.values():
            metric.reset()
        for y0, y1, x0, x1, probability in self._predicted_chunks(which):
            predicted = np.isfinite(probability)
            scored = scored_pixels(file, Tile(y0, y1, x0, x1), predicted)
            for kind, (where, positive) in scored.items():
                curves[kind].update(probability[where], positive[where])
            known, true = scored["labelled"]
            for metric in self.metrics.values():
                metric.update(probability, true, known)
            pixel_weight = np.where(known, 1.0, self.unlabelled_weight) * predicted
            part = checked(self.loss(*map(_as_batch, (_logit(probability), true, pixel_weight))))
            total, weight = total + float(part.total), weight + float(part.weight)
            after_chunk()
        self.world.wait()  # a row of areas may take one process longer than the others wait in what follows
        merge_counts(self.world, {**self.metrics, **{f"curve {name}": curve for name, curve in curves.items()}})
        total, weight = self.world.sums([total, weight])
        if not math.isfinite(total) or (which and not curves["whole"].state()["bins"].size):
            raise TrainingError(
                f"The model or its loss gives no numbers on the folds {which}. Likely cause: a learning rate that is "
                "too high (trainer.optimizer.lr). Where an epoch had ended, its snapshot stays in the run folder."
            )
        values = {name: float(metric.compute()) for name, metric in self.metrics.items()}
        return Evaluation(total / weight if weight else float("nan"), values, **curves)

    def _predicted_chunks(self, which: list[int]) -> Iterator[tuple[int, int, int, int, FloatArray]]:
        """Yield (y0, y1, x0, x1, probability) of the rows of areas of this process, in chunks of equal width."""
        folds, world, edges = self.folds, self.world, self.folds.areas.y_edges

        def rank_of_row(y: npt.ArrayLike) -> IntArray:
            return np.asarray((np.searchsorted(edges, y, side="right") - 1) % world.size)

        def pixel_mask(tile: Tile) -> BoolArray:
            mine = rank_of_row(np.arange(tile.y0, tile.y1)) == world.rank
            tested = np.isin(folds.rows(tile.y0, tile.y1, tile.columns), which)
            return np.asarray(tested & mine[:, None] & folds.areas.first_sky[tile.columns])[None]

        for y0, y1, (probability,) in in_bands(self.predictor.predict_bands(folds.patch_file, pixel_mask), edges):
            if rank_of_row(y0) != world.rank:
                continue
            nx = probability.shape[1]
            for x0, x1 in pairwise(np.linspace(0, nx, -(-nx // self.chunk_columns) + 1).astype(int).tolist()):
                yield y0, y1, x0, x1, probability[:, x0:x1]


def score_test_folds(run: TrainingRun, validator: Validator, thresholds: Thresholds) -> RunScores:
    """Return the scores of the model, which is that of best.pt now, on the test folds; without the baselines.

    Parameters
    ----------
    run
        A training that has a best epoch.
    validator
        The validator of its model.
    thresholds
        Those of best.pt.
    """
    best = run.state.best
    assert best is not None
    evaluation = validator.evaluate(run.split.test)
    return RunScores(
        data=str(run.patch_file.path),
        data_identity=run.patch_file.identity,
        split=run.split,
        model=run.config.trainer.model.type,
        epochs_run=run.state.epochs_run,
        best_epoch=best.epoch,
        best_by=run.best_by,
        best_value=best.value,
        thresholds=thresholds,
        test={
            **evaluation.quantities,
            "labelled_best_dice": evaluation.labelled.best_dice().dice,
            "marked_ratio_whole": evaluation.whole.at(thresholds.whole)["marked_ratio"],
            "marked_ratio_labelled": evaluation.whole.at(thresholds.labelled)["marked_ratio"],
        },
        table=evaluation.table,
    )


def _as_batch(plane: npt.NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(plane.astype(np.float32))[None, None]


def _logit(probability: FloatArray) -> FloatArray:
    p = np.clip(np.nan_to_num(probability.astype(np.float64), nan=0.5), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p), np.float32)
