"""A predicted map -> its mask and filaments, which the processes of the run measure together."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, FloatArray
from bigsf.filaments.catalogue import Filaments
from bigsf.maps.planes import MapSource
from bigsf.maps.shapes.moc_file import moc_ranges
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.segmentation.config import OF_BRANCHES
from bigsf.segmentation.products import SegmentReport
from bigsf.segmentation.result_checks import check_numbers
from bigsf.training.distributed import World
from bigsf.training.shared_filaments import shared_filaments

_MOC = "moc_"  # at the start of the names of arrays of `moc_ranges`


class Found(NamedTuple):
    """The mask of a map and what is found in it, in the first process; the others have nothing."""

    mask: BoolArray | npt.NDArray[np.int32] | None = None
    """Above 0 on MASK, `(ny, nx)`. None where neither its cleaning nor a product needs the whole of it: then MASK is
    all that reaches the threshold."""
    filaments: Filaments | None = None
    """Its filaments, where a product is made of them."""
    moc: Sequence[npt.NDArray[np.uint64]] = ()
    """The share of each process in the MOC of the mask, where it is a product, see `moc_ranges`."""


def find_filaments(
    world: World, report: SegmentReport, name: str, source: MapSource, prediction: StoredPrediction
) -> Found:
    """Return what the products of a map need; all processes call it, and share what takes long.

    Parameters
    ----------
    world
        The processes.
    report
        Names the threshold, the cleaning and the products.
    name
        The map, for messages.
    source
        The map.
    prediction
        Its probability; all parts of it are there.

    Raises
    ------
    BigsfError
        Where a process has failed, in all processes.
    """
    if not report.config.needs_whole_mask:
        return Found()

    def mask() -> BoolArray:
        return _cleaned(report, name, source, prediction)

    if not report.has_filaments:
        return Found(world.first(mask))
    measure = partial(_measure_share, report, source.wcs)
    shared = shared_filaments(world, prediction.folder, report.shape, mask, measure)
    if shared is None:
        return Found()
    filaments, arrays = shared
    ranges = [each for key, each in arrays.items() if key.startswith(_MOC)]
    return Found(filaments.labels, filaments, ranges)


def _measure_share(
    report: SegmentReport, wcs: WCS | None, filaments: Filaments, rank: int, size: int
) -> dict[str, npt.NDArray[Any]]:
    """Return what one of several processes measures for the products, as arrays of numbers."""
    arrays = filaments.measure_lines(rank, size, skeletons=not OF_BRANCHES.isdisjoint(report.products))
    if "moc" in report.products and wcs is not None:
        arrays[f"{_MOC}{rank}"] = moc_ranges(filaments.labels, wcs, rank, size)
    return arrays


def _cleaned(report: SegmentReport, name: str, source: MapSource, prediction: StoredPrediction) -> BoolArray:
    """Return the mask of a map without the components that its cleaning leaves out."""
    whole = _WholeMask(report)
    for band in prediction.bands():
        mean = band.probability.mean(axis=0)
        check_numbers(mean, source.read_rows(band.y0, band.y1), name, band.y0, band.y1)
        whole.add(band.y0, band.y1, mean)
    return whole.cleaned()


class _WholeMask:
    """The mask of the whole map in memory, for its cleaning and for products that are made of filaments."""

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
