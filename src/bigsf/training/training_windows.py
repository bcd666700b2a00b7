"""Training patches -> the range of noise, smoothness, skewness and contrast that a model learns from."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from bigsf.models.window_statistics import (
    MOST_WINDOWS,
    QUANTITIES,
    Quantity,
    Range,
    Statistics,
    concatenated,
    ranges,
    window_statistics,
)
from bigsf.training.dataset import PatchDataset


def training_ranges(dataset: PatchDataset, batch_size: int) -> dict[Quantity, Range]:
    """Return the range of each quantity over training patches, as they are and as the augmentations change them.

    The patches are a random sample, which the seed of the dataset decides. The median is that of the patches as they
    are. A quantity that no patch has is left out.

    Parameters
    ----------
    dataset
        The training patches; pixels that the model may not see do not count.
    batch_size
        Patches to hold in memory at a time. The result does not depend on it, but for the random numbers of the
        augmentations.
    """
    some = np.random.default_rng(dataset.seed).permutation(dataset.indices)[:MOST_WINDOWS]
    plain: list[Statistics] = []
    augmented: list[Statistics] = []
    for number, indices in enumerate(np.array_split(some, -(-len(some) // batch_size))):
        plain.append(_statistics(dataset.augmented(indices, (), [dataset.seed, number]).image))
        if dataset.augmentations:
            augmented.append(
                _statistics(dataset.augmented(indices, dataset.augmentations, [dataset.seed, number]).image)
            )
    window = dataset.patch_file.patch_size
    return _widened(ranges(concatenated(plain), window), ranges(concatenated(augmented), window))


def _statistics(image: Tensor) -> Statistics:
    return window_statistics(image[:, :1].cpu())


def _widened(plain: Mapping[Quantity, Range], other: Mapping[Quantity, Range]) -> dict[Quantity, Range]:
    return {
        name: Range(min(own.low, other[name].low), own.median, max(own.high, other[name].high))
        if name in other
        else own
        for name, own in plain.items()
    }


def are_sound(found: Mapping[str, tuple[float, float, float]]) -> bool:
    """Tell whether the ranges of a snapshot are such as `training_ranges` makes."""
    return found.keys() <= set(QUANTITIES) and all(0 <= low <= high < np.inf for low, _, high in found.values())
