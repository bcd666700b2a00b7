"""The family of networks -> the model of a configuration: its network, normalization and position encoder."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from bigsf.config import CustomConfig, ignore_tag_case
from bigsf.models.network import NetworkConfig
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.unet import UNetConfig as UNetConfig
from bigsf.models.unetpp import UNetPlusPlusConfig


class CustomNetworkConfig(NetworkConfig, CustomConfig[nn.Module]):
    """A network of your own: `forward(patches (b, c, y, x), position (b, 2) or None) -> logits (b, 1, y, x)`.

    It is called with `kwargs` alone. With a `position`, it gets the positions in its `coordinates` as they are, in
    pixels (y, x) or in degrees, and encodes them itself.
    """


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
    """
    coordinates = config.position.coordinates if config.position else None
    normalization = config.normalization.build(channels=config.in_channels)
    model = SegmentationModel(network or config.build(), normalization, coordinates)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return model
