"""The folder of a k-fold -> its report.html: the map first, then all tables and figures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.out_of_fold import how_made
from bigsf.evaluation.records import AreaScores, KFoldSummary, Score
from bigsf.evaluation.report.elements import definitions, figure, folded, listing, number, table
from bigsf.evaluation.report.figures import areas_figure
from bigsf.evaluation.report.kfold_scores import (
    catalogue_section,
    figures_of_scores,
    injected_section,
    scores_section,
    thresholds_section,
)
from bigsf.evaluation.report.map_figures import map_figures
from bigsf.evaluation.report.page import write_page
from bigsf.evaluation.report.run_report import (
    RunRecord,
    curves_of_run,
    facts_of_data,
    facts_of_machine,
    figure_of_folds,
)
from bigsf.evaluation.report.scores import headlines, scales_table
from bigsf.evaluation.report.words import GLOSSARY, KINDS
from bigsf.figures import FigureFormat, figure_paths, write_figure
from bigsf.filaments.figure import MOST_IDS
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage


def write_kfold_report(
    path: Path,
    summary: KFoldSummary,
    folds: Folds,
    records: Mapping[str, RunRecord],
    config_yaml: str,
    figures: FigureFormat = "png",
) -> None:
    """Write the figures and the report of a k-fold from what lies in its folder, the report last.

    Parameters
    ----------
    path
        The HTML file. out_of_fold.fits lies in the same folder.
    summary
        All numbers of the k-fold.
    folds
        The folds of the k-fold.
    records
        What each run recorded, by the name of its folder.
    config_yaml
        The configuration.
    figures
        The format of the figures beside the page, in addition to PNG.
    """
    against = "truth" if "truth" in summary.out_of_fold[MODEL] else "whole"
    out_of_fold = path.with_name("out_of_fold.fits")
    drawn = map_figures(out_of_fold, summary, folds)
    for stem, draw in drawn.items():
        for file in figure_paths(path.with_name(f"{stem}.png"), figures):
            write_figure(draw, file)
    write_page(
        path,
        f"{path.parent.name}: {len(folds.splits)}-fold report",
        _head(summary, folds, against, how_made(out_of_fold), next(iter(records.values()))),
        {
            "The out-of-fold map": figure(
                drawn["out_of_fold"],
                "the out-of-fold map",
                "The map, with the outlines of the target and of MASK: what is marked at the thresholds of validation. "
                "Beside or below it: the probability of a filament, from models that did not learn from the area. "
                "Where no model predicted, it is grey. The line on the colour bar is the mean threshold. "
                "out_of_fold.fits holds all of it. This MASK is that of the scores, so no small component is removed "
                "from it; the filaments of the catalogue are those of the cleaned one.",
            ),
            "Filaments": figure(
                drawn["filaments"],
                "the filaments",
                "The filaments of catalog.ecsv: spines, outlines and, as circles, the hubs where branches meet. The "
                f"{MOST_IDS} longest have their id in the catalogue.",
            ),
            **{KINDS[kind]: scores_section(summary, kind) for kind in summary.out_of_fold[MODEL]},
            "What was done": _facts(summary),
            "Scales of the baselines": scales_table(summary.baseline_scales),
            **figures_of_scores(summary, against),
            "Thresholds": thresholds_section(summary),
            "Injected filaments": injected_section(summary),
            "Catalogue": catalogue_section(summary),
            "Runs": _runs_table(summary),
            "Learning curves": _learning_curves(summary, records),
            "Folds": _folds_section(summary, folds),
            "The ten areas that differ most from the target": _areas_section(summary.worst_areas, folds, out_of_fold),
            "Configuration": folded("YAML", config_yaml),
            "Glossary": definitions(GLOSSARY, "glossary"),
        },
    )


def _head(summary: KFoldSummary, folds: Folds, against: str, made: Mapping[str, str], record: RunRecord) -> str:
    """Return what the k-fold is, and its scores in words.

    Parameters
    ----------
    summary, folds
        The k-fold.
    against
        What the map is scored against: "whole" or "truth".
    made
        How the out-of-fold map was made.
    record
        What one of the runs recorded.
    """
    where = {"whole": "the whole map, against the target", "truth": "the whole map, against the ground truth"}[against]
    models = next(iter(summary.runs.values())).model
    facts = {
        "Map predicted": f"{made['time']}, by bigsf {made['bigsf']}",
        "Command": made["command"],
        "Data": facts_of_data(folds),
        "Models": f"{len(summary.runs)} of type {models}",
        "Trained on": facts_of_machine(record),
    }
    return definitions(facts, "facts") + headlines(
        ("Average precision", where, summary.out_of_fold, against, "average_precision"),
        ("Best Dice", where, summary.out_of_fold, against, "best_dice"),
        ("clDice of skeletons", where, summary.skeletons, against, "cldice"),
    )


def _facts(summary: KFoldSummary) -> str:
    """Return the list of what was trained and predicted on which pixels."""
    seams = summary.seam_contrast
    clear = "-" if summary.clear_px is None else summary.clear_px
    return listing(
        [
            f"{summary.independence} Where a pixel has several models, the map is their ensemble mean.",
            f"Folds share {summary.shared_pixels:,} pixels. At least {clear} clear pixels lie between training and "
            f"test patches. {summary.labelled_uncovered:,} labelled pixels lie outside all patches that are completely "
            "inside one area.",
            f"Seam contrast: across the seams between models, neighbouring pixels differ by {number(seams.across)} in "
            f"probability on average, and next to the seams by {number(seams.beside)} ({seams.pairs:,} pairs of "
            "pixels across seams).",
        ]
    )


def _runs_table(summary: KFoldSummary) -> str:
    runs = summary.runs
    names = list(dict.fromkeys(name for run in runs.values() for name in run.test))
    rows = [
        [
            f"{name}: test folds {run.split.test}, epoch {run.best_epoch}",
            *(number(run.test.get(score, math.nan)) for score in names),
        ]
        for name, run in runs.items()
    ]
    mean = ["mean ± standard deviation"]
    mean += [_spread([run.test.get(name, math.nan) for run in runs.values()]) for name in names]
    return table(["run", *(name.replace("_", " ") for name in names)], rows, mean)


def _spread(scores: Sequence[Score]) -> str:
    values = np.array([score for score in scores if np.isfinite(score)])
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else "-"


def _learning_curves(summary: KFoldSummary, records: Mapping[str, RunRecord]) -> str:
    curves = [curves_of_run(name, records[name], run) for name, run in summary.runs.items()]
    return f"<div class=side>{''.join(curves)}</div>"


def _folds_section(summary: KFoldSummary, folds: Folds) -> str:
    columns = list(next(iter(summary.folds.values())))
    rows = [[str(fold), *(f"{counts[name]:,}" for name in columns)] for fold, counts in summary.folds.items()]
    splits = [[str(number), *map(str, split)] for number, split in enumerate(summary.splits, 1)]
    return (
        table(["fold", *(column.replace("_", " ") for column in columns)], rows)
        + table(["split", "train", "valid", "test"], splits)
        + figure_of_folds(folds)
    )


def _areas_section(areas: Sequence[AreaScores], folds: Folds, out_of_fold: Path) -> str:
    """Return the table and the figure of the areas that differ most from the target."""
    rows = [
        [
            *map(str, (place, list(area.x), list(area.y), area.fold)),
            *(f"{area.missed:,}", f"{area.false:,}", number(area.dice)),
        ]
        for place, area in enumerate(areas, 1)
    ]
    listed = table(["", "x", "y", "fold", "missed px", "false px", "Dice"], rows)
    if not areas:
        return listed
    with FitsImage(out_of_fold) as probability:
        return listed + figure(
            lambda: areas_figure(areas, folds, probability),
            "the areas that differ most from the target",
            "Above, each area of the map; below, its probability between 0 (dark) and 1 (bright). Both with the "
            "outline of the target.",
        )
