"""Random numbers -> filaments: spines with branches and hubs, and the pixels that they brighten.

A filament multiplies the clouds by 1 + contrast * profile. So its contrast is the peak excess over the local
background. The profile across the spine is Plummer-like. Widths and contrasts are those seen through the beam.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from bigsf.arrays import BoolArray, Float64Array, FloatArray, IntArray
from bigsf.simulation.random_fields import TILE_PX
from bigsf.simulation.recipe import Recipe

MAX_PER_TILE = 511
"""Most filaments of a tile, so that the IDs of a whole plane fit into 32 bits."""

_REACH = 2.5  # distance from the spine at which a profile ends, in widths
_STEP_PX = 2.0  # length of a segment of a spine
_FAINTEST = 0.4  # part of its contrast that a filament keeps everywhere along its spine


class Segments(NamedTuple):
    """The straight segments of a spine."""

    start: Float64Array
    """First points (y, x), `(n, 2)`, in pixels."""
    end: Float64Array
    """Last points (y, x), `(n, 2)`, in pixels."""
    strength: Float64Array
    """Brightness at the first and the last point, `(n, 2)`, as a part of the peak: 1 at most."""


class Hub(NamedTuple):
    """A compact bright spot on a crossing of spine and branch."""

    segments: Segments
    excess: float
    """Peak excess over the local background, in units of that background."""
    width_px: float
    """FWHM in pixels."""


class Filament(NamedTuple):
    """A filament with its branches and hubs."""

    id: int
    contrast: float
    """Peak excess over the local background, in units of that background."""
    width_px: float
    """FWHM across the spine in pixels."""
    length_px: float
    """Length of the main spine in pixels, without branches."""
    in_target: bool
    """Whether the filament is in the catalogue."""
    segments: Segments
    """Those of the main spine and of all branches."""
    hubs: list[Hub]


class FilamentPlanes(NamedTuple):
    """Planes of a tile, `(TILE_PX, TILE_PX)` each."""

    excess: Float64Array
    """Excess over the background, in units of the background."""
    truth_id: npt.NDArray[np.int32]
    """ID of the filament in each pixel, 0 for none. Where filaments overlap, it is that of highest contrast."""
    target: BoolArray
    """Pixels within half a width of the spine of a catalogued filament."""


def grow_filaments(
    generator: np.random.Generator, corner_px: IntArray, first_id: int, recipe: Recipe
) -> list[Filament]:
    """Return random filaments whose middles lie in a tile, with consecutive IDs.

    Parameters
    ----------
    generator
        Source of the random numbers.
    corner_px
        First position (y, x) of the tile.
    first_id
        ID of the first filament.
    recipe
        Sets number, contrasts, widths, lengths, branches and hubs.
    """
    count = min(MAX_PER_TILE, generator.poisson(recipe.filaments_per_tile))
    return [
        _grow(generator, corner_px + generator.uniform(0, TILE_PX, 2), number, recipe)
        for number in range(first_id, first_id + count)
    ]


def filament_planes(filaments: Iterable[Filament], corner_px: IntArray) -> FilamentPlanes:
    """Return the planes of a tile in which filaments lie.

    Parameters
    ----------
    filaments
        Filaments of the tile and of its neighbours, in any order.
    corner_px
        First position (y, x) of the tile.
    """
    excess = np.zeros((TILE_PX, TILE_PX))
    truth_id = np.zeros(excess.shape, np.int32)
    target = np.zeros(excess.shape, np.bool_)
    # The filament of highest contrast is drawn last, so that its ID stays where filaments overlap.
    for filament in sorted(filaments, key=lambda f: f.contrast):
        drawn = _draw(filament.segments, filament.width_px, corner_px)
        if drawn:
            where, profile, near = drawn
            excess[where] += filament.contrast * profile
            truth_id[where][near] = filament.id
            target[where] |= near & filament.in_target
        for hub in filament.hubs:
            drawn = _draw(hub.segments, hub.width_px, corner_px)
            if drawn:
                where, profile, _ = drawn
                excess[where] += hub.excess * profile
    return FilamentPlanes(excess, truth_id, target)


def plummer(distance2_px2: npt.NDArray[Any], width_px: float) -> npt.NDArray[Any]:
    """Return a Plummer-like cross profile: (1 + r^2 / R^2)^(-3/2), shifted and scaled to end at 0 at 2.5 widths.

    Parameters
    ----------
    distance2_px2
        Squared distances from the spine, in square pixels, of any shape.
    width_px
        FWHM in pixels, 1.53 R. Plummer's index is 4, that of an isothermal cylinder in equilibrium (Ostriker 1964,
        ApJ 140, 1056).

    Returns
    -------
    ndarray
        1 on the spine and 0 beyond 2.5 widths, of the shape of the distances.
    """
    shape = 4 * (2 ** (2 / 3) - 1) / width_px**2
    end = (1 + shape * (_REACH * width_px) ** 2) ** -1.5
    base = 1 + shape * distance2_px2
    return np.asarray(np.maximum(1 / (base * np.sqrt(base)) - end, 0) / (1 - end))


def _grow(generator: np.random.Generator, middle_px: Float64Array, number: int, recipe: Recipe) -> Filament:
    """Return a random filament around a position (y, x)."""
    contrast, length_px = (_log_uniform(generator, limits) for limits in (recipe.contrast, recipe.length_px))
    width_px = generator.uniform(*recipe.width_px)
    catalogued = generator.uniform() < recipe.target_fraction and contrast > recipe.target_contrast
    spine, heading = _wander(generator, generator.uniform(0, 2 * np.pi), length_px)
    spine += middle_px - spine[len(spine) // 2]
    strength = _clumps(generator, len(spine))
    strands, hubs = [_segments(spine, strength)], []
    for _ in range(generator.poisson(length_px / recipe.branch_every_px)):
        root = generator.integers(len(spine))
        turn = generator.choice([-1, 1]) * generator.uniform(0.6, 1.6)
        branch, _ = _wander(generator, heading[root] + turn, max(8.0, generator.uniform(0.1, 0.4) * length_px))
        fading = np.linspace(strength[root], _FAINTEST, len(branch))
        strands.append(_segments(branch + spine[root], np.minimum(fading, _clumps(generator, len(branch)))))
        if contrast > recipe.target_contrast and generator.uniform() < recipe.hub_chance:
            hubs.append(_grow_hub(generator, spine[root], recipe))
    joined = Segments(*(np.concatenate(parts) for parts in zip(*strands, strict=True)))
    return Filament(number, contrast, width_px, length_px, bool(catalogued), joined, hubs)


def _grow_hub(generator: np.random.Generator, middle_px: Float64Array, recipe: Recipe) -> Hub:
    """Return a random hub around a position (y, x)."""
    points, _ = _wander(generator, generator.uniform(0, 2 * np.pi), generator.uniform(2, 8))
    core = _segments(points - points[len(points) // 2] + middle_px, _clumps(generator, len(points)))
    return Hub(core, _log_uniform(generator, recipe.hub_excess), generator.uniform(3, 6))


def _wander(generator: np.random.Generator, direction: float, length_px: float) -> tuple[Float64Array, Float64Array]:
    """Return the points `(n, 2)` of a random walk from (0, 0) and its headings `(n,)` in radians."""
    n = max(2, math.ceil(length_px / _STEP_PX))
    # Long bends and short kinks; without a trend, so that a filament is not a coil.
    heading = direction + 0.5 * _smooth_noise(generator, n + 1, 25.0) + 0.6 * _smooth_noise(generator, n + 1, 4.0)
    steps = length_px / n * np.stack([np.sin(heading[:-1]), np.cos(heading[:-1])], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading


def _clumps(generator: np.random.Generator, n: int) -> Float64Array:
    """Return a strength `(n,)` along a spine, 1 at its brightest: clumps, and ends that fade."""
    from_end_px = _STEP_PX * np.minimum(np.arange(n), np.arange(n)[::-1])
    logarithm = 0.4 * _smooth_noise(generator, n, 3.0) + 0.3 * _smooth_noise(generator, n, 15.0)
    strength = np.exp(logarithm - np.exp(-from_end_px / 6))
    return np.asarray(np.maximum(strength / strength.max(), _FAINTEST))


def _smooth_noise(generator: np.random.Generator, n: int, scale_px: float) -> Float64Array:
    """Return Gaussian noise `(n,)` of standard deviation 1, correlated over a length along a spine."""
    sigma = scale_px / _STEP_PX
    pad = math.ceil(4 * sigma)
    noise = gaussian_filter1d(generator.standard_normal(n + 2 * pad), sigma)[pad : pad + n]
    return np.asarray(noise * math.sqrt(2 * sigma * math.sqrt(np.pi)))


def _segments(points: Float64Array, strength: Float64Array) -> Segments:
    """Return the segments between consecutive points (y, x), `(n, 2)`, of a strength `(n,)`."""
    return Segments(points[:-1], points[1:], np.stack([strength[:-1], strength[1:]], axis=1))


def _log_uniform(generator: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(generator.uniform(*np.log(limits))))


def _draw(
    segments: Segments, width_px: float, corner_px: IntArray
) -> tuple[tuple[slice, slice], FloatArray, BoolArray] | None:
    """Return where a spine lies in a tile, its profile (peak 1) there, and the pixels within half a width of it.

    Each segment is drawn into a small square around it. In each pixel the brightest segment counts. None where the
    spine does not reach into the tile.
    """
    reach_px = math.ceil(_REACH * width_px + _STEP_PX / 2) + 1
    middle = np.rint((segments.start + segments.end) / 2).astype(np.int64) - corner_px
    inside = ((middle >= -reach_px) & (middle < TILE_PX + reach_px)).all(axis=1)
    if not inside.any():
        return None
    middle = middle[inside]
    start = segments.start[inside] - corner_px - middle
    along = (segments.end - segments.start)[inside]
    squares, discs = _draw_segments(start, along, segments.strength[inside], width_px, reach_px)

    first, last = middle.min(axis=0) - reach_px, middle.max(axis=0) + reach_px + 1
    profile = np.zeros(last - first, np.float32)
    near = np.zeros(profile.shape, np.bool_)
    for (y, x), square, disc in zip(middle - reach_px - first, squares, discs, strict=True):
        where = np.s_[y : y + len(square), x : x + len(square)]
        np.maximum(profile[where], square, out=profile[where])
        np.logical_or(near[where], disc, out=near[where])
    low, high = np.maximum(first, 0), np.minimum(last, TILE_PX)
    crop = np.s_[low[0] - first[0] : high[0] - first[0], low[1] - first[1] : high[1] - first[1]]
    return np.s_[low[0] : high[0], low[1] : high[1]], profile[crop], near[crop]


def _draw_segments(
    start_px: Float64Array, along_px: Float64Array, strength: Float64Array, width_px: float, reach_px: int
) -> tuple[FloatArray, BoolArray]:
    """Return the profile of each segment and the pixels within half a width of it, in squares `(n, k, k)` around them.

    Parameters
    ----------
    start_px
        First point (y, x) of each segment, `(n, 2)`, counted from the middle of its square.
    along_px
        Last point minus first point, `(n, 2)`.
    strength
        Brightness at the first and the last point, `(n, 2)`.
    width_px
        FWHM of the profile.
    reach_px
        Pixels from the middle of a square to its sides, so that k is 2 * reach_px + 1.
    """
    start, along, ends = (values.astype(np.float32)[:, :, None, None] for values in (start_px, along_px, strength))
    offset = np.arange(-reach_px, reach_px + 1, dtype=np.float32)
    dy, dx = offset[:, None] - start[:, 0], offset[None, :] - start[:, 1]
    length2 = np.maximum((along**2).sum(axis=1), 1e-12)
    part = np.clip((dy * along[:, 0] + dx * along[:, 1]) / length2, 0, 1)  # nearest point of the segment
    distance2 = (dy - part * along[:, 0]) ** 2 + (dx - part * along[:, 1]) ** 2
    profile = plummer(distance2, width_px) * (ends[:, 0] + part * (ends[:, 1] - ends[:, 0]))
    return profile, distance2 <= (width_px / 2) ** 2
