"""Training patches -> normalization, augmentations and position encoder that have learnt from them."""

import warnings

import numpy as np
import torch

from bigsf.arrays import IntArray
from bigsf.console import logger
from bigsf.errors import BigsfWarning
from bigsf.maps.tiling import bands
from bigsf.models.positions import PositionEncoder, border
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.checks import warn_if_not_positive
from bigsf.training.components.levels import MeasuredInLevels
from bigsf.training.components.paste_augmentation import PasteFilaments
from bigsf.training.dataset import PatchDataset
from bigsf.training.run_config import TrainerConfig

_SAMPLE = 1000  # patches from which global normalizations learn, and that are read at a time
_MOST_READ = 20_000  # patches in which known filaments are looked for, which may be few


def fit_to_data(model: SegmentationModel, config: TrainerConfig, dataset: PatchDataset) -> None:
    """Let normalization, augmentations and position encoder learn from the data, before the weights do.

    Parameters
    ----------
    model
        Its normalization and position encoder are fitted.
    config
        Names the augmentations, and the seed of the patches that are read.
    dataset
        The training patches, and the augmentations.
    """
    order = np.random.default_rng(config.seed).permutation(dataset.indices)
    image = dataset.read(order[:_SAMPLE]).image
    sample = torch.from_numpy(image.swapaxes(0, 1).reshape(image.shape[1], -1).astype(np.float64))  # (c, n)
    warn_if_not_positive(config.model, sample)
    model.normalization.fit(sample)
    first = sample[0][sample[0].isfinite()].numpy()
    for augmentation, configured in zip(dataset.augmentations, config.augmentations, strict=True):
        if isinstance(augmentation, MeasuredInLevels) and (why := augmentation.fit(first, dataset.patch_file.unit)):
            warnings.warn(
                f"The augmentation {configured.type} measures in the spread of each patch and not in its level, as "
                f"{why}.",
                BigsfWarning,
                stacklevel=4,
            )
        if isinstance(augmentation, PasteFilaments):
            _collect(augmentation, dataset, order[:_MOST_READ])
    for module in model.modules():
        if isinstance(module, PositionEncoder) and dataset.locate:
            module.fit(dataset.locate(border(dataset.patch_file.shape)))


def _collect(augmentation: PasteFilaments, dataset: PatchDataset, order: IntArray) -> None:
    """Let an augmentation keep known filaments of the training patches, as far as the model may see them."""
    for start, end in bands(len(order), _SAMPLE):
        patches = dataset.read(order[start:end])
        assert patches.target is not None
        augmentation.collect(torch.from_numpy(patches.image), torch.from_numpy(patches.target[:, None]))
        if augmentation.is_full:
            return
    if not len(augmentation.shapes):
        logger.info("The augmentation paste has nothing to paste: the training patches show no known filament.")
