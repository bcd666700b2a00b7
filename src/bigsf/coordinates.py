"""Positions of pixels, as models with position encoding take them."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from astropy.wcs import WCS

from bigsf.errors import DataError
from bigsf.fits_image import galactic_lb

System = Literal["pixel", "galactic"]


class Locate(Protocol):
    """Turns pixels into positions."""

    def __call__(self, pixels: npt.NDArray[np.floating]) -> torch.Tensor:
        """Return positions `(n, 2)`, float64, of pixels `(n, 2)`, (y, x)."""
        ...


def pixel_coordinates(pixels: npt.NDArray[np.floating]) -> torch.Tensor:
    """Return (y, x)."""
    return torch.from_numpy(np.asarray(pixels, np.float64))


class GalacticCoordinates:
    """Galactic longitude and latitude (l, b) in degrees.

    Parameters
    ----------
    wcs
        Any celestial WCS.
    """

    def __init__(self, wcs: WCS) -> None:
        self.wcs = wcs

    def __call__(self, pixels: npt.NDArray[np.floating]) -> torch.Tensor:  # noqa: D102
        return torch.from_numpy(galactic_lb(self.wcs, pixels))


def locator(of: System | None, wcs: WCS | None) -> Locate | None:
    """Return what turns pixels into positions of a system, or None for models without position.

    Raises
    ------
    DataError
        Where Galactic positions are asked for and the map has no WCS.
    """
    if of is None:
        return None
    if of == "pixel":
        return pixel_coordinates
    if wcs is None:
        raise DataError(
            "The model encodes Galactic positions but the map has no celestial WCS. Use trainer.model.position.of: "
            "pixel, a model without position, or a map with a WCS."
        )
    return GalacticCoordinates(wcs)


def border(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return pixels (y, x) of the centre of a map, then of its corners and the middles of its sides, `(9, 2)`."""
    y, x = (np.array([(n - 1) / 2, 0, n - 1]) for n in shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
