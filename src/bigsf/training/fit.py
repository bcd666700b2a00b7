"""Training patches -> normalization, augmentations and position encoder that have learnt from them."""

import numpy as np
import torch

from bigsf.arrays import IntArray
from bigsf.console import logger
from bigsf.errors import warn
from bigsf.maps.tiling import bands
from bigsf.models.positions import PositionEncoder, border
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.checks import warn_if_not_positive
from bigsf.training.components.levels import MeasuredInLevels, MultipliesValues
from bigsf.training.components.paste_augmentation import PasteFilaments
from bigsf.training.dataset import PatchDataset
from bigsf.training.run_config import TrainerConfig

_SAMPLE = 1000  # patches from which global normalizations learn
_AT_A_TIME = 100  # patches that are searched for known filaments, which takes far more memory than they do
_MOST_SEARCHED = 20_000  # patches, where few show a known filament


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
    _fit_to_values(model, config, dataset, order[:_SAMPLE])
    for augmentation in dataset.augmentations:
        if isinstance(augmentation, PasteFilaments):
            _collect(augmentation, dataset, order[:_MOST_SEARCHED])
    for module in model.modules():
        if isinstance(module, PositionEncoder) and dataset.locate:
            module.fit(dataset.locate(border(dataset.patch_file.shape)))


def _fit_to_values(model: SegmentationModel, config: TrainerConfig, dataset: PatchDataset, some: IntArray) -> None:
    """Let normalization and augmentations learn from the values of some patches."""
    image = dataset.read(some).image
    sample = torch.from_numpy(image.swapaxes(0, 1).reshape(image.shape[1], -1).astype(np.float64))  # (c, n)
    warn_if_not_positive(config.model, sample)
    model.normalization.fit(sample)
    first = sample[0][sample[0].isfinite()].numpy()
    reasons: dict[str, str] = {}
    for augmentation, configured in zip(dataset.augmentations, config.augmentations, strict=True):
        if isinstance(augmentation, MeasuredInLevels):
            reasons[configured.type] = augmentation.fit(first, dataset.patch_file.unit)
        elif isinstance(augmentation, MultipliesValues) and (why := augmentation.fit(first, dataset.patch_file.unit)):
            logger.info("The augmentation %s adds logarithms of factors, as %s.", configured.type, why)
    if in_spread := [name for name, why in reasons.items() if why]:
        names = " and ".join(in_spread)
        subject = f"augmentation {names} measures" if len(in_spread) == 1 else f"augmentations {names} measure"
        warn(f"The {subject} in the spread of each patch and not in its level, as {reasons[in_spread[0]]}.")


def _collect(augmentation: PasteFilaments, dataset: PatchDataset, order: IntArray) -> None:
    """Let an augmentation keep known filaments of the training patches, as far as the model may see them."""
    for start, end in bands(len(order), _AT_A_TIME):
        patches = dataset.read(order[start:end])
        assert patches.target is not None
        augmentation.collect(torch.from_numpy(patches.image), torch.from_numpy(patches.target[:, None]))
        if augmentation.is_full:
            return
    if not len(augmentation.shapes):
        logger.info(
            "The augmentation paste has nothing to paste: none of %s training patches shows a known filament that "
            "stands out of the noise.",
            f"{len(order):,}",
        )
