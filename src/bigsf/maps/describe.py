"""A FITS file -> one line of text per image in it, to check the data before they are used."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bigsf.errors import DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import image_hdus, is_mask
from bigsf.maps.map_units import is_column_density, parse_unit
from bigsf.maps.tiling import CHUNK_PIXELS, row_chunks
from bigsf.maps.wcs import pixel_scale_deg, sky_coordinates

_TYPES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}


class ImageFacts(NamedTuple):
    """What an image of a FITS file holds."""

    text: str
    """One line on it."""
    kind: Literal["map", "mask", "no plane"]
    column_density: bool = False
    """Whether its unit is that of a column density."""


def describe_file(path: Path, blank: float | None = None) -> list[ImageFacts]:
    """Return one line per image of a FITS file: shape, type, unit, WCS, share of finite pixels, range.

    Parameters
    ----------
    path
        The file.
    blank
        A value that marks missing data in the map, besides NaN and BLANK; masks have none.
    """
    found = ((index, _describe(path, index, blank)) for index in image_hdus(path))
    return [facts._replace(text=f"{path.name}[{index}] {facts.text}") for index, facts in found]


def _describe(path: Path, index: int, blank: float | None) -> ImageFacts:
    try:
        with FitsImage(path, index, blank) as image:
            if is_mask(image.header):
                image.blank = None
            header, (ny, nx) = image.header, image.shape
            facts = [f"{nx} x {ny} pixels (x, y)", _TYPES.get(header["BITPIX"], "of unknown type") + _scaling(image)]
            values, mask = _values(image)
            facts += [image.unit or "no BUNIT", _sky(image), values]
            text = f"{header.get('EXTNAME', '')}: ".removeprefix(": ") + ", ".join(facts)
            return ImageFacts(text, "mask" if mask else "map", is_column_density(parse_unit(image.unit)))
    except DataError as error:
        return ImageFacts(f"cannot be a plane: {error}", "no plane")


def _scaling(image: FitsImage) -> str:
    cards = [key for key in ("BSCALE", "BZERO", "BLANK") if key in image.header]
    return f" with {', '.join(cards)}" if cards else ""


def _sky(image: FitsImage) -> str:
    wcs = image.plane_wcs.wcs
    if wcs is None:
        return "no celestial WCS"
    ny, nx = image.shape
    centre = sky_coordinates(wcs, [[(ny - 1) / 2, (nx - 1) / 2]])[0]
    step_arcsec = 3600 * pixel_scale_deg(wcs)
    frame = centre.frame.name
    return f"{wcs.wcs.ctype[0]} {wcs.wcs.ctype[1]} ({frame}) of {step_arcsec:.4g} arcsec around {centre.to_string()}"


def _values(image: FitsImage) -> tuple[str, bool]:
    """Return the share of finite pixels and their range, of a mask the share of ones; and whether it is a mask."""
    ny, nx = image.shape
    finite = ones = zeros = 0
    low, high = np.inf, -np.inf
    for y0, y1 in row_chunks(image.shape, CHUNK_PIXELS):
        rows = image.read(y0, y1)
        values = rows[np.isfinite(rows)]
        finite, ones, zeros = finite + values.size, ones + int((values == 1).sum()), zeros + int((values == 0).sum())
        low, high = values.min(initial=low), values.max(initial=high)
    share = f"{finite / (ny * nx):.1%} finite"
    if not finite:
        return share, False
    if ones + zeros == finite:
        return f"{share}, a mask: {ones / finite:.1%} are 1", True
    return f"{share}, {low:.4g} to {high:.4g}", False
