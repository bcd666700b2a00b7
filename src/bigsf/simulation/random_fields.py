"""Seed and pixel positions -> random numbers, noise and clouds.

A value depends on the seed and on its own position alone. So any part of a map can be computed by itself, and parts
that are computed separately fit together without a seam.

Positions are pixels `(y, x)` of the simulated plane, which is larger than any map. Latitude grows with y, and b = 0 is
row `EQUATOR_PX`. Longitude falls with x, and l = 0 is column 0. The plane is divided into square tiles of `TILE_PX`
pixels a side; tile (0, 0) begins at position (0, 0).
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

from bigsf.arrays import Float64Array, IntArray
from bigsf.simulation.recipe import Recipe

TILE_PX = 256
"""Side of a tile; a filament with its branches reaches no further than into the next tile."""

EQUATOR_PX = TILE_PX // 2
"""Row at b = 0, the middle of a row of tiles: a map of 256 rows is one row of whole tiles."""

NOISE, BORDER, TILES, CLOUDS = range(4)
"""Independent streams of random numbers. Octave n of the clouds has stream CLOUDS + n."""

_SPLINE = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)  # cubic, on [-2, 2]
_SPLINE_RMS = math.sqrt(151 / 315)  # rms of white noise interpolated by it: the root of the integral of its square


def uniform(seed: int, stream: int, y: IntArray, x: IntArray) -> Float64Array:
    """Return uniform random numbers in (0, 1), one per position.

    Parameters
    ----------
    seed
        Any integer from 0 on.
    stream
        What the numbers are for: streams are independent of each other.
    y, x
        Rows `(ny,)` and columns `(nx,)`.

    Returns
    -------
    ndarray
        `(ny, nx)`.
    """
    start = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    bits = _scramble(_scramble(y.astype(np.uint64) + start)[:, None] ^ x.astype(np.uint64)[None, :])
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, stream: int, y: IntArray, x: IntArray) -> Float64Array:
    """Return Gaussian random numbers `(ny, nx)` of mean 0 and variance 1; the parameters are those of `uniform`."""
    return np.asarray(ndtri(uniform(seed, stream, y, x)))


def tile_number(row: int, column: int) -> int:
    """Return the number of a tile, from 0 on, unique in the simulated plane.

    Raises
    ------
    ValueError
        Where the tile lies outside the simulated plane.
    """
    if not (-64 <= row < 64 and -1024 <= column < 1024):
        raise ValueError(
            f"Tile ({row}, {column}) is outside the simulated plane: at most 16384 rows and 262144 columns on either "
            "side of its middle."
        )
    return (column + 1024) * 128 + row + 64


def tile_generator(seed: int, row: int, column: int) -> np.random.Generator:
    """Return a new generator of random numbers for all that has its middle in a tile."""
    return np.random.default_rng([seed, TILES, tile_number(row, column)])


def latitude_profile(y: IntArray, recipe: Recipe) -> Float64Array:
    """Return the median column density `(ny,)` in cm^-2 of rows: a thin sech^2 disc on a diffuse layer."""
    height = (y - EQUATOR_PX) * recipe.pixel_arcsec / 3600 / recipe.disc_scale_deg
    return np.asarray(recipe.diffuse_cm2 + recipe.disc_cm2 / np.cosh(height) ** 2)


def cloud_density(seed: int, y: IntArray, x: IntArray, recipe: Recipe) -> Float64Array:
    """Return the column density of the clouds through the beam, without filaments and noise.

    The clouds are the exponential of a sum of octaves of lattice noise. An octave has a variance that grows as
    spacing**(index - 2), so that the sum has a power spectrum k**-index down to the beam. The exponential makes column
    density log-normal, as in molecular clouds, and hardly changes the slope of the spectrum.

    Parameters
    ----------
    seed
        Any integer from 0 on.
    y, x
        Consecutive rows `(ny,)` and columns `(nx,)`.
    recipe
        Parameters of clouds, latitude profile and beam.

    Returns
    -------
    ndarray
        `(ny, nx)`, in cm^-2.
    """
    sigma_px = recipe.beam_arcsec / recipe.pixel_arcsec / math.sqrt(8 * math.log(2))
    margin_px = math.ceil(4 * sigma_px) + 1
    y, x = (np.arange(axis[0] - margin_px, axis[-1] + margin_px + 1) for axis in (y, x))
    logarithm = np.zeros((len(y), len(x)))  # of column density over the latitude profile
    for octave in range(1, recipe.cloud_octaves + 1):
        rms = recipe.cloud_rms_64px * (2**octave / 64) ** (recipe.cloud_index / 2 - 1)
        logarithm += rms * _lattice_noise(seed, octave, y, x)
    density = gaussian_filter(latitude_profile(y, recipe)[:, None] * np.exp(logarithm), sigma_px)
    return np.asarray(density[margin_px:-margin_px, margin_px:-margin_px])


def _lattice_noise(seed: int, octave: int, y: IntArray, x: IntArray) -> Float64Array:
    """Return smooth Gaussian noise `(ny, nx)` of mean variance 1.

    Cubic B-splines interpolate random numbers on a lattice of 2**octave pixels. Unlike Fourier noise, it has no period
    and takes no memory beyond the part that is asked for.
    """
    # A shift of each lattice keeps the nodes of all octaves from falling on the same pixels.
    shift = 0.5 + 0.618 * octave
    (nodes_y, weights_y), (nodes_x, weights_x) = (_spline_weights(axis / 2**octave + shift) for axis in (y, x))
    noise = weights_y @ normal(seed, CLOUDS + octave, nodes_y, nodes_x) @ weights_x.T
    return np.asarray(noise / _SPLINE_RMS**2)


def _spline_weights(position: Float64Array) -> tuple[IntArray, Float64Array]:
    """Return the lattice nodes `(k,)` around positions `(n,)` in lattice units, and their weights `(n, k)`."""
    nodes = np.arange(math.floor(position[0]) - 1, math.floor(position[-1]) + 3)
    return nodes, np.nan_to_num(_SPLINE(position[:, None] - nodes))


def _scramble(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return well mixed bits: the last steps of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
