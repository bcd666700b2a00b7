import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigsf.errors import DataError
from bigsf.models.normalizations import (
    AsinhConfig,
    GlobalConfig,
    LogConfig,
    MinMaxConfig,
    Normalization,
    NormalizationConfig,
    RobustConfig,
    ZScoreConfig,
)
from conftest import own_members

NORMALIZATIONS = [*own_members(NormalizationConfig), GlobalConfig(type="global", log=True)]
each_normalization = pytest.mark.parametrize("config", NORMALIZATIONS, ids=lambda config: config.type)


def patches(seed: int = 0, channels: int = 2) -> tuple[Tensor, Tensor]:
    """Return column densities of 5e21 to 2e23 and a mask that is true for two pixels in three."""
    generator = torch.Generator().manual_seed(seed)
    logarithm = 21.7 + 1.6 * torch.rand((3, channels, 6, 9), generator=generator)
    return 10**logarithm, torch.rand(logarithm.shape, generator=generator) < 2 / 3


def fitted(config: NormalizationConfig, channels: int = 2) -> Normalization:
    normalization = config.build(channels)
    values = patches(seed=99, channels=channels)[0].swapaxes(0, 1).flatten(1).double()
    values[:, ::5] = torch.nan
    normalization.fit(values)
    return normalization


def normalised(normalization: Normalization, values: list[float]) -> list[float]:
    image = torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)
    result: list[float] = normalization(image, image.isfinite())[image.isfinite()].tolist()
    return result


@each_normalization
@settings(max_examples=10)
@given(seed=st.integers(0, 999), junk=st.sampled_from([torch.nan, torch.inf, -torch.inf, 0.0, -1.0, 1e38]))
def test_missing_pixels_never_influence_valid_ones(config: NormalizationConfig, seed: int, junk: float) -> None:
    normalization, (image, valid) = fitted(config), patches(seed)
    first, second = (normalization(image.masked_fill(~valid, fill), valid)[valid] for fill in (1e22, junk))
    assert torch.equal(first, second)


@each_normalization
def test_patches_do_not_influence_each_other(config: NormalizationConfig) -> None:
    normalization, (image, valid) = fitted(config), patches()
    alone = normalization(image[:1], valid[:1])
    assert torch.equal(normalization(image, valid)[:1][valid[:1]], alone[valid[:1]])


@each_normalization
@pytest.mark.parametrize("brightest", [2e23, 1e25])
def test_column_densities_stay_finite_float32(config: NormalizationConfig, brightest: float) -> None:
    image, valid = patches()
    image[0, 0, 0, 0], valid[0, 0, 0, 0] = brightest, True
    result = fitted(config)(image, valid)
    assert result.dtype == torch.float32
    assert result[valid].isfinite().all()


@each_normalization
@pytest.mark.parametrize("value", [1e22, 0.0, -3.0])
def test_constant_patches_are_finite(config: NormalizationConfig, value: float) -> None:
    image = torch.full((1, 2, 4, 5), value)
    assert fitted(config)(image, torch.ones_like(image, dtype=torch.bool)).isfinite().all()


@each_normalization
def test_one_valid_pixel_or_none_is_no_error(config: NormalizationConfig) -> None:
    image, valid = patches()
    valid[:] = False
    valid[0, 0, 2, 3] = True
    result = fitted(config)(image.masked_fill(~valid, torch.nan), valid)
    assert result[valid].isfinite().all()


@each_normalization
@pytest.mark.parametrize("value", [1e22, 2.0**70])
def test_fit_to_a_constant_map_keeps_other_maps_finite(config: NormalizationConfig, value: float) -> None:
    normalization = config.build(1)
    normalization.fit(torch.full((1, 64), value, dtype=torch.float64))
    image, valid = patches(channels=1)
    result = normalization(image, valid)[valid]
    assert (result.abs() < (10 if config.type != "none" else 1e24)).all()


@each_normalization
def test_what_was_learnt_is_part_of_the_state(config: NormalizationConfig) -> None:
    normalization, again, (image, valid) = fitted(config), config.build(2), patches()
    again.load_state_dict(normalization.state_dict())
    assert torch.equal(again(image, valid)[valid], normalization(image, valid)[valid])


@pytest.mark.parametrize("config", [c for c in NORMALIZATIONS if c.type != "none"], ids=lambda config: config.type)
def test_numbers_are_of_order_one(config: NormalizationConfig) -> None:
    image, valid = patches()
    result = fitted(config)(image, valid)[valid]
    assert result.abs().max() < 10
    assert result.std() > 0.1


def test_minmax_by_hand() -> None:
    assert normalised(MinMaxConfig().build(1), [2, 4, torch.nan, 6]) == pytest.approx([0, 0.5, 1])


def test_log_by_hand() -> None:
    assert normalised(LogConfig(type="log").build(1), [1e21, 1e22, 1e23]) == pytest.approx([0, 0.5, 1])


def test_log_takes_the_smallest_positive_value_for_zero_and_below() -> None:
    assert normalised(LogConfig(type="log").build(1), [-5, 0, 10, 1000]) == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_zscore_by_hand() -> None:
    assert normalised(ZScoreConfig(type="zscore").build(1), [1e23, 3e23]) == pytest.approx([-1, 1])


def test_asinh_keeps_order_and_is_linear_when_soft() -> None:
    values = [-2.0, 0.0, 1.0, 4.0]
    stretched = normalised(AsinhConfig(type="asinh").build(1), values)
    assert stretched == sorted(stretched)
    assert (stretched[0], stretched[-1]) == (0, 1)
    linear = normalised(AsinhConfig(type="asinh", softening=1e4).build(1), values)
    assert linear == pytest.approx([0, 1 / 3, 1 / 2, 1], abs=1e-5)


def test_global_keeps_bright_patches_bright() -> None:
    normalization = GlobalConfig(type="global").build(1)
    normalization.fit(torch.tensor([[1e22, 3e22, torch.nan]], dtype=torch.float64))
    assert normalised(normalization, [1e22, 2e22, 4e22]) == pytest.approx([-1, 0, 2], abs=1e-6)


def test_global_logarithm_needs_a_positive_value() -> None:
    with pytest.raises(DataError, match="channel 2 has no positive pixel in the training folds"):
        GlobalConfig(type="global", log=True).build(2).fit(torch.tensor([[1e22], [-1.0]], dtype=torch.float64))


def test_global_logarithm_by_hand() -> None:
    normalization = GlobalConfig(type="global", log=True).build(1)
    normalization.fit(torch.tensor([[1e21, 1e22, 1e23, -1.0]], dtype=torch.float64))
    assert normalised(normalization, [1e24, 1e22, 0.0]) == pytest.approx([6**0.5, 0, -(1.5**0.5)], abs=1e-6)


def test_robust_by_hand() -> None:
    image = torch.arange(101.0).repeat_interleave(2).expand(2, 202)[None, None]  # 101 blocks of 2 x 2 pixels
    result = RobustConfig(type="robust").build(1)(image, image.isfinite())
    assert result[0, 0, 0, [0, 100, 201]].sinh().tolist() == pytest.approx([-50 / 34, 0, 50 / 34], rel=1e-5)


def test_robust_keeps_a_structure_on_empty_sky_and_stays_finite() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[..., 30:32, :] = 1e22
    image[..., :40] += 1e-38  # what is left of a profile far from its filament
    result = RobustConfig(type="robust").build(1)(image, image.isfinite())
    assert result.isfinite().all()
    assert result[..., 30:32, :].flatten().tolist() == pytest.approx([math.asinh(1000)] * 128)
    assert result[..., :30, :].abs().max() < 1e-30


def test_robust_is_finite_where_nearly_nothing_differs() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[..., 20:25] = 1e-30
    image[..., 30, 30] = 1e22
    result = RobustConfig(type="robust").build(1)(image, image.isfinite())
    assert result.isfinite().all()
    assert result.max() == pytest.approx(math.asinh(1000))


def test_robust_takes_any_scale_and_zero_level_for_the_same() -> None:
    robust, (image, valid) = RobustConfig(type="robust").build(2), patches()
    expected = robust(image, valid)[valid]
    for changed in (image / 1e21, image / 1e21 - 30, 250 + image / 1e20):
        torch.testing.assert_close(robust(changed, valid)[valid], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [1e18, 1e28, 1e35])
def test_robust_hardly_changes_with_one_odd_pixel(value: float) -> None:
    generator = torch.Generator().manual_seed(0)
    image = 1e22 * (1 + 0.2 * torch.rand((1, 1, 64, 64), generator=generator))
    robust, valid = RobustConfig(type="robust").build(1), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    odd = image.clone()
    odd[0, 0, 20, 30] = value
    before, after = robust(image, valid), robust(odd, valid)
    assert after.abs().max() < 40
    after[0, 0, 20, 30] = before[0, 0, 20, 30]
    torch.testing.assert_close(after, before, rtol=0.01, atol=0.01)


def test_asinh_does_not_depend_on_the_unit_where_most_values_are_zero() -> None:
    values = [0.0, 0.0, 0.0, 1.0, 3.0]
    results = [normalised(AsinhConfig(type="asinh").build(1), [unit * v for v in values]) for unit in (1, 1e-3, 1e22)]
    assert results[1] == pytest.approx(results[0], abs=1e-6)
    assert results[2] == pytest.approx(results[0], abs=1e-6)
    assert normalised(AsinhConfig(type="asinh").build(1), [0.0, 0.0]) == [0, 0]
