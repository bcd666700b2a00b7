"""A mask of filaments -> their skeletons, outlines, and a catalogue."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.table import Column, Table
from astropy.wcs import WCS
from scipy.ndimage import find_objects, label
from skimage.measure import approximate_polygon, find_contours

from bigsf.arrays import BoolArray, FloatArray, MaskArray
from bigsf.filaments.cleaning import CONNECTED
from bigsf.filaments.levels import RING_PX, Box, Rows, measure_levels
from bigsf.filaments.sky_geometry import NO_SKY, arcmin_per_pixel, orientations, pixel_areas, second_moments, sky_axes
from bigsf.filaments.spine import Pixels, Points, measure_spine, skeleton_of
from bigsf.maps.tiling import CHUNK_PIXELS
from bigsf.maps.wcs import galactic_lb
from bigsf.version import __version__

COLUMNS = {
    "id": (None, "number of the filament, from 1, in the order of rows of the map"),
    "x": ("pix", "middle of the spine, from 0"),
    "y": ("pix", "middle of the spine, from 0"),
    "l": ("deg", "Galactic longitude of the middle of the spine"),
    "b": ("deg", "Galactic latitude of the middle of the spine"),
    "length_px": ("pix", "length of the longest path along the spine, without the rounded ends of the mask"),
    "length_arcmin": ("arcmin", "the same on the sky"),
    "orientation": ("deg", "of the long axis, from Galactic north towards increasing longitude; no WCS: from +y to -x"),
    "mean": ("map", "mean of the map over the filament"),
    "peak": ("map", "largest value of the map in the filament"),
    "background": ("map", f"median of the valid unmarked pixels {RING_PX[0] + 1} to {RING_PX[1]} pixels away"),
    "contrast": (None, "mean / background - 1"),
    "probability": (None, "mean probability over the filament"),
    "edge": (None, "whether it lies within 2 pixels of the border of the map or of missing data"),
    "area_px": ("pix2", "pixels of the filament"),
    "area_arcmin2": ("arcmin2", "the same on the sky"),
}
"""Unit and meaning of each column of the catalogue. "map" is the unit of the map. NaN is undefined."""

_ROUNDED = {"x", "y", "l", "b", "length_px", "length_arcmin", "orientation", "area_arcmin2"}
"""Columns that are rounded to 1e-6, which is far below a pixel."""


class Filaments:
    """The filaments of a mask: its 8-connected components, however small.

    In memory are the labels of the filaments (4 bytes per pixel) and the skeletons, and no copy of any other plane.

    Parameters
    ----------
    mask
        True or 1 on filaments, `(ny, nx)`, e.g. MASK of a segmented map or of out_of_fold.fits.

    Examples
    --------
    >>> table = Filaments(np.eye(20)).catalog()
    >>> float(table["orientation"][0])
    135.0
    """

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        self._labels, number = label(np.asarray(mask, np.bool_), CONNECTED)
        self._boxes: list[Box] = find_objects(self._labels, number)

    def __len__(self) -> int:
        return len(self._boxes)

    def skeleton(self) -> MaskArray:
        """Return the skeletons `(ny, nx)`: 1 on lines one pixel wide, connected as the mask is."""
        plane = np.zeros(self._labels.shape, np.uint8)
        for pixels in self._skeletons:
            plane[tuple(pixels.T)] = 1
        return plane

    def outlines(self) -> list[Points]:
        """Return the outer border of each filament, precise to half a pixel.

        Each is a list of points (y, x) in pixels, `(n, 2)`, of which the last is the first.
        """
        return [self._outline(number) for number in range(len(self))]

    def catalog(
        self,
        image: FloatArray | Rows | None = None,
        probability: FloatArray | Rows | None = None,
        wcs: WCS | None = None,
        unit: str = "",
        chunk_pixels: int = CHUNK_PIXELS,
    ) -> Table:
        """Return a table with one row per filament and the columns of `COLUMNS`.

        Parameters
        ----------
        image
            The map `(ny, nx)`, or a function that returns rows of it (e.g. `FitsImage.read`), NaN where missing.
        probability
            The probabilities, likewise.
        wcs
            A celestial WCS of the map. Without one the columns on the sky are NaN.
        unit
            BUNIT of the map. Where astropy cannot read it, it is kept in the meta of the table only.
        chunk_pixels
            Bound on the pixels of `image` and `probability` that are held in memory. It does not change the result.

        Returns
        -------
        Table
            Undefined values are NaN: columns on the sky without a WCS, or of a filament off the sky (in a corner of an
            all-sky map); columns of the map without a map; the orientation of a round spot; and the contrast where the
            background has no valid pixel or is not positive.
        """
        spines = [measure_spine(self._pixels(n), skeleton) for n, skeleton in enumerate(self._skeletons)]
        middle = np.array([spine.middle for spine in spines]).reshape(-1, 2)
        area = np.array([len(self._pixels(n)) for n in range(len(self))], np.int64)
        moments = np.array([second_moments(self._pixels(n)) for n in range(len(self))]).reshape(-1, 2, 2)
        length = np.array([spine.length_px for spine in spines])
        values: dict[str, npt.NDArray[Any]] = {
            "id": np.arange(1, len(self) + 1),
            "x": middle[:, 1],
            "y": middle[:, 0],
            "length_px": length,
            "area_px": area,
            **measure_levels(self._labels, self._boxes, image, probability, chunk_pixels),
        }
        axes = NO_SKY
        if wcs is not None:
            axes = sky_axes(wcs, middle)
            values["l"], values["b"] = galactic_lb(wcs, middle).T
            values["length_arcmin"] = length * arcmin_per_pixel(wcs, spines)
            values["area_arcmin2"] = area * pixel_areas(axes)
        values["orientation"] = orientations(moments, axes)
        return _table(values, unit)

    @cached_property
    def _skeletons(self) -> list[Pixels]:
        """The pixels (y, x) of each skeleton, on the map."""
        return [self._on_map(number, skeleton_of(self._alone(number))) for number in range(len(self))]

    def _alone(self, number: int) -> BoolArray:
        """Return the mask of one filament in its box."""
        mask: BoolArray = self._labels[self._boxes[number]] == number + 1
        return mask

    def _pixels(self, number: int) -> Pixels:
        """Return the pixels (y, x) of one filament, on the map."""
        return self._on_map(number, self._alone(number))

    def _on_map(self, number: int, mask: BoolArray) -> Pixels:
        """Return the pixels (y, x) on the map of a mask in the box of a filament."""
        y, x = self._boxes[number]
        pixels: Pixels = np.argwhere(mask) + np.array([y.start, x.start])
        return pixels

    def _outline(self, number: int) -> Points:
        """Return the largest contour, which is the outer one: those of holes lie inside it."""
        y, x = self._boxes[number]
        contours = find_contours(np.pad(self._alone(number), 1).astype(np.uint8), 0.5, fully_connected="high")
        corner = np.array([y.start - 1, x.start - 1])
        outline: Points = corner + approximate_polygon(max(contours, key=_box_area), 0.4)
        return outline


def _box_area(points: Points) -> float:
    return float(np.ptp(points, axis=0).prod())


def _table(values: dict[str, npt.NDArray[Any]], unit: str) -> Table:
    """Return the columns in their order, with units and meanings. Columns without values are NaN."""
    undefined = np.full(len(values["id"]), np.nan)
    try:
        map_unit = units.Unit(unit) if unit else None
    except ValueError:
        map_unit = None
    rounded = {name: np.round(column, 6) if name in _ROUNDED else column for name, column in values.items()}
    columns = [
        Column(
            rounded.get(name, undefined), name, unit=map_unit if unit_name == "map" else unit_name, description=meaning
        )
        for name, (unit_name, meaning) in COLUMNS.items()
    ]
    return Table(columns, meta={"BUNIT": unit, "bigsf": __version__})
