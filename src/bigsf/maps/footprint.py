"""A map -> its footprint on the sky: which part of the sky of one map another one shows."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.errors import BigsfWarning, out_of_memory
from bigsf.maps.fits_guard import quiet_astropy, sound_cards
from bigsf.maps.planes import MapSource
from bigsf.maps.wcs import astropy_frame, celestial_wcs, sky_coordinates, sky_period_px, sky_to_pixels

SIMULATED_OBJECT = "synthetic Galactic plane"
"""OBJECT of simulated maps: they all lie at the same coordinates and show no sky."""

_BLOCKS = 64
"""Blocks of pixels along an axis, at most: the resolution of a footprint."""


@dataclass(frozen=True)
class Footprint:
    """The sky that a map shows, as blocks of its pixels."""

    cards: str
    """The celestial WCS as FITS cards.

    Empty where there is none or its frame moves among the stars, and for a simulated map.
    """
    shape: tuple[int, int]
    """(ny, nx) of the map in pixels."""
    covered: BoolArray
    """Blocks `(by, bx)` of equal size whose middle pixel holds data."""

    @classmethod
    def of(cls, source: MapSource) -> Self:
        """Return the footprint of a map."""
        shape = source.shape
        y, x = (_middles(length, min(length, _BLOCKS)) for length in shape)
        rows = [np.isfinite(source.read_rows(row, row + 1)[0, 0, x]) for row in y.tolist()]
        return cls("" if _is_simulated(source) else _cards(source.wcs), shape, np.stack(rows))

    def overlap(self, other: "Footprint") -> float:
        """Return about which part of the sky of the smaller of two maps the other shows too, from 0 to 1."""
        return max(self._part_within(other), other._part_within(self))

    def _part_within(self, other: "Footprint") -> float:
        here, there = self._wcs, other._wcs
        if here is None or there is None or not self.covered.any():
            return 0.0
        with quiet_astropy():
            y, x = (_middles(length, blocks) for length, blocks in zip(self.shape, self.covered.shape, strict=True))
            by, bx = np.nonzero(self.covered)
            sky = sky_coordinates(here, np.stack([y[by], x[bx]], axis=1))
            return float(other._shows(there, sky.icrs).mean())

    @cached_property
    def _wcs(self) -> WCS | None:
        return _sky_wcs(self.cards) if self.cards else None

    def _shows(self, wcs: WCS, sky: SkyCoord) -> BoolArray:
        """Tell of each position whether a covered block shows it."""
        x, y = sky_to_pixels(astropy_frame(wcs), sky)
        period = sky_period_px(wcs, self.shape)
        if np.isfinite(period):  # wcslib may return the pixel a turn away, which the map does not have
            x = (x + 0.5) % period - 0.5
        place = np.stack([y, x])
        size = np.array(self.shape)[:, None]
        inside = np.asarray(((place > -0.5) & (place < size - 0.5)).all(axis=0))
        blocks = np.array(self.covered.shape)[:, None]
        by, bx = ((place[:, inside] + 0.5) * blocks / size).astype(np.int64)
        shown = np.zeros(len(inside), np.bool_)
        shown[inside] = self.covered[by, bx]
        return shown


def _middles(length: int, blocks: int) -> IntArray:
    """Return the middle pixel of each of some blocks of equal size along an axis."""
    middles: Float64Array = (np.arange(blocks) + 0.5) * length / blocks
    return middles.astype(np.int64)


def _is_simulated(source: MapSource) -> bool:
    with warnings.catch_warnings():  # cards that cannot be read are reported when an output is written
        warnings.simplefilter("ignore", BigsfWarning)
        return bool(source.output_header().get("OBJECT") == SIMULATED_OBJECT)


def _cards(wcs: WCS | None) -> str:
    """Return a WCS as FITS cards, or nothing where it gives no positions among the stars."""
    if wcs is None:
        return ""
    with quiet_astropy():
        cards = wcs.to_header(relax=True).tostring(sep="\n", endcard=False, padding=False)  # SIP distortion included
    return cards if _sky_wcs(cards) else ""


def _sky_wcs(cards: str) -> WCS | None:
    """Return the WCS of FITS cards, or None where they cannot be read, or its frame moves among the stars."""
    try:
        return celestial_wcs(sound_cards(fits.Header.fromstring(cards, sep="\n")))
    except Exception as error:  # astropy raises many kinds of errors
        if out_of_memory(error):
            raise
        return None
