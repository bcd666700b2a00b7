"""The folder of a k-fold -> which files it holds in the end, and the summary of one that has ended."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from bigsf.config import Config
from bigsf.errors import DataError
from bigsf.evaluation.out_of_fold import how_made
from bigsf.evaluation.records import KFoldSummary, RunScores
from bigsf.figures import FigureFormat, figure_paths

REPORT = "report.html"
FIGURES = ("out_of_fold", "filaments")
"""The stems of the figures of a k-fold: the out-of-fold map, and the gallery of its filaments."""

TABLES = ("catalog.ecsv", "review.ecsv", "review.reg")
"""The catalogue of the filaments, and the candidates for visual inspection as a table and as regions."""

OUTPUTS = ("out_of_fold.fits", *TABLES, "summary.json")
"""What a k-fold writes once its models are trained: the out-of-fold map, the tables, and all scores."""


def outputs_of(figures: FigureFormat) -> list[str]:
    """Return the names of all that a k-fold writes in the end: `OUTPUTS`, the figures, and last the report."""
    return [*OUTPUTS, *(path.name for stem in FIGURES for path in figure_paths(Path(f"{stem}.png"), figures)), REPORT]


def left_to_draw(path: Path, figures: FigureFormat) -> list[str]:
    """Return the names of the figures and the report of a k-fold, all of them where one is missing in its folder."""
    drawn = [name for name in outputs_of(figures) if name not in OUTPUTS]
    return [] if all((path / name).exists() for name in drawn) else drawn


def finished_summary(path: Path, runs: Mapping[str, RunScores], settings: Config) -> KFoldSummary | None:
    """Return the summary in the folder of a k-fold where nothing is left to predict; otherwise None.

    Parameters
    ----------
    path
        The folder.
    runs
        The scores of each run, as the folder holds them now.
    settings
        How the out-of-fold map is to be predicted: `out_of_fold` of the configuration.
    """
    needed = [path / name for name in OUTPUTS]
    if not all(file.is_file() and not file.is_symlink() for file in needed):
        return None
    try:
        summary = KFoldSummary.load(path / "summary.json")
        made = yaml.safe_load(how_made(path / "out_of_fold.fits")["config"])["out_of_fold"]
    except (DataError, yaml.YAMLError, KeyError):  # what is damaged is made again
        return None
    of_these = {name: run.model_dump_json() for name, run in summary.runs.items()} == {
        name: run.model_dump_json() for name, run in runs.items()
    }
    return summary if of_these and made == settings.model_dump(mode="json") else None
