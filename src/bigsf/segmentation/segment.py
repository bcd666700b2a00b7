"""Models + a map -> probability, mask and products on the grid of the map."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from torch import nn

from bigsf import console
from bigsf.arrays import BoolArray, FloatArray
from bigsf.figures import save_figure
from bigsf.files import sha256
from bigsf.maps.fits_image import stem_of
from bigsf.maps.fits_writer import FitsWriter, check_fits_name
from bigsf.maps.planes import MapSource
from bigsf.maps.quicklook import SubsampledPlanes, quicklook_figure
from bigsf.maps.shapes.moc_file import check_moc
from bigsf.models.device import Precision, pick_device
from bigsf.models.positions import warn_if_elsewhere
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.outputs import Outputs
from bigsf.provenance import provenance
from bigsf.segmentation.comparison import resolve_scales, warn_if_unlike
from bigsf.segmentation.config import AUTO, SegmentConfig
from bigsf.segmentation.ensemble import Ensemble
from bigsf.segmentation.further_maps import FurtherMaps
from bigsf.segmentation.input_map import open_map, warn_if_trained_on
from bigsf.segmentation.products import (
    SegmentReport,
    check_memory,
    output_files,
    resolve_products,
    write_filaments,
    write_plane,
)
from bigsf.segmentation.result_checks import check_numbers, warn_of_result
from bigsf.training.checks import takes_logarithm

_PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


def segment(
    models: str | Path | Sequence[str | Path],
    image: str | Path,
    output: str | Path | None = None,
    config: SegmentConfig | None = None,
    *,
    network: nn.Module | None = None,
    device: str | None = None,
    trust: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    **options: Any,
) -> SegmentReport:
    """Write the probability of filaments on the grid and WCS of a map, a mask, and the products that are asked for.

    Parameters
    ----------
    models
        A snapshot, a run folder or the folder of a k-fold, or several of them: the result is the mean of all models.
    image
        A FITS map or a patch file.
    output
        The FITS file to write; by default `<map>_segmented.fits` in the current folder.
    config
        How to segment; by default as `SegmentConfig()` says.
    network
        The network of the models, where it was handed to the trainer as an object.
    device
        Name of the device; by default the GPU where there is one.
    trust
        Import and run the custom targets that the snapshots name.
    overwrite
        Replace existing outputs.
    dry_run
        Read and check everything, write nothing.
    **options
        Keys of `SegmentConfig`, e.g. `tta=True`; they override those of `config`.

    Returns
    -------
    SegmentReport
        The FITS file holds, as `config.products` says, the probability (float32, NaN where data are missing), MASK
        (uint8, 1 where the probability reaches the threshold, without the components that the cleaning leaves out), STD
        (float32, the standard deviation of the models), SCALE (uint8, the factor by which the map was binned where the
        probability was taken from, see `SlidingWindowPredictor.predict_scales`), SKELETON (int32, the id of the
        filament on the skeleton of MASK), LABELS (int32, the id on all pixels of MASK), and the table PROVENANCE. The
        catalogue has one row per filament with the columns of `bigsf.filaments.columns`: in `<output>.ecsv`, `.vot` or
        `.mrt`, and in the table CATALOG. `<output>.reg` has the outlines for DS9, `<output>_spines.ecsv` the points
        along the filaments, `<output>.moc.fits` the MOC of MASK, and `<output>.png` is a quicklook.

    Raises
    ------
    ConfigError
        Where an option makes no sense.
    SnapshotError
        Where a model cannot be loaded.
    DataError
        Where the map cannot be read, or has other image planes than the models take.
    UsageError
        Where an output exists already or cannot be written.

    Examples
    --------
    >>> report = segment("best.pt", "map.fits", "found.fits", tta=True)  # doctest: +SKIP
    """
    config = _with_options(config, options)
    ensemble = Ensemble.load(models)
    threshold = ensemble.threshold(config.threshold)
    config.cleaning.check(threshold)
    image = Path(image)
    output = Path(output) if output else Path(f"{stem_of(image)}_segmented.fits")
    check_fits_name(output, "output")
    several_scales = config.scales == AUTO or len(config.scales or ensemble.scales) > 1
    products = resolve_products(config.products, len(ensemble), several_scales)
    outputs = Outputs(*output_files(output, products))
    outputs.check([image, *config.inputs, *ensemble.paths], overwrite)
    torch_device = pick_device(device)
    with open_map(image, config) as (source, odd_values, further):
        ensemble.check_channels(image.name, source.channels)
        if "moc" in products:
            check_moc(image.name, source.wcs)
        warn_if_trained_on(image.name, source, ensemble.snapshots)
        scales = resolve_scales(config.scales, image.name, source, ensemble)
        predictor = ensemble.predictor(source, config, torch_device, scales, network, trust)
        warn_if_elsewhere(predictor.models, source.shape, source.wcs, image.name)
        warn_if_unlike(image.name, source, ensemble, scales[0], sum(value.pixels for value in odd_values))
        resolved = config.model_copy(
            update={
                "products": products,
                "stride": predictor.stride,
                "scales": predictor.scales,
                "batch_size": predictor.batch_size,
                "precision": _PRECISIONS[predictor.dtype],
            }
        )
        _explain_threshold(resolved, ensemble, predictor.scales)
        report = SegmentReport(output, source.shape, ensemble.paths, threshold, resolved)
        check_memory(report)
        if dry_run:
            return report
        _write_outputs(outputs, report, image, source, further, predictor, ensemble)
    report.not_positive -= sum(value.pixels for value in odd_values if value.high <= 0)  # the user knows of them
    warn_of_result(report, image.name, any(map(takes_logarithm, ensemble.model_configs)))
    return report


def _with_options(config: SegmentConfig | None, options: Mapping[str, Any]) -> SegmentConfig:
    given = config.model_dump(exclude_unset=True) if config else {}
    return SegmentConfig.from_dict({**given, **options})


def _write_outputs(
    outputs: Outputs,
    report: SegmentReport,
    image: Path,
    source: MapSource,
    further: FurtherMaps,
    predictor: SlidingWindowPredictor,
    ensemble: Ensemble,
) -> None:
    """Predict the map and write all outputs; they appear together, once the last one is written."""
    header, table = _provenance(report, image, source, ensemble)
    with outputs.writing() as files:
        with FitsWriter(files[report.output], report.shape, header, report.planes) as writer:
            mask, subsampled = _write_bands(report, image.name, source, predictor, writer)
            outlines = []
            if mask is not None and report.has_filaments:
                outlines = write_filaments(mask, report, source, further, writer, files)
            writer.append(table)  # behind the catalogue: some programs open the first table alone
        save_figure(
            lambda: quicklook_figure(subsampled, header, image.name, report.threshold, outlines=outlines),
            files[report.quicklook],
            report.quicklook.name,
        )


def _explain_threshold(config: SegmentConfig, ensemble: Ensemble, scales: list[int]) -> None:
    """Print how a threshold of validation was found, where this map is predicted in another way."""

    def way(stride: int | None, scales: list[int], tta: bool) -> str:
        binned = f", scales {','.join(map(str, scales))}" if scales != [1] else ""
        return f"stride {stride}{binned}{' with tta' if tta else ''}"

    found = way(max(1, ensemble.window // 2), ensemble.scales, False)
    here = way(config.stride, scales, config.tta)
    if isinstance(config.threshold, str) and here != found:
        console.logger.info(
            "The threshold %s was found at %s; at %s another one may be better.", config.threshold, found, here
        )


def _provenance(
    report: SegmentReport, image: Path, source: MapSource, ensemble: Ensemble
) -> tuple[fits.Header, fits.BinTableHDU]:
    """Return the header of the output and its table PROVENANCE."""
    entries = {f"model {i}": f"{path} SHA-256 {sha256(path)}" for i, path in enumerate(ensemble.paths, 1)}
    entries |= {"map": str(image), "threshold": f"{report.threshold:.6g} ({report.config.threshold})"}
    if report.config.cleaning:
        entries["cleaning"] = str(report.config.cleaning)
    entries["segment config"] = report.config.model_dump_json()
    entries["config"] = json.dumps(ensemble.snapshots[0].global_config)
    return provenance(source.output_header(), "Probability of a filament", entries)


def _write_bands(
    report: SegmentReport, name: str, source: MapSource, predictor: SlidingWindowPredictor, writer: FitsWriter
) -> tuple[BoolArray | None, SubsampledPlanes]:
    """Predict the map by bands of rows, write its planes, and count in the report.

    Returns
    -------
    mask : ndarray or None
        The mask `(ny, nx)`, where its products or its cleaning need it as a whole.
    subsampled : SubsampledPlanes
        The map and the probability for the quicklook.
    """
    whole_mask = _WholeMask(report) if report.config.mask_planes else None
    subsampled = SubsampledPlanes(report.shape)
    with console.progress(f"segment {name}", report.shape[0], "rows") as advance:
        for y0, y1, probability, scale in predictor.predict_scales(source, advance):
            mean, planes = probability.mean(axis=0), source.read_rows(y0, y1)
            check_numbers(mean, planes, name, y0, y1)
            raw, marked = planes[0], mean >= report.threshold
            writer.write("PRIMARY", y0, mean)
            if "std" in report.products:
                writer.write("STD", y0, probability.std(axis=0))
            if "scale" in report.products:
                writer.write("SCALE", y0, scale)
            if whole_mask:
                whole_mask.add(y0, y1, mean)
            elif "mask" in report.products:
                writer.write("MASK", y0, marked)
            report.valid += int(np.isfinite(mean).sum())
            report.reached += int(marked.sum())
            report.not_positive += int((raw <= 0).sum())
            subsampled.add(y0, image=raw, probability=mean)
    report.marked = report.reached
    if whole_mask is None:
        return None, subsampled
    mask = whole_mask.cleaned()
    report.marked = int(mask.sum())
    if "mask" in report.products:
        write_plane(writer, "MASK", mask)
    return mask, subsampled


class _WholeMask:
    """The mask of the whole map in memory, for its cleaning and for products that are made of filaments.

    `SegmentConfig.mask_planes` counts its planes.
    """

    def __init__(self, report: SegmentReport) -> None:
        self._cleaning, self._threshold = report.config.cleaning, report.threshold
        hysteresis = self._cleaning.hysteresis
        self._lowest = self._threshold if hysteresis is None else hysteresis
        self._marked = np.zeros(report.shape, np.bool_)
        self._certain = None if hysteresis is None else np.zeros(report.shape, np.bool_)
        self._valid = np.zeros(report.shape, np.bool_) if self._cleaning.border else None

    def add(self, y0: int, y1: int, probability: FloatArray) -> None:
        """Take the probability `(y1 - y0, nx)` of rows y0 to y1."""
        self._marked[y0:y1] = probability >= self._lowest
        if self._certain is not None:
            self._certain[y0:y1] = probability >= self._threshold
        if self._valid is not None:
            self._valid[y0:y1] = np.isfinite(probability)

    def cleaned(self) -> BoolArray:
        """Return the mask without the components that the cleaning leaves out."""
        return self._cleaning(self._marked, self._certain, self._valid)
