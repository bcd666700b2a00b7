"""YAML or options -> how a map in FITS files is read: its HDU, its channels, and where its data are missing."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from bigsf.config import Config, ConfigPath


class MapConfig(Config):
    """How a map in FITS files is read."""

    hdu: str | int | None = None
    """Name or index of the image's HDU, or name and version as in `SCI,2`; by default the first that holds a plane."""

    blank: float | None = Field(default=None, allow_inf_nan=False)
    """A value of the image that marks missing data, besides NaN and the header's BLANK."""

    missing: ConfigPath | None = None
    """FITS mask: 1 where data are VALID and 0 where they are missing (the sense of the Hi-GAL masks)."""

    valid: ConfigPath | None = None
    """The same as `missing` under a clearer name: 1 where data are valid."""

    channels: list[ConfigPath] = []
    """Further image planes of the same grid, e.g. a dust temperature."""

    @model_validator(mode="after")
    def _one_sense(self) -> Self:
        if self.missing and self.valid:
            raise ValueError("missing and valid are two names of one plane (1 where data are valid); give one.")
        return self

    @property
    def valid_mask(self) -> Path | None:
        """The FITS mask that is 1 where data are valid, under whichever of its two names it was given."""
        return self.valid or self.missing

    @property
    def inputs(self) -> list[Path]:
        """The files that are read, besides that of the map."""
        return [*self.channels, *([self.valid_mask] if self.valid_mask else [])]
