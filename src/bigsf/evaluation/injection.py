"""A map with synthetic filaments added: what is known to be there can be looked for."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from bigsf.arrays import FloatArray
from bigsf.maps.planes import MapRows

Ids = npt.NDArray[np.int32]


Range = tuple[float, float]


_TILE_PX = 128


_BACKGROUND_PX = 12  # sigma of the Gaussian mean that is the local background


_CUT = 1.6  # widths from the spine at which less than 0.001 of the profile is left


_STEP_PX = 0.5


_TRIES = 50  # places to try for each filament


class Filament(NamedTuple):
    """A filament to be added."""

    path: npt.NDArray[np.float64]
    """Points (y, x) in pixels along the spine, `(n, 2)`, half a pixel apart or less."""
    contrast: float
    """Peak excess over the local background, in units of that background."""
    width_px: float
    """Full width at half maximum of the Gaussian profile across."""
    length_px: float
    """Length of the spine."""


def inject(image: FloatArray, filaments: Sequence[Filament]) -> tuple[FloatArray, Ids]:
    """Add filaments to a map.

    Each adds contrast * background * exp(-4 ln 2 (r / width)^2), r from the nearest point of its spine, to the map; the
    background is the Gaussian mean of sigma 12 pixels over valid pixels. The noise stays as it is.

    Parameters
    ----------
    image
        `(ny, nx)`, raw values, NaN where missing; not changed.
    filaments
        Spines may leave the map.

    Returns
    -------
    image : ndarray
        `(ny, nx)`, float32.
    ids : ndarray
        1 for pixels within half a width of the spine of the first filament, 2 for the second, ...; 0 elsewhere.
    """
    valid = np.isfinite(image)
    share = gaussian_filter(valid.astype(np.float64), _BACKGROUND_PX)
    mean = gaussian_filter(np.where(valid, image, 0).astype(np.float64), _BACKGROUND_PX) / np.maximum(share, 1e-9)
    excess, ids = np.zeros(image.shape), np.zeros(image.shape, np.int32)
    for number, filament in enumerate(filaments, 1):
        reach = _CUT * filament.width_px
        low = np.clip(np.floor(filament.path.min(axis=0) - reach), 0, image.shape).astype(int)
        high = np.clip(np.ceil(filament.path.max(axis=0) + reach) + 1, low, image.shape).astype(int)
        box = np.s_[low[0] : high[0], low[1] : high[1]]
        pixels = np.moveaxis(np.mgrid[box], 0, -1)
        distance, _ = cKDTree(filament.path).query(pixels, distance_upper_bound=reach)
        excess[box] += filament.contrast * np.exp(-4 * np.log(2) * (distance / filament.width_px) ** 2)
        ids[box][distance <= filament.width_px / 2] = number
    return (image + np.abs(mean) * excess).astype(np.float32), ids


def random_path(generator: np.random.Generator, middle: npt.ArrayLike, length_px: float) -> npt.NDArray[np.float64]:
    """Return a spine around a point (y, x): an arc that turns by up to 1.5 radians, with a gentle wave on it."""
    along = np.linspace(-0.5, 0.5, int(np.ceil(length_px / _STEP_PX)) + 1)
    start, turn, wave, phase = generator.uniform([-np.pi, -1.5, 0, -np.pi], [np.pi, 1.5, 0.4, np.pi])
    heading = start + turn * along + wave * np.sin(2 * np.pi * along + phase)
    steps = length_px / (len(along) - 1) * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    path = np.cumsum(steps, axis=0)
    return np.asarray(path - path[len(path) // 2] + middle)


class InjectedPlanes(MapRows):
    """A map with filaments added at random places, away from missing pixels, known structures and each other.

    Each lies within a tile of 128 pixels. Which, and where, is a function of the map and the seed; image and filaments
    are made when rows are read, so that memory is that of a row of tiles.

    Parameters
    ----------
    planes
        The map; filaments are added to its first channel.
    known
        A mask `(ny, nx)`, 1 on structures to stay away from.
    seed
        Of all that is random.
    per_tile
        Filaments in a tile, where there is room.
    most_tiles
        In larger maps, filaments are added to so many tiles, spread evenly.
    contrast, width_px, length_px
        Ranges: contrast and length are log-uniform, width is uniform.

    Attributes
    ----------
    filaments
        All of them; `ids` counts them from 1.
    """

    def __init__(
        self,
        planes: MapRows,
        known: npt.NDArray[np.uint8] | None = None,
        seed: int = 0,
        per_tile: int = 6,
        most_tiles: int = 400,
        contrast: Range = (0.05, 3.0),
        width_px: Range = (2.0, 6.0),
        length_px: Range = (15.0, 60.0),
    ) -> None:
        self.planes, self.known = planes, known
        self._ranges = contrast, width_px, length_px
        ny, nx = planes.shape
        self.y_edges, x_edges = ([*range(0, size, _TILE_PX), size] for size in (ny, nx))
        rows, columns = len(self.y_edges) - 1, len(x_edges) - 1
        chosen = np.unique(np.linspace(0, rows * columns - 1, min(most_tiles, rows * columns)).astype(int))
        self._in_row: list[list[Filament]] = []
        for row, (y0, y1) in enumerate(pairwise(self.y_edges)):
            tiles = chosen[chosen // columns == row] % columns
            self._in_row.append([])
            for tile in tiles:
                x0, x1 = x_edges[tile : tile + 2]
                generator = np.random.default_rng([seed, row, int(tile)])
                self._in_row[row] += self._fill(generator, self._clear_px(y0, y1, x0, x1), (y0, x0), per_tile)
        self.filaments = [filament for row_of in self._in_row for filament in row_of]
        self._made = lru_cache(maxsize=3)(self._make)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) in pixels."""
        return self.planes.shape

    def _clear_px(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        """Return the distance of each pixel of a tile from the nearest that is missing, known or outside, in pixels."""
        free = np.isfinite(self.planes.read_rows(y0, y1)[:, :, x0:x1]).all(axis=0)
        if self.known is not None:
            free &= self.known[y0:y1, x0:x1] == 0
        return np.asarray(distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1], np.float32)

    def _fill(
        self, generator: np.random.Generator, clear_px: FloatArray, corner: tuple[int, int], number: int
    ) -> list[Filament]:
        """Return filaments for a tile; `clear_px` is lowered around each."""
        found: list[Filament] = []
        contrasts, widths, lengths = self._ranges
        shift = generator.uniform()
        for i in generator.permutation(number):
            contrast = _log_between(contrasts, (i + shift) / number)  # evenly spread in each tile
            width_px, length_px = generator.uniform(*widths), _log_between(lengths, generator.uniform())
            reach = _CUT * width_px
            middles = np.argwhere(clear_px > reach)
            for _ in range(_TRIES if len(middles) else 0):
                path = random_path(generator, middles[generator.integers(len(middles))], length_px)
                y, x = np.rint(path).astype(int).T
                inside = min(y.min(), x.min()) >= 0 and y.max() < clear_px.shape[0] and x.max() < clear_px.shape[1]
                if inside and (clear_px[y, x] > reach).all():
                    found.append(Filament(path + corner, contrast, width_px, length_px))
                    others = np.ones(clear_px.shape, np.bool_)
                    others[y, x] = False
                    np.minimum(clear_px, distance_transform_edt(others) - reach, out=clear_px)
                    break
        return found

    def _make(self, row: int) -> tuple[FloatArray, Ids]:
        y0, y1 = self.y_edges[row : row + 2]
        image = np.array(self.planes.read_rows(y0, y1))
        here = [filament._replace(path=filament.path - (y0, 0)) for filament in self._in_row[row]]
        image[0], ids = inject(image[0], here)
        ids[ids > 0] += sum(map(len, self._in_row[:row]))
        return image, ids

    def _rows(self, y0: int, y1: int) -> tuple[FloatArray, Ids]:
        first = y0 // _TILE_PX
        images, ids = zip(*(self._made(row) for row in range(first, -(-y1 // _TILE_PX))), strict=True)
        rows = slice(y0 - first * _TILE_PX, y1 - first * _TILE_PX)
        return np.concatenate(images, axis=1)[:, rows], np.concatenate(ids)[rows]

    def read_rows(self, y0: int, y1: int) -> FloatArray:
        """Return rows y0 to y1 (exclusive) `(c, rows, nx)`, raw values, NaN = missing."""
        return self._rows(y0, y1)[0]

    def ids(self, y0: int, y1: int) -> Ids:
        """Return the filament of each pixel of rows y0 to y1, `(rows, nx)`, 0 for none."""
        return self._rows(y0, y1)[1]


def _log_between(limits: Range, share: float) -> float:
    return float(limits[0] * (limits[1] / limits[0]) ** share)
