"""YAML or options -> how a map in FITS files is read: its HDU, its channels, and where its data are missing."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field

from bigsf.config import Config, ConfigPath, aliased
from bigsf.maps.hdus import files_of


class SkyBox(NamedTuple):
    """A box of Galactic coordinates in degrees; it reaches from the first longitude upwards to the second."""

    l0: float
    l1: float
    b0: float
    b1: float

    @property
    def width(self) -> float:
        """Degrees of longitude from the first to the second."""
        return (self.l1 - self.l0) % 360 or 360.0


def _to_region(value: object) -> object:
    numbers = value.split() if isinstance(value, str) else value
    if isinstance(numbers, list | tuple) and len(numbers) == 4:
        try:
            box = SkyBox(*map(float, numbers))
        except (TypeError, ValueError):
            return value
        if not (np.isfinite(box).all() and -90 <= box.b0 < box.b1 <= 90):
            raise ValueError(f"found {value!r}, expected l0 l1 b0 b1 in degrees with b0 below b1, between -90 and 90.")
        if box.l0 == box.l1:
            raise ValueError(f"found {value!r}, which has no width. All longitudes are 0 360.")
        return box
    return value


Region = Annotated[SkyBox | ConfigPath, BeforeValidator(_to_region)]
"""A part of the sky: a box, or the file of a region."""


class MapConfig(Config):
    """How a map in FITS files is read."""

    hdu: str | int | None = None
    """Name or index of the image's HDU, or name and version as in `SCI,2`; by default the first that holds a plane."""

    blank: float | None = Field(default=None, allow_inf_nan=False)
    """A value of the image that marks missing data, besides NaN and the header's BLANK."""

    valid: ConfigPath | None = aliased(None, "valid", "missing")
    """FITS mask: 1 where data are VALID and 0 where they are missing, the sense of the Hi-GAL masks `missing`."""

    channels: list[ConfigPath] = []
    """Further image planes of the same grid, e.g. a dust temperature. Like every plane but that of `hdu`, one that is
    not the first of its file names its HDU: `dust.fits[2]`, `dust.fits[T]` or `dust.fits[SCI,2]`."""

    region: Region | None = None
    """The part of the map that is read: Galactic longitudes and latitudes in degrees, as in "359 1 -0.5 0.5" (from the
    first longitude upwards, across 0 if need be), or a file of regions or a MOC. A rectangle of pixels is read that
    holds it, in whole steps of 64 pixels of the map."""

    @property
    def inputs(self) -> list[Path]:
        """The files that are read, besides that of the map."""
        return files_of([*self.channels, self.valid, self.region if isinstance(self.region, Path) else None])
