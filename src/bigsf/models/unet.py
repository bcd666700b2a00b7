"""U-Net (Ronneberger, Fischer & Brox 2015), for patches of any multiple of 2**depth pixels."""

from typing import Literal, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from bigsf.config import aliased
from bigsf.models.network import NetworkConfig
from bigsf.models.positions import PositionEncoder, PositionJoin

Norm = Literal["batch", "group", "instance"]


class LevelsConfig(NetworkConfig):
    """The part common to networks that go down and up again through levels of halved resolution."""

    features: PositiveInt = 16
    """Feature maps at full resolution, doubled at each step down. Time grows with its square."""

    depth: int = aliased(4, "depth", "num_blocks", ge=1, le=7)
    """Down-sampling steps; patches must be a multiple of 2**depth pixels. A deeper network sees further."""

    norm: Norm = "batch"
    """Normalization of the features. `batch` is the fastest. `group` and `instance` do not depend on the batch, so that
    several processes give the same losses as one."""

    @property
    def patch_multiple(self) -> int:
        """Sides of patches must be a multiple of this many pixels."""
        return int(2**self.depth)

    @override
    def build(self) -> nn.Module:
        position = self.position.build() if self.position else None
        return super().build(position=position, join=self.position.join if self.position else "middle")


class UNet(nn.Module):
    """A U-Net.

    Parameters
    ----------
    in_channels, out_channels
        Image planes in and output planes.
    features
        Feature maps at full resolution.
    depth
        Down-sampling steps.
    norm
        Normalization of the features.
    dropout
        Fraction of feature maps dropped in training at the lowest level.
    position, join
        Encoder of positions, and where it enters: "before", "middle" or "after".
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        features: int = 16,
        depth: int = 4,
        norm: Norm = "batch",
        dropout: float = 0.0,
        position: PositionEncoder | None = None,
        join: str = "middle",
    ) -> None:
        super().__init__()
        width = [features * 2**level for level in range(depth + 1)]
        self.position = PositionJoin(position, join, width[-1], features)
        first = in_channels + self.position.planes
        self.down = nn.ModuleList([ConvBlock(first, width[0], norm)])
        self.down.extend(ConvBlock(width[i], width[i + 1], norm) for i in range(depth))
        self.dropout = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width[i + 1], width[i], 2, stride=2) for i in range(depth))
        self.merge = nn.ModuleList(ConvBlock(2 * width[i], width[i], norm) for i in range(depth))
        self.head = Head(features, out_channels)

    def forward(self, patches: Tensor, position: Tensor | None = None) -> Tensor:
        """Return logits `(b, out_channels, y, x)` of normalised patches `(b, in_channels, y, x)`."""
        levels = [self.down[0](self.position(patches, position, "before"))]
        for block in list(self.down)[1:]:
            levels.append(block(nn.functional.max_pool2d(levels[-1], 2)))
        x = self.position(self.dropout(levels.pop()), position, "middle")
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([levels.pop(), up(x)], dim=1))
        return cast(Tensor, self.head(self.position(x, position, "after")))


class UNetConfig(LevelsConfig, builds=UNet):
    """A U-Net (Ronneberger et al. 2015)."""

    type: Literal["unet"] = "unet"

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of feature maps dropped in training at the lowest level."""


class ConvBlock(nn.Sequential):
    """Two 3 x 3 convolutions, each normalised and rectified."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                _norm(norm, out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Head(nn.Conv2d):
    """The last convolution. It stays in float32 under mixed precision: bf16 logits round probabilities to 3 digits."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)
