"""Patch file + folds -> batches."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from bigsf.arrays import BoolArray, IntArray
from bigsf.config import Component, ConfigPath, CustomConfig, default_tag, ignore_tag_case
from bigsf.models.device import on_device
from bigsf.models.positions import PositionLookup
from bigsf.patches.patch_file import Patches, PatchFile
from bigsf.training.components.batch import Augmentation, Batch

VisiblePixels = Callable[[IntArray], BoolArray]
"""A function from indices of patches to a mask `(n, y, x)`, True on the pixels that the model may see."""


class SampledConfig(Component[PatchFile]):
    """Which patches are trained on."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "samples_per_epoch", "straddle"})

    samples_per_epoch: PositiveInt | None = None
    """Train on a random part of the training patches each epoch; null: on all."""

    straddle: bool = True
    """Train also on patches that lie across the border of areas, where their centre and a label are in the training
    areas. Their pixels outside are masked as missing."""


class PatchesConfig(SampledConfig, builds=PatchFile):
    """The patches of a patch file."""

    type: Literal["patches"] = "patches"

    path: ConfigPath
    """The patch file, made by `bigsf preprocess`."""

    in_memory: bool = False
    """Read the planes into memory instead of mapping them: for file systems that are slow at random reads."""


class CustomDataConfig(SampledConfig, CustomConfig[PatchFile]):
    """A `PatchFile` of your own: called with `kwargs`."""


DataConfig = Annotated[
    Annotated[PatchesConfig | CustomDataConfig, Field(discriminator="type")],
    ignore_tag_case,
    default_tag("patches"),
]


class PatchDataset:
    """The training patches of a split, in batches. Patches and augmentations depend on (seed, epoch, step) alone.

    Parameters
    ----------
    patch_file
        The patch file.
    indices
        The rows of the training patches in it.
    batch_size
        Patches in a batch, over all processes. Batches of an epoch differ in size by at most one patch.
    seed
        Seed of the order and of the augmentations.
    samples_per_epoch
        Train on a random part of this many patches each epoch.
    visible_pixels
        A function from indices of patches to a mask of the pixels that the model may see; by default all of them.
    augmentations
        The augmentations, in the order in which they are applied.
    locate
        A function from patch centres to positions; None for models without position.
    device
        The device of the batches.
    rank, processes
        The number of processes that share a batch, and the number of this one among them.
    """

    def __init__(
        self,
        patch_file: PatchFile,
        indices: IntArray,
        batch_size: int,
        seed: int = 0,
        samples_per_epoch: int | None = None,
        visible_pixels: VisiblePixels | None = None,
        augmentations: Sequence[Augmentation] = (),
        locate: PositionLookup | None = None,
        device: torch.device | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.patch_file, self.indices, self.seed = patch_file, indices, seed
        self.rank, self.processes, self._visible_pixels = rank, processes, visible_pixels
        self.samples = min(samples_per_epoch or len(indices), len(indices))
        self.steps = -(-self.samples // batch_size)
        self.augmentations, self.locate = augmentations, locate
        self.device = device or torch.device("cpu")
        self._order: tuple[int, list[IntArray]] = (-1, [])

    def read(self, indices: IntArray) -> Patches:
        """Return patches. Pixels that the model may not see are NaN and have no label."""
        patches = self.patch_file.read(indices)
        assert patches.target is not None
        assert patches.labelled is not None
        if self._visible_pixels is None:
            return patches
        visible = self._visible_pixels(indices)
        image = np.where(visible[:, None], patches.image, np.float32(np.nan))
        return patches._replace(image=image, target=patches.target * visible, labelled=patches.labelled * visible)

    def batch_indices(self, epoch: int, step: int) -> IntArray:
        """Return the indices of the patches of a batch."""
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.indices)[: self.samples]
            self._order = (epoch, np.array_split(order, self.steps))
        return self._order[1][step]

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the part of this process of an augmented batch. It may be empty."""
        mine = slice(self.rank, None, self.processes)
        return self.augmented(self.batch_indices(epoch, step), self.augmentations, [self.seed, epoch, step], mine)

    def augmented(
        self,
        indices: IntArray,
        augmentations: Sequence[Augmentation],
        seed: Sequence[int],
        part: slice = slice(None),
    ) -> Batch:
        """Return some of the patches with these indices, changed by augmentations.

        Parameters
        ----------
        indices
            The rows of the patches in the patch file.
        augmentations
            The augmentations, in the order in which they are applied.
        seed
            Seed of their random numbers, which are drawn for all patches.
        part
            Which of the patches are returned.
        """
        patches = self.read(indices[part])
        assert patches.target is not None
        assert patches.labelled is not None
        centre = patches.position + (self.patch_file.patch_size - 1) / 2
        batch = Batch(
            on_device(patches.image, self.device),
            on_device(patches.target[:, None], self.device).float(),
            on_device(patches.labelled[:, None], self.device).bool(),
            on_device(self.locate(centre), self.device) if self.locate else None,
        )
        generator = np.random.default_rng(seed)
        for augmentation in augmentations:
            draw = on_device(np.asarray(augmentation.draw(generator, len(indices)))[part], self.device)
            if len(draw):
                batch = augmentation.apply(batch, draw)
        return batch._replace(image=batch.image.float())  # one's own may multiply by numbers of float64


class Prefetcher:
    """Prepares the next batch of an epoch in a thread while the network works on the last one.

    Parameters
    ----------
    dataset
        Its batches depend on (seed, epoch, step) alone, so that no result depends on the thread.
    """

    def __init__(self, dataset: PatchDataset) -> None:
        self.dataset = dataset
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._next: tuple[tuple[int, int], Future[Batch]] | None = None

    def batch(self, epoch: int, step: int) -> Batch:
        """Return a batch, and begin to prepare the next one."""
        if self._next is not None and self._next[0] == (epoch, step):
            batch = self._next[1].result()
        else:
            batch = self.dataset.batch(epoch, step)
        self._next = None
        if step + 1 < self.dataset.steps:
            self._next = (epoch, step + 1), self._thread.submit(self.dataset.batch, epoch, step + 1)
        return batch

    def close(self) -> None:
        """End the thread."""
        self._next = None
        self._thread.shutdown()
