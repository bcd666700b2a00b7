"""summary.json -> report.html: one file with all tables and pictures, which needs no network."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.out_of_fold import OutOfFold
from bigsf.evaluation.report_figures import (
    areas_figure,
    bins_figure,
    calibration_figure,
    completeness_figure,
    curves_figure,
)
from bigsf.files import write_text
from bigsf.folds.figure import folds_figure
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.quicklook import contours_figure, png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


_LINES = {"cldice": "clDice", "mssim": "MSSIM"} | {
    f"{share}_{radius}px": f"{share} {radius} px" for share in ("completeness", "purity") for radius in (1, 2, 3)
}


_KINDS = {
    "labelled": "Labelled pixels",
    "whole": "Whole map, against the target",
    "truth": "Whole map, against the truth",
}


_NOTES = {
    "labelled": "Only pixels with a label count. A high score here proves little: see the baselines.",
    "whole": "Unlabelled pixels count as background: with incomplete labels some that are called false are true, and "
    "copying the catalogue is rewarded.",
    "truth": "The truth is known here (a made sky, or injected structures): this is the table that leads.",
}


def write_report(path: Path, summary: dict[str, Any], folds: Folds, made: OutOfFold, config: str) -> None:
    """Write the report of a k-fold.

    Parameters
    ----------
    path
        The HTML file, beside out_of_fold.fits.
    summary
        What summary.json holds.
    folds
        Of the k-fold.
    made
        What was counted while the out-of-fold map was written.
    config
        YAML.
    """
    against = "truth" if "truth" in summary["out_of_fold"][MODEL] else "whole"
    with FitsImage(path.with_name("out_of_fold.fits")) as written:
        areas = summary["worst_areas"]
        worst = _picture(areas_figure(areas, folds, written), "the worst areas") if areas else "<p>None.</p>"
    sections = {
        "What was done": _facts(summary, folds),
        **{_KINDS[kind]: _scores_table(summary, kind) for kind in summary["out_of_fold"][MODEL]},
        "Scores against threshold": _picture(curves_figure(summary["curves"]), "precision, recall and Dice"),
        "Calibration": "<p class=note>Fraction of true pixels among those of each range of probability.</p>"
        + _picture(calibration_figure(summary["curves"]["calibration"]), "calibration"),
        "Thresholds": _thresholds_table(summary),
        "Where it is good": f"<p class=note>{escape(_KINDS[against])}; each map at its own threshold of best Dice. "
        "Bins of column density hold equally many valid pixels, bins of contrast equally many true ones.</p>"
        + _picture(bins_figure(summary["by"], against), "completeness and purity"),
        "Injected filaments": _recovery(summary["injected"]),
        "Runs": _runs_table(summary),
        "Folds": _folds_table(summary) + _picture(folds_figure(folds), "folds"),
        "The map": _picture(contours_figure(made.subsampled, made.header), "map with outlines"),
        "The ten areas that differ most from the target": _areas_table(areas) + worst,
        "Configuration": f"<details><summary>YAML</summary><pre>{escape(config)}</pre></details>",
    }
    name = escape(path.parent.name)
    body = "".join(f"<h2>{escape(title)}</h2>{content}" for title, content in sections.items())
    write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}: k-fold report</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{name}: {len(folds.splits)}-fold report</h1>{body}</body></html>\n",
    )


def _facts(summary: dict[str, Any], folds: Folds) -> str:
    jump = summary["seam_contrast"]
    clear = summary["clear_px"]
    facts = [
        f"{Path(summary['data']).name}: {folds.patch_file.shape[1]:,} x {folds.patch_file.shape[0]:,} pixels (x, y), "
        f"data identity {summary['data_identity'][:12]}; bigsf {summary['bigsf']}.",
        f"{summary['predicted_pixels']:,} of {summary['valid_pixels']:,} valid pixels were predicted, each by models for "
        "which its area was a test area.",
        f"Folds share {summary['shared_pixels']:,} pixels; training and test patches stay "
        f"{'-' if clear is None else clear} clear pixels apart, or more; {summary['labelled_uncovered']:,} labelled "
        "pixels lie in no patch that lies whole in its area.",
        f"Where the predictor changes, neighbouring pixels differ by {_number(jump['across'])} in probability on average, "
        f"and by {_number(jump['beside'])} just beside ({jump['pairs']:,} pairs across).",
    ]
    return f"<ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>"


def _scores_table(summary: dict[str, Any], kind: str) -> str:
    def table(columns: dict[str, str], scores: dict[str, Any]) -> str:
        rows = [[name, *(_number(kinds[kind][column]) for column in columns)] for name, kinds in scores.items()]
        return _table(["map", *columns.values()], rows)

    pixels = f"<p class=note>{escape(_NOTES[kind])}</p>" + table(_SCORES, summary["out_of_fold"])
    if kind == "labelled":
        return pixels
    note = "At the same thresholds; completeness and purity are those of skeletons that run within so many pixels."
    return f"{pixels}<p class=note>{note}</p>" + table(_LINES, summary["skeletons"])


def _thresholds_table(summary: dict[str, Any]) -> str:
    rows = [
        [_KINDS[kind], *(_number(cost[name]) for name in ("dice", "best_dice", "cost", "best_threshold"))]
        for kind, cost in summary["thresholds"].items()
    ]
    note = (
        "Each split chose its thresholds on its validation folds, which are stored in its snapshot and used by "
        "segment. The best threshold here is chosen on the scored pixels themselves: the difference is what an "
        "honest threshold costs."
    )
    columns = ["", "Dice at the thresholds of validation", "best Dice", "cost", "best threshold"]
    return f"<p class=note>{escape(note)}</p>" + _table(columns, rows)


def _recovery(injected: dict[str, Any]) -> str:
    if not injected["filaments"]:
        return "<p>There was no room for any.</p>"
    note = (
        f"{sum(injected['filaments'])} filaments were added to the map, where nothing was known, and predicted by models "
        "for which their place was a test area: the part of each that is marked at the thresholds of validation, "
        "averaged, against its peak excess over the local background. Dotted: the same pixels before. The baselines "
        f"mark as much of the map as the model does, {injected['marked']:.1%}."
    )
    return f"<p class=note>{escape(note)}</p>" + _picture(
        completeness_figure(injected), "completeness against contrast"
    )


def _runs_table(summary: dict[str, Any]) -> str:
    runs = summary["runs"]
    names = list(dict.fromkeys(name for run in runs.values() for name in run["test"]))
    values = {name: [run["test"].get(name) for run in runs.values()] for name in names}
    rows = [
        [
            f"{run}: test folds {scores['split'][2]}, epoch {scores['best_epoch']}",
            *(_number(v) for v in scores["test"].values()),
        ]
        for run, scores in runs.items()
    ]
    numbers = {name: np.array([v for v in of if v is not None], float) for name, of in values.items()}
    spread = ["mean ± standard deviation", *(_spread(of) for of in numbers.values())]
    return _table(["run", *(name.replace("_", " ") for name in names)], [*rows, spread])


def _spread(values: Any) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else "-"


def _folds_table(summary: dict[str, Any]) -> str:
    folds = summary["folds"]
    columns = list(next(iter(folds.values())))
    rows = [[str(fold), *(f"{count[name]:,}" for name in columns)] for fold, count in folds.items()]
    splits = [[str(number), *map(str, split)] for number, split in enumerate(summary["splits"], 1)]
    return _table(["fold", *(c.replace("_", " ") for c in columns)], rows) + _table(
        ["split", "train", "valid", "test"], splits
    )


def _areas_table(areas: Sequence[dict[str, Any]]) -> str:
    rows = [
        [str(i), f"{a['x']}", f"{a['y']}", str(a["fold"]), f"{a['missed']:,}", f"{a['false']:,}", _number(a["dice"])]
        for i, a in enumerate(areas, 1)
    ]
    return _table(["", "x", "y", "fold", "missed px", "false px", "Dice"], rows)


def _table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=ours' if row[0] == MODEL else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def _picture(figure: "Figure", name: str) -> str:
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png_of(figure)).decode()}">'
