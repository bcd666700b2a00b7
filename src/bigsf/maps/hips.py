"""A plane of a FITS file -> its HiPS, a folder of tiles of the sky that Aladin shows."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from bigsf import console
from bigsf.arrays import BoolArray, Float64Array, FloatArray
from bigsf.errors import ConfigError, needing
from bigsf.maps.fits_guard import quiet_astropy
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.wcs import astropy_frame, healpix_order, pixel_scale_deg, sky_coordinates, sky_period_px

PROPERTIES = "properties"
"""The file that each HiPS holds."""

_TILE_PX = 512
_LEAST_LEVEL = 3
"""Aladin begins with the tiles of this order."""

_SAMPLES = 33
"""Pixels along each side of a map, or of a tile, by which its place is found."""

_WIDEST_DEG = 179.0


def check_hips(name: str, wcs: WCS | None) -> None:
    """Check that a HiPS of a map can be made.

    Parameters
    ----------
    name
        The map, for messages.
    wcs
        Its celestial WCS, if it has one.

    Raises
    ------
    ConfigError
        Where there is no WCS, or the package `reproject` is missing.
    """
    if wcs is None:
        raise ConfigError(
            f"A HiPS is made of tiles of the sky, and {name} has no celestial WCS. Leave hips out of the products."
        )
    with needing("To write a HiPS", "mosaic"):  # of reproject 0.15 or newer
        import reproject.hips  # noqa: F401


def write_hips(folder: Path, plane: FitsImage, wcs: WCS, title: str) -> None:
    """Write the HiPS of a plane of values from 0 to 1: tiles in Galactic coordinates, and a page for Aladin Lite.

    A pixel of the tiles has the value of the pixel of the plane in which its centre lies; NaN stays NaN. The tiles of
    the highest order have pixels that are no larger than those of the plane. One tile is in memory at a time.

    Parameters
    ----------
    folder
        The folder, which does not exist.
    plane
        The plane.
    wcs
        Its celestial WCS.
    title
        Name of the HiPS.
    """
    from reproject.hips import reproject_to_hips

    tile = _Tiles(plane, wcs)
    with quiet_astropy():
        warnings.filterwarnings("ignore", "No tiles were generated", UserWarning)  # of a map without a valid pixel
        reproject_to_hips(
            _surroundings(wcs, plane.shape),
            coord_system_out="galactic",
            reproject_function=lambda _, header: tile(header),
            output_directory=str(folder),
            level=max(_LEAST_LEVEL, healpix_order(wcs) - int(np.log2(_TILE_PX))),
            tile_size=_TILE_PX,
            progress_bar=_with_progress,
            properties={"obs_title": title, "hips_pixel_cut": "0 1", "hips_status": "private master unclonable"},
        )


def _with_progress(tiles: Sequence[int]) -> Iterator[int]:
    with console.progress("hips", len(tiles), "tiles") as advance:
        for tile in tiles:
            yield tile
            advance(1)


def _surroundings(wcs: WCS, shape: tuple[int, int]) -> tuple[Any, WCS]:
    """Return an empty square of the sky around a map, of which reproject makes the tiles.

    The map itself may have corners or even a middle that show no sky, or columns beyond half a turn. The projection of
    the square (ARC) holds the whole sky.
    """
    samples = np.stack(np.meshgrid(*(np.linspace(-0.5, n - 0.5, _SAMPLES) for n in shape), indexing="ij"), axis=-1)
    samples = samples.reshape(-1, 2)
    sky = sky_coordinates(wcs, samples).galactic
    on_sky = np.isfinite(sky.l.deg)
    from_middle = np.linalg.norm(samples - (np.array(shape) - 1) / 2, axis=1)
    centre = sky[int(np.argmin(np.where(on_sky, from_middle, np.inf)))]
    radius_deg = min(float(sky[on_sky].separation(centre).deg.max()), _WIDEST_DEG)
    square = WCS(naxis=2)
    square.wcs.ctype, square.wcs.crval = ("GLON-ARC", "GLAT-ARC"), (centre.l.deg, centre.b.deg)
    side = max(2, int(np.ceil(np.sqrt(2) * radius_deg / pixel_scale_deg(wcs))))
    square.wcs.crpix, square.wcs.cdelt = [(side + 1) / 2] * 2, np.array([-1, 1]) * np.sqrt(2) * radius_deg / side
    return np.broadcast_to(np.float32(0), (side, side)), square


class _Tiles:
    """Makes the tiles of a plane."""

    def __init__(self, plane: FitsImage, wcs: WCS) -> None:
        self._plane, self._wcs = plane, astropy_frame(wcs)
        period = sky_period_px(wcs, plane.shape)
        self._turns_px = [turn * period for turn in range(-2, 3)] if np.isfinite(period) else [0.0]

    def __call__(self, header: fits.Header) -> tuple[FloatArray, FloatArray]:
        """Return the tile of a header, float32 `(512, 512)`, and 1 where it has a value."""
        tile = np.full((header["NAXIS2"], header["NAXIS1"]), np.nan, np.float32)
        wcs = WCS(header)
        if self._may_hold(wcs, tile.shape):
            y, x = self._on_plane(wcs, np.indices(tile.shape).reshape(2, -1))
            for turn_px in self._turns_px:
                self._fill(tile.reshape(-1), np.round(y), np.round(x + turn_px))
        return tile, np.isfinite(tile).astype(np.float32)

    def _may_hold(self, wcs: WCS, shape: tuple[int, ...]) -> bool:
        """Tell whether a tile may hold a pixel of the plane, by a few of its positions; most tiles lie far off."""
        samples = np.meshgrid(*(np.linspace(-0.5, n - 0.5, _SAMPLES) for n in shape), indexing="ij")
        y, x = self._on_plane(wcs, np.reshape(samples, (2, -1)))
        if not np.isfinite(x).any():
            return False
        (y0, y1), (x0, x1) = ((np.nanmin(each), np.nanmax(each)) for each in (y, x))
        margin_y, margin_x = (1 + (last - first) / 8 for first, last in ((y0, y1), (x0, x1)))
        ny, nx = self._plane.shape
        if y1 + margin_y < -0.5 or y0 - margin_y > ny - 0.5:
            return False
        return any(x1 + turn + margin_x >= -0.5 and x0 + turn - margin_x <= nx - 0.5 for turn in self._turns_px)

    def _on_plane(self, wcs: WCS, pixels: Any) -> tuple[Float64Array, Float64Array]:
        """Return the pixels y and x of the plane at pixels (y, x) `(2, n)` of a tile; NaN where there are none."""
        y, x = pixels
        x, y = self._wcs.world_to_pixel(wcs.pixel_to_world(x, y))
        return y, x

    def _fill(self, tile: FloatArray, y: Float64Array, x: Float64Array) -> None:
        """Give the pixels of a tile `(n,)` that have no value those of the plane in row y and column x."""
        ny, nx = self._plane.shape
        on_plane: BoolArray = np.isnan(tile) & (y >= 0) & (y < ny) & (x >= 0) & (x < nx)  # NaN is not
        if on_plane.any():
            row, column = y[on_plane].astype(np.intp), x[on_plane].astype(np.intp)
            rows = self._plane.read(row.min(), row.max() + 1, slice(column.min(), column.max() + 1))
            tile[on_plane] = rows[row - row.min(), column - column.min()]
