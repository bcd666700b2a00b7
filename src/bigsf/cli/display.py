"""Results of the commands -> lines and tables on the terminal."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from bigsf import console
from bigsf.console import duration, plural, print_line
from bigsf.errors import warn

if TYPE_CHECKING:
    from bigsf.evaluation.records import KFoldSummary, RunScores, ScoreTable
    from bigsf.folds.folds import Folds
    from bigsf.maps.mosaic.mosaic import MosaicReport
    from bigsf.patches.preprocess import PreprocessConfig, PreprocessReport
    from bigsf.segmentation.products import SegmentReport


def _share(part: int, whole: int) -> str:
    """Return a count and its percentage of a whole."""
    return f"{part:,} ({part / max(whole, 1):.1%})"


def _number(value: float, digits: int = 4) -> str:
    return "-" if value != value else f"{value:.{digits}f}"


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table whose first column is text, and the others numbers."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(console.plain, row))
    console.print_table(table)


USUAL_MULTIPLE = 16
"""Of sides of patches: a network of the default depth halves them four times."""


def print_mosaic(report: "MosaicReport", dry_run: bool) -> None:
    """Print the grid of a mosaic, how its tiles agree where they overlap, and what was added to each."""
    from bigsf.maps.wcs import pixel_scale_deg

    ny, nx = report.shape
    centre = report.wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
    step_arcsec = 3600 * pixel_scale_deg(report.wcs)
    print_line(
        f"{plural(len(report.tiles), 'tile')} on one grid of {nx} x {ny} pixels (x, y) of {step_arcsec:.4g} arcsec, "
        f"{report.wcs.wcs.ctype[0]} {report.wcs.wcs.ctype[1]} ({centre.frame.name}), centre {centre.to_string()} deg"
    )
    copied = len(report.tiles) - len(report.interpolated)
    print_line(f"  {copied} copied pixel by pixel, {len(report.interpolated)} interpolated")
    _print_overlaps(report)
    unit = report.unit or "(no BUNIT)"
    for path, offset in zip(report.tiles, report.offsets, strict=True) if any(report.offsets) else ():
        print_line(f"  {offset:+.4g} {unit} {'would be ' if dry_run else ''}added to {path.name}")
    if dry_run:
        print_line(f"Would write {report.output}: {decimal(report.bytes)}.")
        return
    masks = f", with {' and '.join(report.masks)}" if report.masks else ""
    print_line(f"  valid {_share(report.valid, nx * ny)}{masks}")
    print_line(f"Wrote {report.output} ({decimal(report.bytes)}).")


def _print_overlaps(report: "MosaicReport") -> None:
    names = [path.name for path in report.tiles]
    rows = [
        [
            f"{names[pair.first]} {names[pair.second]}",
            f"{pair.pixels:,}",
            f"{pair.fraction:.1%}",
            f"{pair.correlation:.4f}",
            f"{pair.difference:+.4g}",
            f"{pair.scatter:.4g}",
        ]
        for pair in report.overlaps
    ]
    if not rows:
        print_line("No two tiles overlap.")
        return
    columns = ["first, second tile", "pixels", "of the smaller", "r", "median of second - first", "scatter"]
    show_table(columns, rows)
    print_line(f"Differences in {report.unit or '(no BUNIT)'}.")


def print_preprocessing(report: "PreprocessReport", config: "PreprocessConfig", dry_run: bool) -> None:
    """Print what the planes of a map hold, how many patches are kept, and where they are written."""
    counts = report.counts
    print_line(
        f"{config.image.name}: {report.shape[1]} x {report.shape[0]} pixels (x, y), "
        f"{'with' if report.has_wcs else 'no'} WCS, {report.minimum:.4g} to {report.maximum:.4g} "
        f"{report.unit or '(no BUNIT)'}"
    )
    print_line(
        f"  valid {_share(counts['valid'], counts['pixels'])}, target {_share(counts['target'], counts['pixels'])}, "
        f"background {_share(counts['background'], counts['pixels'])}, "
        f"no label {_share(counts['valid'] - counts['labelled'], counts['pixels'])}"
    )
    contents = {role: f" ({text})" for role, text in report.contents.items()}
    print_line(
        "  planes: "
        + ", ".join(f"{role} {Path(path).name}{contents.get(role, '')}" for role, path in report.sources.items())
    )
    print_line(
        f"  patches of {config.patch_size} pixels every {config.stride_px}: {report.kept:,} kept of "
        f"{report.windows:,}; {report.without_valid:,} with too few valid pixels, "
        f"{report.without_labels:,} without a labelled one"
    )
    if config.patch_size % USUAL_MULTIPLE:
        below, above = (config.patch_size // USUAL_MULTIPLE + step for step in (0, 1))
        print_line(
            f"  Networks take patches of a multiple of {USUAL_MULTIPLE} pixels, unless trainer.model.depth is lower: "
            f"use --patch-size {' or '.join(str(n * USUAL_MULTIPLE) for n in (below, above) if n)}."
        )
    if "target" not in report.sources:
        print_line("  Without --target there are no labels: segment can map this file, train cannot learn from it.")
    elif "background" not in report.sources:
        print_line("  Without --background every valid pixel off the target counts as sure background.")
    if dry_run:
        _print_preprocessing_cost(report, config)
    else:
        print_line(f"Wrote {report.output} ({decimal(report.bytes)}).")


def _print_preprocessing_cost(report: "PreprocessReport", config: "PreprocessConfig") -> None:
    from bigsf.maps.describe import describe_file
    from bigsf.maps.shapes.drawn_mask import is_drawn

    maps = {path for role, path in report.sources.items() if role == "image" or role.startswith("channel")}
    for path in dict.fromkeys(report.sources.values()):
        if is_drawn(Path(path)):
            continue  # what it holds stands among the sources
        for image in describe_file(Path(path), config.blank if path in maps else None):
            print_line(f"  {image.text}")
    print_line(
        f"Would write {report.output}: {decimal(report.bytes)}, in about {console.duration(report.seconds)} and with "
        f"{decimal(report.memory_bytes)} of memory, as this check took."
    )


def print_folds(folds: "Folds") -> None:
    """Print what each fold holds, the splits, and what folds share."""
    rows = [[str(fold), *(f"{number:,}" for number in count)] for fold, count in folds.counts.items()]
    columns = next(iter(folds.counts.values()))._fields
    show_table(["fold", *(column.replace("_", " ") for column in columns)], rows)
    print_line(f"{plural(len(folds.splits), 'split')} [train, valid, test]: {[list(split) for split in folds.splits]}")
    height, width = (
        max(end - start for start, end in pairwise(edges)) for edges in (folds.areas.y_edges, folds.areas.x_edges)
    )
    print_line(f"Areas of up to {width} x {height} pixels (x, y), strategy {folds.config.strategy.type}.")
    print_line(
        "Patches are dropped that reach past their area, lie in the gap, or show sky that another part of the map "
        "shows too."
    )
    print_line(
        "In training, patches that reach past their area are used too: the pixels outside of the training folds are "
        "masked (data.straddle)."
    )
    shared, uncovered = folds.leakage.shared, folds.leakage.labelled_uncovered
    print_line(
        f"{shared:,} pixels are shared by folds; {uncovered:,} labelled pixels lie in no patch that lies whole in its "
        "area."
    )
    if folds.leakage.clear_px is not None:
        clear = plural(folds.leakage.clear_px, "clear pixel")
        print_line(f"Between whole training and test patches of a split lie {clear} or more (see --gap).")
    if folds.poor_in_background:
        poor = folds.poor_in_background
        numbers = f"Fold {poor[0]} holds" if len(poor) == 1 else f"Folds {', '.join(map(str, poor))} hold"
        remedy = "Fewer folds (-k) or a smaller --area-size even that out"
        if folds.config.strategy.type != "balanced":
            remedy = "--strategy balanced evens that out"
        warn(f"{numbers} almost no background pixel. {remedy}.")


_SCORES = ["AP", "AUC", "Dice", "whole-map AP", "AUC", "Dice", "marked"]


def _scores_row(name: str, kinds: Mapping[str, Mapping[str, float]]) -> list[str]:
    numbers = [kinds[kind][s] for kind in ("labelled", "whole") for s in ("average_precision", "roc_auc", "best_dice")]
    return [name, *map(_number, numbers), _number(kinds["whole"]["marked_ratio"], 2)]


def print_scores(scores: "RunScores") -> None:
    """Print the test scores of one run."""
    print_line(f"Test folds {scores.split.test}, best.pt of epoch {scores.best_epoch}:")
    for name, value in scores.test.items():
        print_line(f"  {name.replace('_', ' '):26} {_number(value)}")
    of_model = {"BigSF": scores.table} if scores.table else {}  # former runs have no such table
    rows = [_scores_row(name, kinds) for name, kinds in {**of_model, **scores.baselines}.items()]
    show_table(["on the same pixels", *_SCORES], rows)
    _explain_scores()
    _warn_if_beaten(scores.test["whole_average_precision"], scores.baselines)


def print_summary(summary: "KFoldSummary") -> None:
    """Print the scores of a k-fold: each run on its test folds, then the out-of-fold map beside the baselines."""
    names = ["labelled_best_dice", "average_precision", "whole_average_precision", "whole_dice"]
    rows = [
        [str(run.split.test), str(run.best_epoch), *(_number(run.test.get(name, math.nan)) for name in names)]
        for run in summary.runs.values()
    ]
    show_table(["test folds", "best epoch", "best Dice", "AP", "whole-map AP", "whole-map Dice"], rows)
    print_line()
    show_table(["out of fold", *_SCORES], [_scores_row(name, kinds) for name, kinds in summary.out_of_fold.items()])
    print_line(summary.independence)
    _explain_scores()
    (_, model), *others = summary.out_of_fold.items()
    _warn_if_beaten(model["whole"]["average_precision"], dict(others))


def _explain_scores() -> None:
    print_line(
        "In the table Dice is the best over all thresholds; marked is the number of pixels above that threshold over "
        "the number of target pixels."
    )
    print_line(
        "Whole-map scores count unlabelled pixels as background: where labels are incomplete, some pixels that count "
        "as false are true filaments."
    )


def _warn_if_beaten(model: float, baselines: "ScoreTable") -> None:
    """Warn where a map that needs no training has a higher average precision on the whole map than the model."""
    found = {name: kinds["whole"]["average_precision"] or 0.0 for name, kinds in baselines.items()}
    best = max(found, key=lambda name: found[name], default=None)
    if best is not None and found[best] > model:
        warn(
            f"{best} alone reaches a higher whole-map AP than the model, and needs no training. Train for more epochs, "
            "with more patches (a smaller stride), or from trained weights (trainer.start_from)."
        )


def print_segmentation(report: "SegmentReport", name: str, dry_run: bool) -> None:
    """Print how a map was segmented, what was found, and where it is written."""
    cleaning = report.config.cleaning
    print_line(
        f"{name}: {report.shape[1]} x {report.shape[0]} pixels (x, y), {plural(len(report.models), 'model')}, "
        f"threshold {report.threshold:.3g}" + (f", {cleaning}" if cleaning else "")
    )
    *files, last = map(str, report.outputs if dry_run else filter(Path.exists, report.outputs))
    if dry_run:
        files[0] += f" ({decimal(report.bytes)})"
        if report.seconds is not None:
            print_line(f"  the prediction takes up to about {duration(report.seconds)} here")
        if report.memory_bytes:
            print_line(f"  MASK and its products take up to about {decimal(report.memory_bytes)} of memory")
        print_line(f"Would write {', '.join(files)} and {last}.")
        return
    print_line(f"  {_share(report.marked, report.valid)} of valid pixels are marked")
    if report.filaments is not None:
        print_line(f"  {plural(report.filaments, 'filament')}, the 8-connected components of MASK")
    print_line(f"Wrote {' and '.join(filter(None, [', '.join(files), last]))}.")
