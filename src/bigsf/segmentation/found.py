"""A predicted map -> its mask and filaments, which the processes of the run measure together."""

from functools import partial
from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, FloatArray
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.lines import Arrays
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.segmentation.products import SegmentReport, measure_share
from bigsf.training.distributed import World
from bigsf.training.shared_filaments import shared_filaments


class Found(NamedTuple):
    """What is found in a map, besides the probability."""

    mask: BoolArray | None = None
    """The mask `(ny, nx)`; None: all that reaches the threshold, of which no product needs the whole."""
    filaments: Filaments | None = None
    """Its filaments, where a product is made of them."""
    measured: Arrays = {}
    """What all processes have measured of them."""


def find_filaments(world: World, report: SegmentReport, prediction: StoredPrediction, wcs: WCS | None) -> Found:
    """Return what the products of a map need; all processes call it, and the first gets the result.

    Parameters
    ----------
    world
        The processes.
    report
        Names the threshold, the cleaning and the products.
    prediction
        The probability; all its parts are there.
    wcs
        That of the map.

    Raises
    ------
    BigsfError
        Where a process has failed, in all processes.
    """
    if not report.config.mask_planes:
        return Found()
    mask = world.first(lambda: _cleaned(report, prediction))
    if not report.has_filaments:
        return Found(mask)
    shared = shared_filaments(world, prediction.folder, report.shape, mask, partial(measure_share, report, wcs))
    return Found(mask, *shared) if shared else Found()


def _cleaned(report: SegmentReport, prediction: StoredPrediction) -> BoolArray:
    """Return the mask of a map without the components that its cleaning leaves out."""
    whole = _WholeMask(report)
    for band in prediction.bands():
        whole.add(band.y0, band.y1, band.probability.mean(axis=0))
    return whole.cleaned()


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
