"""`bigsf info`: files and folders of any kind -> what they are, how they were made, and what one can do next."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigsf.cli.comparison import compare_runs
from bigsf.cli.options import Quiet, typed
from bigsf.config.paths import flat
from bigsf.console import plural, print_line
from bigsf.errors import BigsfError, DataError, UsageError

if TYPE_CHECKING:
    from bigsf.training.run_folder import RunFolder
    from bigsf.training.snapshot import Snapshot

_RECORDS = ("kfold.yaml", "environment.json")  # one of them lies in each folder of a run or k-fold

_MADE_BY = ("bigsf", "time", "command", "threshold")  # rows of PROVENANCE that are shown


def info(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Maps, patch files, folds, models, run or k-fold folders."),
    ],
    quiet: Quiet = False,
) -> None:
    """Tell what files and folders hold, how they were made, and what one can do next.

    Of several runs or k-folds, a table compares configurations and scores.
    """
    failed: BigsfError | None = None
    for path in paths:
        try:
            print_line(f"{path}: " + "\n  ".join(_describe(path)))
        except BigsfError as error:
            if len(paths) == 1:
                raise
            failed = error
            print_line(f"{path}: {error}")
    runs = [path for path in paths if (path / "config.yaml").exists() or (path / "summary.json").exists()]
    if len(runs) > 1:
        compare_runs(runs)
    if failed is not None:
        raise failed


def _describe(path: Path) -> Iterator[str]:
    """Yield the lines on a file or folder."""
    from bigsf.maps.shapes.drawn_mask import is_drawn
    from bigsf.models.pretrained import NAMES

    if path.is_dir():
        yield from _of_folder(path)
    elif str(path) in NAMES or path.suffix == ".pt":
        yield from _of_snapshot(path)
    elif not path.exists():
        raise UsageError(f"{path} does not exist.")
    else:
        kind = _KINDS.get(path.suffix.lower()) or (_of_drawing if is_drawn(path) else _of_map)
        yield from kind(path)


def _of_map(path: Path) -> Iterator[str]:
    from bigsf.maps.describe import describe_file
    from bigsf.maps.fits_image import stem_of

    made = _made_by_bigsf(path)
    probability = "robability" in made.get("what", "")
    yield "a FITS file" + (f" of BigSF: {made.pop('what')}" if made else "")
    images = describe_file(path)
    yield from (image.text for image in images)
    kinds = {image.kind for image in images} - {"no plane"}
    yield from (f"{name}: {value}" for name, value in made.items())
    if probability:
        yield f"Next: open it in DS9 or CARTA, or draw it with bigsf.plot.quicklook({str(path)!r})"
        return
    if not kinds:
        yield "no image of it can be a map or a mask"
        return
    if kinds == {"mask"}:
        yield f"Next: bigsf preprocess MAP.fits --target {typed(path)} (or --background, --valid)"
        return
    output = typed(Path(f"{stem_of(path)}_segmented.fits"))
    model = "higal-small" if any(image.column_density for image in images) else "filaments-small"
    yield f"Next: bigsf preprocess {typed(path)}, or bigsf segment {model} {typed(path)} -o {output}"


def _made_by_bigsf(path: Path) -> dict[str, str]:
    """Return what a FITS file of BigSF shows and how it was made; nothing of another file."""
    from bigsf.maps.fits_guard import open_fits
    from bigsf.provenance import read_provenance

    with open_fits(path) as hdus:
        made = read_provenance(hdus)
        what = str(hdus[0].header.comments["BTYPE"]) if "BTYPE" in hdus[0].header else "a map"
    return {"what": what, **{name: made[name] for name in _MADE_BY if name in made}} if made else {}


def _of_drawing(path: Path) -> Iterator[str]:
    yield "regions, a MOC, or points along spines, to draw on a map"
    yield f"Next: bigsf preprocess MAP.fits --target {typed(path)}"


def _of_table(path: Path) -> Iterator[str]:
    from astropy.io.ascii import InconsistentTableError
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.ecsv")
    except (InconsistentTableError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{path} cannot be read as a table (ECSV): {error}.") from None
    yield f"a table of {len(table):,} rows"
    yield f"columns: {', '.join(table.colnames)}"


def _of_config(path: Path) -> Iterator[str]:
    from bigsf.training.run_config import RunConfig

    config = RunConfig.from_yaml(path)
    yield f"a configuration of train and kfold, for {getattr(config.data, 'path', 'data of your own')}"
    yield f"Next: bigsf train {typed(path)} --dry-run"


def _of_patch_file(path: Path) -> Iterator[str]:
    from bigsf.patches.patch_file import PatchFile

    file = PatchFile(path)
    ny, nx = file.shape
    yield f"a patch file of {len(file):,} patches"
    yield (
        f"map of {nx} x {ny} pixels (x, y), {plural(file.channels, 'image plane')}, {file.unit or 'no BUNIT'}, "
        f"{'with' if file.wcs else 'no'} WCS"
    )
    yield f"patches of {file.patch_size} pixels every {file.stride} pixels"
    if file.target is None:
        yield f"no labels. Next: bigsf segment MODEL {typed(path)}"
        return
    target, labelled = file.labels()
    yield f"target on {target.mean():.1%} of the map, labels on {labelled.mean():.1%}"
    yield f"Next: bigsf split {typed(path)}, or bigsf train with data.path: {typed(path)}"


def _of_folds(path: Path) -> Iterator[str]:
    from bigsf.folds.folds_file import read_folds_file

    folds = read_folds_file(path)
    yield f"{plural(len(folds.counts), 'fold')} of {folds.patch_file}{', edited by hand' * folds.edited}"
    yield ", ".join(f"{key} {value}" for key, value in flat(folds.parameters).items() if value is not None)
    for number, split in enumerate(folds.splits, start=1):
        yield f"split {number}: train {split.train}, validation {split.validation}, test {split.test}"
    yield f"Next: bigsf kfold with split.path: {typed(path)}"


def _of_snapshot(path: Path) -> Iterator[str]:
    from bigsf.training.snapshot import Snapshot

    snapshot = Snapshot.load(path)
    yield f"a model after {plural(snapshot.epochs_run, 'epoch')} of training"
    yield from _of_model(snapshot)
    resume = f", bigsf resume {typed(path)}" if snapshot.optimizer_state else ""
    yield f"Next: bigsf segment {typed(path)} MAP.fits{resume}"


def _of_model(snapshot: "Snapshot") -> Iterator[str]:
    model = snapshot.config.trainer.model
    weights = sum(tensor.numel() for tensor in snapshot.model_state.values())
    yield (
        f"{model.type} of {weights:,} weights, normalization {model.normalization.type}, windows of "
        f"{snapshot.patch_size} pixels, scales {','.join(map(str, model.scales))}, {plural(model.in_channels, 'plane')}"
    )
    thresholds = snapshot.thresholds
    if snapshot.epochs_run:
        yield f"thresholds of validation: whole {thresholds.whole:.3f}, labelled {thresholds.labelled:.3f}"
    data = getattr(snapshot.config.data, "path", None)
    yield f"trained on {plural(len(snapshot.training_maps), 'map')}" + (f", from {data.name}" if data else "")


def _of_folder(path: Path) -> Iterator[str]:
    from bigsf.training.run_folder import RunFolder

    if (path / "kfold.yaml").exists():
        yield from _of_kfold(path)
    elif (path / "config.yaml").exists():
        yield from _of_run(RunFolder(path))
    else:
        yield from _of_runs_in(path)


def _of_runs_in(path: Path) -> Iterator[str]:
    """Yield the runs and k-folds in a folder."""
    found = sorted(
        {file.parent for depth in ("*", "*/*") for name in _RECORDS for file in path.glob(f"{depth}/{name}")}
    )
    found = [folder for folder in found if not (folder.parent / "kfold.yaml").exists()]
    if not found:
        raise UsageError(f"{path} is a folder without a run or a k-fold. Name one of results/, or a file.")
    yield f"a folder with {plural(len(found), 'run')}, where a k-fold counts as one"
    yield from map(str, found)
    yield f"Next: bigsf info {' '.join(map(typed, found))}"


def _of_run(folder: "RunFolder") -> Iterator[str]:
    from bigsf.evaluation.records import RunScores
    from bigsf.training.snapshot import Snapshot

    newest = folder.newest_snapshot
    if newest is None and not folder.environment.exists():
        yield "a folder with a configuration, and no run of its own"
        try:
            yield from _of_runs_in(folder.path)
        except UsageError:
            yield f"Next: bigsf train {typed(folder.config)}"
        return
    if newest is None:
        yield f"a run that has no snapshot yet. Next: bigsf resume {typed(folder.path)}"
        return
    snapshot = Snapshot.load(newest)
    yield f"a run that has done {snapshot.epochs_run} of {snapshot.config.trainer.epochs} epochs"
    yield from _of_model(snapshot)
    if snapshot.best:
        by = snapshot.config.trainer.best_by
        value = "" if by == "epoch" else f", {by} {snapshot.best['value']:.4f}"
        yield f"best epoch {snapshot.best['epoch']:.0f}{value}"
    if folder.complete:
        test = RunScores.load(folder.scores).test
        yield "test folds: " + ", ".join(f"{name} {value:.4f}" for name, value in test.items())
        yield f"Next: bigsf segment {typed(folder.best)} MAP.fits"
    else:
        yield f"Next: bigsf resume {typed(folder.path)}"


def _of_kfold(path: Path) -> Iterator[str]:
    from bigsf.evaluation.records import KFoldSummary
    from bigsf.training.run_folder import RunFolder

    done = [folder for folder in sorted(path.glob("split_*")) if RunFolder(folder).complete]
    if not (path / "summary.json").exists():
        yield f"a k-fold that has not ended: {plural(len(done), 'split')} done"
        yield f"Next: bigsf resume {typed(path)}"
        return
    summary = KFoldSummary.load(path / "summary.json")
    yield f"a k-fold of {plural(len(summary.runs), 'split')} on {Path(summary.data).name}"
    for name, kinds in summary.out_of_fold.items():
        whole = kinds["whole"]
        yield f"{name}: whole-map AP {whole['average_precision']:.4f}, best Dice {whole['best_dice']:.4f}"
    yield f"{summary.predicted_pixels:,} of {summary.valid_pixels:,} valid pixels are predicted out of fold"
    yield f"Next: see {path / 'report.html'}, or bigsf segment {typed(path)} MAP.fits"


_KINDS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".h5": _of_patch_file,
    ".hdf5": _of_patch_file,
    ".json": _of_folds,
    ".ecsv": _of_table,
    ".yaml": _of_config,
    ".yml": _of_config,
}
