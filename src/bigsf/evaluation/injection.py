"""A map and filaments of known place, contrast and width -> the map with these filaments injected."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from bigsf.arrays import Float64Array, FloatArray

Ids = npt.NDArray[np.int32]
"""The number of the filament of each pixel, `(ny, nx)`, from 1; 0 where there is none."""

Profile = Literal["gaussian", "plummer"]
"""The profile across a spine: `gaussian_profile` or `plummer_profile`."""

_BACKGROUND_PX = 12  # sigma of the Gaussian mean that is the local background

BACKGROUND_REACH_PX = 4 * _BACKGROUND_PX
"""Where that Gaussian is cut off."""

_PLUMMER_REACH = 3.0

REACH: dict[Profile, float] = {"gaussian": 1.6, "plummer": _PLUMMER_REACH}
"""Distance from the spine, in widths, at which each profile ends. At 1.6 widths the Gaussian has fallen to 0.001 of its
peak, and the Plummer-like profile to 0.09."""

_STEP_PX = 0.5  # between points of a spine


class InjectedFilament(NamedTuple):
    """A filament to be injected.

    Examples
    --------
    >>> spine = np.stack([np.full(81, 32.0), np.arange(12, 52.5, 0.5)], axis=1)
    >>> bigsf.InjectedFilament(spine, contrast=0.5, width_px=3.0, length_px=40.0).width_px
    3.0
    """

    path: Float64Array
    """Points (y, x) along the spine, `(n, 2)`, in pixels, at most half a pixel apart."""
    contrast: float
    """Peak excess over the local background, in units of that background."""
    width_px: float
    """Full width at half maximum of the profile across the spine."""
    length_px: float
    """Length of the spine."""
    profile: Profile = "gaussian"
    """The profile across the spine."""

    @property
    def reach_px(self) -> float:
        """Distance from the spine at which the profile ends."""
        return REACH[self.profile] * self.width_px

    def shifted(self, y: float, x: float) -> "InjectedFilament":
        """Return the filament in another place, so many pixels away."""
        return self._replace(path=self.path + np.array([y, x]))


def gaussian_profile(distance_px: Float64Array, width_px: float) -> Float64Array:
    """Return exp(-4 ln 2 (r / width)^2) at distances r from a spine, of any shape."""
    return np.asarray(np.exp(-4 * np.log(2) * (distance_px / width_px) ** 2))


def plummer_profile(distance_px: Float64Array, width_px: float) -> Float64Array:
    """Return a Plummer-like column density profile of index p = 2, shifted and scaled to end at 0 at three widths.

    It is (1 + (r / R)^2)^(-(p - 1) / 2), that of the filaments which Arzoumanian et al. (2011, A&A 529, L6) measured in
    Herschel maps. Its wings fall as 1 / r, those of a Gaussian much faster.

    Parameters
    ----------
    distance_px
        Distances r from the spine, of any shape.
    width_px
        Full width at half maximum of the profile that is not cut off, 2 sqrt(3) R.
    """
    end = (1 + 12 * _PLUMMER_REACH**2) ** -0.5
    profile = (1 + 12 * (distance_px / width_px) ** 2) ** -0.5
    return np.asarray(np.maximum(profile - end, 0) / (1 - end))


PROFILES = {"gaussian": gaussian_profile, "plummer": plummer_profile}
"""The function of each profile."""


def inject(image: FloatArray, filaments: Sequence[InjectedFilament]) -> tuple[FloatArray, Ids]:
    """Add filaments to a map.

    Each filament adds contrast * background * profile(r) to the map, where r is the distance from the nearest point of
    its spine. The profile is 1 on the spine. The background is the Gaussian mean of sigma 12 pixels over valid pixels.
    The noise of the map stays as it is.

    Parameters
    ----------
    image
        `(ny, nx)`, raw values, NaN where missing. It is not changed.
    filaments
        The filaments. Their spines may leave the map.

    Returns
    -------
    image : ndarray
        `(ny, nx)`, float32, NaN where missing.
    ids : ndarray
        `(ny, nx)`: 1 for pixels within half a width of the spine of the first filament, 2 for the second and so on, 0
        elsewhere.

    Examples
    --------
    >>> spine = np.stack([np.full(81, 32.0), np.arange(12, 52.5, 0.5)], axis=1)
    >>> image, ids = bigsf.inject(np.ones((64, 64), np.float32), [bigsf.InjectedFilament(spine, 0.5, 3.0, 40.0)])
    >>> round(float(image[32, 32]), 3), int(ids[32, 32])
    (1.5, 1)
    """
    valid = np.isfinite(image)
    coverage = gaussian_filter(valid.astype(np.float64), _BACKGROUND_PX)
    mean = gaussian_filter(np.where(valid, image, 0).astype(np.float64), _BACKGROUND_PX) / np.maximum(coverage, 1e-9)
    excess, ids = np.zeros(image.shape), np.zeros(image.shape, np.int32)
    for number, filament in enumerate(filaments, 1):
        reach = filament.reach_px
        low = np.clip(np.floor(filament.path.min(axis=0) - reach), 0, image.shape).astype(int)
        high = np.clip(np.ceil(filament.path.max(axis=0) + reach) + 1, low, image.shape).astype(int)
        box = np.s_[low[0] : high[0], low[1] : high[1]]
        pixels = np.moveaxis(np.mgrid[box], 0, -1)
        distance, _ = cKDTree(filament.path).query(pixels, distance_upper_bound=reach)
        excess[box] += filament.contrast * PROFILES[filament.profile](distance, filament.width_px)
        ids[box][distance <= filament.width_px / 2] = number
    return (image + np.abs(mean) * excess).astype(np.float32), ids


def random_path(generator: np.random.Generator, middle: npt.ArrayLike, length_px: float) -> Float64Array:
    """Return a random spine around a point (y, x): an arc that turns by up to 1.5 radians, with a gentle wave."""
    along = np.linspace(-0.5, 0.5, int(np.ceil(length_px / _STEP_PX)) + 1)
    start, turn, wave, phase = generator.uniform([-np.pi, -1.5, 0, -np.pi], [np.pi, 1.5, 0.4, np.pi])
    heading = start + turn * along + wave * np.sin(2 * np.pi * along + phase)
    steps = length_px / (len(along) - 1) * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    path = np.cumsum(steps, axis=0)
    return np.asarray(path - path[len(path) // 2] + middle)
