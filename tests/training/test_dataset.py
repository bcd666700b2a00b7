import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.models.positions import pixel_coordinates
from bigsf.patches.patch_file import PatchFile
from bigsf.training.components.augmentations import FlipConfig, Rotate90Config
from bigsf.training.components.batch import Batch
from bigsf.training.dataset import PatchDataset, PatchesConfig, Prefetcher
from bigsf.training.run_config import RunConfig


@pytest.fixture(scope="module")
def dataset_of(patch_path: Path) -> Callable[..., PatchDataset]:
    """Return a dataset over the first `n` patches."""
    file = PatchFile(patch_path)

    def make(n: int = 40, **arguments: Any) -> PatchDataset:
        return PatchDataset(file, np.arange(n), **{"batch_size": 6, **arguments})

    return make


def epoch_of(dataset: PatchDataset, epoch: int = 0) -> list[npt.NDArray[np.int64]]:
    return [dataset.batch_indices(epoch, step) for step in range(dataset.steps)]


@settings(max_examples=50)
@given(n=st.integers(1, 200), batch_size=st.integers(1, 64), epoch=st.integers(0, 3))
def test_each_patch_comes_once_an_epoch_in_batches_of_almost_one_size(
    dataset_of: Callable[..., PatchDataset], n: int, batch_size: int, epoch: int
) -> None:
    batches = epoch_of(dataset_of(n, batch_size=batch_size), epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_order_is_a_function_of_seed_and_epoch(dataset_of: Callable[..., PatchDataset]) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(epoch_of(dataset_of(seed=seed), epoch)))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_do_not_depend_on_what_was_read_before(dataset_of: Callable[..., PatchDataset]) -> None:
    fresh, used = dataset_of(), dataset_of()
    used.batch(0, 0)
    used.batch(5, 1)
    assert used.batch_indices(2, 3).tolist() == fresh.batch_indices(2, 3).tolist()


def test_samples_per_epoch_takes_another_part_each_epoch(dataset_of: Callable[..., PatchDataset]) -> None:
    dataset = dataset_of(samples_per_epoch=10)
    first, second = (set(np.concatenate(epoch_of(dataset, epoch)).tolist()) for epoch in (0, 1))
    assert (dataset.samples, dataset.steps) == (10, 2)
    assert len(first) == len(second) == 10
    assert first != second


def test_more_samples_than_patches_are_all_patches(dataset_of: Callable[..., PatchDataset]) -> None:
    assert dataset_of(samples_per_epoch=1000).samples == 40


def test_batch_holds_raw_patches_of_its_indices(dataset_of: Callable[..., PatchDataset], patch_file: PatchFile) -> None:
    dataset = dataset_of(locate=pixel_coordinates)
    batch, patches = dataset.batch(1, 2), patch_file.read(dataset.batch_indices(1, 2))
    assert patches.target is not None
    assert patches.labelled is not None
    assert batch.position is not None
    np.testing.assert_array_equal(batch.image.numpy(), patches.image)
    np.testing.assert_array_equal(batch.target[:, 0].numpy(), patches.target)
    np.testing.assert_array_equal(batch.labelled[:, 0].numpy(), patches.labelled)
    np.testing.assert_array_equal(batch.position.numpy(), patches.position + 7.5)  # centres of patches of 16 pixels
    kinds = [tensor.dtype for tensor in (batch.image, batch.target, batch.labelled)]
    assert kinds == [torch.float32, torch.float32, torch.bool]


def test_augmented_batch_is_a_function_of_seed_epoch_and_step(dataset_of: Callable[..., PatchDataset]) -> None:
    augmentations = [FlipConfig().build(), Rotate90Config(type="rotate90").build()]

    def batch(seed: int, epoch: int, step: int, shuffled: bool = False) -> Batch:
        dataset = dataset_of(1, batch_size=1, seed=seed, augmentations=augmentations)
        dataset.steps, dataset._order = 100, (epoch, [np.arange(20)] * 100)  # the same patches each time
        return dataset.batch(epoch, step)

    first = batch(1, 2, 3)
    for old, new in zip(first[:3], batch(1, 2, 3)[:3], strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0, equal_nan=True)
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(batch(*other).image.nan_to_num(), first.image.nan_to_num())


def test_data_without_a_type_are_patches(patch_path: Path) -> None:
    data = RunConfig.from_dict({"data": {"path": str(patch_path), "in_memory": True}}).data
    assert data == PatchesConfig(path=patch_path, in_memory=True)
    assert not isinstance(data.build().image.base, mmap.mmap)


def test_prefetched_batches_are_those_of_the_dataset(dataset_of: Callable[..., PatchDataset]) -> None:
    dataset = dataset_of(20, seed=3)
    prefetcher = Prefetcher(dataset)
    for epoch, step in ((0, 0), (0, 1), (0, 3), (0, 2), (1, 0), (1, 3), (0, 1)):
        found, expected = prefetcher.batch(epoch, step), dataset.batch(epoch, step)
        assert torch.equal(found.image.nan_to_num(), expected.image.nan_to_num())
        assert torch.equal(found.target, expected.target)
    prefetcher.close()


def test_error_in_the_thread_is_raised_where_its_batch_is_wanted(dataset_of: Callable[..., PatchDataset]) -> None:
    dataset = PatchDataset(dataset_of().patch_file, np.array([0, 1, 10**9]), 1)
    prefetcher = Prefetcher(dataset)
    step = next(step for step in range(3) if dataset.batch_indices(0, step) == 10**9)
    if step:
        prefetcher.batch(0, step - 1)
    with pytest.raises(IndexError):
        prefetcher.batch(0, step)
    prefetcher.close()
