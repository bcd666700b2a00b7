"""Outlines and spines of filaments -> files of regions for SAOImage DS9."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from bigsf.filaments.spine import Points
from bigsf.maps.wcs import galactic_lb, pixel_scale_deg

_HEADER = "# Region file format: DS9 version 4.1\nglobal color=green width=1 fixed=0\n"


def write_regions(
    path: Path, outlines: Sequence[Points], wcs: WCS | None = None, properties: Sequence[str] | None = None
) -> None:
    """Write outlines as a region file for SAOImage DS9: one polygon per filament, labelled with its number from 1.

    Parameters
    ----------
    path
        The file, e.g. `map_segmented.reg`.
    outlines
        Closed polygons of points (y, x) in pixels from 0, `(n, 2)` each; points off the sky are left out.
    wcs
        A celestial WCS: the polygons are written in Galactic coordinates in degrees. Without one they are written in
        the image coordinates of DS9, whose first pixel is 1.
    properties
        What DS9 is to know of each polygon in place of its number, e.g. `color=red text={missed}`.
    """
    corners = [outline[:-1] for outline in outlines]
    _write(path, "polygon", corners, properties or _texts(range(1, len(outlines) + 1)), 3, wcs)


def write_spines(path: Path, lines: Sequence[Points], ids: Sequence[int], wcs: WCS | None = None) -> None:
    """Write lines as a region file for SAOImage DS9: one `segment` per line, labelled with an id.

    Parameters
    ----------
    path
        The file, e.g. `map_segmented_spines.reg`.
    lines
        Points (y, x) in pixels from 0, `(n, 2)` each; points off the sky are left out.
    ids
        The id of each line, e.g. of its filament.
    wcs
        As in `write_regions`.
    """
    _write(path, "# segment", lines, _texts(ids), 2, wcs)


def _digits_of_degrees(wcs: WCS) -> int:
    """Return the decimals of degrees that are a thousandth of a pixel, or less: at least 6."""
    return max(6, 3 + math.ceil(-math.log10(pixel_scale_deg(wcs))))


def _texts(ids: Sequence[int]) -> list[str]:
    return [f"text={{{number}}}" for number in ids]


def _write(
    path: Path, kind: str, shapes: Sequence[Points], properties: Sequence[str], least: int, wcs: WCS | None
) -> None:
    """Write shapes of at least so many points."""
    # The package regions would take about 100 s to write 100,000 polygons; this takes about 4 s.
    ends = np.cumsum([len(shape) for shape in shapes])[:-1]
    points = np.concatenate([*shapes, np.empty((0, 2))])
    corners = galactic_lb(wcs, points) if wcs is not None else points[:, ::-1] + 1
    digits = 2 if wcs is None else _digits_of_degrees(wcs)
    lines = ["galactic" if wcs is not None else "image"]
    sign = "" if kind.startswith("#") else "# "  # DS9 reads kinds of its own from comments
    for each, shape in zip(properties, np.split(corners, ends), strict=len(properties) > 0):
        shape = shape[np.isfinite(shape).all(axis=1)]
        if len(shape) >= least:
            text = ",".join(f"{value:.{digits}f}" for value in shape.ravel())
            lines.append(f"{kind}({text}) {sign}{each}")
    path.write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
