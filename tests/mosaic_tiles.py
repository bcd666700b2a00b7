"""Tiles of a mosaic for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits

from conftest import galactic_header

NY, NX = 60, 100
BOXES = {"a": (0, 40, 0, 60), "b": (20, 60, 0, 70), "c": (10, 60, 50, 100), "d": (0, 30, 45, 100)}
"""Tiles of the map as (y0, y1, x0, x1)."""


class MosaicTiles:
    """A smooth map with noise and a hole, across l = 0, and the files of tiles of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generator = np.random.default_rng(3)
        y, x = np.mgrid[:NY, :NX]
        self.image = (100 + 10 * np.sin(x / 9) + 8 * np.cos(y / 7) + generator.normal(0, 0.1, (NY, NX))).astype("f4")
        self.image[25:30, 52:58] = np.nan
        self.header = galactic_header(NX, NY)

    def write(self, name: str, image: npt.NDArray[Any], header: fits.Header, **masks: npt.NDArray[Any]) -> Path:
        path = self.folder / f"{name}.fits"
        planes = [fits.ImageHDU(mask.astype(np.uint8), name=role) for role, mask in masks.items()]
        fits.HDUList([fits.PrimaryHDU(image, header), *planes]).writeto(path)
        return path

    def tile(self, name: str, **changes: Any) -> Path:
        """Write a tile, its header counted from its own corner, its masks cut with it."""
        y0, y1, x0, x1 = BOXES[name]
        header = self.header.copy()
        header["CRPIX1"] -= x0
        header["CRPIX2"] -= y0
        header.update({key: value for key, value in changes.items() if key.isupper()})
        masks = {key: value[y0:y1, x0:x1] for key, value in changes.items() if key.islower()}
        return self.write(name, self.image[y0:y1, x0:x1], header, **masks)

    def all(self) -> list[Path]:
        return [self.tile(name) for name in BOXES]


@pytest.fixture
def tiles(tmp_path: Path) -> MosaicTiles:
    return MosaicTiles(tmp_path)
