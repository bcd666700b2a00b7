"""Maps in FITS files or arrays, and folds -> figures of them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import BoolArray
from bigsf.errors import DataError, UsageError
from bigsf.figures import axes_or_new, legend_above
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.figure import MOST_IDS, DrawnFilaments, draw_filaments
from bigsf.folds.figure import draw_folds
from bigsf.folds.folds import Folds
from bigsf.folds.folds_file import load_folds
from bigsf.folds.splits import default_folds_path
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import mask_hdu, split_hdu
from bigsf.maps.masks import read_mask
from bigsf.maps.quicklook import draw_map, draw_probability
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.maps.tiling import row_chunks
from bigsf.maps.wcs import celestial_wcs
from bigsf.patches.patch_file import PatchFile

Plane = str | Path | npt.NDArray[Any]
"""A FITS file, which may name the HDU as in `map.fits[SCI]`, or an array `(ny, nx)`."""


class _Drawn(NamedTuple):
    """A plane as it is drawn."""

    shape: tuple[int, int]
    """(ny, nx) of the whole plane."""
    pixels: npt.NDArray[Any]
    header: fits.Header
    unit: str
    step: int
    """Pixels of the plane per pixel that is drawn."""


def quicklook(
    segmented: Plane,
    image: Plane | None = None,
    *,
    mask: Plane | None = None,
    outline: str = "MASK",
    wcs: WCS | None = None,
    ax: Any = None,
) -> Any:
    """Draw the probability of a segmented map or, with `image`, the map, with the outline of MASK.

    Parameters
    ----------
    segmented
        The FITS file that `bigsf segment` or `bigsf kfold` wrote, or a probability `(ny, nx)`, NaN where missing.
    image
        The map that was segmented, on the same grid: it is drawn in place of the probability.
    mask
        What is outlined; by default the extension MASK, or else LABELS, of `segmented`, if there is one.
    outline
        The name of the mask in the legend.
    wcs
        A celestial WCS, for arrays.
    ax
        The matplotlib Axes; by default those of a new figure, on the WCS of the map.

    Returns
    -------
    Axes
        With colour bar, scale bar and, where the header has BMAJ, the beam. Its coordinates are pixels of the map.

    Raises
    ------
    DataError
        Where a file cannot be read, is no probability where one is drawn, or two planes have different shapes.
    UsageError
        Where an argument would do nothing.

    Examples
    --------
    >>> ax = bigsf.plot.quicklook(np.random.default_rng(0).random((20, 30)), mask=np.eye(20, 30))
    >>> ax.get_xlabel()
    'x [pixel]'
    """
    if image is not None and mask is None and not isinstance(segmented, str | Path):
        raise UsageError("The probability would not be drawn. Leave image out, or pass what is to be outlined as mask.")
    drawn = _read(segmented if image is None else image, wcs)
    if image is None and not 0 <= np.nanmin(drawn.pixels, initial=0) <= np.nanmax(drawn.pixels, initial=0) <= 1:
        raise DataError("A probability lies between 0 and 1, and this plane does not. Pass the map as image.")
    found = _mask_of(segmented) if mask is None else mask
    if found is None and outline != "MASK":
        raise UsageError(f"outline={outline!r} would do nothing: there is no mask.")
    outlined = None if found is None else _read(found, None, is_mask=True)
    if outlined is not None:
        _check_grid(outlined.shape, drawn.shape)
    ax = axes_or_new(ax, celestial_wcs(drawn.header))
    pixels = None if outlined is None else outlined.pixels
    if image is None:
        draw_probability(ax, drawn.pixels, drawn.header, mask=pixels, step=drawn.step, outline=outline)
    else:
        masks = {} if pixels is None else {outline: pixels}
        draw_map(ax, drawn.pixels, drawn.header, drawn.unit, masks, drawn.step)
    if pixels is not None:
        legend_above(ax)
    _name(ax, segmented if image is None else image)
    return ax


def filaments(
    image: Plane, found: Plane | Filaments, *, ids: int = MOST_IDS, wcs: WCS | None = None, ax: Any = None
) -> Any:
    """Draw filaments on their map: outlines, a spine in colour for each, the ids of the longest, and hubs.

    Parameters
    ----------
    image
        The map, NaN where missing.
    found
        The segmented FITS file, whose MASK is taken, a mask `(ny, nx)`, or the filaments of one.
    ids
        How many of the longest filaments get their id in the catalogue.
    wcs, ax
        As for `quicklook`.

    Returns
    -------
    Axes
        As for `quicklook`.

    Raises
    ------
    DataError
        Where a file cannot be read, has neither MASK nor LABELS and holds no mask itself, or the mask has another shape
        than the map.

    Examples
    --------
    >>> ax = bigsf.plot.filaments(np.ones((20, 30)), np.eye(20, 30))
    >>> [text.get_text() for text in ax.texts]
    ['1']
    """
    if ids < 0:
        raise UsageError(f"ids is {ids}; expected the number of filaments whose id is written, from 0 on.")
    drawn = _read(image, wcs)
    if not isinstance(found, Filaments):
        found = Filaments(_whole_mask(found))
    _check_grid(found.labels.shape, drawn.shape)
    ax = axes_or_new(ax, celestial_wcs(drawn.header))
    draw_filaments(ax, DrawnFilaments(found, ids), drawn.pixels, drawn.header, drawn.unit, drawn.step)
    _name(ax, image)
    return ax


def folds(data: str | Path | PatchFile | Folds, folds_file: str | Path | None = None, ax: Any = None) -> Any:
    """Draw the folds of a map: each area in the colour and with the number of its fold, over the map.

    Parameters
    ----------
    data
        A patch file, or folds.
    folds_file
        The folds of the patch file; by default `FILE.folds.json` beside it.
    ax
        The matplotlib Axes; by default those of a new figure, on the WCS of the map.

    Returns
    -------
    Axes
        With a legend below that counts the patches and labelled pixels of each fold.

    Raises
    ------
    DataError
        Where a file cannot be read, or the folds are those of another patch file.

    Examples
    --------
    >>> file = bigsf.PatchFile("galaxy.h5")
    >>> bigsf.plot.folds(bigsf.Folds.make(file, bigsf.SplitConfig(k=3))).get_title("left")
    'galaxy.h5: 3 folds, strategy random'
    """
    if isinstance(data, Folds) and folds_file is not None:
        raise UsageError("folds_file would do nothing: folds are given already.")
    if not isinstance(data, Folds):
        file = data if isinstance(data, PatchFile) else PatchFile(data)
        data = load_folds(Path(folds_file) if folds_file else default_folds_path(file.path), file, write=False)
    ax = axes_or_new(ax, data.patch_file.wcs)
    draw_folds(ax, data)
    return ax


def _read(plane: Plane, wcs: WCS | None, is_mask: bool = False) -> _Drawn:
    """Return every n-th row and column of a plane, or where any pixel of n x n of a mask is marked."""
    if not isinstance(plane, str | Path):
        values = np.asarray(np.ma.filled(np.ma.asarray(plane, np.float32), np.nan))
        if values.ndim != 2:
            raise DataError(f"A plane of shape {values.shape} cannot be drawn: expected (ny, nx).")
        subsampled = SubsampledPlanes((values.shape[0], values.shape[1]))
        (subsampled.add_masks if is_mask else subsampled.add)(0, plane=values)
        header = fits.Header() if wcs is None else wcs.to_header()
        return _Drawn(subsampled.shape, subsampled.plane("plane"), header, "", subsampled.step)
    if wcs is not None:
        raise UsageError(f"wcs would do nothing: {plane} has a header of its own.")
    with FitsImage(plane) as image:
        subsampled = SubsampledPlanes(image.shape)
        for y0, y1 in row_chunks(image.shape):
            (subsampled.add_masks if is_mask else subsampled.add)(y0, plane=image.read(y0, y1))
        return _Drawn(subsampled.shape, subsampled.plane("plane"), image.output_header(), image.unit, subsampled.step)


def _mask_of(segmented: Plane) -> str | None:
    """Return the name of the extension of a file that marks filaments, if there is one."""
    if not isinstance(segmented, str | Path) or split_hdu(Path(segmented))[1]:
        return None
    hdu = mask_hdu(Path(segmented))
    return f"{segmented}[{hdu}]" if hdu else None


def _whole_mask(found: Plane) -> BoolArray:
    if not isinstance(found, str | Path):
        return np.asarray(np.ma.filled(found, 0) > 0)
    named = _mask_of(found)
    with FitsImage(named or found) as plane:
        try:
            return np.concatenate([read_mask(plane, "target", y0, y1) for y0, y1 in row_chunks(plane.shape)])
        except DataError as error:
            if named or split_hdu(Path(found))[1]:
                raise
            raise DataError(f"{found} has no extension MASK or LABELS, and is no mask itself.") from error


def _check_grid(mask: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Refuse a mask (ny, nx) that is not as large as the map."""
    if mask != image:
        here, there = (f"{nx} x {ny}" for ny, nx in (mask, image))
        raise DataError(f"The mask has {here} pixels (x, y) and the map {there}. Both must lie on one grid.")


def _name(ax: Any, plane: Plane) -> None:
    """Write the name of a file above the axes."""
    if isinstance(plane, str | Path):
        pad = None if ax.get_legend() is None else 20.0  # points, for the legend
        ax.set_title(Path(plane).name, loc="left", pad=pad, parse_math=False)
