"""MONAI: its BasicUNet with its default features, DiceCELoss, and SlidingWindowInferer."""

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from work import SplitWork, predict, train

from bigsf.arrays import FloatArray


def probability(work: SplitWork) -> FloatArray:
    """Return the probability `(ny, nx)` of a network trained on a split."""
    torch.manual_seed(work.run.config.trainer.seed)
    network = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)
    train(network, DiceCELoss(sigmoid=True), work)
    return predict(network, work)
