"""Rows of a catalogue whose pixels are true or not -> how pure and how complete rows like them are, with errors."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from bigsf.arrays import Float64Array, IntArray
from bigsf.evaluation.injection import PROFILES, Profile
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import Completeness, Reliability
from bigsf.filaments.photometry import ANNULUS_PX

LEAST_ROWS = 20
"""Rows of other folds that a bin of the calibration holds at least. With fewer rows in all there is no calibration."""

_MOST_BINS = 30
_DIAGRAM_BINS = 5


class Expected(NamedTuple):
    """Expected values of rows and their standard errors, each `(rows,)`, NaN where unknown."""

    value: Float64Array
    """Between 0 and 1."""
    error: Float64Array
    """Standard error of the expected value. A single row scatters more than that."""


def binomial_error(fraction: npt.ArrayLike, number: npt.ArrayLike) -> Float64Array:
    """Return the standard error of a mean of `number` independent values between 0 and 1, at most that of 0s and 1s.

    It is the standard deviation of the posterior Beta(1 + n f, 1 + n (1 - f)), which is not 0 where all values are 0 or
    all are 1.
    """
    f, n = np.asarray(fraction, np.float64), np.asarray(number, np.float64)
    mean = (n * f + 1) / (n + 2)
    return np.asarray(np.sqrt(mean * (1 - mean) / (n + 3)))


def expected_purity(probability: Float64Array, purity: Float64Array, fold: IntArray) -> Expected:
    """Return which fraction of a row's pixels is true on average, for rows of its mean probability.

    The rows of a fold are calibrated by the rows of all other folds, so no row calibrates itself. The calibration rises
    with the probability: it is the mean of bins of equally many rows, pooled where neighbours do not rise (isotonic
    regression), linear between their mean probabilities and constant beyond. Each row counts once, however large it is.

    Parameters
    ----------
    probability
        Mean probability of each row, `(rows,)`.
    purity
        Fraction of each row's pixels that are true, `(rows,)`; NaN where unknown.
    fold
        The fold of each row, `(rows,)`.

    Returns
    -------
    Expected
        NaN where fewer than `LEAST_ROWS` rows of other folds are known.
    """
    value, error = np.full((2, len(fold)), np.nan)
    known = np.isfinite(probability) & np.isfinite(purity)
    for number in np.unique(fold):
        here, others = fold == number, known & (fold != number)
        value[here], error[here] = _calibrated(probability[others], purity[others], probability[here])
    return Expected(value, error)


def _calibrated(probability: Float64Array, purity: Float64Array, asked: Float64Array) -> Expected:
    """Return the values at the probabilities `asked` of the calibration that some rows make."""
    if len(probability) < LEAST_ROWS:
        return Expected(*np.full((2, len(asked)), np.nan))
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(_MOST_BINS, len(order) // LEAST_ROWS))
    rising = isotonic_regression([purity[rows].mean() for rows in bins], weights=[len(rows) for rows in bins])
    pools = [np.concatenate(bins[first:end]) for first, end in pairwise(rising.blocks)]
    means = np.array([purity[rows].mean() for rows in pools])
    errors = binomial_error(means, [len(rows) for rows in pools])
    centres = [probability[rows].mean() for rows in pools]
    defined = np.isfinite(asked)
    return Expected(*(np.where(defined, np.interp(asked, centres, each), np.nan) for each in (means, errors)))


def expected_completeness(contrast: Float64Array, width_px: Float64Array, families: Sequence[Completeness]) -> Expected:
    """Return how complete injected filaments of the contrast and width of each row are.

    It is the mean over the families of injected filaments whose widths and contrasts include those of the row. Their
    profiles differ, and which one a real filament has is not known: the error holds how far the families differ, too.

    Parameters
    ----------
    contrast
        Peak excess over the local background, `(rows,)`.
    width_px
        Width of each row in pixels, `(rows,)`.
    families
        Completeness of injected filaments against contrast.

    Returns
    -------
    Expected
        NaN beyond the mean contrasts of the first and the last bin, and beyond the widths, of all families.
    """
    total, squares, number = np.zeros((3, len(contrast)))
    for family in families:
        value, error = _interpolated(contrast, width_px, family)
        known = np.isfinite(value)
        number += known
        total += np.where(known, value, 0)
        squares += np.where(known, value**2 + error**2, 0)
    count = np.where(number > 0, number, np.nan)
    mean = total / count
    return Expected(mean, np.sqrt(squares / count - mean**2))


def _interpolated(contrast: Float64Array, width_px: Float64Array, family: Completeness) -> Expected:
    """Return the completeness of one family, linear in the logarithm of the contrast between its bins."""
    value, error = np.full((2, len(contrast)), np.nan)
    if not family.filaments:
        return Expected(value, error)
    low, high = family.width_px
    contrast = _injected_contrast(contrast, width_px, family.profile)
    within = (width_px >= low) & (width_px <= high)
    within &= (contrast >= family.contrast[0]) & (contrast <= family.contrast[-1])
    completeness, centres = np.array(family.completeness[MODEL]), np.log(family.contrast)
    variance = binomial_error(completeness, family.filaments) ** 2
    at = np.log(contrast[within])
    above = np.searchsorted(centres, at)
    below = np.maximum(above - 1, 0)
    weight = (at - centres[below]) / np.where(above > 0, centres[above] - centres[below], 1)
    value[within] = (1 - weight) * completeness[below] + weight * completeness[above]
    error[within] = np.sqrt((1 - weight) ** 2 * variance[below] + weight**2 * variance[above])
    return Expected(value, error)


def _injected_contrast(spine_contrast: Float64Array, width_px: Float64Array, profile: Profile) -> Float64Array:
    """Return the contrast of injected filaments that have the `spine_contrast` of the catalogue, `(rows,)`.

    That is measured above the annulus around the mask, where the wings of a profile q of its peak high are left: of an
    injected contrast c it is (c - c q) / (1 + c q). NaN where no filament of this profile has it.
    """
    beyond_px = np.arange(ANNULUS_PX[0] + 1, ANNULUS_PX[1] + 1)
    distance_px = width_px[:, None] / 2 + beyond_px
    wings = np.median(PROFILES[profile](distance_px / width_px[:, None], 1.0), axis=1)
    share = 1 - wings - wings * spine_contrast
    return np.asarray(spine_contrast / np.where(share > 0, share, np.nan))


def reliability(probability: Float64Array, expected: Expected, purity: Float64Array) -> Reliability | None:
    """Return expected and measured purity in bins of probability with equally many rows; None where no row has both.

    Bins of the expected purity itself would be biased: it is learnt from the other folds, so it is high where the rows
    of a fold are less pure than theirs.

    Parameters
    ----------
    probability, purity
        As for `expected_purity`.
    expected
        What that returns.
    """
    known = np.flatnonzero(np.isfinite(expected.value) & np.isfinite(purity))
    if not len(known):
        return None
    order = known[np.argsort(probability[known], kind="stable")]
    bins = np.array_split(order, max(1, min(_DIAGRAM_BINS, len(order) // LEAST_ROWS)))
    measured = [float(purity[rows].mean()) for rows in bins]
    return Reliability(
        rows=[len(rows) for rows in bins],
        expected=[float(expected.value[rows].mean()) for rows in bins],
        expected_error=[float(expected.error[rows].mean()) for rows in bins],
        measured=measured,
        measured_error=binomial_error(measured, [len(rows) for rows in bins]).tolist(),
    )
