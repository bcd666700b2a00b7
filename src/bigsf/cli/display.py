"""How results are shown: lines and tables."""

import warnings
from typing import TYPE_CHECKING, Any

from bigsf import console
from bigsf.console import plural, print_line
from bigsf.errors import BigsfWarning

if TYPE_CHECKING:
    from bigsf.folds.folds import Folds
    from bigsf.maps.mosaic.mosaic import MosaicReport


def share(part: int, whole: int) -> str:
    """Return a count and its percentage of a whole."""
    return f"{part:,} ({part / max(whole, 1):.1%})"


def _show_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print_table(table)


_SCORES = ["AP", "AUC", "Dice", "whole-map AP", "AUC", "Dice", "marked"]


def _scores_row(name: str, kinds: dict[str, dict[str, float]]) -> list[str]:
    numbers = [kinds[kind][s] for kind in ("labelled", "whole") for s in ("average_precision", "roc_auc", "best_dice")]
    return [name, *map(_number, numbers), f"{kinds['whole']['marked_ratio']:.2f}"]


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def print_mosaic(report: "MosaicReport", dry_run: bool) -> None:
    """Show the grid of a mosaic, how its tiles agree where they overlap, and what was added to each."""
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
    unit = report.unit or "(no BUNIT)"
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
    if rows:
        columns = ["first, second tile", "pixels", "of the smaller", "r", "median of second - first", "scatter"]
        _show_table(columns, rows)
        print_line(f"Differences in {unit}.")
    else:
        print_line("No two tiles overlap.")
    for name, offset in zip(names, report.offsets, strict=True) if any(report.offsets) else ():
        print_line(f"  {offset:+.4g} {unit} {'would be ' if dry_run else ''}added to {name}")
    if dry_run:
        print_line(f"Would write {report.output}: {console.size(report.bytes)}.")
    else:
        print_line(
            f"  valid {share(report.valid, nx * ny)}{', with ' + ' and '.join(report.masks) if report.masks else ''}"
        )
        print_line(f"Wrote {report.output} ({console.size(report.bytes)}).")


def print_folds(folds: "Folds") -> None:
    """Show what each fold holds, the splits, and what folds share."""
    names = ["areas", "patches", "past_area", "in_gap", "repeated_sky", "labelled", "target", "background"]
    rows = [[str(fold), *(f"{count[name]:,}" for name in names)] for fold, count in folds.counts.items()]
    _show_table(["fold", "areas", "patches", "past area", "in gap", "repeated sky", *names[5:]], rows)
    print_line(f"{plural(len(folds.splits), 'split')} [train, valid, test]: {[list(split) for split in folds.splits]}")
    print_line(f"Areas of {folds.config.area_size} pixels, strategy {folds.config.strategy.type}.")
    print_line(
        "Dropped patches are counted by why: past their area, in the gap, or on sky that stands elsewhere in the map."
    )
    print_line("Training sees patches that reach past their area too, with what lies outside masked (data.straddle).")
    shared, uncovered = folds.pixels["shared"], folds.pixels["labelled_uncovered"]
    print_line(
        f"{shared:,} pixels are shared by folds; {uncovered:,} labelled pixels lie in no patch whole in its area."
    )
    if folds.clear_px is not None:
        clear = plural(folds.clear_px, "clear pixel")
        print_line(f"Between whole training and test patches of a split lie {clear} or more (see --gap).")
    if folds.poor_in_background:
        warnings.warn(
            f"Fold {', '.join(map(str, folds.poor_in_background))} holds almost no background pixel; "
            "--strategy balanced evens that out.",
            BigsfWarning,
            stacklevel=2,
        )


def print_scores(scores: dict[str, Any]) -> None:
    """Show the test scores of one run."""
    print_line(f"Test folds {scores['split'][2]}, best.pt of epoch {scores['best_epoch']}:")
    for name, value in scores["test"].items():
        print_line(f"  {name.replace('_', ' '):26} {_number(value)}")
    baselines = scores.get("baselines", {})  # the first process has them
    _show_table(["on the same pixels", *_SCORES], [_scores_row(name, kinds) for name, kinds in baselines.items()])
    _explain_scores()
    _warn_if_beaten(scores["test"]["whole_average_precision"], baselines)


def _explain_scores() -> None:
    print_line(
        "In the table Dice is the best of all thresholds; marked: the pixels above that threshold over the target's."
    )
    print_line(
        "Whole-map scores take unlabelled pixels as background: with incomplete labels, some false ones are true."
    )


def _warn_if_beaten(whole_ap: float, others: dict[str, dict[str, dict[str, float]]]) -> None:
    """Warn where a map that needs no learning is better on the whole map."""
    best = max(others, key=lambda name: others[name]["whole"]["average_precision"], default=None)
    if best is not None and others[best]["whole"]["average_precision"] > whole_ap:
        warnings.warn(
            f"{best} alone reaches a higher whole-map AP than the model, and needs no training. Train for more epochs, "
            "with more patches (a smaller stride), or from higal-small (trainer.start_from).",
            BigsfWarning,
            stacklevel=3,
        )


def print_summary(summary: dict[str, Any]) -> None:
    """Show the scores of a k-fold: each run on its test folds, then the out-of-fold map beside the baselines."""
    names = ["labelled_best_dice", "average_precision", "whole_average_precision", "whole_dice"]
    rows = [
        [str(run["split"][2]), str(run["best_epoch"]), *(_number(run["test"].get(name)) for name in names)]
        for run in summary["runs"].values()
    ]
    _show_table(["test folds", "best epoch", "best Dice", "AP", "whole-map AP", "whole-map Dice"], rows)
    print_line()
    _show_table(["out of fold", *_SCORES], [_scores_row(name, kinds) for name, kinds in summary["out_of_fold"].items()])
    predicted, valid, shared = summary["predicted_pixels"], summary["valid_pixels"], summary["shared_pixels"]
    print_line(
        f"{predicted:,} of {valid:,} valid pixels are predicted by models that never saw them; folds share {shared:,} pixels."
    )
    _explain_scores()
    model, *others = summary["out_of_fold"]
    table = summary["out_of_fold"]
    _warn_if_beaten(table[model]["whole"]["average_precision"], {name: table[name] for name in others})
