"""Outlines of filaments -> a region file for SAOImage DS9."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from bigsf.filaments.spine import Points
from bigsf.maps.wcs import galactic_lb

_HEADER = "# Region file format: DS9 version 4.1\nglobal color=green width=1 fixed=0\n"


def write_regions(path: Path, outlines: Sequence[Points], wcs: WCS | None = None) -> None:
    """Write one polygon per filament, labelled with the number of the filament from 1.

    Parameters
    ----------
    path
        The file, e.g. `map_segmented.reg`.
    outlines
        Closed lines of points (y, x) in pixels from 0, `(n, 2)` each. Points off the sky are left out.
    wcs
        A celestial WCS: the polygons are then in Galactic coordinates in degrees. Without a WCS they are in the image
        coordinates of DS9, in which the first pixel is 1.
    """
    lengths = np.cumsum([len(outline) - 1 for outline in outlines])[:-1]
    points = np.concatenate([outline[:-1] for outline in outlines] or [np.empty((0, 2))])
    corners = galactic_lb(wcs, points) if wcs is not None else points[:, ::-1] + 1
    digits = 6 if wcs is not None else 2
    lines = ["galactic" if wcs is not None else "image"]
    for number, polygon in enumerate(np.split(corners, lengths) if len(outlines) else [], 1):
        polygon = polygon[np.isfinite(polygon).all(axis=1)]
        if len(polygon) > 2:
            text = ",".join(f"{value:.{digits}f}" for value in polygon.ravel())
            lines.append(f"polygon({text}) # text={{{number}}}")
    path.write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
