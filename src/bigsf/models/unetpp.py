"""UNet++ (Zhou et al. 2018): a U-Net whose skip connections are themselves nested U-Nets."""

from typing import Literal

import torch
from torch import Tensor, nn

from bigsf.models.positions import PositionEncoder, PositionJoin
from bigsf.models.unet import ConvBlock, Head, LevelsConfig, Norm


class UNetPlusPlus(nn.Module):
    """A UNet++.

    Parameters
    ----------
    in_channels, out_channels
        Image planes in and output planes.
    features
        Feature maps at full resolution.
    depth
        Down-sampling steps, and nested U-Nets.
    norm
        Normalization of the features.
    deep_supervision
        Use the output of all nested U-Nets instead of that of the deepest one.
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
        deep_supervision: bool = True,
        position: PositionEncoder | None = None,
        join: str = "middle",
    ) -> None:
        super().__init__()
        width = [features * 2**level for level in range(depth + 1)]
        self.depth = depth
        self.position = PositionJoin(position, join, width[-1], features)
        first = in_channels + self.position.planes
        self.blocks = nn.ModuleDict()
        self.up = nn.ModuleDict()
        for level in range(depth + 1):
            self.blocks[f"{level}_0"] = ConvBlock(width[level - 1] if level else first, width[level], norm)
            for column in range(1, depth - level + 1):
                self.up[f"{level}_{column}"] = nn.ConvTranspose2d(width[level + 1], width[level], 2, stride=2)
                self.blocks[f"{level}_{column}"] = ConvBlock((column + 1) * width[level], width[level], norm)
        columns = range(1, depth + 1) if deep_supervision else [depth]
        self.heads = nn.ModuleDict({str(column): Head(features, out_channels) for column in columns})

    def forward(self, patches: Tensor, position: Tensor | None = None) -> Tensor:
        """Return logits of normalised patches `(b, in_channels, y, x)`.

        The shape is `(b, out_channels, y, x)`. In training with deep supervision it is `(b, outputs, y, x)`, with one
        plane per nested U-Net.
        """
        x = self.position(patches, position, "before")
        node: dict[tuple[int, int], Tensor] = {}
        for level in range(self.depth + 1):
            x = x if level == 0 else nn.functional.max_pool2d(node[level - 1, 0], 2)
            x = self.blocks[f"{level}_0"](x)
            node[level, 0] = self.position(x, position, "middle") if level == self.depth else x
        for column in range(1, self.depth + 1):
            for level in range(self.depth - column + 1):
                raised = self.up[f"{level}_{column}"](node[level + 1, column - 1])
                skipped = [node[level, before] for before in range(column)]
                node[level, column] = self.blocks[f"{level}_{column}"](torch.cat([*skipped, raised], dim=1))
        outputs = [head(self.position(node[0, int(column)], position, "after")) for column, head in self.heads.items()]
        return torch.cat(outputs, dim=1) if self.training else torch.stack(outputs).mean(dim=0)


class UNetPlusPlusConfig(LevelsConfig, builds=UNetPlusPlus):
    """A UNet++ (Zhou et al. 2018)."""

    type: Literal["unetpp", "unet++"]

    deep_supervision: bool = True
    """Train each nested U-Net to find the structures by itself; the output of the model is their mean."""
