"""A map -> filters for ridges, from the curvature of the smoothed map."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from bigsf.arrays import Float64Array


def sato(values: Float64Array, sigmas_px: Sequence[float]) -> Float64Array:
    """Return the ridge filter of Sato et al. (1998, Medical Image Analysis 2, 143).

    Parameters
    ----------
    values
        The map `(ny, nx)`, finite.
    sigmas_px
        The map is smoothed with Gaussians of these sigmas, in pixels.

    Returns
    -------
    ndarray
        `(ny, nx)`, in the unit of the map: the largest of sigma^2 max(0, -l) over the sigmas, where l is the lower
        second derivative along the two principal directions.
    """
    found = np.zeros_like(values)
    for sigma_px, low, _ in _curvatures(values, sigmas_px):
        np.maximum(found, -(sigma_px**2) * low, out=found)
    return found


def frangi(values: Float64Array, sigmas_px: Sequence[float]) -> Float64Array:
    """Return the ridge filter of Frangi et al. (1998, MICCAI, LNCS 1496, 130), with beta of 0.5 and a large c.

    A large c is the limit in which no structure of the map saturates the filter, so that the values in a part of the
    map do not depend on the rest of it. With one sigma, the order of the values is that of Frangi's formula. Of
    several, the smaller ones count more than if each was scaled by its own square.

    Parameters
    ----------
    values, sigmas_px
        As for `sato`.

    Returns
    -------
    ndarray
        `(ny, nx)`, in the unit of the map: the largest of s^2 |H| exp(-(l1 / l2)^2) over the sigmas, where s is the
        smallest sigma, l1 and l2 are the second derivatives along the two principal directions, |l1| <= |l2|, and |H|
        is the root of the sum of their squares. It is 0 where l2 is not negative.
    """
    found = np.zeros_like(values)
    for _, low, high in _curvatures(values, sigmas_px):
        ridge = (low < 0) & (-low >= high)
        size = np.hypot(low, high) * np.exp(-((high / np.where(ridge, low, 1)) ** 2))
        np.maximum(found, np.where(ridge, size, 0), out=found)
    return min(sigmas_px) ** 2 * found


def _curvatures(values: Float64Array, sigmas_px: Sequence[float]) -> Iterator[tuple[float, Float64Array, Float64Array]]:
    """Yield each sigma, and the lower and the higher second derivative of the smoothed map along principal directions.

    They are in units of the map per square pixel, `(ny, nx)`. A pixel depends on those up to 4 sigma + 1 away along y
    and x.
    """
    for sigma_px in sigmas_px:
        smooth = np.pad(gaussian_filter(values, sigma_px), 1, mode="edge")  # as the mirrored map goes on
        middle = 2 * smooth[1:-1, 1:-1]
        yy = smooth[2:, 1:-1] + smooth[:-2, 1:-1] - middle
        xx = smooth[1:-1, 2:] + smooth[1:-1, :-2] - middle
        xy = (smooth[2:, 2:] - smooth[2:, :-2] - smooth[:-2, 2:] + smooth[:-2, :-2]) / 4
        mean, radius = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
        yield sigma_px, mean - radius, mean + radius
