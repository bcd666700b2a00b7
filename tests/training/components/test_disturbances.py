import math
from typing import Any

import numpy as np
import pytest
import torch

from bigsf.training.components.augmentations import GainConfig, NoiseConfig
from bigsf.training.components.batch import Augmentation, Batch
from bigsf.training.components.disturbances import BordersConfig, GapsConfig, SourcesConfig
from bigsf.training.components.levels import MeasuredInLevels, MultipliesValues, patch_median
from bigsf.training.components.noises import BeamNoiseConfig, StripesConfig

CONFIGS = [
    BeamNoiseConfig(type="beam_noise", probability=0),
    SourcesConfig(type="sources", probability=0),
    BordersConfig(type="borders", probability=0),
    GapsConfig(type="gaps", probability=0),
    StripesConfig(type="stripes", probability=0),
]


def disturbed(augmentation: Augmentation, image: torch.Tensor, target: torch.Tensor | None = None) -> Batch:
    target = torch.zeros_like(image) if target is None else target
    batch = Batch(image, target, target > 0, None)
    draw = augmentation.draw(np.random.default_rng(0), len(image))
    return augmentation.apply(batch, torch.from_numpy(draw))


def flat(n: int = 40, size: int = 64) -> torch.Tensor:
    return torch.full((n, 1, size, size), 10.0)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.type)
def test_a_probability_of_zero_changes_nothing(
    config: BeamNoiseConfig | SourcesConfig | BordersConfig | GapsConfig | StripesConfig,
) -> None:
    image = flat() + torch.rand(40, 1, 64, 64)
    image[:, :, :3] = torch.nan
    after = disturbed(config.build(), image)
    torch.testing.assert_close(after.image, image, rtol=0, atol=0, equal_nan=True)
    assert not after.labelled.any()


def test_the_median_is_that_of_valid_absolute_values() -> None:
    image = torch.tensor([[-3.0, 1.0, torch.nan, 2.0], [torch.nan] * 4]).view(2, 1, 2, 2)
    assert patch_median(image).flatten().tolist() == [2.0, 0.0]


def test_noise_has_the_standard_deviation_that_was_drawn_and_half_of_it_is_smooth() -> None:
    config = BeamNoiseConfig(type="beam_noise", probability=1, fraction=(0.05, 0.05), beam_px=4)
    noise = disturbed(config.build(), flat()).image[:, 0] - 10
    inner = noise[:, 8:-8, 8:-8]
    assert inner.std(dim=(1, 2)).mean() == pytest.approx(0.5, rel=0.05)
    neighbours = (inner[:, :, 1:] * inner[:, :, :-1]).mean(dim=(1, 2)) / inner.var(dim=(1, 2))
    white = neighbours < 0.1
    assert 0.3 < white.float().mean() < 0.8
    assert neighbours.max() > 0.7


def test_stripes_are_constant_along_one_angle_and_as_strong_as_they_say() -> None:
    config = StripesConfig(type="stripes", probability=1, fraction=(0.05, 0.05), width_px=(2, 2))
    after = disturbed(config.build(), flat(80))
    stripes = (after.image - 10)[:, 0]
    assert stripes.square().mean().sqrt() == pytest.approx(0.5, rel=0.1)  # less what the interpolation smooths
    along_y, along_x = (gradient.square().mean(dim=(1, 2)) for gradient in torch.gradient(stripes, dim=(1, 2)))
    products = torch.stack([along_y, along_x], dim=1)
    mixed = (torch.gradient(stripes, dim=1)[0] * torch.gradient(stripes, dim=2)[0]).mean(dim=(1, 2))
    coherence = ((products[:, 0] - products[:, 1]) ** 2 + 4 * mixed**2).sqrt() / products.sum(dim=1)
    assert coherence.min() > 0.95  # 1 where all gradients lie along one axis, 0 where they have none
    assert (along_y > along_x).float().mean() == pytest.approx(0.5, abs=0.2)
    assert not after.labelled.any()


def test_sources_are_background_and_as_bright_as_they_say() -> None:
    config = SourcesConfig(type="sources", probability=1, number=1, brightness=(5, 5), width_px=(4, 4), saturated=0)
    after = disturbed(config.build(), flat())
    excess = after.image - 10
    assert excess.amax(dim=(1, 2, 3)).median() == pytest.approx(50, rel=0.1)
    assert torch.equal(after.labelled, excess > 3)
    assert not after.target.any()
    area = after.labelled.float().sum(dim=(1, 2, 3)).median()
    radius = 2 * math.sqrt(math.log2(5 / 0.3))
    assert area == pytest.approx(math.pi * radius**2, rel=0.1)


def test_a_filament_under_a_source_stays_target() -> None:
    config = SourcesConfig(type="sources", probability=1, number=1, brightness=(5, 5), width_px=(4, 4), saturated=0)
    after = disturbed(config.build(), flat(), torch.ones_like(flat()))
    assert after.target.all()
    assert after.image.max() > 50


def test_bright_pixels_of_a_saturated_source_are_missing_and_its_rim_is_background() -> None:
    config = SourcesConfig(type="sources", probability=1, number=1, brightness=(1, 100), width_px=(8, 8), saturated=0.5)
    image = torch.cat([flat(200), flat(200)], dim=1)
    target = torch.zeros_like(flat(200))
    target[..., 32:, :] = 1
    after = disturbed(config.build(), image, target)
    missing = after.image.isnan()
    assert torch.equal(missing[:, 0], missing[:, 1])
    saturated = missing.flatten(1).any(dim=1)
    assert saturated.float().mean() == pytest.approx(0.25, abs=0.1)  # half of the limits are above the peak
    for plane, hidden in zip(missing[saturated, 0], after.labelled[saturated, 0], strict=True):
        assert not hidden[plane].any()
        y, x = plane.nonzero().float().mean(dim=0).round().int().tolist()
        rim = hidden[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]
        assert rim.any()
    assert torch.equal(after.target > 0, (target > 0) & ~missing[:, :1])


def test_a_border_is_a_stripe_of_background_with_nothing_beyond() -> None:
    config = BordersConfig(type="borders", probability=1, width_px=(3, 3), factor=2)
    after = disturbed(config.build(), flat(), torch.ones_like(flat()))
    stripe = after.labelled & (after.target == 0)
    for plane, image in zip(stripe[:, 0], after.image[:, 0], strict=True):
        lines = plane.all(dim=0), plane.all(dim=1)
        assert sorted(int(line.sum()) for line in lines) == [0, 3]
        along = 1 if lines[0].any() else 0
        missing = image.isnan().all(dim=1 - along).nonzero().flatten().tolist()
        first = int(lines[1 - along].nonzero()[0])
        assert missing in ([], [*range(first)], [*range(first + 3, 64)])
    factors = after.image[stripe] / 10
    assert factors.log().abs().quantile(0.99) < math.log(2) + 1.2
    assert (after.image.isnan().flatten(1).any(dim=1)).float().mean() == pytest.approx(2 / 3, abs=0.25)


@pytest.mark.parametrize("zeros", [0.0, 1.0])
def test_gaps_are_missing_or_zeros_that_are_background(zeros: float) -> None:
    after = disturbed(GapsConfig(type="gaps", probability=1, zeros=zeros).build(), flat(), torch.ones_like(flat()))
    gap = after.image != 10
    assert 0.1 < gap.float().mean() < 0.6
    assert after.image.isnan().any() == (zeros == 0)
    assert not after.target[gap].any()
    assert after.labelled[gap].all() == (zeros == 1)
    assert after.target[~gap].all()


def test_each_channel_is_disturbed_in_its_own_unit() -> None:
    image = torch.cat([1e22 * flat(20), flat(20)], dim=1)
    for config in (
        BeamNoiseConfig(type="beam_noise", probability=1, fraction=(0.05, 0.05)),
        StripesConfig(type="stripes", probability=1, fraction=(0.05, 0.05)),
        SourcesConfig(type="sources", probability=1, brightness=(1, 1), width_px=(4, 4), saturated=0),
    ):
        change = disturbed(config.build(), image, torch.zeros(20, 1, 64, 64)).image - image
        spread = change.flatten(2).std(dim=2).mean(dim=0)
        assert (spread[0] / spread[1]).item() == pytest.approx(1e22, rel=0.2)


def test_on_a_logarithm_noise_is_measured_in_the_spread() -> None:
    image = 21.5 + 0.2 * torch.randn((20, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    augmentation = BeamNoiseConfig(type="beam_noise", probability=1, fraction=(0.05, 0.05)).build()
    assert isinstance(augmentation, MeasuredInLevels)
    assert not augmentation.fit(image.flatten().numpy().astype(np.float64) ** 9, "cm-2")
    assert (disturbed(augmentation, image).image - image).std().item() == pytest.approx(0.05 * 21.5, rel=0.05)
    assert augmentation.fit(image.flatten().numpy().astype(np.float64), "")
    assert (disturbed(augmentation, image).image - image).std().item() == pytest.approx(0.05 * 0.2, rel=0.05)
    assert not augmentation.fit(image.flatten().numpy().astype(np.float64) ** 9, "cm-2")
    assert (disturbed(augmentation, image).image - image).std().item() == pytest.approx(0.05 * 21.5, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (BeamNoiseConfig, "fraction", (0.1, 0.01)),
        (SourcesConfig, "width_px", (4, 1)),
        (BordersConfig, "width_px", (4, 1)),
    ],
)
def test_a_range_runs_from_lowest_to_highest(kind: Any, key: str, value: tuple[float, float]) -> None:
    tag = kind.model_fields["type"].annotation.__args__[0]
    with pytest.raises(ValueError, match="expected the lowest value and then the highest"):
        kind.model_validate({"type": tag, key: value})


def test_noise_of_a_beam_is_as_strong_at_the_border_of_a_patch() -> None:
    augmentation = BeamNoiseConfig(type="beam_noise", probability=1, fraction=(0.1, 0.1), beam_px=8).build()
    image = torch.ones(4000, 1, 16, 16)
    batch = Batch(image, torch.zeros_like(image), torch.ones_like(image, dtype=torch.bool), None)
    draw = torch.from_numpy(augmentation.draw(np.random.default_rng(0), len(image)))
    spread = (augmentation.apply(batch, draw).image - 1).std(dim=0)[0]
    np.testing.assert_allclose(spread, 0.1, rtol=0.08)


@pytest.mark.parametrize(
    "config",
    [
        GainConfig(type="gain", fraction=0.3),
        NoiseConfig(type="noise", fraction=0.02),
        BordersConfig(type="borders", probability=1),
    ],
)
def test_what_multiplies_adds_logarithms_on_a_map_of_logarithms(
    config: GainConfig | NoiseConfig | BordersConfig,
) -> None:
    linear = torch.from_numpy(np.random.default_rng(1).lognormal(50.6, 0.3, (8, 1, 32, 32)))
    zeros, known = torch.zeros_like(linear), torch.ones_like(linear, dtype=torch.bool)
    augmentation = config.build()
    draw = torch.from_numpy(augmentation.draw(np.random.default_rng(0), 8))
    expected = augmentation.apply(Batch(linear, zeros, known, None), draw).image.log10()
    assert isinstance(augmentation, MultipliesValues)
    assert augmentation.fit(linear.log10().numpy().ravel(), "log10(cm-2)")
    found = augmentation.apply(Batch(linear.log10(), zeros, known, None), draw).image
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=1e-5)
