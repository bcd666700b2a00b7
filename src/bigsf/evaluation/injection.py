"""A map -> the same map with synthetic filaments injected, whose places and contrasts are known."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree
from typing_extensions import override

from bigsf.arrays import Float64Array, FloatArray, MaskArray
from bigsf.maps.planes import MapRows

Ids = npt.NDArray[np.int32]
"""The number of the filament of each pixel, `(rows, nx)`, from 1; 0 where there is none."""

Range = tuple[float, float]

Profile = Literal["gaussian", "plummer"]
"""The profile across a spine: `gaussian_profile` or `plummer_profile`."""

TILE_PX = 128
"""Side of the tiles in which filaments are placed."""

_BACKGROUND_PX = 12  # sigma of the Gaussian mean that is the local background
_BACKGROUND_REACH_PX = 4 * _BACKGROUND_PX  # where that Gaussian is cut off
_CLEAR = 1.6  # distance from the spine, in widths, that filaments keep free; 0.001 or 0.09 of the profile is left there
_PLUMMER_REACH = 3.0  # distance from the spine, in widths, at which the Plummer-like profile ends
_REACH: dict[Profile, float] = {"gaussian": 1.6, "plummer": _PLUMMER_REACH}  # the same for both; 0.001 or less is left
_STEP_PX = 0.5  # between points of a spine
_TRIES = 50  # random paths that are tried for each filament


class Filament(NamedTuple):
    """A filament to be injected."""

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
        return _REACH[self.profile] * self.width_px

    def shifted(self, y: float, x: float) -> "Filament":
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


_PROFILES = {"gaussian": gaussian_profile, "plummer": plummer_profile}


def inject(image: FloatArray, filaments: Sequence[Filament]) -> tuple[FloatArray, Ids]:
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
    >>> from bigsf.evaluation.injection import Filament
    >>> spine = np.stack([np.full(81, 32.0), np.arange(12, 52.5, 0.5)], axis=1)
    >>> image, ids = bigsf.inject(np.ones((64, 64), np.float32), [Filament(spine, 0.5, 3.0, 40.0)])
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
        excess[box] += filament.contrast * _PROFILES[filament.profile](distance, filament.width_px)
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


class InjectedPlanes(MapRows):
    """A map with filaments injected at random places, away from missing pixels, known structures and each other.

    Each spine lies within one tile of 128 pixels. The map and the seed determine all filaments. They are added when
    rows are read, so that memory is bounded by a few rows of tiles.

    Parameters
    ----------
    planes
        The map. Filaments are added to its first channel.
    known
        Mask `(ny, nx)` of known structures, 1 on them. Filaments keep away from these.
    seed
        Seed of the random numbers.
    per_tile
        Filaments in each tile, or fewer where there is no room for so many.
    most_tiles
        In maps of more tiles, filaments are added to this number of tiles, spread evenly over the map.
    contrast, width_px, length_px
        Ranges of the parameters. Contrast and length are distributed uniformly in the logarithm, width uniformly.
    profile
        The profile across the spines: "gaussian", or "plummer", a Plummer-like profile of index p = 2 (see
        `plummer_profile`). Spines keep 1.6 widths away from what they avoid. A Gaussian ends there. The wings of the
        other, up to 0.09 of the peak, reach further: to three widths.

    Attributes
    ----------
    filaments
        All filaments, in the order of the numbers that `ids` returns.
    y_edges
        First row of each row of tiles, and the end of the last.

    Examples
    --------
    >>> injected = bigsf.InjectedPlanes(bigsf.PatchFile("galaxy.h5"), seed=1)
    >>> injected.read_rows(0, 64).shape
    (1, 64, 256)
    """

    def __init__(
        self,
        planes: MapRows,
        known: MaskArray | None = None,
        seed: int = 0,
        per_tile: int = 6,
        most_tiles: int = 400,
        contrast: Range = (0.05, 3.0),
        width_px: Range = (2.0, 6.0),
        length_px: Range = (15.0, 60.0),
        profile: Profile = "gaussian",
    ) -> None:
        self.planes, self.known, self.width_px, self.profile = planes, known, width_px, profile
        ny, nx = planes.shape
        self.y_edges, x_edges = ([*range(0, size, TILE_PX), size] for size in (ny, nx))
        rows, columns = len(self.y_edges) - 1, len(x_edges) - 1
        tiles = np.unique(np.linspace(0, rows * columns - 1, min(most_tiles, rows * columns)).astype(int))
        self._in_row: list[list[Filament]] = []
        for row, (y0, y1) in enumerate(pairwise(self.y_edges)):
            self._in_row.append([])
            for column in tiles[tiles // columns == row] % columns:
                x0, x1 = x_edges[column : column + 2]
                generator = np.random.default_rng([seed, row, int(column)])
                clear_px = self._clear_px(y0, y1, x0, x1)
                found = _random_filaments(generator, clear_px, per_tile, contrast, width_px, length_px)
                self._in_row[row] += [filament.shifted(y0, x0)._replace(profile=profile) for filament in found]
        self.filaments = [filament for in_row in self._in_row for filament in in_row]
        self._rendered = lru_cache(maxsize=3)(self._render)

    def _clear_px(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        """Return the distance in pixels to the nearest pixel that is missing, known or outside of the tile."""
        free = np.isfinite(self.planes.read_rows(y0, y1)[:, :, x0:x1]).all(axis=0)
        if self.known is not None:
            free &= self.known[y0:y1, x0:x1] == 0
        return np.asarray(distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1], np.float32)

    def _render(self, row: int) -> tuple[FloatArray, Ids]:
        """Return image `(c, rows, nx)` and ids `(rows, nx)` of one row of tiles."""
        y0, y1 = self.y_edges[row : row + 2]
        top = max(0, y0 - _BACKGROUND_REACH_PX)
        image = np.array(self.planes.read_rows(top, min(self.shape[0], y1 + _BACKGROUND_REACH_PX)))
        first = max(0, row - 1)  # the wings of filaments of the next rows of tiles may reach into this one
        near = chain.from_iterable(self._in_row[first : row + 2])
        image[0], ids = inject(image[0], [filament.shifted(-top, 0) for filament in near])
        ids[ids > 0] += sum(map(len, self._in_row[:first]))
        core = slice(y0 - top, y1 - top)
        return image[:, core].copy(), ids[core].copy()  # without the margin, which a view would keep in memory

    def _rows(self, y0: int, y1: int) -> tuple[FloatArray, Ids]:
        first = y0 // TILE_PX
        images, ids = zip(*(self._rendered(row) for row in range(first, -(-y1 // TILE_PX))), strict=True)
        rows = slice(y0 - first * TILE_PX, y1 - first * TILE_PX)
        return np.concatenate(images, axis=1)[:, rows], np.concatenate(ids)[rows]

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.planes.shape

    @override
    def read_rows(self, y0: int, y1: int) -> FloatArray:
        return self._rows(y0, y1)[0]

    def ids(self, y0: int, y1: int) -> Ids:
        """Return the number of the filament of each pixel of rows y0 to y1 (exclusive), `(rows, nx)`; 0 for none."""
        return self._rows(y0, y1)[1]


def _random_filaments(
    generator: np.random.Generator, clear_px: FloatArray, number: int, contrasts: Range, widths: Range, lengths: Range
) -> list[Filament]:
    """Return filaments for one tile, in pixels of the tile.

    Parameters
    ----------
    generator
        The source of random numbers.
    clear_px
        Distance of each pixel of the tile to the nearest pixel that filaments must not reach. It is changed: each
        filament lowers it around itself.
    number
        Filaments to be placed. Those that find no room are left out.
    contrasts, widths, lengths
        Ranges of the parameters. The contrasts of a tile are spread evenly.
    """
    found: list[Filament] = []
    shift = generator.uniform()
    for i in generator.permutation(number):
        contrast = _log_between(contrasts, (i + shift) / number)
        width_px, length_px = generator.uniform(*widths), _log_between(lengths, generator.uniform())
        reach = _CLEAR * width_px
        middles = np.argwhere(clear_px > reach)
        for _ in range(_TRIES if len(middles) else 0):
            path = random_path(generator, middles[generator.integers(len(middles))], length_px)
            y, x = np.rint(path).astype(int).T
            inside = min(y.min(), x.min()) >= 0 and y.max() < clear_px.shape[0] and x.max() < clear_px.shape[1]
            if inside and (clear_px[y, x] > reach).all():
                found.append(Filament(path, contrast, width_px, length_px))
                others = np.ones(clear_px.shape, np.bool_)
                others[y, x] = False
                np.minimum(clear_px, distance_transform_edt(others) - reach, out=clear_px)
                break
    return found


def _log_between(limits: Range, fraction: float) -> float:
    return float(limits[0] * (limits[1] / limits[0]) ** fraction)
