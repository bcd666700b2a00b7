"""Raw patches -> logits or probabilities: a normalization and a network, as a snapshot holds them."""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bigsf.errors import ConfigError
from bigsf.models.normalizations import Normalization
from bigsf.models.positions import CoordinateSystem

Module = TypeVar("Module", bound=nn.Module)


def with_folded_norms(model: Module) -> Module:
    """Return a copy of a model for inference, in which batch norms are part of the convolutions before them.

    Its outputs are those of the model in evaluation mode, to rounding. It shares the tensors that stay as they are.
    """
    folded = deepcopy(model, {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}).eval()
    for block in folded.modules():
        if isinstance(block, nn.Sequential) and type(block).forward is nn.Sequential.forward:
            _fold(block)
    return folded


def _fold(block: nn.Sequential) -> None:
    for index in range(len(block) - 1):
        convolution, norm = block[index], block[index + 1]
        if type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.track_running_stats:
            block[index], block[index + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class SegmentationModel(nn.Module):
    """A normalization and a network.

    Parameters
    ----------
    network
        Takes normalised patches, zero where missing, and positions; returns logits.
    normalization
        Takes raw patches and the mask of valid pixels.
    coordinates
        The coordinates of the positions that the network takes; None where it takes none.
    """

    def __init__(
        self, network: nn.Module, normalization: Normalization, coordinates: CoordinateSystem | None = None
    ) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.network = network
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest on CPUs and GPUs alike
        self.normalization = normalization

    def forward(self, image: Tensor, position: Tensor | None = None) -> Tensor:
        """Return logits `(b, 1, y, x)`, float32, of raw patches `(b, c, y, x)` with NaN where missing.

        A network with deep supervision returns `(b, outputs, y, x)` in training. The normalization runs in full
        precision also under mixed precision; the network runs in that of the context.
        """
        valid = image.isfinite()
        with torch.autocast(image.device.type, enabled=False):
            normalised = torch.where(valid, self.normalization(image, valid), 0.0)
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normalised, position)
        if not isinstance(logits, Tensor):
            raise ConfigError(f"The network returns {type(logits).__name__}; expected a tensor of logits.")
        return logits.float()

    def training_bytes(self, image: Tensor, position: Tensor | None = None) -> int:
        """Estimate the memory that a training step takes for a batch like this.

        The outputs of all layers are kept for the backward pass, and each parameter has a gradient and two moments of
        Adam.
        """
        outputs = self.output_bytes(image[:1], None if position is None else position[:1])
        return outputs * len(image) + 16 * sum(parameter.numel() for parameter in self.parameters())

    def output_bytes(self, image: Tensor, position: Tensor | None = None) -> int:
        """Return the bytes that the outputs of all layers take in float32, measured by a forward pass of a batch.

        The model is in evaluation mode afterwards.
        """
        outputs = 0

        def count(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal outputs
            if isinstance(output, Tensor) and not any(module.children()) and all(output is not each for each in inputs):
                outputs += output.numel() * 4

        hooks = [module.register_forward_hook(count) for module in self.modules()]
        with torch.no_grad():
            self.eval()(image, position)
        for hook in hooks:
            hook.remove()
        return outputs

    def probabilities(self, image: Tensor, position: Tensor | None = None) -> Tensor:
        """Return probabilities `(b, 1, y, x)`, float32.

        Raises
        ------
        ConfigError
            Where a network, which may be the user's own, returns another shape.
        """
        logits: Tensor = self(image, position)
        if logits.shape != (expected := (len(image), 1, *image.shape[2:])):
            raise ConfigError(
                f"In evaluation the network returns the shape {tuple(logits.shape)}; expected logits of one plane, "
                f"{expected}. Further planes are for its training alone."
            )
        return logits.sigmoid()
