"""Grids of several maps of the sky -> one grid that covers them, and where each of them lies on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, WCSCOMPARE_ANCILLARY, WCSCOMPARE_CRPIX
from astropy.wcs.utils import wcs_to_celestial_frame

from bigsf.arrays import Float64Array
from bigsf.errors import DataError, needing
from bigsf.maps.tiling import Tile, grid_points
from bigsf.maps.wcs import astropy_frame, lies_on_equator, recentred, sky_coordinates, with_matrix

_WHOLE_PX = 0.01  # grids that differ from whole pixels by less are one grid


@dataclass(frozen=True)
class SkyGrid:
    """The pixels of a map of the sky."""

    name: str
    """The map, for messages."""
    wcs: WCS
    """Its celestial WCS."""
    shape: tuple[int, int]
    """(ny, nx) in pixels."""

    @classmethod
    def of(cls, name: str, wcs: WCS, shape: tuple[int, int]) -> Self:
        """Return the grid of a map. A cylindrical projection gets its reference longitude in the middle of the map.

        A frame that astropy does not know, e.g. an ecliptic one, becomes Galactic.
        """
        wcs = astropy_frame(with_matrix(wcs, wcs.pixel_scale_matrix))
        to_middle = ((shape[1] + 1) / 2 - wcs.wcs.crpix[0]) * wcs.pixel_scale_matrix[0, 0]
        return cls(name, recentred(wcs, to_middle) if lies_on_equator(wcs) else wcs, shape)

    @cached_property
    def frame(self) -> Any:
        """The celestial frame, e.g. Galactic or FK4 of 1950."""
        return wcs_to_celestial_frame(self.wcs)

    @property
    def centre(self) -> SkyCoord:
        """Position on the sky of the middle of the map."""
        ny, nx = self.shape
        return sky_coordinates(self.wcs, [[(ny - 1) / 2, (nx - 1) / 2]])[0]

    @property
    def pixel_area_deg2(self) -> float:
        """Area of a pixel at the reference point, in square degrees."""
        return float(abs(np.linalg.det(self.wcs.pixel_scale_matrix)))

    def window(self, y0: int, y1: int, x0: int, x1: int) -> "SkyGrid":
        """Return the grid of rows y0 to y1 and columns x0 to x1 (exclusive), which may lie outside this one."""
        if self.wcs.has_distortion:
            wcs = self.wcs[y0:y1, x0:x1]  # this also moves the reference pixel of the distortion
        else:
            wcs = self.wcs.deepcopy()
            wcs.wcs.crpix = wcs.wcs.crpix - (x0, y0)
        wcs.pixel_shape = (x1 - x0, y1 - y0)
        return SkyGrid(self.name, wcs, (y1 - y0, x1 - x0))

    def shift(self, other: "SkyGrid") -> Float64Array | None:
        """Return the shift (dy, dx) in pixels of another grid on this one, None if they differ by more than a shift."""
        theirs, along = other.wcs.deepcopy(), 0.0
        if lies_on_equator(self.wcs) and lies_on_equator(theirs):  # the references may lie at any longitude
            along = _wrapped(theirs.wcs.crval[0] - self.wcs.wcs.crval[0]) / self.wcs.pixel_scale_matrix[0, 0]
            theirs.wcs.crval = self.wcs.wcs.crval
        theirs.wcs.set()
        self.wcs.wcs.set()
        same = self.wcs.wcs.compare(theirs.wcs, WCSCOMPARE_ANCILLARY | WCSCOMPARE_CRPIX, 1e-10)
        distorted = self.wcs.has_distortion or other.wcs.has_distortion
        if not same or distorted or not self.frame.is_equivalent_frame(other.frame):
            return None
        x, y = self.wcs.wcs.crpix - theirs.wcs.crpix
        shift: Float64Array = np.array([y, x + along])
        return np.where(abs(shift - np.round(shift)) < _WHOLE_PX, np.round(shift), shift)

    def box(self, other: "SkyGrid") -> Tile:
        """Return the pixels of this grid whose centres another grid covers.

        They may lie outside the shape of this grid.

        Raises
        ------
        DataError
            Where the other grid shows sky that the projection of this one cannot show.
        """
        shift = self.shift(other)
        if shift is not None:
            low, high = shift - 0.5, shift + other.shape - 0.5
        else:
            here = self.pixels_of(other)
            unseen = np.isnan(here).sum() - np.isnan(other.pixels_of(other)).sum()
            if unseen > 0 or np.isnan(here).all():
                raise DataError(
                    f"{other.name} lies too far from {self.name} for one {self.wcs.wcs.ctype[0][-3:]} projection."
                )
            low, high = np.nanmin(here, axis=1), np.nanmax(here, axis=1)
        (y0, x0), (y1, x1) = np.ceil(low).astype(int).tolist(), np.floor(high).astype(int).tolist()
        return Tile(y0, y1 + 1, x0, x1 + 1)

    def pixels_of(self, other: "SkyGrid") -> Float64Array:
        """Return the pixels (y, x) of this grid at 33 x 33 points of another one, its edges included, `(2, 1089)`.

        NaN where the other grid shows no sky, or sky that the projection of this one cannot show.
        """
        y, x = (np.linspace(-0.5, length - 0.5, 33) for length in other.shape)
        sky = sky_coordinates(other.wcs, grid_points(y, x))
        return np.stack(self.wcs.world_to_pixel(sky)[::-1])


def common_grid(name: str, grids: Sequence[SkyGrid]) -> SkyGrid:
    """Return a grid that covers several maps, in the frame of the first.

    - Where all grids differ by shifts only, or the first projection is cylindrical about the equator of its frame,
      unrotated, and so fit for the whole sky: the grid of the first map, extended. A cylindrical mosaic begins and ends
      at the widest gap between the maps, wherever longitude 0 lies.
    - Otherwise: the tangent plane of `reproject.mosaicking`, with the finest pixels of all maps.

    Parameters
    ----------
    name
        The mosaic, for messages.
    grids
        The grids of the maps.

    Raises
    ------
    ConfigError
        Where `reproject` is needed and absent.
    DataError
        Where the maps do not fit into one projection.
    """
    first = grids[0]
    base = SkyGrid(first.name, first.wcs, first.shape)
    if lies_on_equator(first.wcs):
        to_middle = _wrapped(_middle_longitude(grids) - first.wcs.wcs.crval[0])
        base = SkyGrid(first.name, recentred(first.wcs, to_middle), first.shape)
    elif any(first.shift(other) is None for other in grids):
        base = SkyGrid(first.name, _tangent_plane(grids), first.shape)
    boxes = np.array([base.box(grid) for grid in grids])
    y0, x0 = boxes[:, ::2].min(axis=0).tolist()
    y1, x1 = boxes[:, 1::2].max(axis=0).tolist()
    covering = base.window(y0, y1, x0, x1)
    return SkyGrid(name, covering.wcs, covering.shape)


def import_reproject() -> Any:
    """Return the package `reproject`.

    Raises
    ------
    ConfigError
        Where it is absent.
    """
    with needing("To co-add tiles that lie on different grids", "mosaic"):
        import reproject
        import reproject.mosaicking
    return reproject


def _tangent_plane(grids: Sequence[SkyGrid]) -> WCS:
    """Return a tangent plane at the middle of the maps, in the frame of the first, with the finest pixels of all."""
    find = import_reproject().mosaicking.find_optimal_celestial_wcs
    frame = grids[0].frame
    middle = SkyCoord(SkyCoord([grid.centre.transform_to(frame).frame for grid in grids]).data.mean(), frame=frame)
    try:
        return find([(grid.shape, grid.wcs) for grid in grids], frame=frame, reference=middle)[0]
    except ValueError:  # a corner of a map shows no sky, or sky that the tangent plane cannot show
        raise DataError(
            f"{', '.join(grid.name for grid in grids)} do not fit onto one tangent plane: they reach more than 90 "
            "degrees from their middle. Put a map in a cylindrical projection (e.g. Galactic CAR) first, and the "
            "mosaic takes that."
        ) from None


def _wrapped(longitude_deg: Any) -> Any:
    """Return angles between -180 and 180 degrees."""
    return (longitude_deg + 180) % 360 - 180


def _middle_longitude(grids: Sequence[SkyGrid]) -> float:
    """Return the longitude opposite to the gap between the centres of the maps where a cylindrical mosaic is cut.

    This is the widest gap. Where 360 degrees are not a whole number of pixels, however, maps of one grid on the two
    sides of a cut do not fall on the same pixels; then it is the gap that leaves most maps on the pixels of the first.
    """
    first, step_deg = grids[0], grids[0].wcs.pixel_scale_matrix[0, 0]
    longitudes = np.sort([grid.centre.transform_to(first.frame).spherical.lon.deg % 360 for grid in grids])
    gaps = np.diff(longitudes, append=longitudes[0] + 360)
    middles = (longitudes + gaps / 2 + 180) % 360
    shifts = {number: first.shift(grid) for number, grid in enumerate(grids)}
    on_grid = {number: shift[1] for number, shift in shifts.items() if shift is not None}
    theirs = np.array([grids[number].wcs.wcs.crval[0] for number in on_grid])
    own, cut = first.wcs.wcs.crval[0], middles[:, None]
    turns_deg = _wrapped(theirs - cut) - _wrapped(own - cut) - _wrapped(theirs - own)
    x = np.array(list(on_grid.values())) + turns_deg / step_deg
    off_grid = (abs(x - np.round(x)) > _WHOLE_PX).sum(axis=1)
    return float(middles[np.lexsort((-gaps, off_grid))[0]])
