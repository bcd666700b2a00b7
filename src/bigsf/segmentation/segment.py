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
from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning, ConfigError, DataError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.cleaning import Cleaning
from bigsf.filaments.ds9 import write_regions
from bigsf.files import atomic_path, refuse_overwrite, sha256
from bigsf.maps.fits_image import FitsImage, stem_of
from bigsf.maps.fits_writer import FitsWriter, check_fits_name
from bigsf.maps.planes import MapSource
from bigsf.maps.quicklook import SubsampledPlanes, draw_quicklook
from bigsf.models.device import Precision, pick_device, resolve_precision
from bigsf.models.sliding_window import SlidingWindowPredictor, batch_size_within
from bigsf.provenance import provenance
from bigsf.segmentation.ensemble import find_models, find_threshold, shared_window
from bigsf.segmentation.input_map import open_map, warn_if_trained_on
from bigsf.segmentation.products import FILES, PLANES, parse_products, sidecar_files
from bigsf.training.checks import takes_logarithm
from bigsf.training.snapshot import Snapshot


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
        return [self.output, *sidecar_files(self.output, self.products), self.picture]

    @property
    def bytes(self) -> int:
        """Size of the planes in the FITS file."""
        return (
            self.shape[0] * self.shape[1] * sum(np.dtype(PLANES[p][1]).itemsize for p in self.products if p in PLANES)
        )


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
    window = shared_window(snapshots, paths)
    cut = find_threshold(threshold, snapshots)
    cleaning = Cleaning(hysteresis, reconstruct, min_area)
    cleaning.check(cut)
    image = Path(image)
    output = Path(output) if output else Path(f"{stem_of(image)}_segmented.fits")
    check_fits_name(output, "output")
    names = parse_products(products, len(paths))
    picture = output.with_suffix(".png")
    refuse_overwrite(output, *sidecar_files(output, names), picture, overwrite=overwrite or dry_run)
    torch_device = pick_device(device)
    with ExitStack() as stack:
        planes = open_map(image, hdu, valid, blank, channels, stack)
        report = SegmentReport(output, picture, planes.shape, paths, cut, cleaning, names)
        needed = snapshots[0].config.trainer.model.in_channels
        found = planes.channels
        if found != needed:
            raise DataError(f"The model takes {needed} image planes, {image.name} gives {found}. See --channel.")
        warn_if_trained_on(image.name, planes, snapshots)
        built = [snapshot.build_model(deepcopy(network), trust) for snapshot in snapshots]
        batch_size = batch_size or batch_size_within(_bytes(memory), built, window, needed, planes.shape[1])
        predictor = SlidingWindowPredictor(
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
            planes.output_header(),
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
        subsampled = _write_map(image.name, predictor, planes, header, table, report, files)
        draw_quicklook(subsampled, files.enter_context(atomic_path(picture)), header, title=image.name, threshold=cut)
    _warn_of_oddities(report, image.name, takes_logarithm(snapshots[0].config.trainer.model))
    return report


def _write_map(
    name: str,
    predictor: SlidingWindowPredictor,
    planes: MapSource,
    header: fits.Header,
    table: fits.BinTableHDU,
    report: SegmentReport,
    files: ExitStack,
) -> SubsampledPlanes:
    """SlidingWindowPredictor the map and write the FITS file and the products made of filaments; count in the report what is found."""
    kinds: dict[str, npt.DTypeLike] = dict(PLANES[name] for name in report.products if name in PLANES)
    cleaning, threshold = report.cleaning, report.threshold
    lowest = threshold if cleaning.hysteresis is None else cleaning.hysteresis
    of_filaments = bool(set(report.products) & {"skeleton", *FILES})
    mask = np.zeros(planes.shape, np.bool_) if cleaning or of_filaments else None
    certain = None if cleaning.hysteresis is None else np.zeros(planes.shape, np.bool_)
    subsampled = SubsampledPlanes(planes.shape)
    temporary = files.enter_context(atomic_path(report.output))
    with (
        FitsWriter(temporary, planes.shape, header, kinds, [table]) as writer,
        console.progress(f"segment {name}", planes.shape[0], "rows") as advance,
    ):
        for y0, y1, probability in predictor.predict_bands(planes, advance=advance):
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
            raw = planes.read_rows(y0, y1)[0]
            report.not_positive += int((raw <= 0).sum())
            subsampled.add(y0, image=raw, probability=mean)
        if mask is not None:
            mask = cleaning(mask, certain)
            report.marked = int(mask.sum())
            if "MASK" in kinds:
                writer.write("MASK", 0, mask)
        if mask is not None and of_filaments:
            report.filaments = _write_filaments(Filaments(mask), report, planes, writer, temporary, files)
    return subsampled


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
    planes: MapSource,
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
                return np.where(np.isfinite(probability.read(y0, y1)), planes.read_rows(y0, y1)[0], np.float32(np.nan))

            table = filaments.catalog(image, probability.read, planes.wcs, planes.unit)
        table.meta |= {"segmented": str(report.output), "threshold": report.threshold}
        catalog = files.enter_context(atomic_path(report.output.with_suffix(FILES["catalog"])))
        table.write(catalog, format="ascii.ecsv", overwrite=True)
    if "regions" in report.products:
        regions = files.enter_context(atomic_path(report.output.with_suffix(FILES["regions"])))
        write_regions(regions, filaments.outlines(), planes.wcs)
    return len(filaments)


def _bytes(memory: str | float) -> float:
    """Return a size such as "4GB" in bytes."""
    try:
        return float(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        raise ConfigError(f"--memory {memory}: expected a size such as 800MB or 4GB.") from None
