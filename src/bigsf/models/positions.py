"""Where a patch lies, told to the network (Berthelot et al. 2024): the family of position encoders.

A position is that of a patch's centre: pixel (y, x), or Galactic (l, b) in degrees. An encoder scales it to about
[-1, 1] over the training map, with an origin and a scale that are saved in the snapshot; longitudes count from the
origin by the shorter way round, so that they do not jump where the map crosses l = 0, and a cut-out of the map gets the
encoding that the map itself got.
"""

from typing import Annotated, Literal, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from bigsf.config import Config, CustomConfig, ignore_tag_case
from bigsf.coordinates import System


class PositionConfig(Config):
    """The part common to all position encoders."""

    of: System = "galactic"
    """`galactic`: (l, b) from the WCS, so that a model can be used on other maps; `pixel`: (y, x) in the map."""

    join: Literal["before", "middle", "after"] = "middle"
    """Where the encoding enters: as planes beside the image, at the lowest level, or before the last layer."""


class IdentityPositionConfig(PositionConfig):
    """The two scaled coordinates themselves."""

    type: Literal["identity"]

    def build(self) -> "PositionEncoder":
        """Return the encoder."""
        return PositionEncoder(self.of)


class LinearPositionConfig(PositionConfig):
    """A learned linear map of the two coordinates."""

    type: Literal["linear"] = "linear"

    features: PositiveInt = 16
    """Numbers that encode a position."""

    def build(self) -> "PositionEncoder":
        """Return the encoder."""
        return LinearEncoder(self.of, self.features)


class SinePositionConfig(PositionConfig):
    """Sines and cosines of the two coordinates at doubling frequencies (Vaswani et al. 2017)."""

    type: Literal["sine"]

    frequencies: PositiveInt = 4
    """Number of frequencies; each further one tells positions half as far apart."""

    def build(self) -> "PositionEncoder":
        """Return the encoder."""
        return SineEncoder(self.of, self.frequencies)


class CustomPositionConfig(PositionConfig, CustomConfig):
    """A `PositionEncoder` of your own: called with `of` and `kwargs`."""

    def build(self) -> "PositionEncoder":
        """Import and call the target."""
        return cast(PositionEncoder, self.call(of=self.of))


AnyPositionConfig = Annotated[
    Annotated[
        IdentityPositionConfig | LinearPositionConfig | SinePositionConfig | CustomPositionConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]


class PositionEncoder(nn.Module):
    """Scales positions; the base of the encoders.

    Parameters
    ----------
    of
        The coordinates.
    """

    width: int = 2
    """Numbers that encode a position."""

    origin: Tensor
    scale: Tensor

    def __init__(self, of: System) -> None:
        super().__init__()
        self.of = of
        self.register_buffer("origin", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(2, dtype=torch.float64))

    def fit(self, border: Tensor) -> None:
        """Learn origin and scale from positions `(n, 2)` along the border of the training map, its centre first."""
        self.origin.copy_(border[0])
        self.scale.copy_(self._offset(border).abs().amax(dim=0).clamp(min=1e-6))

    def _offset(self, position: Tensor) -> Tensor:
        offset = position.double() - self.origin
        if self.of == "galactic":
            longitude = torch.remainder(offset[:, 0] + 180, 360) - 180
            offset = torch.stack([longitude, offset[:, 1]], dim=1)
        return offset

    def forward(self, position: Tensor) -> Tensor:
        """Return the encoding `(b, width)`, float32, of positions `(b, 2)`."""
        return (self._offset(position) / self.scale).float()


class LinearEncoder(PositionEncoder):
    """A learned linear map of the scaled position."""

    def __init__(self, of: System, features: int) -> None:
        super().__init__(of)
        self.width = features
        self.linear = nn.Linear(2, features)

    def forward(self, position: Tensor) -> Tensor:  # noqa: D102
        return cast(Tensor, self.linear(super().forward(position)))


class SineEncoder(PositionEncoder):
    """Sines and cosines of the scaled position, at pi/2 times 1, 2, 4, ..."""

    def __init__(self, of: System, frequencies: int) -> None:
        super().__init__(of)
        self.width = 4 * frequencies
        self.frequencies = frequencies

    def forward(self, position: Tensor) -> Tensor:  # noqa: D102
        factors = torch.pi / 2 * 2.0 ** torch.arange(self.frequencies, device=position.device)
        angle = (super().forward(position)[:, :, None] * factors).flatten(1)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class PositionJoin(nn.Module):
    """Joins an encoded position to features: as constant planes before the network, else added to each feature map.

    Parameters
    ----------
    encoder
        The encoder.
    join
        Where the encoding enters.
    channels
        Feature maps there; unused before the network.
    """

    def __init__(self, encoder: PositionEncoder, join: str, channels: int) -> None:
        super().__init__()
        self.encoder, self.join = encoder, join
        self.project = nn.Identity() if join == "before" else nn.Linear(encoder.width, channels)

    def forward(self, features: Tensor, position: Tensor | None, place: str) -> Tensor:
        """Return the features `(b, c, y, x)` joined with the position when this is the place."""
        if place != self.join:
            return features
        if position is None:
            raise ValueError("a network with position encoding was called without positions")
        encoded = self.project(self.encoder(position))[:, :, None, None].to(features.dtype)
        if place == "before":
            return torch.cat([features, encoded.expand(-1, -1, *features.shape[2:])], dim=1)
        added: Tensor = features + encoded
        return added
