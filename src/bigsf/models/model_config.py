"""Batch of raw patches -> probabilities: networks, normalizations, position encoders, and the model they form."""

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from bigsf.config import CustomConfig, ignore_tag_case
from bigsf.errors import ConfigError
from bigsf.models.network import NetworkConfig
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.unet import UNetConfig as UNetConfig
from bigsf.models.unetpp import UNetPlusPlusConfig


class CustomNetworkConfig(NetworkConfig, CustomConfig[nn.Module]):
    """A network of your own: `forward(patches (b, c, y, x), position (b, 2) or None) -> logits (b, 1, y, x)`.

    It is called with `kwargs` alone. Of `position` it needs the `coordinates` alone: it gets the positions as they
    are, in pixels (y, x) or in degrees, and encodes them itself.
    """

    @model_validator(mode="after")
    def _encodes_positions_itself(self) -> Self:
        idle = sorted(self.position.model_fields_set - {"type", "coordinates", "of"}) if self.position else []
        if idle:
            raise ValueError(
                f"position.{idle[0]} would do nothing: a network of your own gets the positions as they are."
            )
        return self


ModelConfig = Annotated[
    Annotated[UNetConfig | UNetPlusPlusConfig | CustomNetworkConfig, Field(discriminator="type")],
    ignore_tag_case,
]


def build_model(config: ModelConfig, network: nn.Module | None = None) -> SegmentationModel:
    """Return an untrained model.

    Parameters
    ----------
    config
        The network, its normalization and its position encoder.
    network
        An object to use in place of the network that the configuration describes.

    Raises
    ------
    ConfigError
        Where the network has more than one output plane.
    """
    if config.out_channels != 1:
        raise ConfigError(f"trainer.model.out_channels is {config.out_channels}; BigSF separates one class: use 1.")
    coordinates = config.position.coordinates if config.position else None
    normalization = config.normalization.build(channels=config.in_channels)
    model = SegmentationModel(network or config.build(), normalization, coordinates)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return model
