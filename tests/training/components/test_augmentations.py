import numpy as np
import pytest
import torch

from bigsf.training.components.augmentations import AugmentationConfig, FlipConfig, Rotate90Config
from bigsf.training.components.batch import Augmentation, Batch
from bigsf.training.components.paste_augmentation import PasteFilaments
from conftest import own_members

each_augmentation = pytest.mark.parametrize("config", own_members(AugmentationConfig), ids=lambda config: config.type)
TURNS: list[Augmentation] = [FlipConfig().build(), Rotate90Config(type="rotate90").build()]


def batch_of(image: torch.Tensor) -> Batch:
    """Return a batch whose target is its image and whose labelled pixels are those above 0.5."""
    return Batch(image, image.clone(), image > 0.5, torch.rand(len(image), 2))


def blobs(n: int, size: int = 16) -> Batch:
    """Return smooth patches that are not symmetric, a hole in each, and as target what is bright in them."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = 0.1 + torch.exp(-((y - 5) ** 2 + (x - 9) ** 2 / 3) / 20).expand(n, 1, size, size)
    target = (image > 0.55).float()
    image = image.clone()
    image[:, :, 12:14, 2:4] = torch.nan
    return Batch(1e22 * image, target, image.isfinite(), None)


def augmented(augmentations: list[Augmentation], batch: Batch, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    for augmentation in augmentations:
        batch = augmentation.apply(batch, torch.from_numpy(augmentation.draw(generator, len(batch.image))))
    return batch


def fitted(config: AugmentationConfig, batch: Batch) -> Augmentation:
    """Build an augmentation that knows the filaments of a batch."""
    augmentation = config.build()
    if isinstance(augmentation, PasteFilaments):
        augmentation.collect(batch.image, batch.target)
        assert len(augmentation.shapes) == len(batch.image)
    return augmentation


def states(augmentations: list[Augmentation]) -> set[bytes]:
    """Return the patches that 400 copies of one become."""
    patch = torch.arange(16.0).view(1, 1, 4, 4)
    image = augmented(augmentations, batch_of(patch.expand(400, 1, 4, 4))).image
    return {one.numpy().tobytes() for one in image}


def test_flips_and_quarter_turns_reach_all_eight_states() -> None:
    patch = np.arange(16, dtype=np.float32).reshape(4, 4)
    turned = [np.rot90(mirrored, k) for mirrored in (patch, patch.T) for k in range(4)]
    assert states(TURNS) == {np.ascontiguousarray(one).tobytes() for one in turned}
    assert len(states(TURNS[:1])) == 4
    assert len(states(TURNS[1:])) == 4


@pytest.mark.parametrize("augmentation", TURNS, ids=lambda augmentation: type(augmentation).__name__)
def test_image_target_and_labelled_move_together_exactly(augmentation: Augmentation) -> None:
    before = batch_of(torch.rand(20, 1, 6, 6))
    after = augmented([augmentation], before)
    assert not torch.equal(after.image, before.image)
    assert torch.equal(after.target, after.image)
    assert torch.equal(after.labelled, after.image > 0.5)


def test_flip_mirrors_the_axes_it_drew() -> None:
    patch = torch.arange(6.0).view(1, 1, 2, 3)
    for draw, axes in {(True, False): [2], (False, True): [3], (True, True): [2, 3], (False, False): []}.items():
        flipped = TURNS[0].apply(batch_of(patch), torch.tensor([draw]))
        assert torch.equal(flipped.image, patch.flip(axes))


@each_augmentation
def test_target_stays_or_moves_with_the_image(config: AugmentationConfig) -> None:
    before = blobs(10)
    after = augmented([fitted(config, before)], before)
    assert not torch.equal(after.image, before.image)
    if config.type in ("filaments", "paste"):
        assert (after.target >= before.target).all()  # they are added
    elif not torch.equal(after.target, before.target):
        bright = after.image > 0.55e22
        known = after.labelled
        assert ((after.target > 0) == bright)[known].float().mean() > 0.95


@each_augmentation
def test_kinds_and_shapes_stay_and_missing_pixels_stay_unlabelled(config: AugmentationConfig) -> None:
    before = blobs(10)
    after = augmented([fitted(config, before)], before)
    for old, new in zip(before[:3], after[:3], strict=True):
        assert old is not None
        assert new is not None
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert set(after.target.flatten().tolist()) == {0.0, 1.0}
    assert not (after.image.isnan() & after.labelled).any()
    assert (after.image[after.labelled] > 0).all() or config.type == "gaps"  # zeros for missing data
    assert after.image.isnan().any()


@each_augmentation
def test_position_follows_its_patch(config: AugmentationConfig) -> None:
    before = batch_of(0.1 + torch.rand(5, 1, 8, 8))
    after = augmented([config.build()], before)
    assert after.position is before.position


@each_augmentation
def test_draws_are_a_function_of_the_generator(config: AugmentationConfig) -> None:
    first, again, other = (augmented([fitted(config, blobs(20))], blobs(20), seed).image for seed in (1, 1, 2))
    torch.testing.assert_close(again, first, rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(other.nan_to_num(), first.nan_to_num())


@each_augmentation
def test_processes_that_share_a_batch_do_the_same(config: AugmentationConfig) -> None:
    batch = blobs(6)
    augmentation = fitted(config, batch)
    draw = torch.from_numpy(augmentation.draw(np.random.default_rng(0), 6))
    whole = augmentation.apply(batch, draw)
    part = augmentation.apply(Batch(batch.image[4:], batch.target[4:], batch.labelled[4:], None), draw[4:])
    torch.testing.assert_close(part.image, whole.image[4:], equal_nan=True)
    assert torch.equal(part.target, whole.target[4:])
    assert torch.equal(part.labelled, whole.labelled[4:])
