"""`bigsf segment`: models and a map -> probability, mask and products."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bigsf.cli.display import print_segmentation
from bigsf.cli.options import (
    Blank,
    Channel,
    Device,
    DryRun,
    Hdu,
    Missing,
    OptionsFile,
    Overwrite,
    Quiet,
    Trust,
    Valid,
    config_from,
)
from bigsf.errors import UsageError


def segment(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... MAP",
            help="Snapshots or run folders (the result is their mean), higal-small or filaments-small, then a FITS map "
            "or patch file.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.fits", help="[default: MAP_segmented.fits here]"),
    ] = None,
    hdu: Hdu = None,
    missing: Missing = None,
    valid: Valid = None,
    blank: Blank = None,
    channel: Channel = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Of MASK: whole or labelled (best Dice in validation on all valid or on labelled pixels; "
            "labelled marks several times more), or a probability. [default: whole]"
        ),
    ] = None,
    hysteresis: Annotated[
        float | None,
        typer.Option(metavar="LOW", help="Let MASK grow from the threshold over all that reaches this lower one."),
    ] = None,
    reconstruct: Annotated[
        bool,
        typer.Option(
            "--reconstruct",
            help="Leave out of MASK the components that hold no square of 4 x 4 pixels; it erases thin filaments.",
        ),
    ] = False,
    min_area: Annotated[
        int | None, typer.Option(help="Leave out of MASK the components of fewer pixels. [default: 1]")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Pixels from window to window. [default: half a window]")] = None,
    scales: Annotated[
        str | None,
        typer.Option(
            help="Factors by which the map is binned, e.g. 1,2,4 for filaments of many widths; the largest probability "
            "counts. auto: n and 2 n, where binning by n makes the map about as smooth as that of the training. "
            "[default: those of the models]"
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Mean over the eight orientations of each window; eight times the work.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows at a time. [default: what --memory holds, up to 64]")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for map and network, e.g. 4GB, besides up to 600 MB for Python, its libraries and the figure; "
            "changes the speed, not the result. [default: 2GB]"
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        typer.Option(help="Number format of the network. [default: auto]"),
    ] = None,
    products: Annotated[
        str | None,
        typer.Option(
            help="Any of prob (always written), mask, std, skeleton, catalog (ECSV table), regions (for DS9), with "
            "commas; the last three take about 10 bytes of memory per pixel of the map. [default: prob,mask and, with "
            "several models, std]"
        ),
    ] = None,
    config: OptionsFile = None,
    device: Device = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Map the probability of a filament on the grid and WCS of any map.

    The output holds the probability (float32, NaN where missing), MASK, with several models their standard deviation
    STD, and how it was made. --products adds the skeletons, a catalogue and the outlines of the filaments.
    """
    from bigsf.segmentation.config import SegmentConfig
    from bigsf.segmentation.segment import segment as write_segmentation

    if len(paths) < 2:
        raise UsageError("segment needs at least one MODEL and a MAP, e.g. bigsf segment best.pt map.fits.")
    options = {
        "hdu": hdu,
        "missing": missing,
        "valid": valid,
        "blank": blank,
        "channels": channel,
        "threshold": threshold,
        "hysteresis": hysteresis,
        "reconstruct": reconstruct,
        "min_area": min_area,
        "stride": stride,
        "scales": scales,
        "tta": tta,
        "batch_size": batch_size,
        "memory": memory,
        "precision": precision,
        "products": products,
    }
    resolved = config_from(SegmentConfig, options, config)
    *models, image = paths
    report = write_segmentation(
        models, image, output, resolved, device=device, trust=trust, overwrite=overwrite, dry_run=dry_run
    )
    print_segmentation(report, image.name, dry_run)
