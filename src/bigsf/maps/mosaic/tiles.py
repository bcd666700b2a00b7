"""A FITS map with its masks -> the same on the grid of a mosaic, block by block."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bigsf.arrays import BoolArray, FloatArray
from bigsf.errors import DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.hdus import find_planes
from bigsf.maps.masks import read_mask
from bigsf.maps.mosaic.sky_grid import SkyGrid, import_reproject
from bigsf.maps.odd_values import check_map
from bigsf.maps.planes import FitsMap, check_same_grid
from bigsf.maps.tiling import Tile, bands

BLOCK_PX = 1024
"""Side of the blocks that are interpolated at a time."""

_MARGIN_PX = 3  # read around a block for the interpolation


class MosaicTile:
    """A map with a WCS, and the masks that its file brings.

    Parameters
    ----------
    path
        The FITS file. Its extension VALID (or MISSING), where there is one, masks the map.
    hdu, blank
        As for `FitsImage`.
    roles
        The masks to look for in the file: any of `target`, `background` and `truth`.
    threshold
        The masks are 1 above this value; by default where they are 1 or another identifier, a positive integer.
    stack
        It closes the file.

    Attributes
    ----------
    grid
        The grid of the tile.
    masks
        The masks that the file brings, by role.
    mosaic, box, shares_grid
        Known after `place`: the grid of the mosaic, the pixels of it that the tile covers, and whether the pixels of
        the tile are pixels of the mosaic.

    Raises
    ------
    DataError
        Where the map has no celestial WCS, its values cannot be used, or a mask does not fit it.
    """

    def __init__(
        self,
        path: Path,
        hdu: str | int | None,
        blank: float | None,
        roles: Sequence[str],
        threshold: float | None,
        stack: ExitStack,
    ) -> None:
        self.path = path
        self.image = stack.enter_context(FitsImage(path, hdu, blank))
        wcs = self.image.wcs
        if wcs is None:
            raise DataError(
                f"{self.image.name} has no celestial WCS, so where it lies among the tiles of a mosaic is unknown."
            )
        self.grid = SkyGrid.of(self.image.name, wcs, self.image.shape)
        self._threshold = threshold
        self.masks = {
            role: stack.enter_context(FitsImage(self.image.path, extension))
            for role, extension in find_planes(path, ("valid", *roles)).items()
        }
        for mask in self.masks.values():
            check_same_grid(self.image, mask)
        self._map = FitsMap([self.image], self.masks.get("valid"))
        check_map(self._map)

    def place(self, mosaic: SkyGrid) -> None:
        """Find where the tile lies on the grid of a mosaic."""
        self.mosaic = mosaic
        self.box = mosaic.box(self.grid)
        shift = mosaic.shift(self.grid)
        self.shares_grid = shift is not None and bool((shift == np.round(shift)).all())

    @property
    def pixels_of_mosaic(self) -> float:
        """Area of the tile in pixels of the mosaic."""
        ny, nx = self.grid.shape
        return ny * nx * self.grid.pixel_area_deg2 / self.mosaic.pixel_area_deg2

    def blocks(self, window: Tile, block_px: int = BLOCK_PX) -> Iterator[Tile]:
        """Yield the blocks of the mosaic that make up the overlap of the tile with a window of the mosaic."""
        y0, y1, x0, x1 = self.box.overlap(window)
        width = max(1, x1 - x0) if self.shares_grid else block_px
        for top, bottom in bands(y1 - y0, block_px):
            for left, right in bands(x1 - x0, width):
                yield Tile(y0 + top, y0 + bottom, x0 + left, x0 + right)

    def read(self, block: Tile) -> FloatArray:
        """Return the map on a block `(y1 - y0, x1 - x0)` in its own unit, NaN where it has no valid pixel.

        Pixels are copied where tile and mosaic share a grid and interpolated bilinearly otherwise. An interpolated
        value that depends on a missing pixel is missing.
        """
        return self._on_mosaic("image", block)

    def read_mask(self, role: str, block: Tile) -> BoolArray:
        """Return a mask on a block `(y1 - y0, x1 - x0)`, from its nearest pixels; False outside the tile."""
        mask: BoolArray = self._on_mosaic(role, block) == 1
        return mask

    def _on_mosaic(self, role: str, block: Tile) -> FloatArray:
        y0, y1, x0, x1 = block
        if self.shares_grid:
            top, _, left, _ = self.box
            return self._window(role, y0 - top, y1 - top, x0 - left, x1 - left)
        target = self.mosaic.window(*block)
        needed = self._needed(target)
        if needed is None:
            return np.full(target.shape, np.nan, np.float32)
        values: FloatArray = import_reproject().reproject_interp(
            (self._window(role, *needed), self.grid.window(*needed).wcs),
            target.wcs,
            target.shape,
            order="bilinear" if role == "image" else "nearest-neighbor",
            roundtrip_coords=False,
            return_footprint=False,
        )
        return values.astype(np.float32)

    def _needed(self, target: SkyGrid) -> Tile | None:
        """Return the rows and columns of the tile from which a part of the mosaic is made, None if there are none."""
        ny, nx = self.grid.shape
        points = self.grid.pixels_of(target)
        if not np.isfinite(points).all():
            return Tile.whole((ny, nx))
        (y0, x0), (y1, x1) = (np.floor(points.min(axis=1)) - _MARGIN_PX, np.ceil(points.max(axis=1)) + _MARGIN_PX)
        needed = Tile(int(y0), int(y1) + 1, int(x0), int(x1) + 1).overlap(Tile.whole((ny, nx)))
        return needed if min(needed.shape) > 0 else None

    def _window(self, role: str, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        """Return part of a plane of the file, float32: the map with NaN where it is missing, or a mask."""
        columns = slice(x0, x1)
        if role != "image":
            return read_mask(self.masks[role], role, y0, y1, self._threshold, columns).astype(np.float32)
        image: FloatArray = self._map.read(y0, y1, columns).image[0]
        return image
