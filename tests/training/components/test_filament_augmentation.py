import numpy as np
import pytest
import torch

from bigsf.models.window_statistics import patch_spread
from bigsf.training.components.batch import Augmentation, Batch
from bigsf.training.components.filament_augmentation import (
    Chain,
    FilamentsConfig,
    arc_steps,
    local_mean,
    segment_starts,
)


def augmented(augmentations: list[Augmentation], batch: Batch, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    for augmentation in augmentations:
        batch = augmentation.apply(batch, torch.from_numpy(augmentation.draw(generator, len(batch.image))))
    return batch


def test_a_straight_arc_runs_through_its_middle() -> None:
    length, heading, turn = torch.tensor([40.0, 0.0, 0.0]).view(3, 1, 1, 1)
    dy, dx = arc_steps(length, heading, turn)
    assert dy.abs().max() == 0
    assert dx.sum() == pytest.approx(40)
    assert segment_starts(torch.full((1, 1, 1), 30.0), dx).flatten().tolist() == pytest.approx(range(10, 50, 5))


def test_an_arc_turns_by_its_angle_and_keeps_its_length() -> None:
    length, heading, turn = torch.tensor([40.0, 0.3, 1.2]).view(3, 1, 1, 1)
    dy, dx = (steps.flatten() for steps in arc_steps(length, heading, turn))
    assert torch.hypot(dy, dx).sum() == pytest.approx(40)
    direction = torch.atan2(dy, dx)
    assert direction.mean() == pytest.approx(0.3, abs=1e-6)
    assert direction[-1] - direction[0] == pytest.approx(1.2 * 7 / 8, abs=1e-6)


def test_the_distance_of_a_pixel_is_that_of_the_nearest_point_of_the_chain() -> None:
    length, heading, turn = torch.tensor([30.0, 0.7, 1.5]).view(3, 1, 1, 1)
    dy, dx = arc_steps(length, heading, turn)
    y, x = (segment_starts(torch.full((1, 1, 1), middle), step) for middle, step in ((12.0, dy), (15.0, dx)))
    along = np.linspace(0, 1, 200)[:, None]
    parts = ((y[0, 0], dy[0, 0]), (x[0, 0], dx[0, 0]))
    points = np.stack([(start.numpy() + along * step.numpy()).ravel() for start, step in parts])
    pixels = np.mgrid[:24, :32].reshape(2, -1, 1)
    expected = ((pixels - points[:, None]) ** 2).sum(axis=0).min(axis=1).reshape(24, 32)
    found = Chain(y, x, dy, dx).squared_distance(24, 32)
    assert found.shape == (1, 1, 24, 32)
    np.testing.assert_allclose(np.sqrt(found[0, 0].numpy()), np.sqrt(expected), atol=0.02)


def test_added_filaments_are_brighter_than_a_negative_map_too() -> None:
    config = FilamentsConfig(type="filaments", number=1, contrast=(0.5, 0.5), width_px=(5, 5), length_px=(30, 30))
    image = torch.full((20, 1, 64, 64), -2.0)
    before = Batch(image, torch.zeros_like(image), torch.zeros_like(image, dtype=torch.bool), None)
    after = augmented([config.build()], before)
    added = after.labelled
    assert added.any()
    assert (after.image[added] >= -1.5 - 1e-3).all()
    assert after.image.max() == pytest.approx(-1, abs=1e-3)


def one_filament(image: torch.Tensor) -> Batch:
    """Add a filament of contrast 0.5 to half of the patches of an image `(n, c, y, x)` without labels."""
    config = FilamentsConfig(type="filaments", number=1, contrast=(0.5, 0.5), width_px=(5, 5), length_px=(30, 30))
    nothing = torch.zeros_like(image[:, :1])
    return augmented([config.build()], Batch(image, nothing, nothing.bool(), None))


def test_only_the_first_channel_gets_filaments() -> None:
    image = torch.full((20, 3, 64, 64), 2.0)
    image[:, 1], image[:, 2] = 5.0, -1e9
    after = one_filament(image)
    assert after.image[:, 0].max() == pytest.approx(3.0, abs=1e-3)
    assert torch.equal(after.image[:, 1:], image[:, 1:])
    assert torch.equal(after.labelled, after.image[:, :1] >= 2.5)


def test_a_filament_that_changes_nothing_has_no_label() -> None:
    image = torch.zeros(20, 1, 64, 64)
    after = one_filament(image)
    assert torch.equal(after.image, image)
    assert not after.labelled.any()
    assert not after.target.any()


def test_a_filament_is_as_bright_as_the_local_mean_and_leaves_the_noise_as_it_is() -> None:
    noise = torch.randn((20, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    after = one_filament(10 + noise)
    excess = after.image - (10 + noise)
    assert excess.min() >= 0
    assert excess.amax(dim=(1, 2, 3)).max() == pytest.approx(5, abs=0.2)
    label = after.labelled
    assert label.any()
    assert excess[label].min() >= 2.4
    assert excess[~label].max() <= 2.6


def test_the_local_mean_is_a_gaussian_mean_over_valid_pixels() -> None:
    plane = torch.from_numpy(np.random.default_rng(0).normal(1e23, 1e22, (2, 1, 20, 30)).astype(np.float32))
    plane[0, 0, :9] = torch.nan
    plane[1] = torch.nan
    found = local_mean(plane)
    y, x = np.mgrid[:20, :30]
    weight = np.exp(-0.5 * ((y - 3) ** 2 + (x - 17) ** 2) / 12**2)[9:]
    expected = (weight * plane[0, 0, 9:].numpy().astype(np.float64)).sum() / weight.sum()
    assert float(found[0, 0, 3, 17]) == pytest.approx(expected, rel=1e-5)
    assert not found[1].any()


def test_added_filaments_are_as_bright_and_wide_as_their_labels_say() -> None:
    config = FilamentsConfig(type="filaments", number=1, contrast=(0.5, 0.5), width_px=(5, 5), length_px=(30, 30))
    n = 40
    image = torch.full((n, 1, 64, 64), 2e22)
    image[:, :, :8] = torch.nan
    before = Batch(image, torch.zeros_like(image), torch.zeros_like(image, dtype=torch.bool), None)
    after = augmented([config.build()], before)
    excess = (after.image / before.image - 1).nan_to_num()
    drawn = excess.amax(dim=(1, 2, 3)) > 0.4
    assert 0.3 * n < drawn.sum() < 0.7 * n  # half of the patches draw none, and some lie in the hole
    assert excess.max() == pytest.approx(0.5, abs=1e-3)
    assert torch.equal(after.target > 0, after.labelled)
    assert torch.equal(after.labelled, (excess >= 0.25) & image.isfinite())
    area = after.target.sum(dim=(1, 2, 3))
    assert area.max() == pytest.approx(30 * 5 + np.pi * 2.5**2, rel=0.07)


def test_on_a_logarithm_the_excess_is_measured_in_the_spread_of_the_patch() -> None:
    config = FilamentsConfig(type="filaments", number=1, contrast=(0.5, 0.5), width_px=(5, 5), length_px=(30, 30))
    generator = torch.Generator().manual_seed(0)
    image = 21.5 + 0.2 * torch.randn((20, 1, 64, 64), generator=generator).cumsum(3) / 8
    augmentation = config.build()
    assert augmentation.fit(image.flatten().numpy().astype(np.float64), "")  # type: ignore[attr-defined]
    nothing = torch.zeros_like(image)
    after = augmented([augmentation], Batch(image, nothing, nothing.bool(), None))
    excess = (after.image - image).amax(dim=(1, 2, 3))
    spread = patch_spread(image).flatten()
    some = excess > 0
    assert some.any()
    torch.testing.assert_close(excess[some], 0.5 * spread[some], rtol=0.06, atol=0.0)


def test_a_filament_below_the_noise_has_no_label() -> None:
    noise = torch.randn((20, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    loud = one_filament(10 + 6 * noise)
    assert not loud.labelled.any()
    quiet = one_filament(10 + 4 * noise)
    assert quiet.labelled.any()
