"""The summary of a k-fold -> report.html: one file with all tables and figures, which needs no network to be read."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.out_of_fold import OutOfFold
from bigsf.evaluation.records import AreaScores, KFoldSummary, Score, ScoreTable
from bigsf.evaluation.report_figures import (
    areas_figure,
    bins_figure,
    calibration_figure,
    completeness_figure,
    curves_figure,
    family_name,
    reliability_figure,
)
from bigsf.evaluation.report_html import html_image, html_note, html_number, html_table
from bigsf.files import write_text
from bigsf.folds.figure import folds_figure
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.quicklook import contours_figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; display: block; overflow: auto; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.ours td { font-weight: 600; }
img { max-width: 100%; } pre { background: #f5f5f5; padding: 1rem; overflow: auto; } .note { color: #555; }
"""

_SCORES = {
    "average_precision": "AP",
    "roc_auc": "AUC",
    "best_dice": "best Dice",
    "threshold": "at threshold",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "marked_ratio": "marked / true",
}

_SKELETON_SCORES = {"cldice": "clDice", "mssim": "MSSIM"} | {
    f"{score}_{radius}px": f"{score} {radius} px" for score in ("completeness", "purity") for radius in (1, 2, 3)
}

_KINDS = {
    "labelled": "Labelled pixels",
    "whole": "Whole map, against the target",
    "truth": "Whole map, against the ground truth",
}

_NOTES = {
    "labelled": "Only pixels with a label count. A high score here proves little: compare it with the baselines.",
    "whole": "Pixels without a label count as background. Where labels are incomplete, some pixels that are counted as "
    "false are true filaments, and a model that copies the catalogue is rewarded.",
    "truth": "The ground truth is known, because the map is simulated or structures were injected. This table says "
    "most about a model.",
}


def write_report(path: Path, summary: KFoldSummary, folds: Folds, out_of_fold: OutOfFold, config_yaml: str) -> None:
    """Write the report of a k-fold.

    Parameters
    ----------
    path
        The HTML file. out_of_fold.fits lies in the same folder.
    summary
        All numbers of the k-fold.
    folds
        The folds of the k-fold.
    out_of_fold
        What was computed while the out-of-fold map was written.
    config_yaml
        The configuration.
    """
    against = "truth" if "truth" in summary.out_of_fold[MODEL] else "whole"
    with FitsImage(path.with_name("out_of_fold.fits")) as probability:
        areas = summary.worst_areas
        drawn = html_image(lambda: areas_figure(areas, folds, probability), "the worst areas") if areas else ""
    sections = {
        "What was done": _facts(summary, folds),
        **{_KINDS[kind]: _scores_section(summary, kind) for kind in summary.out_of_fold[MODEL]},
        "Scales of the baselines": _scales_table(summary),
        "Scores against threshold": html_image(lambda: curves_figure(summary.curves), "precision, recall and Dice"),
        "Calibration": html_note("The fraction of true pixels in each range of probability.")
        + html_image(lambda: calibration_figure(summary.curves.calibration), "calibration"),
        "Thresholds": _thresholds_table(summary),
        "Where the map is good": html_note(
            f"{_KINDS[against]}; each map at its own threshold of best Dice. Bins of column density hold equal numbers "
            "of valid pixels, and bins of local contrast equal numbers of true pixels."
        )
        + html_image(lambda: bins_figure(summary.by, against), "completeness and purity"),
        "Injected filaments": injected_section(summary),
        "Catalogue": catalogue_section(summary),
        "Runs": _runs_table(summary),
        "Folds": _folds_table(summary) + html_image(lambda: folds_figure(folds), "folds"),
        "The map": html_image(lambda: contours_figure(out_of_fold.subsampled, out_of_fold.header), "map with outlines"),
        "The ten areas that differ most from the target": _areas_table(areas) + drawn,
        "Configuration": f"<details><summary>YAML</summary><pre>{escape(config_yaml)}</pre></details>",
    }
    name = escape(path.parent.name)
    body = "".join(f"<h2>{escape(title)}</h2>{content}" for title, content in sections.items())
    write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}: k-fold report</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{name}: {len(folds.splits)}-fold report</h1>{body}</body></html>\n",
    )


def _facts(summary: KFoldSummary, folds: Folds) -> str:
    """Return the list of what was trained and predicted on which pixels."""
    ny, nx = folds.patch_file.shape
    seams = summary.seam_contrast
    clear = "-" if summary.clear_px is None else summary.clear_px
    facts = [
        f"{Path(summary.data).name}: {nx:,} x {ny:,} pixels (x, y), data identity {summary.data_identity[:12]}; "
        f"bigsf {summary.bigsf}.",
        f"{summary.independence} Where a pixel has several models, the map is their ensemble mean.",
        f"Folds share {summary.shared_pixels:,} pixels. At least {clear} clear pixels lie between training and test "
        f"patches. {summary.labelled_uncovered:,} labelled pixels lie outside all patches that are completely inside "
        "one area.",
        f"Seam contrast: across the seams between models, neighbouring pixels differ by {html_number(seams.across)} in "
        f"probability on average, and next to the seams by {html_number(seams.beside)} ({seams.pairs:,} pairs of "
        "pixels across seams).",
    ]
    return f"<ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>"


def _scores_section(summary: KFoldSummary, kind: str) -> str:
    """Return the tables of scores on "labelled" pixels, on the "whole" map, or against the ground "truth"."""
    pixels = html_note(_NOTES[kind]) + _score_table(_SCORES, summary.out_of_fold, kind)
    if kind == "labelled":
        return pixels
    note = (
        "Skeletons at the same thresholds. Completeness and purity count the pixels of one skeleton within the given "
        "distance from the other."
    )
    return pixels + html_note(note) + _score_table(_SKELETON_SCORES, summary.skeletons, kind)


def _score_table(columns: Mapping[str, str], scores: ScoreTable, kind: str) -> str:
    rows = [[name, *(html_number(kinds[kind][column]) for column in columns)] for name, kinds in scores.items()]
    return html_table(["map", *columns.values()], rows)


def _scales_table(summary: KFoldSummary) -> str:
    note = (
        "Each baseline has several scales. For each split, the one that has the highest Dice on the validation folds, "
        "whole map, is applied to the test folds; the pixels that are scored have no say. Where splits have different "
        "scales, these are brought to the same standard deviation."
    )
    rows = [
        [name, scale, f"{of_split.count(scale)} of {len(of_split)}"]
        for name, of_split in summary.baseline_scales.items()
        for scale in dict.fromkeys(sorted(of_split, key=of_split.count, reverse=True))
        if len(BASELINES[name]) > 1
    ]
    return html_note(note) + html_table(["baseline", "scale", "splits"], rows)


def _thresholds_table(summary: KFoldSummary) -> str:
    rows = [
        [_KINDS[kind], *map(html_number, (cost.dice, cost.best_dice, cost.cost, cost.best_threshold))]
        for kind, cost in summary.thresholds.items()
    ]
    note = (
        "The thresholds of each model were chosen on its validation folds, which were predicted as this map was. The "
        "best threshold in this table is the single one that is best for the scored pixels themselves. The difference "
        "is the Dice that is lost because thresholds are chosen on other pixels than those that are scored. It is "
        "negative where the thresholds of the models do better together than any single one."
    )
    columns = ["", "Dice at the thresholds of validation", "best Dice", "difference", "best threshold"]
    models = [
        [name, *map(html_number, (used.whole, used.labelled, run.thresholds.whole, run.thresholds.labelled))]
        for (name, run), used in zip(summary.runs.items(), summary.mask_thresholds.values(), strict=True)
    ]
    note_on_models = (
        "The thresholds of each model: those that this map is marked with, and those of its snapshot, which bigsf "
        "segment uses. The latter were found with one prediction of each window at half overlap, as bigsf segment "
        "predicts by default."
    )
    kinds = [f"{kind}, {where}" for where in ("this map", "snapshot") for kind in ("whole", "labelled")]
    return html_note(note) + html_table(columns, rows) + html_note(note_on_models) + html_table(["run", *kinds], models)


def injected_section(summary: KFoldSummary) -> str:
    """Return the completeness of injected filaments, and which of their families the training knew, as HTML."""
    both = (summary.injected, summary.injected_plummer)
    families = [injected for injected in both if injected is not None and injected.filaments]
    if not families:
        return "<p>There was no room for injected filaments.</p>"
    numbers = " and ".join(f"{sum(injected.filaments)} of {family_name(injected)}" for injected in families)
    note = (
        f"Filaments were injected into the map ({numbers}), away from known structures, and predicted by models for "
        "which their place was a test area. Shown is the fraction of each filament that is marked at the thresholds of "
        "validation, averaged over filaments, against their peak excess over the local background. Dotted lines show "
        "the same pixels before the injection. The baselines have thresholds at which they mark the same fraction of "
        f"the map as the model, {families[0].marked:.1%}."
    )
    return (
        html_note(note)
        + html_note(_training_with_filaments(summary))
        + html_image(lambda: completeness_figure(*families), "completeness against contrast")
    )


def _training_with_filaments(summary: KFoldSummary) -> str:
    """Say which family of injected filaments the training used."""
    if summary.added_widths_px:
        widths = " and ".join(f"{low:g} to {high:g}" for low, high in summary.added_widths_px)
        said = (
            f"The augmentation filaments added arcs of Gaussian or steeper Plummer profile (p = 4), {widths} pixels "
            "wide, to the training patches. So the training used the family of Gaussian profile, and the models find "
            "such filaments more easily than real ones of the same contrast. It did not use the family of Plummer-like "
            "profile with p = 2."
        )
    else:
        said = "The training used neither family: its configuration has no augmentation filaments."
    if summary.start_from is None:
        return said
    return f"{said} What trainer.start_from ({summary.start_from}) was trained with before is not counted here."


def catalogue_section(summary: KFoldSummary) -> str:
    """Return how well the expected purity of the catalogue's rows agrees with the measured one."""
    if not summary.reliability:
        return "<p>The catalogue has too few rows to learn their purity from.</p>"
    means = [
        f"{_KINDS[kind]}: expected {_mean(each.expected, each.expected_error, each.rows)}, measured "
        f"{_mean(each.measured, each.measured_error, each.rows)} (mean of {sum(each.rows)} rows)."
        for kind, each in summary.reliability.items()
    ]
    text = (
        "The fraction of true pixels that catalog.ecsv expects in each row, learnt from rows of other folds, and the "
        f"fraction that is true, in bins of their probability. {' '.join(means)}"
    )
    return html_note(text) + html_image(lambda: reliability_figure(summary.reliability), "reliability of the catalogue")


def _mean(values: Sequence[float], errors: Sequence[float], rows: Sequence[int]) -> str:
    """Return the mean over all rows of what is known in bins, and the standard error of independent bins."""
    weights = np.array(rows) / sum(rows)
    return f"{weights @ values:.3f} ± {np.sqrt((weights**2) @ np.square(errors)):.3f}"


def _runs_table(summary: KFoldSummary) -> str:
    runs = summary.runs
    names = list(dict.fromkeys(name for run in runs.values() for name in run.test))
    rows = [
        [
            f"{name}: test folds {run.split.test}, epoch {run.best_epoch}",
            *(html_number(run.test.get(score, math.nan)) for score in names),
        ]
        for name, run in runs.items()
    ]
    spread = [
        "mean ± standard deviation",
        *(_spread([run.test.get(name, math.nan) for run in runs.values()]) for name in names),
    ]
    return html_table(["run", *(name.replace("_", " ") for name in names)], [*rows, spread])


def _spread(scores: Sequence[Score]) -> str:
    values = np.array([score for score in scores if np.isfinite(score)])
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else "-"


def _folds_table(summary: KFoldSummary) -> str:
    columns = list(next(iter(summary.folds.values())))
    rows = [[str(fold), *(f"{counts[name]:,}" for name in columns)] for fold, counts in summary.folds.items()]
    splits = [[str(number), *map(str, split)] for number, split in enumerate(summary.splits, 1)]
    return html_table(["fold", *(column.replace("_", " ") for column in columns)], rows) + html_table(
        ["split", "train", "valid", "test"], splits
    )


def _areas_table(areas: Sequence[AreaScores]) -> str:
    rows = [
        [
            *map(str, (number, list(area.x), list(area.y), area.fold)),
            *(f"{area.missed:,}", f"{area.false:,}", html_number(area.dice)),
        ]
        for number, area in enumerate(areas, 1)
    ]
    return html_table(["", "x", "y", "fold", "missed px", "false px", "Dice"], rows)
