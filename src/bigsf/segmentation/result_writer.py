"""A predicted map and the filaments on it -> all files of a segmentation, and their counts."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.arrays import BoolArray
from bigsf.figures import save_figure
from bigsf.files import sha256
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.hips import write_hips
from bigsf.maps.planes import MapSource
from bigsf.maps.quicklook import quicklook_figure
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.outputs import Outputs
from bigsf.provenance import provenance
from bigsf.segmentation.ensemble import Ensemble
from bigsf.segmentation.found import Found
from bigsf.segmentation.further_maps import FurtherMaps
from bigsf.segmentation.products import SegmentReport, output_folders, write_filaments
from bigsf.segmentation.result_checks import check_numbers


def write_outputs(
    outputs: Outputs,
    report: SegmentReport,
    image: Path,
    source: MapSource,
    further: FurtherMaps,
    prediction: StoredPrediction,
    found: Found,
    ensemble: Ensemble,
) -> None:
    """Write all outputs of a map that is predicted; they appear together, once the last one is written."""
    header, table = _provenance(report, image, source, ensemble)
    with outputs.writing() as files:
        with FitsWriter(files[report.output], report.shape, header, report.planes, kinds=report.kinds) as writer:
            subsampled = _write_bands(report, image.name, source, prediction, found.mask, writer)
            if found.filaments is not None:
                write_filaments(found.filaments, found.moc, report, source, further, writer, files)
            writer.append(table)  # behind the catalogue: some programs open the first table alone
        _write_hips(report, source, files)
        title, threshold = image.name, report.threshold
        outlines = found.filaments.outlines() if found.filaments is not None else []
        for path in report.figures:
            save_figure(
                lambda: quicklook_figure(
                    subsampled, source.output_header(), source.unit, title, threshold, outlines=outlines
                ),
                files[path],
                path,
            )
        prediction.remove()  # before the outputs appear: a killed command leaves none of it beside them


def _write_bands(
    report: SegmentReport,
    name: str,
    source: MapSource,
    prediction: StoredPrediction,
    mask: BoolArray | npt.NDArray[np.int32] | None,
    writer: FitsWriter,
) -> SubsampledPlanes:
    """Write the planes of a map by bands of rows, and count in the report.

    Parameters
    ----------
    report
        Names the planes and the threshold.
    name
        The map, for messages.
    source
        The map.
    prediction
        Its probability.
    mask
        Above 0 on the mask. None: the mask is all that reaches the threshold.
    writer
        Of the FITS file.

    Returns
    -------
    SubsampledPlanes
        The map, the probability and MASK for the quicklook.
    """
    subsampled = SubsampledPlanes(report.shape)
    for band in prediction.bands():
        y0, y1, mean = band.y0, band.y1, band.probability.mean(axis=0)
        planes = source.read_rows(y0, y1)
        if mask is None:  # else the numbers were checked when the mask was made
            check_numbers(mean, planes, name, y0, y1)
        raw, reached = planes[0], mean >= report.threshold
        marked = reached if mask is None else mask[y0:y1] > 0
        writer.write("PRIMARY", y0, mean)
        if "std" in report.products:
            writer.write("STD", y0, band.spread())
        if "scale" in report.products:
            writer.write("SCALE", y0, band.scale)
        if "mask" in report.products:
            writer.write("MASK", y0, marked)
        report.valid += int(np.isfinite(mean).sum())
        report.reached += int(reached.sum())
        report.marked += int(marked.sum())
        report.not_positive += int((raw <= 0).sum())
        subsampled.add(y0, image=raw, probability=mean)
        subsampled.add_masks(y0, MASK=marked)
    return subsampled


def _write_hips(report: SegmentReport, source: MapSource, files: Mapping[Path, Path]) -> None:
    """Write the HiPS of the probability, where it is a product, in the place of its temporary file."""
    for folder in output_folders(report.output, report.products):
        files[folder].unlink()
        with FitsImage(files[report.output]) as probability:
            write_hips(files[folder], probability, source.wcs, folder.name)


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
