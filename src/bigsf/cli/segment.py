"""`bigsf segment`: models and a map -> probability, mask and products."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bigsf.cli.display import print_segmentation
from bigsf.cli.options import (
    Blank,
    Channel,
    Device,
    DryRun,
    Figures,
    Hdu,
    Missing,
    OptionsFile,
    Overwrite,
    Quiet,
    Region,
    TimeLimit,
    Trust,
    Valid,
    config_from,
    named_paths,
    number_or_path,
    seconds,
)
from bigsf.cli.scoring import ScoredLabels, Scoring
from bigsf.errors import ConfigError, UsageError


def segment(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... MAP",
            help="Snapshots or run folders (the result is their mean), higal-small or filaments-small, then a FITS map "
            "or patch file. With --against also FITS maps of other tools, before the map.",
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
    region: Region = None,
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
    min_skeleton: Annotated[
        int | None,
        typer.Option(
            help="Leave out of MASK the components whose skeleton has fewer pixels: single pixels and round spots; 1 "
            "keeps them. [default: 5]"
        ),
    ] = None,
    border: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Leave out of MASK the components of which more than three quarters lie so close to the edge of the "
            "map or to missing data; 0 keeps them. [default: auto, which is 3]",
        ),
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
        int | None, typer.Option(help="Windows at a time. [default: what --memory holds, up to 64, or 1024 on a GPU]")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for map, mask and network, e.g. 4GB, besides up to 600 MB for Python, its libraries and the "
            "figure; as much of the memory of a GPU, by default half of what is free; changes the speed, not the "
            "result. The cleaning of MASK takes about 7 bytes per pixel of the map, "
            "and --products more (--dry-run tells): where they need more than is given here, the map is refused. "
            "[default: 2GB]"
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        typer.Option(help="Number format of the network. [default: auto]"),
    ] = None,
    products: Annotated[
        str | None,
        typer.Option(
            help="Any of prob (always written), mask, std (standard deviation over several models, or over the views "
            "of --tta of one), scale (the factor of binning that the probability was taken from), hips "
            "(the probability as a folder of tiles for Aladin), skeleton and labels "
            "(ids on skeletons and on all pixels of filaments), catalog (ECSV table), votable and mrt (other formats "
            "of it), regions (for DS9), spines (tables of points, branches and hubs), moc (the sky that MASK covers), "
            "with commas; those from skeleton on take 10 to 18 bytes of memory per pixel of the map. "
            "[default: prob,mask and, with several models, std]"
        ),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Acronym for designations in the catalogue: BSF makes BSF G332.196-00.105.")
    ] = None,
    distance: Annotated[
        Any,
        typer.Option(
            parser=number_or_path,
            metavar="KPC",
            help="Distance in kpc, or a FITS map of distances: adds lengths in pc and masses to the catalogue of a "
            "column density.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MAP",
            help="Mean, median and standard deviation of another FITS map over each filament: columns NAME_mean, ...; "
            "MAP[HDU] names its HDU, as in T=dust.fits[2] or dust.fits[SCI,2]; repeatable.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Score what is found against these labels: a mask, regions, a MOC or a table of spines."),
    ] = None,
    background: Annotated[
        Path | None, typer.Option(help="Sure background, for scores of labelled pixels beside those of all.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Score against every structure, where it is known.")] = None,
    figures: Figures = None,
    config: OptionsFile = None,
    device: Device = None,
    trust: Trust = False,
    time_limit: TimeLimit = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Map the probability of a filament on the grid and WCS of any map.

    The output holds the probability (float32, NaN where missing), MASK, with several models their standard deviation
    STD, and how it was made. --products adds the filaments: ids, skeletons, a catalogue, outlines, spines. --against
    scores the map, and maps of other tools beside it or alone, on the same pixels (OUT_scores.json).
    """
    from bigsf.segmentation.config import SegmentConfig

    if len(paths) < 2:
        raise UsageError("segment needs at least one MODEL and a MAP, e.g. bigsf segment best.pt map.fits.")
    options = {
        "hdu": hdu,
        "missing": missing,
        "valid": valid,
        "blank": blank,
        "channels": channel,
        "region": region,
        "threshold": threshold,
        "hysteresis": hysteresis,
        "reconstruct": reconstruct,
        "min_area": min_area,
        "min_skeleton": min_skeleton,
        "border": border,
        "stride": stride,
        "scales": scales,
        "tta": tta,
        "batch_size": batch_size,
        "memory": memory,
        "precision": precision,
        "products": products,
        "prefix": prefix,
        "distance": distance,
        "figures": figures,
        "measure": named_paths("measure", measure or []),
    }
    resolved = config_from(SegmentConfig, options, config)
    time_limit_s = seconds(time_limit)
    *first, image = paths
    scoring = Scoring(first, image, ScoredLabels(against, background, truth), resolved, output)
    scoring.check(overwrite, {"device": device, "time_limit": time_limit, "trust": trust})
    if not scoring.models:
        scoring.run(dry_run)
        return
    from bigsf.segmentation.segment import segment as write_segmentation
    from bigsf.training.launcher import join_world

    with join_world(device) as world, _options_alone(config):
        report = write_segmentation(
            scoring.models,
            image,
            output,
            resolved,
            device=device,
            trust=trust,
            overwrite=overwrite,
            dry_run=dry_run,
            world=world,
            time_limit_s=time_limit_s,
        )
        if world.is_first:
            print_segmentation(report, image.name, dry_run)
            scoring.run(dry_run)


@contextmanager
def _options_alone(config: Path | None) -> Iterator[None]:
    """Raise what is wrong with a configuration as `UsageError` where all of it comes from the command line."""
    try:
        yield
    except ConfigError as error:
        if config is None:
            raise UsageError(str(error)) from None
        raise
