"""`bigsf preprocess`: FITS planes -> patch file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bigsf.cli.display import print_mosaic, print_preprocessing
from bigsf.cli.options import (
    Blank,
    Channel,
    DryRun,
    Hdu,
    Missing,
    OptionsFile,
    Overwrite,
    Quiet,
    Region,
    Valid,
    config_from,
)
from bigsf.console import print_line
from bigsf.errors import UsageError

if TYPE_CHECKING:
    from bigsf.patches.preprocess import PreprocessConfig


def preprocess(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE.fits...",
            help="The map, e.g. column density in cm^-2; several overlapping tiles are co-added.",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Option(
            help="Known structures: a FITS mask (1, or identifiers), DS9 or CRTF regions, a MOC, or a table of spines."
        ),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(help="Sure background, likewise. Without it every valid pixel counts as labelled."),
    ] = None,
    missing: Missing = None,
    valid: Valid = None,
    truth: Annotated[
        Path | None, typer.Option(help="Every structure, where known, likewise; for scores only, never learnt.")
    ] = None,
    line_width: Annotated[
        float | None, typer.Option(help="Width in pixels of lines of regions and of spines. [default: 3]")
    ] = None,
    channel: Channel = None,
    region: Region = None,
    patch_size: Annotated[int | None, typer.Option(help="Side of a patch in pixels. [default: 64]")] = None,
    stride: Annotated[int | None, typer.Option(help="Pixels from patch to patch. [default: patch size / 4]")] = None,
    hdu: Hdu = None,
    blank: Blank = None,
    min_valid: Annotated[
        float | None, typer.Option(help="Least fraction of valid pixels in a patch. [default: 0]")
    ] = None,
    keep: Annotated[
        Literal["labelled", "valid"] | None,
        typer.Option(help="Keep patches with a labelled pixel, or all with a valid one. [default: labelled]"),
    ] = None,
    target_threshold: Annotated[float | None, typer.Option(help="Binarise the masks: 1 above this value.")] = None,
    match_background: Annotated[
        bool,
        typer.Option(
            "--match-background", help="Of tiles: add a constant to each but the first so that overlaps agree."
        ),
    ] = False,
    config: OptionsFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.h5", help="[default: IMAGE.h5 here]")
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Turn FITS planes into a patch file.

    Planes that are not given are looked for in the extensions TARGET (or SPINES), BACKGROUND, MISSING, VALID and TRUTH
    of the image's own file. Several images are tiles of one mosaic, which is written beside the patch file as
    OUT_mosaic.fits.
    """
    from bigsf.patches import preprocess as patches

    options = {
        "image": images[0],
        "target": target,
        "background": background,
        "missing": missing,
        "valid": valid,
        "truth": truth,
        "line_width": line_width,
        "channels": channel,
        "region": region,
        "patch_size": patch_size,
        "stride": stride,
        "hdu": hdu,
        "blank": blank,
        "min_valid": min_valid,
        "keep": keep,
        "target_threshold": target_threshold,
    }
    resolved = config_from(patches.PreprocessConfig, options, config)
    own_labels: list[str] = []
    if len(images) > 1:
        own_labels = [role for role in ("target", "background", "truth") if getattr(resolved, role) is None]
        resolved, output = _co_add(images, resolved, own_labels, output, match_background, overwrite, dry_run)
        if dry_run:
            print_line(f"Would write {output}: run without --dry-run to see its patches.")
            return
    elif match_background:
        raise UsageError("--match-background is for several tiles; this is one map.")
    report = patches.preprocess(resolved, output, overwrite, dry_run, binary_labels=own_labels)
    print_preprocessing(report, resolved, dry_run)


def _co_add(
    tiles: list[Path],
    config: "PreprocessConfig",
    own_labels: list[str],
    output: Path | None,
    match_background: bool,
    overwrite: bool,
    dry_run: bool,
) -> tuple["PreprocessConfig", Path]:
    """Make one map of several tiles with its own labels; return the configuration and output for preprocessing it."""
    from bigsf.maps.hdus import files_of
    from bigsf.maps.mosaic.mosaic import default_mosaic_path, make_mosaic
    from bigsf.maps.shapes.drawn_mask import is_drawn
    from bigsf.outputs import Outputs

    mosaic = output.with_name(f"{output.stem}_mosaic.fits") if output else default_mosaic_path(tiles[0])
    output = output or mosaic.with_suffix(".h5")
    outputs = Outputs(output, mosaic)
    outputs.check([*files_of(tiles), *config.inputs], overwrite)
    given = [config.target, config.background, config.truth, config.valid, *config.channels]
    report = make_mosaic(
        tiles,
        mosaic,
        match_background=match_background,
        hdu=config.hdu,
        blank=config.blank,
        masks=own_labels,
        threshold=config.target_threshold,
        on_grid=[path for path in given if path and not is_drawn(path)],
        dry_run=dry_run,
        step_of=outputs,
    )
    print_mosaic(report, dry_run)
    blank = config.blank if config.channels else None
    return config.model_copy(update={"image": mosaic.absolute(), "hdu": None, "blank": blank}), output
