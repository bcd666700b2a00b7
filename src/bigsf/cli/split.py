"""`bigsf split`: patch file -> folds."""

from pathlib import Path
from typing import Annotated

import typer

from bigsf.cli.display import print_folds
from bigsf.cli.options import DryRun, OptionsFile, Overwrite, Quiet, config_from
from bigsf.console import print_line
from bigsf.errors import UsageError


def split(
    file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="The patch file.")],
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            help="Folds; 1: ten folds and one split of 8/1/1. [default: 4; 10 where 15 areas or more hold patches]",
        ),
    ] = None,
    k_train: Annotated[
        float | None, typer.Option(help="Folds in training: a count, or a fraction below 1. [default: k - 2, or 7]")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="random, naive or balanced. [default: random]")] = None,
    area_size: Annotated[
        int | None, typer.Option(help="Side of an area in pixels. [default: the larger of 64 and 2 patches]")
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="Pixels a patch may reach past its area. [default: 0]")] = None,
    gap: Annotated[int | None, typer.Option(help="Pixels kept clear between folds. [default: 0]")] = None,
    step: Annotated[int | None, typer.Option(help="Keep every step-th rotation. [default: 1, or 2]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the strategy. [default: 0]")] = None,
    config: OptionsFile = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDS.json", help="[default: FILE.folds.json beside it]"),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Divide a map into areas, and assign the areas to folds that share no pixel.

    Writes the folds (JSON, which may be edited), a FITS image with one pixel per area, and a figure.
    """
    from bigsf.folds.folds import Folds
    from bigsf.folds.folds_file import check_image, folds_outputs, write_folds
    from bigsf.folds.splits import SplitConfig, default_folds_path
    from bigsf.folds.strategies import NaiveStrategyConfig
    from bigsf.patches.patch_file import PatchFile

    strategy_keys = {key: value for key, value in (("type", strategy), ("seed", seed)) if value is not None}
    options = {
        "k": k,
        "k_train": k_train,
        "strategy": strategy_keys or None,
        "area_size": area_size,
        "overlap": overlap,
        "gap": gap,
        "step": step,
    }
    if strategy == "naive" and seed is not None:
        raise UsageError("--seed would do nothing: --strategy naive draws nothing at random.")
    if strategy == "regions" and not config:
        raise UsageError("The regions of --strategy regions stand in YAML (see examples/README.md): pass --config.")
    resolved = config_from(SplitConfig, options, config)
    if resolved.area_size is not None and isinstance(resolved.strategy, NaiveStrategyConfig):
        raise UsageError("--area-size would do nothing: the areas of --strategy naive are k equal parts of the map.")
    if "use" in resolved.model_fields_set:
        raise UsageError(f"use: {resolved.use} in {config} would do nothing: folds hold all splits.")
    patch_file = PatchFile(file)
    path = output or resolved.path or default_folds_path(file)
    outputs = folds_outputs(path)
    check_image(path)
    outputs.check([file, *([config] if config else [])], overwrite)
    folds = Folds.make(patch_file, resolved)
    print_folds(folds)
    if dry_run:
        print_line(f"Would write {', '.join(map(str, outputs.named))}.")
        return
    write_folds(folds, path)
    print_line(f"Wrote {', '.join(str(path) for path in outputs.named if path.exists())}.")
