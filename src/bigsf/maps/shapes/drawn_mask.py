"""A file of regions, spines or a MOC -> a mask on the grid of a map, which is read like one of FITS."""

from pathlib import Path

import numpy as np

from bigsf.arrays import FloatArray
from bigsf.errors import DataError
from bigsf.maps.fits_guard import open_fits
from bigsf.maps.fits_image import FitsImage, is_fits
from bigsf.maps.shapes import moc_file, region_file, spine_table
from bigsf.maps.shapes.canvas import Canvas

LINE_WIDTH_PX = 3.0
"""Width of lines that are drawn, by default: about that of the narrowest filaments that a map shows."""


def is_drawn(path: Path) -> bool:
    """Tell whether a file holds labels that are to be drawn: regions, spines or a MOC, and no image."""
    return has_lines(path) or path.suffix.lower() in moc_file.SUFFIXES or _is_fits_moc(path)


def has_lines(path: Path) -> bool:
    """Tell whether a file that is drawn may hold lines, whose width matters: regions or spines."""
    return path.suffix.lower() in (*region_file.SUFFIXES, *spine_table.SUFFIXES)


def _is_fits_moc(path: Path) -> bool:
    """Tell whether a FITS file is a MOC: a table whose header says so (IVOA MOC 1.1 and 2.0)."""
    if not is_fits(path):
        return False
    with open_fits(path) as hdus:
        return len(hdus) > 1 and any(card in hdus[1].header for card in ("MOCVERS", "MOCORDER"))


class DrawnMask:
    """A mask that is drawn on the grid of a map. It is held in memory, one byte per pixel.

    Attributes
    ----------
    path
        The file of the labels.
    contents
        What was drawn, for a report.
    mask
        True on the labels, `(ny, nx)`.
    """

    def __init__(self, path: Path, grid: FitsImage, line_width_px: float = LINE_WIDTH_PX) -> None:
        if not path.exists():
            raise DataError(f"{path} does not exist. Expected a file of regions, spines or a MOC.")
        self.path, self.wcs = path, grid.wcs
        canvas = Canvas(grid.shape, grid.wcs, grid.name, (grid.cutout.y0, grid.cutout.x0))
        suffix = path.suffix.lower()
        if suffix in region_file.SUFFIXES:
            self.contents = region_file.draw_regions(path, canvas, line_width_px)
        elif suffix in spine_table.SUFFIXES:
            self.contents = spine_table.draw_spines(path, canvas, line_width_px)
        else:
            self.contents = moc_file.draw_moc(path, canvas)
        self.mask = canvas.mask

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.path.name

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        ny, nx = self.mask.shape
        return ny, nx

    def read(self, y0: int, y1: int, columns: slice = slice(None)) -> FloatArray:
        """Return rows y0 to y1 (exclusive), 1 on the labels and 0 elsewhere, float32 `(rows, columns)`."""
        return self.mask[y0:y1, columns].astype(np.float32)
