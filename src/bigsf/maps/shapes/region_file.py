"""A file of DS9 or CRTF regions -> the pixels that they cover."""

import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from bigsf.console import plural
from bigsf.errors import DataError, needing, warn
from bigsf.maps.fits_guard import quiet_astropy
from bigsf.maps.shapes.canvas import Canvas

SUFFIXES = {".reg": "ds9", ".ds9": "ds9", ".crtf": "crtf"}
"""From the ending of a file of regions to its format."""

_SEGMENT = re.compile(
    r"^(?P<sign>[+-]?)\s*(?:#\s*)?segment\s*\((?P<points>[^)]*)\)(?P<rest>.*)$", re.MULTILINE | re.IGNORECASE
)


def draw_regions(path: Path, canvas: Canvas, line_width_px: float) -> str:
    """Draw the regions of a file; excluded ones, which begin with a minus sign, are erased after all others.

    Areas cover the pixels whose centre lies in them; lines are drawn with a width. Points and texts are left out.

    Parameters
    ----------
    path
        DS9 (`.reg`) or CASA (`.crtf`) regions, on the sky or in pixels.
    canvas
        Where they are drawn.
    line_width_px
        Width of lines (DS9's `line` and `segment`) in pixels.

    Returns
    -------
    str
        What was drawn, e.g. "12 polygons, 3 lines".

    Raises
    ------
    DataError
        Where the file cannot be read, or no region lies on the map.
    ConfigError
        Where the package `regions` is missing.
    """
    drawn: Counter[str] = Counter()
    off = left_out = 0
    shapes = _read(path)
    for region in sorted(shapes, key=lambda region: not _included(region)):
        kind = type(region).__name__.removesuffix("PixelRegion").removesuffix("SkyRegion").lower()
        if kind in ("point", "text") or (kind == "polygon" and len(region.vertices) < 3):
            left_out += 1
        elif _draw(region, kind, canvas, line_width_px):
            drawn[f"excluded {kind}" if not _included(region) else kind] += 1
        else:
            off += 1
    if not drawn:
        raise DataError(f"{path} holds {plural(len(shapes), 'region')}, and none covers a pixel of {canvas.name}.")
    if off or left_out:
        counted = [f"{plural(off, 'region')} off {canvas.name}"] if off else []
        counted += [f"{left_out} points, texts or polygons of fewer than three points"] if left_out else []
        warn(f"{path.name}: left out: {', and '.join(counted)}.")
    return ", ".join(plural(number, kind) for kind, number in drawn.items())


def _draw(region: Any, kind: str, canvas: Canvas, line_width_px: float) -> bool:
    """Draw one region; return whether it lies on the map."""
    from regions import PixCoord, PolygonPixelRegion, SkyRegion

    erase, (y0, x0) = not _included(region), (0, 0)
    on_sky = isinstance(region, SkyRegion)
    if kind in ("line", "polygon") or (kind == "rectangle" and on_sky):
        points = _outline(region, kind, canvas)
        if kind == "line":
            return canvas.draw_line(points, line_width_px, erase)
        if not np.isfinite(points).all():
            return False
        region = PolygonPixelRegion(PixCoord(points[:, 1], points[:, 0]))
    elif on_sky:
        if not np.isfinite(canvas.to_pixels(region.center.reshape(1))).all():
            return False
        with quiet_astropy():
            region = _in_pixels(region, canvas.wcs)
    else:
        y0, x0 = canvas.origin
    box = region.bounding_box
    if not canvas.reaches(box.iymin - y0, box.ixmin - x0, *box.shape):
        return False
    tile = canvas.clipped(box.iymin - y0, box.ixmin - x0, *box.shape)
    y, x = np.mgrid[tile.y0 + y0 : tile.y1 + y0, tile.x0 + x0 : tile.x1 + x0]
    return canvas.draw(region.contains(PixCoord(x, y)), tile.y0, tile.x0, erase)


def _in_pixels(region: Any, wcs: WCS) -> Any:
    """Return a region on the sky in pixels of a map.

    The package `regions` counts angles from the north of the map, also where the region is in another frame, and leaves
    circles round where pixels are not square on the sky.
    """
    from regions import CircleAnnulusSkyRegion, CircleSkyRegion, EllipseAnnulusSkyRegion, EllipseSkyRegion

    if isinstance(region, CircleSkyRegion):
        region = EllipseSkyRegion(region.center, 2 * region.radius, 2 * region.radius)
    elif isinstance(region, CircleAnnulusSkyRegion):
        inner, outer = 2 * region.inner_radius, 2 * region.outer_radius
        region = EllipseAnnulusSkyRegion(region.center, inner, outer, inner, outer)
    elif hasattr(region, "angle"):
        frame = wcs_to_celestial_frame(wcs)
        north = region.center.directional_offset_by(0 * units.deg, 1 * units.arcmin)
        north_of_map = region.center.transform_to(frame).position_angle(north.transform_to(frame))
        region = region.copy(angle=region.angle + north_of_map)
    return region.to_pixel(wcs)


def _outline(region: Any, kind: str, canvas: Canvas) -> Any:
    """Return the points (y, x) of a line, a polygon, or a box on the sky in pixels, `(n, 2)`."""
    if kind == "rectangle":
        return _corners(region, canvas)
    return _points([region.start, region.end] if kind == "line" else region.vertices, canvas)


def _corners(region: Any, canvas: Canvas) -> Any:
    """Return the corners (y, x) of a box on the sky in pixels, `(4, 2)`, by the directions of its sides."""
    step = 1 * units.arcmin
    directions = region.angle - 90 * units.deg, region.angle
    places = [region.center, *(region.center.directional_offset_by(each, step) for each in directions)]
    middle, *ends = canvas.to_pixels(SkyCoord(places))
    width, height = (end - middle for end in ends)
    width, height = width * float(region.width / step) / 2, height * float(region.height / step) / 2
    return middle + np.array([-width - height, width - height, width + height, height - width])


def _points(vertices: Any, canvas: Canvas) -> Any:
    """Return the points (y, x) of a line or a polygon in pixels, `(n, 2)`."""
    from regions import PixCoord

    if isinstance(vertices, list):
        pixels = isinstance(vertices[0], PixCoord)
        if pixels:
            return np.array([[point.y, point.x] for point in vertices], np.float64) - canvas.origin
        return canvas.path_to_pixels(SkyCoord(vertices))
    if isinstance(vertices, PixCoord):
        return np.stack([vertices.y, vertices.x], axis=1) - canvas.origin
    return canvas.path_to_pixels(vertices)


def _included(region: Any) -> bool:
    return str(region.meta.get("include", 1)) not in ("0", "-", "False")


def _read(path: Path) -> Any:
    """Return the regions of a file.

    The package `regions` leaves out what it does not know with a warning, which is passed on. DS9's `segment`, a line
    of several points, is one of these: it is read as several lines.
    """
    with needing(f"To read {path.name}, a file of regions,", "shapes"):
        from regions import Regions
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = Regions.parse(_SEGMENT.sub(_lines, text), format=SUFFIXES[path.suffix.lower()])
    except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a file of regions: {error}.") from None
    if caught:
        warn(f"{path.name}: {len(caught)} lines are left out; the first: {caught[0].message}")
    return found


def _lines(segment: re.Match[str]) -> str:
    """Return DS9's `segment` as lines from each of its points to the next."""
    numbers = re.split(r"[,\s]+", segment["points"].strip())
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    return "\n".join(
        f"{segment['sign']}line({','.join(start + end)}){segment['rest']}" for start, end in pairwise(points)
    )
