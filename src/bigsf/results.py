"""How results are shown: lines and tables."""

import warnings
from typing import TYPE_CHECKING, Any

from bigsf import console
from bigsf.console import plural, say
from bigsf.errors import BigsfWarning

if TYPE_CHECKING:
    from bigsf.folds import Folds
    from bigsf.mosaic import MosaicReport
    from bigsf.trainer import Trainer


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
    console.show(table)


_SCORES = ["AP", "AUC", "Dice", "whole-map AP", "AUC", "Dice", "marked"]


def _scores_row(name: str, kinds: dict[str, dict[str, float]]) -> list[str]:
    numbers = [kinds[kind][s] for kind in ("labelled", "whole") for s in ("average_precision", "roc_auc", "best_dice")]
    return [name, *map(_number, numbers), f"{kinds['whole']['marked_ratio']:.2f}"]


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def show_mosaic(report: "MosaicReport", dry_run: bool) -> None:
    """Show the grid of a mosaic, how its tiles agree where they overlap, and what was added to each."""
    from bigsf.fits_image import pixel_scale_deg

    ny, nx = report.shape
    centre = report.wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
    step_arcsec = 3600 * pixel_scale_deg(report.wcs)
    say(
        f"{plural(len(report.tiles), 'tile')} on one grid of {nx} x {ny} pixels (x, y) of {step_arcsec:.4g} arcsec, "
        f"{report.wcs.wcs.ctype[0]} {report.wcs.wcs.ctype[1]} ({centre.frame.name}), centre {centre.to_string()} deg"
    )
    copied = len(report.tiles) - len(report.interpolated)
    say(f"  {copied} copied pixel by pixel, {len(report.interpolated)} interpolated")
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
        say(f"Differences in {unit}.")
    else:
        say("No two tiles overlap.")
    for name, offset in zip(names, report.offsets, strict=True) if any(report.offsets) else ():
        say(f"  {offset:+.4g} {unit} {'would be ' if dry_run else ''}added to {name}")
    if dry_run:
        say(f"Would write {report.output}: {console.size(report.bytes)}.")
    else:
        say(f"  valid {share(report.valid, nx * ny)}{', with ' + ' and '.join(report.masks) if report.masks else ''}")
        say(f"Wrote {report.output} ({console.size(report.bytes)}).")


def show_folds(folds: "Folds") -> None:
    """Show what each fold holds, the splits, and what folds share."""
    names = ["areas", "patches", "past_area", "in_gap", "repeated_sky", "labelled", "target", "background"]
    rows = [[str(fold), *(f"{count[name]:,}" for name in names)] for fold, count in folds.counts.items()]
    _show_table(["fold", "areas", "patches", "past area", "in gap", "repeated sky", *names[5:]], rows)
    say(f"{plural(len(folds.splits), 'split')} [train, valid, test]: {[list(split) for split in folds.splits]}")
    say(f"Areas of {folds.config.area_size} pixels, strategy {folds.config.strategy.type}.")
    say("Dropped patches are counted by why: past their area, in the gap, or on sky that stands elsewhere in the map.")
    say("Training sees patches that reach past their area too, with what lies outside masked (data.straddle).")
    shared, uncovered = folds.pixels["shared"], folds.pixels["labelled_uncovered"]
    say(f"{shared:,} pixels are shared by folds; {uncovered:,} labelled pixels lie in no patch whole in its area.")
    if folds.clear_px is not None:
        clear = plural(folds.clear_px, "clear pixel")
        say(f"Between whole training and test patches of a split lie {clear} or more (see --gap).")
    if folds.poor_in_background:
        warnings.warn(
            f"Fold {', '.join(map(str, folds.poor_in_background))} holds almost no background pixel; "
            "--strategy balanced evens that out.",
            BigsfWarning,
            stacklevel=2,
        )


def show_scores(scores: dict[str, Any]) -> None:
    """Show the test scores of one run."""
    say(f"Test folds {scores['split'][2]}, best.pt of epoch {scores['best_epoch']}:")
    for name, value in scores["test"].items():
        say(f"  {name.replace('_', ' '):26} {_number(value)}")
    baselines = scores.get("baselines", {})  # the first process has them
    _show_table(["on the same pixels", *_SCORES], [_scores_row(name, kinds) for name, kinds in baselines.items()])
    _explain_scores()
    _warn_if_beaten(scores["test"]["whole_average_precision"], baselines)


def _explain_scores() -> None:
    say("In the table Dice is the best of all thresholds; marked: the pixels above that threshold over the target's.")
    say("Whole-map scores take unlabelled pixels as background: with incomplete labels, some false ones are true.")


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


def show_summary(summary: dict[str, Any]) -> None:
    """Show the scores of a k-fold: each run on its test folds, then the out-of-fold map beside the baselines."""
    names = ["labelled_best_dice", "average_precision", "whole_average_precision", "whole_dice"]
    rows = [
        [str(run["split"][2]), str(run["best_epoch"]), *(_number(run["test"].get(name)) for name in names)]
        for run in summary["runs"].values()
    ]
    _show_table(["test folds", "best epoch", "best Dice", "AP", "whole-map AP", "whole-map Dice"], rows)
    say()
    _show_table(["out of fold", *_SCORES], [_scores_row(name, kinds) for name, kinds in summary["out_of_fold"].items()])
    judged, valid, shared = summary["judged_pixels"], summary["valid_pixels"], summary["shared_pixels"]
    say(
        f"{judged:,} of {valid:,} valid pixels are judged by models that never saw them; folds share {shared:,} pixels."
    )
    _explain_scores()
    model, *others = summary["out_of_fold"]
    table = summary["out_of_fold"]
    _warn_if_beaten(table[model]["whole"]["average_precision"], {name: table[name] for name in others})


def describe(trainer: "Trainer", kfold: bool = False, only: int | None = None) -> None:
    """Show the resolved configuration of a run, of the runs of a k-fold or `only` one of them, and what they cost."""
    from bigsf.cost import seconds_a_step, seconds_a_window, windows_over

    config, folds = trainer.config.trainer, trainer.folds
    say(trainer.config.to_yaml())
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    for fold, count in folds.counts.items():
        say(f"# fold {fold}: {count['patches']:,} patches, {count['labelled']:,} labelled pixels")
    chosen = only or (None if kfold else trainer.config.split.use)
    numbers = [chosen] if chosen else range(1, len(folds.splits) + 1)
    splits = [folds.splits[number - 1] for number in numbers]
    for number, split in zip(numbers, splits, strict=True):
        patches = len(folds.training_patches(split[0], trainer.config.data.straddle))
        say(f"# split {number} of {len(folds.splits)} [train, valid, test]: {list(split)}, {patches:,} patches")
    say(f"# {trainer.dataset.samples:,} training patches and {trainer.dataset.steps:,} steps an epoch")
    say(f"# network of {parameters:,} parameters in {str(trainer.dtype).removeprefix('torch.')} on {trainer.device}")
    batch = trainer.dataset.batch(0, 0)
    memory = trainer.model.training_bytes(batch.image, batch.position)
    say(f"# a step of {config.batch_size} patches takes about {console.size(memory)} of memory")
    of_runs = f" of {len(splits)} runs" if len(splits) > 1 else ""
    training = seconds_a_step(trainer) * trainer.dataset.steps * trainer.epochs * len(splits)
    window = seconds_a_window(trainer)
    validation = window * trainer.epochs * sum(windows_over(folds, split[1], trainer.judge.stride) for split in splits)
    steps, validations = console.duration(training), console.duration(validation)
    say(f"# {trainer.epochs} epochs{of_runs} take about {steps}, and {validations} of validation")
    if kfold and not only:
        looks = trainer.config.out_of_fold
        stride = looks.stride_of(trainer.patch_file.patch_size)
        windows = sum(windows_over(folds, split[2], stride) for split in splits)
        seconds = window * windows * (8 if looks.tta else 1)
        say(f"# the out-of-fold map takes about {console.duration(seconds)} (see out_of_fold), its report more")
    say(f"# a snapshot takes {console.size(12 * parameters)}")
    names = [f"split_{number}" for number in numbers]
    names += [] if only else ["out_of_fold.fits", "out_of_fold.png", "summary.json", "report.html"]
    say(f"Would write {trainer.folder.path}{': ' + ', '.join(names) if kfold else ''}.")
