"""Small FITS files for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.maps.fits_image import FitsImage

RAMP = np.arange(15, dtype=np.float32).reshape(3, 5)


def saved(path: Path, data: npt.NDArray[Any] | None, *extensions: fits.ImageHDU, **cards: Any) -> Path:
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    fits.HDUList([hdu, *extensions]).writeto(path, overwrite=True)
    return path


def read(path: Path, **options: Any) -> npt.NDArray[np.float32]:
    with FitsImage(path, **options) as image:
        return image.read()
