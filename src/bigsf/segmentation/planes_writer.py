"""Bands of a prediction -> the planes of the output, their counts, and the mask of the whole map."""

import numpy as np

from bigsf.arrays import BoolArray, FloatArray
from bigsf.maps.fits_writer import FitsWriter
from bigsf.maps.planes import MapSource
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.segmentation.products import SegmentReport, write_plane
from bigsf.segmentation.result_checks import check_numbers


def write_bands(
    report: SegmentReport, name: str, source: MapSource, prediction: StoredPrediction, writer: FitsWriter
) -> tuple[BoolArray | None, SubsampledPlanes]:
    """Write the planes of a map by bands of rows, and count in the report.

    Returns
    -------
    mask : ndarray or None
        The mask `(ny, nx)`, where its products or its cleaning need it as a whole.
    subsampled : SubsampledPlanes
        The map, the probability and MASK for the quicklook.
    """
    whole_mask = _WholeMask(report) if report.config.mask_planes else None
    subsampled = SubsampledPlanes(report.shape)
    for band in prediction.bands():
        y0, y1, mean = band.y0, band.y1, band.probability.mean(axis=0)
        planes = source.read_rows(y0, y1)
        check_numbers(mean, planes, name, y0, y1)
        raw, marked = planes[0], mean >= report.threshold
        writer.write("PRIMARY", y0, mean)
        if "std" in report.products:
            writer.write("STD", y0, band.spread())
        if "scale" in report.products:
            writer.write("SCALE", y0, band.scale)
        if whole_mask:
            whole_mask.add(y0, y1, mean)
        elif "mask" in report.products:
            writer.write("MASK", y0, marked)
        report.valid += int(np.isfinite(mean).sum())
        report.reached += int(marked.sum())
        report.not_positive += int((raw <= 0).sum())
        subsampled.add(y0, image=raw, probability=mean)
        if whole_mask is None:
            subsampled.add(y0, MASK=marked)
    report.marked = report.reached
    if whole_mask is None:
        return None, subsampled
    mask = whole_mask.cleaned()
    report.marked = int(mask.sum())
    subsampled.add(0, MASK=mask)
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
