"""Rows of a catalogue whose pixels are true or not -> how pure and how complete rows like them are, with errors."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import Recovery, Reliability

LEAST_ROWS = 20
"""Rows of other folds that a bin of the calibration holds at least. With fewer rows in all there is no calibration."""

_MOST_BINS = 10
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

    The rows of a fold are calibrated by the rows of all other folds, so no row calibrates itself. The calibration is a
    rising step function of the probability: the mean of bins of equally many rows, pooled where neighbours do not rise
    (isotonic regression). Each row counts once, however large it is.

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
    """Return the values at the probabilities `asked` of the step function that some rows make."""
    if len(probability) < LEAST_ROWS:
        return Expected(*np.full((2, len(asked)), np.nan))
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(_MOST_BINS, len(order) // LEAST_ROWS))
    pools = [bins[0]]
    for rows in bins[1:]:
        pools.append(rows)
        while len(pools) > 1 and purity[pools[-2]].mean() >= purity[pools[-1]].mean():
            pools[-2:] = [np.concatenate(pools[-2:])]
    means = np.array([purity[rows].mean() for rows in pools])
    errors = binomial_error(means, [len(rows) for rows in pools])
    ends = [(probability[a[-1]] + probability[b[0]]) / 2 for a, b in pairwise(pools)]
    step = np.searchsorted(ends, asked, side="right")
    undefined = ~np.isfinite(asked)
    return Expected(np.where(undefined, np.nan, means[step]), np.where(undefined, np.nan, errors[step]))


def expected_completeness(contrast: Float64Array, width_px: Float64Array, families: Sequence[Recovery]) -> Expected:
    """Return how complete injected filaments of the contrast and width of each row are.

    Of the families of injected filaments whose widths include that of the row, the one with the nearest middle width is
    taken. Its completeness is interpolated linearly in the logarithm of the contrast.

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
        NaN beyond the mean contrasts of the first and the last bin, and beyond the widths of all families.
    """
    value, error = np.full((2, len(contrast)), np.nan)
    for rows, family in _nearest(width_px, [family for family in families if family.filaments]):
        centres = np.log(family.contrast)
        completeness = np.array(family.completeness[MODEL])
        variance = binomial_error(completeness, family.filaments) ** 2
        within = rows & (contrast >= family.contrast[0]) & (contrast <= family.contrast[-1])
        at = np.log(contrast[within])
        value[within] = np.interp(at, centres, completeness)
        above = np.searchsorted(centres, at).clip(min(1, len(centres) - 1), len(centres) - 1)
        below = np.maximum(above - 1, 0)
        with np.errstate(invalid="ignore"):  # a curve of one bin
            weight = np.nan_to_num((at - centres[below]) / (centres[above] - centres[below]))
        error[within] = np.sqrt((1 - weight) ** 2 * variance[below] + weight**2 * variance[above])
    return Expected(value, error)


def _nearest(width_px: Float64Array, families: Sequence[Recovery]) -> list[tuple[BoolArray, Recovery]]:
    """Return, for each family, the rows whose width it includes and for which its middle width is the nearest."""
    if not families:
        return []
    low, high = np.array([family.width_px for family in families]).T[:, :, None]
    with np.errstate(invalid="ignore"):
        included = (width_px >= low) & (width_px <= high)
    distance = np.where(included, abs(width_px - (low + high) / 2), np.inf)
    nearest = distance.argmin(axis=0)
    return [((nearest == number) & included[number], family) for number, family in enumerate(families)]


def reliability(probability: Float64Array, expected: Expected, purity: Float64Array) -> Reliability | None:
    """Return expected and measured purity in bins of probability with equally many rows; None where no row has both.

    Bins of the expected purity itself would mislead: what the other folds tell is high where the own fold is impure.

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
