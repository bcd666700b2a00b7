"""segmentation_models_pytorch: its Unet on a resnet18 without foreign weights, with its Dice loss and BCE."""

import torch
from segmentation_models_pytorch import Unet
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor
from torch.nn import functional as F
from work import SplitWork, predict, train

from bigsf.arrays import FloatArray


def probability(work: SplitWork) -> FloatArray:
    """Return the probability `(ny, nx)` of a network trained on a split."""
    torch.manual_seed(work.run.config.trainer.seed)
    network = Unet("resnet18", encoder_weights=None, in_channels=1, classes=1)
    dice = DiceLoss("binary")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        overlap: Tensor = dice(logits, target)
        return overlap + F.binary_cross_entropy_with_logits(logits, target)

    train(network, loss, work)
    return predict(network, work)
