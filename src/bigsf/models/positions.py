"""Pixels -> positions -> encodings that a network takes: the family of position encoders (Berthelot et al. 2024).

A position is that of the centre of a patch: pixel (y, x), or Galactic (l, b) in degrees. An encoder scales it to
[-1, 1] over the training map. Its origin and scale are saved in the snapshot, so that a cut-out of the map gets the
encoding that the map itself got. A position beyond the training map gets the encoding of the nearest one in its range,
since a network marks nonsense where it gets numbers that it never saw. Longitudes count from the origin by the shorter
way round, so that they do not jump where the map crosses l = 0.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Annotated, ClassVar, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from astropy.wcs import WCS
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from bigsf.arrays import Float64Array
from bigsf.config import Component, CustomConfig, aliased, ignore_tag_case
from bigsf.errors import DataError, warn
from bigsf.maps.tiling import grid_points
from bigsf.maps.wcs import nearest_galactic_lb

CoordinateSystem = Literal["pixel", "galactic"]


class PositionLookup(Protocol):
    """A function from pixels to positions."""

    def __call__(self, pixels: npt.NDArray[np.floating]) -> torch.Tensor:
        """Return positions `(n, 2)`, float64, of pixels `(n, 2)`, (y, x)."""
        ...


def pixel_coordinates(pixels: npt.NDArray[np.floating]) -> torch.Tensor:
    """Return the pixels (y, x) themselves as positions."""
    return torch.from_numpy(np.asarray(pixels, np.float64))


class GalacticCoordinates(PositionLookup):
    """Galactic longitude and latitude (l, b) in degrees; of the edge of the sky for a pixel off it.

    Parameters
    ----------
    wcs
        Any celestial WCS.
    """

    def __init__(self, wcs: WCS) -> None:
        self.wcs = wcs

    @override
    def __call__(self, pixels: npt.NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(nearest_galactic_lb(self.wcs, pixels))


def position_lookup(coordinates: CoordinateSystem | None, wcs: WCS | None) -> PositionLookup | None:
    """Return the function from pixels to positions of a coordinate system; None for models without position.

    Raises
    ------
    DataError
        Where Galactic positions are asked for and the map has no celestial WCS.
    """
    if coordinates is None:
        return None
    if coordinates == "pixel":
        return pixel_coordinates
    if wcs is None:
        raise DataError(
            "The model encodes Galactic positions but the map has no celestial WCS. Use "
            "trainer.model.position.coordinates: pixel, a model without position, or a map with a WCS."
        )
    return GalacticCoordinates(wcs)


def border(shape: tuple[int, int]) -> Float64Array:
    """Return pixels (y, x) of the centre of a map, then of its corners and the middles of its sides, `(9, 2)`."""
    y, x = (np.array([(n - 1) / 2, 0, n - 1]) for n in shape)
    return grid_points(y, x)


class PositionEncoder(nn.Module):
    """An encoder that only scales positions, to [-1, 1]; the base of the others.

    Parameters
    ----------
    coordinates
        The coordinate system of the positions.
    """

    width: int = 2
    """How many numbers encode a position."""

    origin: Tensor
    scale: Tensor

    def __init__(self, coordinates: CoordinateSystem) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.register_buffer("origin", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(2, dtype=torch.float64))

    def fit(self, border: Tensor) -> None:
        """Learn origin and scale from positions `(n, 2)` along the border of the training map, its centre first."""
        self.origin.copy_(border[0])
        self.scale.copy_(self._offset(border).abs().amax(dim=0).clamp(min=1e-6))

    def _offset(self, position: Tensor) -> Tensor:
        offset = position.double() - self.origin
        if self.coordinates == "galactic":
            longitude = torch.remainder(offset[:, 0] + 180, 360) - 180
            offset = torch.stack([longitude, offset[:, 1]], dim=1)
        return offset

    def reaches(self, position: Tensor) -> bool:
        """Return whether all positions `(n, 2)` lie in the range of the training map, to a hundredth of its half."""
        return not bool((self._offset(position).abs() > 1.01 * self.scale).any())

    @property
    def range(self) -> str:
        """The range of positions of the training map, in words."""
        low, high = self.origin - self.scale, self.origin + self.scale
        if self.coordinates == "pixel":
            return "y = {:.0f} to {:.0f}, x = {:.0f} to {:.0f}".format(*torch.stack([low, high], dim=1).flatten())
        return f"l = {low[0] % 360:.2f} to {high[0] % 360:.2f} deg, b = {low[1]:.2f} to {high[1]:.2f} deg"

    def forward(self, position: Tensor) -> Tensor:
        """Return the encoding `(b, width)`, float32, of positions `(b, 2)`."""
        return (self._offset(position) / self.scale).clamp(-1, 1).float()


class LinearEncoder(PositionEncoder):
    """A learned linear map of the scaled position."""

    def __init__(self, coordinates: CoordinateSystem, features: int) -> None:
        super().__init__(coordinates)
        self.width = features
        self.linear = nn.Linear(2, features)

    @override
    def forward(self, position: Tensor) -> Tensor:
        return cast(Tensor, self.linear(super().forward(position)))


class SineEncoder(PositionEncoder):
    """Sines and cosines of the scaled position, at pi/2 times 1, 2, 4, ..."""

    def __init__(self, coordinates: CoordinateSystem, frequencies: int) -> None:
        super().__init__(coordinates)
        self.width = 4 * frequencies
        self.frequencies = frequencies

    @override
    def forward(self, position: Tensor) -> Tensor:
        factors = torch.pi / 2 * 2.0 ** torch.arange(self.frequencies, device=position.device)
        angle = (super().forward(position)[:, :, None] * factors).flatten(1)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class PositionJoin(nn.Module):
    """Joins an encoded position to features: as constant planes before the network, elsewhere by addition.

    Parameters
    ----------
    encoder
        The encoder; without one, features stay as they are.
    join
        Where the encoding enters.
    middle, after
        Number of feature maps at the lowest level of the network, and at its end.

    Attributes
    ----------
    planes
        Number of planes that are added before the network.
    """

    def __init__(self, encoder: PositionEncoder | None, join: str, middle: int, after: int) -> None:
        super().__init__()
        self.encoder, self.join = encoder, join
        self.planes = encoder.width if encoder and join == "before" else 0
        if encoder:
            channels = middle if join == "middle" else after
            self.project = nn.Identity() if join == "before" else nn.Linear(encoder.width, channels)

    def forward(self, features: Tensor, position: Tensor | None, place: str) -> Tensor:
        """Return features `(b, c, y, x)`, joined with the position where `place` is that of `join`."""
        if self.encoder is None or place != self.join:
            return features
        if position is None:
            raise ValueError("a network with position encoding was called without positions")
        encoded = self.project(self.encoder(position))[:, :, None, None].to(features.dtype)
        if place == "before":
            return torch.cat([features, encoded.expand(-1, -1, *features.shape[2:])], dim=1)
        added: Tensor = features + encoded
        return added


def warn_if_beyond_training(models: Iterable[nn.Module], shape: tuple[int, int], wcs: WCS | None, name: str) -> None:
    """Warn once where a map reaches beyond the positions that the encoders in some models were fitted to.

    Parameters
    ----------
    models
        The models, with an encoder or without.
    shape, wcs
        Those of the map.
    name
        What the warning calls the map.
    """
    for encoder in chain.from_iterable(model.modules() for model in models):
        if not isinstance(encoder, PositionEncoder) or (locate := position_lookup(encoder.coordinates, wcs)) is None:
            continue
        if encoder.reaches(positions := locate(border(shape))):
            continue
        here = PositionEncoder(encoder.coordinates)
        here.fit(positions)
        warn(
            f"{name} has positions {here.range}; the position encoding was trained on {encoder.range}. Positions "
            "beyond that are taken as the nearest trained ones. Where they matter, train on a map of that region, or "
            "a model without position."
        )
        return


class PositionConfig(Component[PositionEncoder]):
    """The part common to all position encoders."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "join"})

    coordinates: CoordinateSystem = aliased("galactic", "coordinates", "of")
    """`galactic`: (l, b) from the WCS, so that a model can be used on other maps; `pixel`: (y, x) in the map."""

    join: Literal["before", "middle", "after"] = "middle"
    """Where the encoding enters: as planes beside the image, at the lowest level, or before the last layer."""


class IdentityPositionConfig(PositionConfig, builds=PositionEncoder):
    """The two scaled coordinates themselves."""

    type: Literal["identity"]


class LinearPositionConfig(PositionConfig, builds=LinearEncoder):
    """A learned linear map of the two coordinates."""

    type: Literal["linear"] = "linear"

    features: PositiveInt = 16
    """How many numbers encode a position."""


class SinePositionConfig(PositionConfig, builds=SineEncoder):
    """Sines and cosines of the two coordinates at doubling frequencies (Vaswani et al. 2017)."""

    type: Literal["sine"]

    frequencies: PositiveInt = 4
    """Number of frequencies; each further one tells positions half as far apart."""


class CustomPositionConfig(PositionConfig, CustomConfig[PositionEncoder]):
    """A `PositionEncoder` of your own: called with `coordinates` and `kwargs`."""

    methods: ClassVar[tuple[str, ...]] = ("forward", "fit")

    @override
    def build(self) -> PositionEncoder:
        return super().build(coordinates=self.coordinates)


AnyPositionConfig = Annotated[
    Annotated[
        IdentityPositionConfig | LinearPositionConfig | SinePositionConfig | CustomPositionConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
