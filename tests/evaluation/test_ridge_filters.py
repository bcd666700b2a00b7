from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage import filters

from bigsf.arrays import Float64Array
from bigsf.evaluation.ridge_filters import frangi, sato

BOTH = pytest.mark.parametrize("ridge_filter", [sato, frangi])
RidgeFilter = Callable[[Float64Array, list[float]], Float64Array]


def ridge(width_px: float, angle: float = 0.0) -> Float64Array:
    """Return a straight Gaussian ridge of peak 1 and this sigma through the middle of 81 x 81 pixels."""
    y, x = np.mgrid[-40:41, -40:41]
    return np.asarray(np.exp(-0.5 * ((y * np.cos(angle) - x * np.sin(angle)) / width_px) ** 2))


@BOTH
@pytest.mark.parametrize("angle", [0, 0.4, np.pi / 4, np.pi / 2])
def test_the_crest_of_a_gaussian_ridge_has_its_curvature(ridge_filter: RidgeFilter, angle: float) -> None:
    """A ridge of sigma 4, smoothed by 3, is one of sigma 5, of peak 4 / 5 and curvature 4 / 5 / 25 on its crest."""
    assert ridge_filter(ridge(4, angle), [3])[40, 40] == pytest.approx(3**2 * 4 / 5 / 25, rel=0.02)


@BOTH
def test_the_value_does_not_depend_on_a_level_and_is_in_the_unit_of_the_map(ridge_filter: RidgeFilter) -> None:
    expected = ridge_filter(ridge(4), [2, 3])
    np.testing.assert_allclose(ridge_filter(5 * ridge(4) + 22, [2, 3]), 5 * expected, atol=1e-10)


def test_sato_takes_the_sigma_that_fits() -> None:
    """Among sigmas, sigma^2 times the curvature is highest where sigma is sqrt(2) widths."""
    each = [sato(ridge(3), [sigma])[40, 40] for sigma in (2, 4, 8)]
    assert each[1] == max(each)
    assert sato(ridge(3), [2, 4, 8])[40, 40] == each[1]


@BOTH
def test_a_hollow_and_a_flat_map_are_no_ridges(ridge_filter: RidgeFilter) -> None:
    assert not ridge_filter(np.full((30, 30), 22.0), [1.5, 6]).any()
    assert ridge_filter(-ridge(4), [3])[40].max() < 1e-12


def test_frangi_takes_a_round_core_for_less_than_a_ridge() -> None:
    """On top of a round core both curvatures are equal: sqrt(2) times one of them, times 1 / e."""
    y, x = np.mgrid[-40:41, -40:41]
    core = np.exp(-0.5 * (y**2 + x**2) / 4**2)
    curvature = (4 / 5) ** 2 / 25
    assert frangi(core, [3])[40, 40] == pytest.approx(9 * np.sqrt(2) * curvature / np.e, rel=0.02)
    assert sato(core, [3])[40, 40] == pytest.approx(9 * curvature, rel=0.02)


@pytest.mark.parametrize("sigmas", [[1.5, 2, 3], [6, 8, 12]])
def test_pixels_are_in_the_order_of_scikit_image(sigmas: list[float]) -> None:
    noise = np.random.default_rng(0).normal(22, 0.3, (160, 160))
    inside = np.s_[40:-40, 40:-40]
    for ours, theirs in ((sato, filters.sato), (frangi, filters.frangi)):
        expected = theirs(noise, sigmas=sigmas, black_ridges=False)
        assert spearmanr(ours(noise, sigmas)[inside].ravel(), expected[inside].ravel()).statistic > 0.98
