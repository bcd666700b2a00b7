"""Shapes in pixels or on the sky -> the pixels of a map that they cover."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, Float64Array
from bigsf.errors import DataError
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import astropy_frame, is_cylindrical, pixel_scale_deg, sky_period_px, sky_to_pixels

_PARTED = 10
"""The map parts two points that lie so many times farther apart on it than on the sky, in pixels."""


class Canvas:
    """A mask of a map, on which shapes are drawn.

    Parameters
    ----------
    shape
        (ny, nx) of the map in pixels.
    wcs
        Its celestial WCS, if it has one. On a map that shows a part of the sky twice, a shape is drawn twice.
    name
        The map, for messages.
    origin
        Pixel (y, x) of a larger map at which this one begins: from its first pixel count the pixels of files.

    Attributes
    ----------
    mask
        True on the shapes drawn so far, `(ny, nx)`.
    period
        Columns after which the map shows the same sky again, or infinity.
    """

    def __init__(self, shape: tuple[int, int], wcs: WCS | None, name: str, origin: tuple[int, int] = (0, 0)) -> None:
        self.mask = np.zeros(shape, np.bool_)
        self.name, self.origin = name, origin
        self._wcs = None if wcs is None else astropy_frame(wcs)
        self.period = sky_period_px(wcs, shape)

    @property
    def wcs(self) -> WCS:
        """The WCS of the map.

        Raises
        ------
        DataError
            Where it has none.
        """
        if self._wcs is None:
            raise DataError(
                f"{self.name} has no celestial WCS, so that positions on the sky cannot be drawn on it. Give them in "
                "pixels, or a map with a WCS."
            )
        return self._wcs

    def to_pixels(self, sky: SkyCoord) -> Float64Array:
        """Return the pixels (y, x) `(n, 2)` of the points of one shape; NaN where a point is not on the map's plane.

        The points stay together where the columns of a map begin anew.
        """
        x, y = (np.atleast_1d(axis) for axis in sky_to_pixels(self.wcs, sky))
        if np.isfinite(self.period):
            x = np.unwrap(x, period=self.period)
        return np.stack([y, x], axis=1).astype(np.float64)

    def path_to_pixels(self, sky: SkyCoord) -> Float64Array:
        """Return the pixels (y, x) `(n, 2)` of a chain of points, with NaN between two that the map does not connect.

        The edge of a map of the whole sky, e.g. in the projection of Aitoff, parts points that are neighbours on the
        sky.
        """
        points = self.to_pixels(sky)
        if len(points) < 2 or (np.isfinite(self.period) and is_cylindrical(self.wcs)):
            return points  # of a cylindrical map, `to_pixels` has joined the two edges
        on_map = np.linalg.norm(np.diff(points, axis=0), axis=1)
        on_sky = sky[:-1].separation(sky[1:]).deg / pixel_scale_deg(self.wcs)
        parted = np.flatnonzero(on_map > _PARTED * (1 + on_sky))
        return np.insert(points, parted + 1, np.nan, axis=0)

    def clipped(self, y0: int, x0: int, ny: int, nx: int) -> Tile:
        """Return the part of a rectangle with the first pixel (y0, x0) that the map can show.

        Where the map goes round the sky, it keeps all its columns.
        """
        height, width = self.mask.shape
        left, right = (x0, x0 + nx) if np.isfinite(self.period) else (max(x0, 0), min(x0 + nx, width))
        return Tile(max(y0, 0), min(y0 + ny, height), left, right)

    def columns_of(self, x0: float, x1: float) -> tuple[float, float]:
        """Return the columns in which the map shows a part of the sky that reaches from column x0 to x1.

        On a map that goes round the sky, they are those of the place that shows all of the part, or else of all places
        that show some of it.
        """
        if not np.isfinite(self.period):
            return x0, x1
        last = self.mask.shape[1] - 0.5
        places = [(x0 + turn * self.period, x1 + turn * self.period) for turn in range(-2, 3)]
        shown = [place for place in places if place[1] >= -0.5 and place[0] <= last]
        whole = [place for place in shown if place[0] >= -0.5 and place[1] <= last]
        return (whole or [(min(shown)[0], max(shown)[1])])[0] if shown else (x0, x1)

    def draw(self, shape: BoolArray, y0: int, x0: int, erase: bool = False) -> bool:
        """Mark the pixels of a shape whose first pixel is (y0, x0), or erase them; return whether any is on the map."""
        ny, nx = self.mask.shape
        touched = False
        for left in self._places(x0, shape.shape[1]):
            place = Tile(y0, y0 + shape.shape[0], left, left + shape.shape[1])
            seen = place.overlap(Tile.whole((ny, nx)))
            if min(seen.shape) > 0 and (part := shape[seen.within(place)]).any():
                self.mask[seen.rows, seen.columns][part] = not erase
                touched = True
        return touched

    def reaches(self, y0: int, x0: int, ny: int, nx: int) -> bool:
        """Return whether a rectangle whose first pixel is (y0, x0) has a pixel on the map; a far one is not drawn."""
        whole = Tile.whole((self.mask.shape[0], self.mask.shape[1]))
        return any(Tile(y0, y0 + ny, left, left + nx).overlaps(whole) for left in self._places(x0, nx))

    def draw_line(self, points: Float64Array, width_px: float, erase: bool = False) -> bool:
        """Mark the pixels whose centre lies within half a width of a chain of segments; return whether any is marked.

        Parameters
        ----------
        points
            The corners (y, x) of the chain in pixels, `(n, 2)`; one point makes a spot.
        width_px
            Width of the line in pixels.
        erase
            Erase the pixels.
        """
        touched = False
        for start, end in zip(points[: max(1, len(points) - 1)], points[min(1, len(points) - 1) :], strict=True):
            if not np.isfinite([start, end]).all():
                continue
            corner = np.ceil(np.minimum(start, end) - width_px / 2).astype(int)
            size = np.floor(np.maximum(start, end) + width_px / 2).astype(int) - corner + 1
            if not self.reaches(*corner.tolist(), *size.tolist()):
                continue
            tile = self.clipped(*corner.tolist(), *size.tolist())
            pixels = np.array([tile.y0, tile.x0]) + np.indices(tile.shape).transpose(1, 2, 0)
            touched |= self.draw(_distance_from_segment(pixels, start, end) <= width_px / 2, tile.y0, tile.x0, erase)
        return touched

    def _places(self, x0: int, width: int) -> Iterator[int]:
        """Yield all columns at which a shape that begins in column x0 begins on the map."""
        nx = self.mask.shape[1]
        if not np.isfinite(self.period):
            yield x0
            return
        period = self.period
        first, last = -(x0 + width - 1) // period, (nx - 1 - x0) // period
        yield from (round(x0 + turn * period) for turn in range(int(first), int(last) + 1))


def _distance_from_segment(pixels: npt.NDArray[np.int_], start: Float64Array, end: Float64Array) -> Float64Array:
    """Return the distance of pixels (y, x) `(..., 2)` from a segment, in pixels."""
    along = end - start
    squared = max(float(along @ along), 1e-12)
    nearest = np.clip((pixels - start) @ along / squared, 0, 1)
    return np.asarray(np.linalg.norm(pixels - start - nearest[..., None] * along, axis=-1))
