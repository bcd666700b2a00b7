import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigsf.evaluation.injection import PROFILES, Profile
from bigsf.evaluation.records import Completeness
from bigsf.evaluation.reliability import (
    LEAST_ROWS,
    Expected,
    binomial_error,
    expected_completeness,
    expected_purity,
    reliability,
)

NAN = np.nan
TWO_FOLDS = np.repeat([1, 2], LEAST_ROWS)


def family(
    contrast: list[float], completeness: list[float], width_px: tuple[float, float], profile: Profile = "gaussian"
) -> Completeness:
    return Completeness(
        profile=profile,
        width_px=width_px,
        marked=0.1,
        contrast=contrast,
        filaments=[10] * len(contrast),
        completeness={"BigSF": completeness},
        before={"BigSF": [0.0] * len(contrast)},
    )


def injected(spine_contrast: float, width_px: float, profile: Profile = "gaussian") -> float:
    """Return the contrast of a filament that has a contrast over its wings 3 to 7 pixels beyond its mask."""
    distance_px = np.asarray((width_px / 2 + np.arange(3, 8)) / width_px, np.float64)
    wings = float(np.median(PROFILES[profile](distance_px, 1.0)))
    return spine_contrast / (1 - wings - wings * spine_contrast)


def test_the_binomial_error_is_that_of_the_posterior_and_never_zero() -> None:
    assert binomial_error(0.5, 97) == pytest.approx(0.05)  # sqrt(0.25 / 100)
    assert binomial_error(1, 18) == pytest.approx(np.sqrt(0.95 * 0.05 / 21))
    assert binomial_error(0.5, 0) == pytest.approx(np.sqrt(0.25 / 3))


def test_rows_of_a_fold_are_calibrated_by_those_of_other_folds() -> None:
    probability, purity = np.full(2 * LEAST_ROWS, 0.8), np.repeat([0.25, 0.75], LEAST_ROWS)
    found = expected_purity(probability, purity, TWO_FOLDS)
    np.testing.assert_allclose(found.value, np.repeat([0.75, 0.25], LEAST_ROWS))
    np.testing.assert_allclose(found.error, float(binomial_error(0.25, LEAST_ROWS)))


@given(st.integers(0, 2 * LEAST_ROWS - 1), st.floats(0, 1))
def test_no_row_calibrates_itself(row: int, changed: float) -> None:
    generator = np.random.default_rng(0)
    probability, purity = generator.uniform(size=(2, 2 * LEAST_ROWS))
    before = expected_purity(probability, purity, TWO_FOLDS)
    purity[row] = changed
    after = expected_purity(probability, purity, TWO_FOLDS)
    own = TWO_FOLDS[row] == TWO_FOLDS
    np.testing.assert_array_equal(before.value[own], after.value[own])


def test_too_few_known_rows_of_other_folds_give_no_value() -> None:
    probability, purity = np.full((2, 2 * LEAST_ROWS), 0.5)
    purity[0] = NAN  # one row less of the first fold
    found = expected_purity(probability, purity, TWO_FOLDS)
    assert np.isfinite(found.value[:LEAST_ROWS]).all()
    assert np.isnan(found.value[LEAST_ROWS:]).all()
    assert np.isnan(found.error[LEAST_ROWS:]).all()


def test_the_calibration_rises_with_the_probability_and_pools_what_falls() -> None:
    """Three bins of 20 rows with the purities 0.2, 0.8 and 0.4: the last two are pooled to 0.6.

    The mean probabilities of the bins are 0.105 and 0.405, and 0.205 is a third of the way.
    """
    probability = np.append(np.linspace(0.01, 0.6, 60), [0.05, 0.205, 0.405, 0.59, NAN])
    purity = np.append(np.repeat([0.2, 0.8, 0.4], 20), np.zeros(5))
    found = expected_purity(probability, purity, np.repeat([1, 2], [60, 5]))
    np.testing.assert_allclose(found.value[60:], [0.2, 0.2 + 0.4 / 3, 0.6, 0.6, NAN])
    low, high = binomial_error([0.2, 0.6], [20, 40])
    np.testing.assert_allclose(found.error[60:], [low, low + (high - low) / 3, high, high, NAN])


def test_of_many_rows_most_are_calibrated_within_their_errors() -> None:
    """Rows whose pixels are true with a power of the probability: an error is one standard deviation."""
    generator = np.random.default_rng(2)
    probability = generator.uniform(0.3, 1, 8000)
    true = ((probability - 0.3) / 0.7) ** 1.5
    expected = expected_purity(probability, generator.binomial(1, true).astype(float), generator.integers(1, 9, 8000))
    assert (abs(expected.value - true) < expected.error).mean() > 0.68


def test_what_is_expected_is_what_is_measured_within_the_errors() -> None:
    """Rows whose pixels are true with the square of the probability, in eight folds."""
    generator = np.random.default_rng(1)
    probability = generator.uniform(0.5, 1, 800)
    purity = generator.binomial(12, probability**2) / 12
    expected = expected_purity(probability, purity, generator.integers(1, 9, 800))
    found = reliability(probability, expected, purity)
    assert found is not None
    assert sum(found.rows) == 800
    difference = np.subtract(found.expected, found.measured)
    assert (abs(difference) < 2 * np.hypot(found.expected_error, found.measured_error)).all()
    assert abs(np.average(difference, weights=found.rows)) < np.hypot(*binomial_error([0.58, 0.58], [800, 800]))
    assert np.corrcoef(expected.value, probability**2)[0, 1] > 0.95


def test_reliability_needs_rows_that_are_known() -> None:
    expected = Expected(np.array([NAN, 0.5]), np.array([NAN, 0.1]))
    assert reliability(np.array([0.7, 0.8]), expected, np.array([0.5, NAN])) is None


def test_completeness_is_interpolated_over_the_logarithm_of_the_contrast() -> None:
    bins = [injected(0.1, 4), injected(1.0, 4)]
    curve, middle = family(bins, [0.2, 0.8], (2, 6)), np.sqrt(np.prod(bins))
    wings = injected(0.1, 4) / 0.1 - 1  # far below 1, and hardly of another size at the middle
    found = expected_completeness(np.array([0.1, middle / (1 + wings), 1.0]), np.full(3, 4.0), [curve])
    np.testing.assert_allclose(found.value, [0.2, 0.5, 0.8], atol=1e-3)
    one = float(binomial_error(0.2, 10))
    np.testing.assert_allclose(found.error, [one, one / np.sqrt(2), one], rtol=1e-3)


def test_completeness_is_not_extrapolated() -> None:
    contrast, width_px = np.array([0.09, 1.1, 0.5, 0.5, NAN, 0.5]), np.array([4, 4, 1.9, 6.1, 4, NAN])
    found = expected_completeness(contrast, width_px, [family([0.1, 1.0], [0.2, 0.8], (2, 6))])
    assert np.isnan(found.value).all()
    assert np.isnan(found.error).all()
    empty = family([], [], (2, 6))
    assert np.isnan(expected_completeness(np.array([0.5]), np.array([4.0]), [empty]).value).all()


def test_families_that_include_a_row_are_averaged_and_the_error_holds_how_far_they_differ() -> None:
    contrast, width_px = [0.1, 0.1, 0.8], [4, 7, 4]
    narrow = family([injected(0.1, 4), 0.5], [0.9, 0.9], (2, 6))
    bins = sorted(injected(*each, "plummer") for each in zip(contrast, width_px, strict=True))
    wide = family(bins, [0.3, 0.3, 0.3], (2, 12), "plummer")
    found = expected_completeness(np.array(contrast), np.array(width_px), [narrow, wide])
    np.testing.assert_allclose(found.value, [0.6, 0.3, 0.3])
    alone = [float(binomial_error(fraction, 10)) for fraction in (0.9, 0.3)]
    both = np.sqrt(np.mean(np.square(alone)) + 0.3**2)
    np.testing.assert_allclose(found.error, [both, alone[1], alone[1]])


def test_a_curve_of_one_bin_holds_at_its_contrast_alone() -> None:
    curve = family([injected(0.5, 4)], [0.7], (2, 6))
    found = expected_completeness(np.array([0.5, 0.6]), np.full(2, 4.0), [curve])
    np.testing.assert_allclose(found.value, [0.7, NAN])
    np.testing.assert_allclose(found.error, [float(binomial_error(0.7, 10)), NAN])
