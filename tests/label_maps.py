"""Small maps with labels for tests of preprocessing."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.maps.tiling import CHUNK_PIXELS
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, PreprocessReport, preprocess

NY, NX = 6, 9
IMAGE = np.arange(1.0, NY * NX + 1).reshape(NY, NX)


class LabelMaps:
    """Writes planes into a folder and preprocesses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, data: npt.ArrayLike, header: fits.Header | None = None) -> Path:
        path = self.folder / f"{name}.fits"
        fits.PrimaryHDU(np.asarray(data), header).writeto(path, overwrite=True)
        return path

    def config(
        self, image: npt.ArrayLike = IMAGE, patch_size: int = 3, stride: int = 1, **more: Any
    ) -> PreprocessConfig:
        planes: dict[str, Any] = {
            name: self.write(name, value) if isinstance(value, np.ndarray) else value for name, value in more.items()
        }
        return PreprocessConfig(image=self.write("image", image), patch_size=patch_size, stride=stride, **planes)

    def run(self, image: npt.ArrayLike = IMAGE, **more: Any) -> tuple[PreprocessReport, PatchFile]:
        output, chunk_pixels = self.folder / "out.h5", more.pop("chunk_pixels", CHUNK_PIXELS)
        report = preprocess(self.config(image, **more), output, overwrite=True, chunk_pixels=chunk_pixels)
        return report, PatchFile(output, in_memory=True)


def mask(*pixels: tuple[int, int]) -> npt.NDArray[np.uint8]:
    plane = np.zeros((NY, NX), np.uint8)
    for pixel in pixels:
        plane[pixel] = 1
    return plane
