"""Six commands: read the options, call one function, say where the result is."""

import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from rich.markup import escape
from typer.core import TyperGroup

from bigsf import console
from bigsf.cli.display import print_folds, print_mosaic, print_scores, print_summary, share
from bigsf.cli.dry_run import describe
from bigsf.console import plural, print_line
from bigsf.errors import OUT_OF_MEMORY, BigsfError, InterruptedRunError, out_of_memory
from bigsf.version import __version__

if TYPE_CHECKING:
    from bigsf.training.kfold import KFold


class _InOrder(TyperGroup):
    """Lists the commands in the order of the data flow."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find filaments, and other thin structures, in one very large map.\n\n"
    "preprocess -> split -> train or kfold -> segment; resume goes on after any interruption.",
)


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings and errors.")]


DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")]


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]


Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1. [default: the GPU where there is one]")]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. trainer.optimizer.lr=1e-4."),
]


Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code of your own (type: custom) that the snapshot names.")
]


TimeLimit = Annotated[
    str | None, typer.Option(help="Stop in order after, e.g., 30min or 4h, ready to resume; exit code 75.")
]


_MISSING_HELP = "FITS mask: 1 where data are VALID, 0 where they are missing (the sense of the Hi-GAL masks)."


class Keep(StrEnum):
    """Which patches to keep."""

    LABELLED = "labelled"
    VALID = "valid"


class PrecisionName(StrEnum):
    """Number formats of the network."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def main() -> None:
    """Run the command; print the user's mistakes as one message with an exit code of their kind."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except InterruptedRunError as stop:
        console.err.print(escape(str(stop)))
        sys.exit(stop.exit_code)
    except BigsfError as error:
        console.print_error(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        if not out_of_memory(error):
            error.add_note(
                f"This is a mistake of bigsf {__version__}, not yours. Please report it where you have bigsf from, "
                "with the command, these lines and, where you can, the file."
            )
            raise
        reason = next(iter(str(error).splitlines()), "") or "nothing more can be allocated"
        error.__traceback__ = error.__context__ = error.__cause__ = None  # which hold what fills the memory
        console.print_error(
            f"Out of memory: {reason.rstrip('.')}. Lower --batch-size or --memory (segment), trainer.batch_size, "
            "trainer.model.features or the patch size, or set trainer.accumulate."
        )
        sys.exit(OUT_OF_MEMORY)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: object) -> None:
    """End in order, so that temporary files are removed."""
    sys.exit(128 + number)


def _version(wanted: bool) -> None:
    if wanted:
        say_version = f"bigsf {__version__}"
        typer.echo(say_version)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


P = ParamSpec("P")


def _schema(wanted: bool) -> None:
    if wanted:
        import json

        from bigsf.training.run_config import RunConfig

        typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
        raise typer.Exit


Schema = Annotated[
    bool, typer.Option("--schema", callback=_schema, is_eager=True, help="Print the JSON schema of CONFIG.yaml.")
]


def _talking(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the voice on, as --quiet says, before a command runs."""

    @wraps(command)
    def talking(*args: P.args, **kwargs: P.kwargs) -> None:
        console.configure_output(bool(kwargs.get("quiet")))
        command(*args, **kwargs)

    return talking


@app.command(
    epilog="Example: `bigsf preprocess galaxy.fits --target spines.fits --background sky.fits --patch-size 64`"
)
@_talking
def preprocess(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE.fits...",
            help="The map, e.g. column density in cm^-2; several overlapping tiles are co-added.",
        ),
    ],
    target: Annotated[Path | None, typer.Option(help="FITS mask: 1 on known structures (spines).")] = None,
    background: Annotated[
        Path | None,
        typer.Option(help="FITS mask: 1 on sure background. Without it every valid pixel counts as labelled."),
    ] = None,
    missing: Annotated[Path | None, typer.Option(help=_MISSING_HELP)] = None,
    valid: Annotated[Path | None, typer.Option(help="The same as --missing under a clearer name.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="FITS mask: 1 on every structure, where known; for scores only, never learnt.")
    ] = None,
    channel: Annotated[
        list[Path] | None, typer.Option(help="A further image plane of the same grid; repeatable.")
    ] = None,
    patch_size: Annotated[int | None, typer.Option(help="Side of a patch in pixels. [default: 64]")] = None,
    stride: Annotated[int | None, typer.Option(help="Pixels from patch to patch. [default: patch size / 4]")] = None,
    hdu: Annotated[str | None, typer.Option(help="Name or index of the image's HDU. [default: first image]")] = None,
    blank: Annotated[float | None, typer.Option(help="A value that marks missing data, besides NaN and BLANK.")] = None,
    min_valid: Annotated[
        float | None, typer.Option(help="Least fraction of valid pixels in a patch. [default: 0]")
    ] = None,
    keep: Annotated[
        Keep | None,
        typer.Option(help="Keep patches with a labelled pixel, or all with a valid one. [default: labelled]"),
    ] = None,
    target_threshold: Annotated[float | None, typer.Option(help="Binarise the masks: 1 above this value.")] = None,
    match_background: Annotated[
        bool,
        typer.Option(
            "--match-background", help="Of tiles: add a constant to each but the first so that overlaps agree."
        ),
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML with the same options; the command line wins.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.h5", help="[default: IMAGE.h5 here]")
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Turn FITS planes into a patch file.

    MapRows that are not given are looked for in the extensions TARGET (or SPINES), BACKGROUND, MISSING, VALID and
    TRUTH of the image's own file. Several images are tiles of one mosaic, which is written beside the patch file as
    OUT_mosaic.fits.
    """
    from bigsf.errors import UsageError
    from bigsf.maps.describe import describe_file
    from bigsf.patches import preprocess as work

    given = {
        "image": images[0].absolute(),
        "target": _absolute(target),
        "background": _absolute(background),
        "missing": _absolute(missing),
        "valid": _absolute(valid),
        "truth": _absolute(truth),
        "channels": [path.absolute() for path in channel or []] or None,
        "patch_size": patch_size,
        "stride": stride,
        "hdu": hdu,
        "blank": blank,
        "min_valid": min_valid,
        "keep": keep.value if keep else None,
        "target_threshold": target_threshold,
    }
    options = _merged(work.PreprocessConfig, config, given)
    if len(images) > 1:
        options, output = _co_add(images, options, output, match_background, overwrite, dry_run)
        if dry_run:
            print_line(f"Would write {output}: run without --dry-run to see its patches.")
            return
    elif match_background:
        raise UsageError("--match-background is for several tiles; this is one map.")
    report = work.preprocess(options, output, overwrite, dry_run)
    counts, image = report.counts, options.image
    print_line(
        f"{image.name}: {report.shape[1]} x {report.shape[0]} pixels (x, y), {'with' if report.has_wcs else 'no'} WCS, "
        f"{report.minimum:.4g} to {report.maximum:.4g} {report.unit or '(no BUNIT)'}"
    )
    print_line(
        f"  valid {share(counts['valid'], counts['pixels'])}, target {share(counts['target'], counts['pixels'])}, "
        f"background {share(counts['background'], counts['pixels'])}, "
        f"no label {share(counts['valid'] - counts['labelled'], counts['pixels'])}"
    )
    print_line(f"  planes: {', '.join(f'{role} {Path(path).name}' for role, path in report.sources.items())}")
    print_line(
        f"  patches of {options.patch_size} pixels every {options.stride_px}: {report.kept:,} kept of "
        f"{report.windows:,}; {report.without_valid:,} with too few valid pixels, "
        f"{report.without_labels:,} without a labelled one"
    )
    if "target" not in report.sources:
        print_line("  Without --target there are no labels: segment can map this file, train cannot learn from it.")
    elif "background" not in report.sources:
        print_line("  Without --background every valid pixel off the target counts as sure background.")
    size = console.size(report.bytes)
    if dry_run:
        for path in dict.fromkeys(map(Path, report.sources.values())):
            for line in describe_file(path, options.blank):
                print_line(f"  {line}")
        print_line(
            f"Would write {report.output}: {size}, about {console.duration(report.seconds)} and "
            f"{console.size(report.memory_bytes)} of memory, as this check took."
        )
        return
    print_line(f"Wrote {report.output} ({size}).")


@app.command(epilog="Example: `bigsf split galaxy.h5 -k 4 --k-train 2`")
@_talking
def split(
    file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="The patch file.")],
    k: Annotated[
        int | None,
        typer.Option(
            "-k", help="Folds; 1: ten folds and one split of 8/1/1. [default: 4; 8 where 16 areas or more hold patches]"
        ),
    ] = None,
    k_train: Annotated[
        float | None, typer.Option(help="Folds in training: a count, or a fraction below 1. [default: k - 2, or 5]")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="random, naive or balanced. [default: random]")] = None,
    area_size: Annotated[
        int | None, typer.Option(help="Side of an area in pixels. [default: the larger of 64 and 2 patches]")
    ] = None,
    overlap: Annotated[int | None, typer.Option(help="Pixels a patch may reach past its area. [default: 0]")] = None,
    gap: Annotated[int | None, typer.Option(help="Pixels kept clear between folds. [default: 0]")] = None,
    step: Annotated[int | None, typer.Option(help="Keep every step-th rotation. [default: 1, or 2]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the strategy. [default: 0]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with the same options; the command line wins.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDS.json", help="[default: FILE.folds.json beside it]"),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Deal a map to folds that share no pixel, by areas.

    Writes the folds (JSON, to be read and edited), a FITS image with a pixel an area, and a picture.
    """
    from bigsf.files import refuse_overwrite
    from bigsf.folds.folds import Folds
    from bigsf.folds.splits import SplitConfig, default_folds_path
    from bigsf.patches.patch_file import PatchFile

    chosen = {key: value for key, value in (("type", strategy), ("seed", seed)) if value is not None}
    given = {
        "k": k,
        "k_train": k_train,
        "strategy": chosen or None,
        "area_size": area_size,
        "overlap": overlap,
        "gap": gap,
        "step": step,
    }
    options = _merged(SplitConfig, config, given)
    path = output or default_folds_path(file)
    outputs = [path, path.with_suffix(".fits"), path.with_suffix(".png")]
    if not dry_run:
        refuse_overwrite(*outputs, overwrite=overwrite)
    patch_file = PatchFile(file)
    folds = Folds.make(patch_file, options)
    print_folds(folds)
    if dry_run:
        print_line(f"Would write {', '.join(map(str, outputs))}.")
        return
    folds.write(path)
    print_line(f"Wrote {', '.join(map(str, outputs))}.")


@app.command(epilog="Example: `bigsf train config.yaml --set trainer.epochs=20`")
@_talking
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The configuration.")],
    settings: Settings = None,
    device: Device = None,
    overwrite: Overwrite = False,
    time_limit: TimeLimit = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    schema: Schema = False,
) -> None:
    """Train one model on one split of the folds, and score it on the test folds."""
    from bigsf.training.distributed import join_world
    from bigsf.training.run_config import RunConfig
    from bigsf.training.trainer import Trainer

    run = RunConfig.from_yaml(config, settings or ())
    if dry_run:
        describe(Trainer(run, device, dry_run=True))
        return
    with join_world(device) as world:
        trainer = Trainer(run, device, overwrite, world=world)
        print_scores(trainer.train(_seconds(time_limit)))
    print_line(f"Wrote {trainer.folder.path}: best.pt, last.pt, metrics.csv, curves.png, scores.json.")
    print_line(f"Next: bigsf segment {trainer.folder.best} MAP.fits")


@app.command(epilog="Example: `bigsf kfold config.yaml` or, in job array task 3, `bigsf kfold config.yaml --only 3`")
@_talking
def kfold(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The configuration.")],
    only: Annotated[int | None, typer.Option(help="Train this split alone (from 1): for job arrays.")] = None,
    settings: Settings = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train one model a split, and map every pixel by a model that never saw it.

    Splits that are done are kept, and broken ones continued.
    """
    from bigsf.training.distributed import join_world
    from bigsf.training.kfold import KFold, check_only
    from bigsf.training.run_config import RunConfig
    from bigsf.training.trainer import Trainer

    run = RunConfig.from_yaml(config, settings or ())
    if dry_run:
        trainer = Trainer(run, device, dry_run=True)
        check_only(only, len(trainer.folds.splits))
        describe(trainer, kfold=True, only=only)
        return
    with join_world(device) as world:
        _run_kfold(KFold(run, device, world, _seconds(time_limit)), only, overwrite)


@app.command(
    epilog="Example: `bigsf resume results/experiment_1` or, to go back, `bigsf resume results/experiment_1/best.pt`"
)
@_talking
def resume(
    path: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT|FOLDER", help="A snapshot, or the folder of a run or k-fold.")
    ],
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the config's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the patch file lies now, if it was moved.")] = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    trust: Trust = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run as if nothing had happened."""
    from bigsf.errors import ConfigError
    from bigsf.training.distributed import join_world
    from bigsf.training.kfold import KFold
    from bigsf.training.trainer import Trainer

    if (path / "kfold.yaml").exists():
        if epochs is not None or data is not None:
            raise ConfigError(
                "--epochs and --data are for one run; resume the folders split_1, split_2, ... one by one."
            )
        if dry_run:
            describe(Trainer(KFold.from_folder(path, device, trust=trust).config, device, dry_run=True), kfold=True)
            return
        with join_world(device) as world:
            _run_kfold(KFold.from_folder(path, device, world, _seconds(time_limit), trust), None, overwrite=False)
        return
    with join_world(device) as world:
        trainer = Trainer.from_snapshot(path, epochs, device, dry_run, world=world, data=data, trust=trust)
        state = trainer.state
        where = f"epoch {state.epochs_run} of {trainer.epochs}"
        where += f" and {plural(state.steps_run, 'step')} of the next" if state.steps_run else ""
        print_line(f"{trainer.folder.path} stands after {where}.")
        if state.stopped_early:
            print_line("Nothing is left to train: it stopped early.")
        elif state.epochs_run >= trainer.epochs:
            print_line(f"Nothing is left to train; --epochs {2 * trainer.epochs} would go on.")
        elif dry_run:
            print_line(f"Would go on in {trainer.folder.path}.")
        if dry_run:
            return
        print_scores(trainer.train(_seconds(time_limit)))
    print_line(f"Wrote {trainer.folder.path}.")
    print_line(f"Next: bigsf segment {trainer.folder.best} MAP.fits")


@app.command(epilog="Example: `bigsf segment results/experiment_1/best.pt map.fits -o map_segmented.fits`")
@_talking
def segment(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... MAP",
            help="Snapshots or run folders (several vote) or higal-small, then a FITS map or patch file.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.fits", help="[default: MAP_segmented.fits here]"),
    ] = None,
    hdu: Annotated[str | None, typer.Option(help="Name or index of the image's HDU. [default: first image]")] = None,
    missing: Annotated[Path | None, typer.Option(help=_MISSING_HELP)] = None,
    valid: Annotated[Path | None, typer.Option(help="The same as --missing under a clearer name.")] = None,
    blank: Annotated[float | None, typer.Option(help="A value that marks missing data, besides NaN and BLANK.")] = None,
    channel: Annotated[
        list[Path] | None, typer.Option(help="A further image plane of the same grid; repeatable.")
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            help="Of MASK: whole or labelled (best Dice in validation on all valid or on labelled pixels; "
            "labelled marks several times more), or a probability."
        ),
    ] = "whole",
    hysteresis: Annotated[
        float | None,
        typer.Option(metavar="LOW", help="Let MASK grow from the threshold over all that reaches this lower one."),
    ] = None,
    reconstruct: Annotated[
        bool,
        typer.Option(
            "--reconstruct",
            help="Leave out of MASK the pieces that hold no square of 4 x 4 pixels; it erases thin filaments.",
        ),
    ] = False,
    min_area: Annotated[int, typer.Option(help="Leave out of MASK the pieces of fewer pixels.")] = 1,
    stride: Annotated[int | None, typer.Option(help="Pixels from window to window. [default: half a window]")] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Mean over the eight orientations of each window; eight times the work.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows at a time. [default: what --memory holds, up to 64]")
    ] = None,
    memory: Annotated[
        str, typer.Option(help="What map and network may take, e.g. 4GB; changes the speed, not the result.")
    ] = "2GB",
    precision: Annotated[PrecisionName, typer.Option(help="Number format of the network.")] = PrecisionName.AUTO,
    products: Annotated[
        str | None,
        typer.Option(
            help="Any of prob (always written), mask, std, skeleton, catalog (ECSV table), regions (for DS9), with "
            "commas; the last three take about 10 bytes of memory a pixel of the map. [default: prob,mask and, of "
            "several models, std]"
        ),
    ] = None,
    device: Device = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Map the probability of a filament on the grid and WCS of any map.

    The output holds the probability (float32, NaN where missing), MASK, STD where several models voted, and how it
    was made. --products adds the skeletons, a catalogue and the outlines of the filaments.
    """
    from bigsf.errors import UsageError
    from bigsf.segmentation.segment import segment as work

    if len(paths) < 2:
        raise UsageError("segment needs at least one MODEL and a MAP, e.g. bigsf segment best.pt map.fits.")
    if missing and valid:
        raise UsageError("--missing and --valid are two names of one plane (1 where data are valid); give one.")
    report = work(
        paths[:-1],
        paths[-1],
        output,
        hdu=hdu,
        valid=valid or missing,
        blank=blank,
        channels=channel or (),
        threshold=threshold,
        hysteresis=hysteresis,
        reconstruct=reconstruct,
        min_area=min_area,
        stride=stride,
        tta=tta,
        batch_size=batch_size,
        memory=memory,
        device=device,
        precision=precision.value,
        products=products,
        trust=trust,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    print_line(
        f"{paths[-1].name}: {report.shape[1]} x {report.shape[0]} pixels (x, y), "
        f"{plural(len(report.models), 'model')}, threshold {report.threshold:.3g}"
        + (f", {report.cleaning}" if report.cleaning else "")
    )
    *files, last = map(str, report.outputs)
    if dry_run:
        files[0] += f" ({console.size(report.bytes)})"
        print_line(f"Would write {', '.join(files)} and {last}.")
        return
    print_line(f"  {share(report.marked, report.valid)} of valid pixels are marked")
    if report.filaments is not None:
        print_line(f"  {plural(report.filaments, 'filament')}, the 8-connected pieces of MASK")
    print_line(f"Wrote {', '.join(files)} and {last}.")


def _run_kfold(runs: "KFold", only: int | None, overwrite: bool) -> None:
    summary = runs.run(only, overwrite)
    if summary is not None:
        print_summary(summary)
        print_line(f"Wrote {runs.path}: out_of_fold.fits, out_of_fold.png, summary.json, report.html.")


def _co_add(
    tiles: list[Path], options: Any, output: Path | None, match_background: bool, overwrite: bool, dry_run: bool
) -> tuple[Any, Path]:
    """Make one map of several tiles; return the options and the output of preprocessing it."""
    from bigsf.files import refuse_overwrite
    from bigsf.maps.mosaic.mosaic import default_mosaic_path, make_mosaic

    mosaic = output.with_name(f"{output.stem}_mosaic.fits") if output else default_mosaic_path(tiles[0])
    output = output or mosaic.with_suffix(".h5")
    if not dry_run:
        refuse_overwrite(output, mosaic, overwrite=overwrite)
    given = {role: getattr(options, role) for role in ("target", "background", "truth")}
    given["valid"] = options.valid or options.missing
    report = make_mosaic(
        tiles,
        mosaic,
        match_background=match_background,
        hdu=options.hdu,
        blank=options.blank,
        masks=[role for role in ("target", "background", "truth") if given[role] is None],
        threshold=options.target_threshold,
        on_grid=[path for path in [*given.values(), *options.channels] if path],
        overwrite=overwrite,
        dry_run=dry_run,
    )
    print_mosaic(report, dry_run)
    return options.model_copy(update={"image": mosaic.absolute(), "hdu": None}), output


def _seconds(duration: str | None) -> float | None:
    """Return a duration such as 4h in seconds."""
    from pydantic import TypeAdapter, ValidationError

    from bigsf.errors import ConfigError
    from bigsf.training.run_config import Seconds

    try:
        return TypeAdapter(Seconds | None).validate_python(duration)
    except ValidationError:
        raise ConfigError(f"--time-limit {duration}: expected a duration such as 30min or 4h.") from None


def _absolute(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def _merged(kind: Any, config: Path | None, given: dict[str, Any]) -> Any:
    """Return a config from a YAML file and the options that were given, which win."""
    return kind.from_options({key: value for key, value in given.items() if value is not None}, config)


if __name__ == "__main__":
    main()
