"""The scores of a run and of a k-fold, as scores.json and summary.json hold them."""

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from bigsf.config import aliased
from bigsf.files import write_text
from bigsf.folds.splits import Split
from bigsf.metrics.thresholds import Thresholds

Score = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number that is NaN where it is undefined; JSON has null there."""

ScoreTable = dict[str, dict[str, dict[str, Score]]]
"""From the name of a map, and "labelled", "whole" or "truth", to its scores by name."""


class Record(BaseModel):
    """What a JSON file of results holds; NaN becomes null."""

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
        """Read a JSON file that this package wrote."""
        return cls.model_validate_json(path.read_bytes())


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
    """The thresholds that validation found."""
    test: dict[str, Score]
    """Scores of best.pt on the test folds, by name."""
    baselines: ScoreTable = {}
    """Scores of maps that need no learning, on the same pixels."""


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
    """Labelled pixels that lie in no patch that lies whole in its area."""
    runs: dict[str, RunScores]
    """The scores of each run, by the name of its folder."""
    predicted_pixels: int = aliased(..., "predicted_pixels", "judged_pixels")
    """Valid pixels of the out-of-fold map."""
    valid_pixels: int
    """Valid pixels of the map."""
    out_of_fold: ScoreTable
    """Scores of the out-of-fold map and of the baselines at every threshold, and at that of best Dice."""
    skeletons: ScoreTable
    """Scores of skeletons at the thresholds of best Dice."""
    thresholds: dict[str, dict[str, Score]]
    """Dice at the thresholds of validation beside the best Dice, on labelled pixels and on the whole map."""
    seam_contrast: dict[str, Score] = aliased(..., "seam_contrast", "jump_at_borders")
    """Mean difference of neighbouring probabilities across the seams between models, and just beside them."""
    curves: dict[str, Any]
    """Curves that the report draws."""
    by: dict[str, Any]
    """Completeness and purity by longitude, column density and contrast."""
    worst_areas: list[dict[str, Any]]
    """The areas that differ most from the target."""
    injected: dict[str, Any]
    """Completeness of injected filaments against their contrast."""
