"""A multi-order coverage map (MOC) -> the pixels whose centre it covers; a mask -> its MOC."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bigsf.arrays import BoolArray
from bigsf.errors import ConfigError, DataError, needing
from bigsf.maps.fits_guard import quiet_astropy
from bigsf.maps.shapes.canvas import Canvas
from bigsf.maps.tiling import READ_PIXELS, row_chunks
from bigsf.maps.wcs import astropy_frame, healpix_order, sky_coordinates, sky_period_px

SUFFIXES = (".moc", ".json")
"""Endings of a MOC that is no FITS file."""

_COARSER = 3
"""Orders between a cell of a MOC and the larger cells in which it is looked for: 64 cells in each of those."""

_Cells = npt.NDArray[np.uint64]


def draw_moc(path: Path, canvas: Canvas) -> str:
    """Mark the pixels whose centre a MOC covers, and return what was drawn.

    Parameters
    ----------
    path
        A MOC of the sky (IVOA), as FITS or JSON.
    canvas
        Where it is drawn.

    Raises
    ------
    DataError
        Where the file cannot be read, or covers no pixel.
    ConfigError
        Where the package `mocpy` is missing.
    """
    moc = _read(path)
    for y0, y1 in row_chunks(canvas.mask.shape):
        rows = canvas.mask[y0:y1]
        sky = sky_coordinates(canvas.wcs, np.argwhere(np.ones_like(rows)) + np.array([y0, 0])).icrs
        on_sky = np.isfinite(sky.ra.deg)
        covered = np.zeros(rows.size, np.bool_)
        covered[on_sky] = moc.contains_lonlat(sky.ra[on_sky], sky.dec[on_sky])
        rows |= covered.reshape(rows.shape)
    if not canvas.mask.any():
        raise DataError(f"The MOC {path} covers no pixel of {canvas.name}.")
    return f"a MOC of order {moc.max_order}"


def _read(path: Path) -> Any:
    with needing(f"To read {path.name}, a MOC,", "shapes"):
        from mocpy import MOC
    try:
        return MOC.load(path, format="json" if path.suffix.lower() in SUFFIXES else "fits")
    except Exception as error:  # the errors of mocpy have no common type
        raise DataError(f"{path} cannot be read as a MOC: {error}.") from None


def check_moc(name: str, wcs: WCS | None) -> None:
    """Refuse a MOC that cannot be made.

    Parameters
    ----------
    name
        The map, for messages.
    wcs
        Its celestial WCS, if it has one.

    Raises
    ------
    ConfigError
        Where there is no WCS, or a package is missing.
    """
    if wcs is None:
        raise ConfigError(
            f"A MOC is made of positions on the sky, and {name} has no celestial WCS. Leave moc out of the products."
        )
    with needing("To write a MOC", "shapes"):
        import astropy_healpix  # noqa: F401
        import mocpy  # noqa: F401


def moc_ranges(mask: npt.NDArray[Any], wcs: WCS, rank: int = 0, size: int = 1) -> npt.NDArray[np.uint64]:
    """Return the share of one of several processes in the MOC of a mask.

    A cell belongs to the MOC where its centre lies in a pixel of the mask, so that the MOC is as large as the mask.
    The cells have the largest area that is at most that of a pixel at the reference of the WCS.

    Parameters
    ----------
    mask
        Above 0 on what is covered, `(ny, nx)`. No more than a chunk of its pixels is held on the sky at a time.
    wcs
        Its celestial WCS.
    rank, size
        Number of this process, and of all. Each looks for the large cells of the whole mask, and goes through the small
        ones in its share of them.

    Returns
    -------
    ndarray
        Ranges of cells of order 29, from the first to before the last, `(n, 2)`.
    """
    from mocpy import MOC

    order = _order(wcs)
    moc = MOC.new_empty(order)
    for cells in _covered_cells(mask, wcs, order, rank, size):
        moc = moc.union(MOC.from_healpix_cells(cells, np.full(len(cells), order, np.uint8), order))
    return np.asarray(moc.to_depth29_ranges, np.uint64)


def write_moc(path: Path, ranges: Sequence[npt.NDArray[np.uint64]], wcs: WCS) -> None:
    """Write a MOC as a FITS file.

    Parameters
    ----------
    path
        The file, which is replaced.
    ranges
        What `moc_ranges` returns for each process.
    wcs
        The celestial WCS of the mask.
    """
    from mocpy import MOC

    content = io.BytesIO()  # the errors of mocpy where a disk is full have no number
    MOC.from_depth29_ranges(_order(wcs), np.concatenate(ranges)).serialize("fits").writeto(content)
    path.write_bytes(content.getvalue())


def _order(wcs: WCS) -> int:
    """Return the order of the cells of a MOC."""
    return int(np.clip(healpix_order(wcs), _COARSER, 29))


def _covered_cells(mask: npt.NDArray[Any], wcs: WCS, order: int, rank: int, size: int) -> Iterator[_Cells]:
    """Yield the cells of an order whose centres lie in the mask, in chunks, of which each process has its share.

    They are looked for in the larger cells that hold the centre of a marked pixel, and in the neighbours of those: no
    cell is left out, whatever the projection does to the pixels.
    """
    from astropy_healpix import healpix_to_lonlat

    coarse = _coarse_cells(mask, wcs, order - _COARSER)
    children, frame = 4**_COARSER, astropy_frame(wcs)
    per_chunk = READ_PIXELS // children
    for start in range(rank * per_chunk, len(coarse), size * per_chunk):
        cells = (coarse[start : start + per_chunk, None] * children + np.arange(children)).ravel()
        ra, dec = healpix_to_lonlat(cells, 2**order, order="nested")
        with quiet_astropy():
            x, y = frame.world_to_pixel(SkyCoord(ra, dec))
        yield cells[_is_marked(mask, x, y, sky_period_px(wcs, mask.shape))].astype(np.uint64)


def _coarse_cells(mask: npt.NDArray[Any], wcs: WCS, order: int) -> npt.NDArray[np.int64]:
    """Return the cells of an order that hold the centre of a marked pixel, and their neighbours."""
    from astropy_healpix import lonlat_to_healpix, neighbours

    found = [np.empty(0, np.int64)]
    for y0, y1 in row_chunks(mask.shape):
        sky = sky_coordinates(wcs, np.argwhere(mask[y0:y1] > 0) + np.array([y0, 0])).icrs
        sky = sky[np.isfinite(sky.ra.deg)]
        found.append(np.unique(lonlat_to_healpix(sky.ra, sky.dec, 2**order, order="nested")))
    cells = np.unique(np.concatenate(found))
    with np.errstate(invalid="ignore"):  # it is -1: at the corners of the 12 base cells there is no eighth neighbour
        around = np.unique(np.append(neighbours(cells, 2**order, order="nested").ravel(), cells))
    return around[around >= 0]


def _is_marked(
    mask: npt.NDArray[Any], x: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.floating[Any]], period: float
) -> BoolArray:
    """Tell whether a mask `(ny, nx)` is above 0 at positions in pixels, also where it shows the sky after a period."""
    ny, nx = mask.shape
    marked = np.zeros(x.shape, np.bool_)
    for turn in range(-2, 3) if np.isfinite(period) else (0,):
        column, row = np.round(x + (turn * period if turn else 0)), np.round(y)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)  # NaN is not
        marked[inside] |= mask[row[inside].astype(np.intp), column[inside].astype(np.intp)] > 0
    return marked
