"""Snapshot + FITS -> segmented FITS."""

import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from pydantic import ByteSize, TypeAdapter, ValidationError
from torch import nn

from bigsf import console
from bigsf.atomic import atomic_path, refuse_overwrite
from bigsf.cleaning import Cleaning
from bigsf.errors import BigsfWarning, ConfigError, DataError, SnapshotError
from bigsf.filaments import Filaments
from bigsf.fits_image import FitsImage, FloatArray, find_planes, stem_of
from bigsf.fits_output import FitsWriter, check_fits_name, provenance
from bigsf.inference import Judge, batch_size_within
from bigsf.patches import PatchFile
from bigsf.pictures import Thumbnails, draw_quicklook
from bigsf.planes import FitsPlanes, Planes
from bigsf.precision import Precision, pick_device, resolve_precision
from bigsf.pretrained import NAMES, snapshot_path
from bigsf.products import FILES, PLANES, beside, chosen
from bigsf.provenance import sha256
from bigsf.regions import write_regions
from bigsf.snapshot import Snapshot
from bigsf.suitability import takes_logarithm


@dataclass
class SegmentReport:
    """What `segment` found and wrote; counts are pixels."""

    output: Path
    picture: Path
    shape: tuple[int, int]
    models: list[Path]
    threshold: float
    cleaning: Cleaning
    products: list[str]
    valid: int = 0
    marked: int = 0
    not_positive: int = 0
    filaments: int | None = None
    """Components of the mask; None where no product needs them."""

    @property
    def outputs(self) -> list[Path]:
        """All files that are written."""
        return [self.output, *beside(self.output, self.products), self.picture]

    @property
    def bytes(self) -> int:
        """Size of the planes in the FITS file."""
        return (
            self.shape[0] * self.shape[1] * sum(np.dtype(PLANES[p][1]).itemsize for p in self.products if p in PLANES)
        )


def find_models(paths: Sequence[str | Path]) -> list[Path]:
    """Return the snapshots that paths mean: a snapshot itself, best.pt of a run folder, all best.pt of a k-fold's.

    The name of a model that comes with the package, such as "higal-small", means its snapshot.

    Raises
    ------
    SnapshotError
        Where a path is neither.
    """
    found: list[Path] = []
    for path in map(snapshot_path, paths):
        if path.is_dir():
            inside = [path / "best.pt"] if (path / "best.pt").exists() else sorted(path.glob("split_*/best.pt"))
            if not inside and (path / "last.pt").exists():
                raise SnapshotError(
                    f"{path} holds a run that was stopped before its first epoch ended. Go on with bigsf resume {path}."
                )
            if not inside:
                raise SnapshotError(f"{path} holds no trained model: neither best.pt nor split_*/best.pt.")
            if (path / "kfold.yaml").exists() and not (path / "summary.json").exists():
                warnings.warn(
                    f"{path} holds a k-fold that has not ended; of its models only {len(inside)} can vote. Go on with "
                    f"bigsf resume {path}.",
                    BigsfWarning,
                    stacklevel=2,
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise SnapshotError(
                f"{path} does not exist. Expected a snapshot, e.g. results/experiment_1/best.pt, or a model that comes "
                f"with bigsf: {', '.join(NAMES)}."
            )
    return found


def segment(
    models: str | Path | Sequence[str | Path],
    image: str | Path,
    output: str | Path | None = None,
    *,
    hdu: str | int | None = None,
    valid: str | Path | None = None,
    blank: float | None = None,
    channels: Sequence[str | Path] = (),
    threshold: str | float = "whole",
    hysteresis: float | None = None,
    reconstruct: bool = False,
    min_area: int = 1,
    stride: int | None = None,
    tta: bool = False,
    batch_size: int | None = None,
    memory: str | float = "2GB",
    device: str | None = None,
    precision: Precision = "auto",
    products: str | Sequence[str] | None = None,
    network: nn.Module | None = None,
    trust: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> SegmentReport:
    """Write the probability map of an image on its own grid and WCS, and a picture of it.

    Parameters
    ----------
    models
        A snapshot, several that vote, or a run folder.
    image
        A FITS map or a patch file.
    output
        The FITS file to write; by default `<map>_segmented.fits` in the current folder.
    hdu, blank, valid, channels
        As in `preprocess`.
    threshold
        "whole" or "labelled", the thresholds found on validation, or a probability; for the MASK extension.
    hysteresis, reconstruct, min_area
        What is left out of MASK, and of all that is made of it, as in `Cleaning`; the probability stays as it is. They
        hold the mask in memory: about 10 bytes a pixel of the map.
    stride
        Pixels from one window to the next; by default half a window. Smaller is smoother and slower.
    tta
        Test-time augmentation: the mean over the eight orientations of each window, for eight times the work.
    batch_size
        Windows at a time; by default as many as `memory` holds, up to 64.
    memory
        What the map and the network may take, e.g. "4GB" or a number of bytes. It changes the speed, not the result.
    device, precision
        Where and in which number format the networks run.
    products
        Any of prob (always written), mask, std, skeleton, catalog, regions, as names or one text with commas; by
        default prob, mask and, where several models vote, std. The last three hold the mask and the numbers of its
        filaments in memory: about 10 bytes a pixel of the map.
    network
        The network of the models, where it was handed to the trainer as an object.
    trust
        Import and run the custom targets that the snapshots name.
    overwrite
        Replace existing outputs.
    dry_run
        Read and check everything, write nothing.

    Returns
    -------
    SegmentReport
        The output holds the probability (float32, NaN where missing) and, as `products` say, MASK (uint8, 1 where the
        probability reaches the threshold), the standard deviation STD of the models (float32) and SKELETON (uint8, 1
        on the skeleton of MASK). The catalogue `<output>.ecsv` has a row a filament (`filaments.COLUMNS`), and
        `<output>.reg` its outline for DS9.
    """
    paths = find_models([models] if isinstance(models, str | Path) else models)
    snapshots = [Snapshot.load(path) for path in paths]
    window = _one_window(snapshots, paths)
    cut = _threshold(threshold, snapshots)
    cleaning = Cleaning(hysteresis, reconstruct, min_area)
    cleaning.check(cut)
    image = Path(image)
    output = Path(output) if output else Path(f"{stem_of(image)}_segmented.fits")
    check_fits_name(output, "output")
    names = chosen(products, len(paths))
    picture = output.with_suffix(".png")
    refuse_overwrite(output, *beside(output, names), picture, overwrite=overwrite or dry_run)
    torch_device = pick_device(device)
    with ExitStack() as stack:
        planes, header = _open_map(image, hdu, valid, blank, channels, stack)
        report = SegmentReport(output, picture, planes.shape, paths, cut, cleaning, names)
        needed = snapshots[0].config.trainer.model.in_channels
        found = planes.channels if isinstance(planes, PatchFile) else len(planes.images)
        if found != needed:
            raise DataError(f"The model takes {needed} image planes, {image.name} gives {found}. See --channel.")
        _warn_if_trained_on(image, planes, snapshots)
        built = [snapshot.build_model(deepcopy(network), trust) for snapshot in snapshots]
        batch_size = batch_size or batch_size_within(_bytes(memory), built, window, needed, planes.shape[1])
        judge = Judge(
            [model.to(torch_device) for model in built],
            window,
            stride,
            batch_size,
            torch_device,
            resolve_precision(precision, torch_device),
            planes.wcs,
            tta,
        )
        if dry_run:
            return report
        header, table = provenance(
            header,
            "Probability of a filament",
            {
                **{f"model {i}": f"{path} SHA-256 {sha256(path)}" for i, path in enumerate(paths, 1)},
                "map": str(image),
                "threshold": f"{cut:.6g} ({threshold})",
                **({"cleaning": str(cleaning)} if cleaning else {}),
                "config": json.dumps(snapshots[0].global_config),
            },
        )
        files = stack.enter_context(ExitStack())  # they appear together, once the last is written
        thumbnails = _write_map(image.name, judge, planes, header, table, report, files)
        draw_quicklook(thumbnails, files.enter_context(atomic_path(picture)), header, title=image.name, threshold=cut)
    _warn_of_oddities(report, image.name, takes_logarithm(snapshots[0].config.trainer.model))
    return report


def _write_map(
    name: str,
    judge: Judge,
    planes: PatchFile | FitsPlanes,
    header: fits.Header,
    table: fits.BinTableHDU,
    report: SegmentReport,
    files: ExitStack,
) -> Thumbnails:
    """Judge the map and write the FITS file and the products made of filaments; count in the report what is found."""
    kinds: dict[str, npt.DTypeLike] = dict(PLANES[name] for name in report.products if name in PLANES)
    cleaning, threshold = report.cleaning, report.threshold
    lowest = threshold if cleaning.hysteresis is None else cleaning.hysteresis
    of_filaments = bool(set(report.products) & {"skeleton", *FILES})
    mask = np.zeros(planes.shape, np.bool_) if cleaning or of_filaments else None
    certain = None if cleaning.hysteresis is None else np.zeros(planes.shape, np.bool_)
    thumbnails = Thumbnails(planes.shape)
    temporary = files.enter_context(atomic_path(report.output))
    with (
        FitsWriter(temporary, planes.shape, header, kinds, [table]) as writer,
        console.progress(f"segment {name}", planes.shape[0], "rows") as advance,
    ):
        for y0, y1, probability in judge.rows(planes, advance=advance):
            mean = probability.mean(axis=0)
            marked = mean >= lowest
            writer.write("PRIMARY", y0, mean)
            if "STD" in kinds:
                writer.write("STD", y0, probability.std(axis=0))
            if mask is not None:
                mask[y0:y1] = marked
            elif "MASK" in kinds:
                writer.write("MASK", y0, marked)
            if certain is not None:
                certain[y0:y1] = mean >= threshold
            report.valid += int(np.isfinite(mean).sum())
            report.marked += int(marked.sum())
            raw = _raw_rows(planes, y0, y1)
            report.not_positive += int((raw <= 0).sum())
            thumbnails.add(y0, image=raw, probability=mean)
        if mask is not None:
            mask = cleaning(mask, certain)
            report.marked = int(mask.sum())
            if "MASK" in kinds:
                writer.write("MASK", 0, mask)
        if mask is not None and of_filaments:
            report.filaments = _write_filaments(Filaments(mask), report, planes, writer, temporary, files)
    return thumbnails


def _warn_of_oddities(report: SegmentReport, image: str, logarithm: bool) -> None:
    """Warn where the map hardly suits the model, or nothing was found."""
    if logarithm and report.not_positive > 0.01 * report.valid:
        warnings.warn(
            f"{report.not_positive / report.valid:.0%} of the valid pixels of {image} are 0 or below, and the model "
            "takes the logarithm of the map. If 0 marks missing data, pass --blank 0; for a map that is negative in "
            "places train a model with another normalization, e.g. asinh.",
            BigsfWarning,
            stacklevel=3,
        )
    if report.valid == 0:
        warnings.warn(f"{image} holds no valid pixel; the output is all NaN.", BigsfWarning, stacklevel=3)
    elif report.marked == 0:
        warnings.warn(f"No pixel of {image} reaches the threshold {report.threshold:.3g}.", BigsfWarning, stacklevel=3)


def _write_filaments(
    filaments: Filaments,
    report: SegmentReport,
    planes: PatchFile | FitsPlanes,
    writer: FitsWriter,
    written: Path,
    files: ExitStack,
) -> int:
    """Write the products made of filaments, those in `files` to appear with it; return how many filaments there are."""
    if "skeleton" in report.products:
        writer.write("SKELETON", 0, filaments.skeleton())
    if "catalog" in report.products:
        with FitsImage(written) as probability:

            def image(y0: int, y1: int) -> FloatArray:
                rows = planes.read_rows(y0, y1)[0] if isinstance(planes, PatchFile) else planes.images[0].read(y0, y1)
                return np.where(np.isfinite(probability.read(y0, y1)), rows, np.float32(np.nan))  # a mask's, too

            unit = planes.unit if isinstance(planes, PatchFile) else planes.images[0].unit
            table = filaments.catalog(image, probability.read, planes.wcs, unit)
        table.meta |= {"segmented": str(report.output), "threshold": report.threshold}
        catalog = files.enter_context(atomic_path(report.output.with_suffix(FILES["catalog"])))
        table.write(catalog, format="ascii.ecsv", overwrite=True)
    if "regions" in report.products:
        regions = files.enter_context(atomic_path(report.output.with_suffix(FILES["regions"])))
        write_regions(regions, filaments.outlines(), planes.wcs)
    return len(filaments)


def _raw_rows(planes: Planes, y0: int, y1: int) -> FloatArray:
    """Return rows of the first channel that the engine has just read."""
    rows = planes.held_rows(y0, y1) if isinstance(planes, FitsPlanes) else planes.read_rows(y0, y1)
    first: FloatArray = rows[0]
    return first


def _open_map(
    image: Path,
    hdu: str | int | None,
    valid: str | Path | None,
    blank: float | None,
    channels: Sequence[str | Path],
    stack: ExitStack,
) -> tuple[PatchFile | FitsPlanes, fits.Header]:
    """Open a FITS map or a patch file, and return it with the header for its output."""
    if image.suffix in (".h5", ".hdf5"):
        file = PatchFile(image)
        header = file.header.copy()
        header.remove("BUNIT", ignore_missing=True)
        return file, header
    images = [stack.enter_context(FitsImage(image, hdu, blank))]
    images += [stack.enter_context(FitsImage(channel, blank=blank)) for channel in channels]
    inside = find_planes(image).get("valid")
    mask = FitsImage(valid) if valid else FitsImage(image, inside) if inside else None
    if mask:
        stack.enter_context(mask)
    return FitsPlanes(images, mask), images[0].output_header()


def _bytes(memory: str | float) -> float:
    """Return a size such as "4GB" in bytes."""
    try:
        return float(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        raise ConfigError(f"--memory {memory}: expected a size such as 800MB or 4GB.") from None


def _one_window(snapshots: Sequence[Snapshot], paths: Sequence[Path]) -> int:
    sizes = {snapshot.patch_size for snapshot in snapshots}
    if len(sizes) > 1:
        listing = ", ".join(f"{path}: {s.patch_size}" for path, s in zip(paths, snapshots, strict=True))
        raise SnapshotError(f"Models that vote must share one patch size; found {listing}.")
    return sizes.pop()


def _threshold(threshold: str | float, snapshots: Sequence[Snapshot]) -> float:
    if threshold in ("whole", "labelled"):
        return float(np.mean([snapshot.thresholds[str(threshold)] for snapshot in snapshots]))
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold {threshold}: expected whole, labelled, or a probability from 0 to 1.")
    return value


def _warn_if_trained_on(image: Path, planes: Planes, snapshots: Sequence[Snapshot]) -> None:
    """Warn when the map is the one that the models were trained on."""
    here = planes.image_sha256 if isinstance(planes, PatchFile) else sha256(image)
    if any(snapshot.image_sha256 == here for snapshot in snapshots):
        warnings.warn(
            f"{image.name} is the map that the model was trained on: it has seen the labels there. For a map whose "
            "every pixel is judged by a model that never saw it, use out_of_fold.fits of bigsf kfold.",
            BigsfWarning,
            stacklevel=3,
        )
