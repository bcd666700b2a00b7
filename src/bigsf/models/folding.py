"""Batch norm folded into the convolutions before it, for inference."""

from copy import deepcopy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Model = TypeVar("Model", bound=nn.Module)


def with_folded_norms(model: Model) -> Model:
    """Return a copy of a model for inference in which each batch norm that follows a convolution is part of it.

    The answers are those of the model in evaluation mode, to rounding.
    """
    folded = deepcopy(model).eval()
    for block in folded.modules():
        if isinstance(block, nn.Sequential):
            _fold(block)
    return folded


def _fold(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        convolution, norm = block[index], block[index + 1]
        if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.track_running_stats:
            block[index], block[index + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
