"""Batch of raw patches -> probabilities: networks, normalizations, position encoders, and the model they form."""

from typing import Annotated, cast

from pydantic import Field
from torch import nn

from bigsf.config import CustomConfig, ignore_tag_case
from bigsf.models.network import NetworkConfig
from bigsf.models.unet import UNetConfig as UNetConfig
from bigsf.models.unetpp import UNetPlusPlusConfig


class CustomNetworkConfig(NetworkConfig, CustomConfig):
    """A network of your own: `forward(patches (b, c, y, x), position (b, 2) or None) -> logits (b, 1, y, x)`.

    It is called with `kwargs` alone.
    """

    def build(self) -> nn.Module:
        """Import and call the target."""
        return cast(nn.Module, self.call())


ModelConfig = Annotated[
    Annotated[UNetConfig | UNetPlusPlusConfig | CustomNetworkConfig, Field(discriminator="type")],
    ignore_tag_case,
]
