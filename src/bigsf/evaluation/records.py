"""The scores of a run and of a k-fold, as scores.json and summary.json hold them."""

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from bigsf.config import aliased
from bigsf.errors import DataError
from bigsf.evaluation.injection import Profile
from bigsf.files import write_text
from bigsf.folds.splits import Split
from bigsf.metrics.thresholds import Thresholds

Score = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A score. It is NaN where it is undefined; a file has null there."""

ScoreTable = dict[str, dict[str, dict[str, Score]]]
"""From the name of a map, and "labelled", "whole" or "truth", to its scores by name."""


class Record(BaseModel):
    """Results that a JSON file holds. NaN becomes null in the file."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        ser_json_inf_nan="null",
    )

    def save(self, path: Path) -> None:
        """Write the JSON file, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file that this package wrote.

        Raises
        ------
        DataError
            Where the file is missing, damaged or no such record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"{path} is damaged: {place + ': ' if place else ''}{first['msg']}.") from None


class RunScores(Record):
    """How good the model of one run is on its test folds: scores.json."""

    data: str
    """Path of the patch file."""
    data_identity: str
    """Identity of the patch file."""
    split: Split
    """The folds of the run."""
    model: str
    """Type of the network."""
    epochs_run: int
    """Completed epochs."""
    best_epoch: int
    """The epoch of best.pt."""
    best_by: str
    """The quantity that chose best.pt."""
    best_value: Score
    """Its value there."""
    thresholds: Thresholds
    """The thresholds that validation found, with one prediction of each window at half overlap."""
    test: dict[str, Score]
    """Scores of best.pt on the test folds, by name."""
    table: dict[str, dict[str, Score]] = {}
    """Scores of best.pt on the same pixels, as those of the baselines. Empty in files of former versions."""
    baselines: ScoreTable = {}
    """Scores of the baselines on the same pixels."""
    baseline_scales: dict[str, str] = {}
    """The scale of each baseline that is best on the validation folds. Empty in files of former versions."""


class ThresholdCost(Record):
    """How Dice changes because thresholds are chosen on validation folds and not on the scored pixels."""

    dice: Score
    """Dice at the thresholds that validation chose."""
    best_dice: Score
    """Dice at the single threshold that is best for the scored pixels."""
    best_threshold: Score
    """That threshold."""
    cost: Score
    """`best_dice` minus `dice`. It is negative where different thresholds of the models do better than a single one."""


class SeamScores(Record):
    """How much neighbouring pixels differ across the seams of an out-of-fold map, and next to the seams."""

    across: Score
    """Mean absolute difference of probability between the two sides of a seam."""
    beside: Score
    """The same for the nearest pairs of pixels that do not cross a seam."""
    pairs: int
    """Pairs of pixels across seams."""


class Calibration(Record):
    """Probabilities and frequencies in equal ranges of probability; NaN where a range holds no pixel."""

    probability: list[Score]
    """Mean probability."""
    frequency: list[Score]
    """Fraction of true pixels."""
    pixels: list[int]
    """Number of pixels."""


class Curves(Record):
    """The curves that the report draws."""

    precision_recall: dict[str, dict[str, dict[str, list[float]]]]
    """From the name of a map, and "labelled", "whole" or "truth", to lists of recall and precision."""
    by_threshold: dict[str, dict[str, list[float]]]
    """From "labelled", "whole" or "truth" to lists of thresholds and of the model's scores there."""
    calibration: dict[str, Calibration]
    """From "labelled", "whole" or "truth" to the calibration of the model."""


class BinScores(Record):
    """Scores of one map in each bin."""

    completeness: list[Score]
    """Fraction of the true pixels that are marked."""
    purity: list[Score]
    """Fraction of the marked pixels that are true."""
    true: list[float]
    """Number of true pixels."""


class Bins(Record):
    """Scores of all maps in bins of one quantity."""

    centre: list[float]
    """The middle of each bin, in the unit of the quantity."""
    whole: dict[str, BinScores]
    """Scores of each map against the target."""
    truth: dict[str, BinScores] | None = None
    """Scores of each map against the ground truth, where it is known."""

    @model_serializer(mode="wrap")
    def _without_absent_truth(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    def against(self, kind: str) -> dict[str, BinScores]:
        """Return the scores of each map against "whole", the target, or "truth", the ground truth."""
        return self.whole if kind == "whole" or self.truth is None else self.truth


class AreaScores(Record):
    """How well the model's map agrees with the target in one area."""

    y: tuple[int, int]
    """First row, and the row after the last."""
    x: tuple[int, int]
    """First column, and the column after the last."""
    fold: int
    """The fold of the area."""
    missed: int
    """True pixels that are not marked."""
    false: int
    """Marked pixels that are not true."""
    dice: float
    """Dice of the area."""


class Completeness(Record):
    """Completeness of injected filaments in bins of contrast. The bins hold about equally many filaments."""

    profile: Profile = "gaussian"
    """The profile across the spines, see `bigsf.InjectedPlanes`."""
    width_px: tuple[float, float] = (2.0, 6.0)
    """Range of the widths (FWHM) in pixels."""
    marked: float
    """Fraction of the pixels of the map without injected filaments that each map marks."""
    contrast: list[float]
    """Geometric mean of the contrasts in each bin."""
    filaments: list[int]
    """Number of filaments in each bin."""
    completeness: dict[str, list[float]]
    """For each map, the marked fraction of a filament's pixels, averaged over the filaments of each bin.

    The pixels of a filament are those within half a width of its spine."""
    before: dict[str, list[float]]
    """The same in the map without injected filaments: what is marked by chance."""


class Reliability(Record):
    """Expected and measured purity of the catalogue's rows, in bins of their probability."""

    rows: list[int]
    """Rows in each bin."""
    expected: list[float]
    """Mean expected purity of each bin. It was learnt from rows of other folds."""
    expected_error: list[float]
    """Mean standard error of the expected purity."""
    measured: list[float]
    """Mean fraction of a row's pixels that are true."""
    measured_error: list[float]
    """Binomial standard error of the measured purity."""


class KFoldSummary(Record):
    """All numbers of a k-fold: summary.json, from which report.html is made."""

    bigsf: str
    """Version of BigSF."""
    data: str
    """Path of the patch file."""
    data_identity: str
    """Identity of the patch file."""
    splits: list[Split]
    """The folds of each run."""
    folds: dict[int, dict[str, int]]
    """Areas, patches and pixels of each fold."""
    shared_pixels: int
    """Pixels that patches of several folds share."""
    clear_px: int | None
    """Least number of clear pixels between what training and test patches show."""
    labelled_uncovered: int
    """Labelled pixels outside all patches that lie completely in one area."""
    runs: dict[str, RunScores]
    """The scores of each run, by the name of its folder."""
    predicted_pixels: int = aliased(..., "predicted_pixels", "judged_pixels")
    """Valid pixels of the out-of-fold map."""
    valid_pixels: int
    """Valid pixels of the map."""
    seen_pixels: int | None = None
    """Predicted pixels that lie in a training patch of a model that predicted them: none unless `split.overlap` is
    above 0. None in files of former versions."""
    seen_labels: int | None = None
    """How many of these pixels have a label."""
    out_of_fold: ScoreTable
    """Scores of the out-of-fold map and of the baselines at every threshold, and at that of best Dice."""
    baseline_scales: dict[str, list[str]] = {}
    """For each baseline, the scale that is best on the validation folds of each split. It is applied to the test folds
    of that split. Empty in files of former versions."""
    skeletons: ScoreTable
    """Scores of skeletons at the thresholds of best Dice."""
    mask_thresholds: dict[str, Thresholds] = {}
    """The thresholds of each run that the out-of-fold map is marked with. They were found on its validation folds, in
    maps that were predicted as the out-of-fold map is."""
    thresholds: dict[str, ThresholdCost]
    """Dice at `mask_thresholds`, beside the best, on labelled pixels ("labelled") and on the whole map ("whole")."""
    seam_contrast: SeamScores = aliased(..., "seam_contrast", "jump_at_borders")
    """How much the out-of-fold map changes across the seams between models, and next to them."""
    curves: Curves
    """Curves that the report draws."""
    by: dict[str, Bins]
    """Completeness and purity by longitude (or x), column density and local contrast."""
    worst_areas: list[AreaScores]
    """The areas that differ most from the target, the worst first."""
    injected: Completeness
    """Completeness of injected filaments of Gaussian profile against their contrast."""
    injected_plummer: Completeness | None = None
    """The same for Plummer-like profiles (p = 2), which no augmentation adds. None in files of former versions."""
    reliability: dict[str, Reliability] = {}
    """Of the expected purity against "whole" and, where it is known, "truth". Empty in files of former versions."""
    added_widths_px: list[tuple[float, float]] | None = None
    """Range of the widths that each augmentation `filaments` adds; empty without. None in files of former versions."""
    start_from: str | None = None
    """What the training started from (`trainer.start_from`); None for random weights."""

    @property
    def independence(self) -> str:
        """Which pixels were predicted, and whether by models that learnt from them, as far as that is known."""
        predicted = (
            f"{self.predicted_pixels:,} of {self.valid_pixels:,} valid pixels are predicted, each by the models for "
            "which its area is a test area."
        )
        if self.seen_pixels is None:
            return predicted
        if not self.seen_pixels:
            return f"{predicted} None of these models learnt from the pixel."
        return (
            f"{predicted} {self.seen_pixels:,} of these pixels, {self.seen_labels:,} of them with a label, lie in "
            "training patches of such a model too: split.overlap lets patches reach into other areas. Scores are too "
            "high there."
        )
