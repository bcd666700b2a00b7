"""Bands of a prediction -> the planes of the output, and their counts."""

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.planes import MapSource
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.segmentation.products import SegmentReport
from bigsf.segmentation.result_checks import check_numbers


def write_bands(
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
        subsampled.add(y0, image=raw, probability=mean, MASK=marked)
    return subsampled
