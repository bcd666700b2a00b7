"""A map -> the same map with filaments at random places, and which pixel belongs to which filament."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt
from typing_extensions import override

from bigsf.arrays import FloatArray, MaskArray
from bigsf.evaluation.injection import BACKGROUND_REACH_PX, REACH, Ids, InjectedFilament, Profile, inject, random_path
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile, random_tiles

Limits = tuple[float, float]

TILE_PX = 128
"""Side of the tiles in which filaments are placed."""

_CLEAR = REACH["gaussian"]  # distance from the spine, in widths, that filaments keep free
_TRIES = 50  # random paths that are tried for each filament


class InjectedPlanes(MapRows):
    """A map with filaments injected at random places, away from missing pixels, known structures and each other.

    Each spine lies within one tile of 128 pixels. The map and the seed determine all filaments. They are added when
    a part of the map is read, so that memory is bounded. No pixel of `ids` lies outside of the tile of its filament.

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
        In maps of more tiles, filaments are added to a random sample of this number of tiles.
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
        contrast: Limits = (0.05, 3.0),
        width_px: Limits = (2.0, 6.0),
        length_px: Limits = (15.0, 60.0),
        profile: Profile = "gaussian",
    ) -> None:
        self.planes, self.known, self.width_px, self.profile = planes, known, width_px, profile
        if profile not in REACH:
            raise ValueError(f"There is no profile {profile!r}; expected {' or '.join(REACH)}.")
        if known is not None and np.shape(known) != planes.shape:
            raise ValueError(f"known has the shape {np.shape(known)}; the map has {planes.shape}.")
        for name, (low, high) in {"contrast": contrast, "width_px": width_px, "length_px": length_px}.items():
            if not 0 < low <= high:
                raise ValueError(f"{name} is ({low}, {high}); expected a range above 0.")
        if REACH[profile] * width_px[1] > TILE_PX:
            raise ValueError(f"Filaments of a width of {width_px[1]} pixels reach beyond the tiles beside their own.")
        ny, nx = planes.shape
        self.y_edges, self._x_edges = ([*range(0, size, TILE_PX), size] for size in (ny, nx))
        rows, columns = len(self.y_edges) - 1, len(self._x_edges) - 1
        self.filaments: list[InjectedFilament] = []
        self._numbers: dict[tuple[int, int], range] = {}  # from the row and column of a tile to its filaments
        for place in sorted(random_tiles(rows, columns)[:most_tiles]):
            row, column = place
            tile = self._tile(row, column)
            generator = np.random.default_rng([seed, row, column])
            found = _random_filaments(generator, self._clear_px(tile), per_tile, contrast, width_px, length_px)
            self._numbers[place] = range(len(self.filaments), len(self.filaments) + len(found))
            self.filaments += [each.shifted(tile.y0, tile.x0)._replace(profile=profile) for each in found]
        self._rendered = lru_cache(maxsize=256)(self._render)

    def tiles(self, row: int) -> list[Tile]:
        """Return the parts of a row of tiles that hold filaments, from left to right; neighbours are one part."""
        found: list[Tile] = []
        for place, numbers in self._numbers.items():
            if place[0] == row and numbers:
                tile = self._tile(*place)
                if found and found[-1].x1 == tile.x0:
                    tile = tile._replace(x0=found.pop().x0)
                found.append(tile)
        return found

    def _tile(self, row: int, column: int) -> Tile:
        return Tile(*self.y_edges[row : row + 2], *self._x_edges[column : column + 2])

    def _clear_px(self, tile: Tile) -> FloatArray:
        """Return the distance in pixels to the nearest pixel that is missing, known or outside of the tile."""
        free = np.isfinite(self.planes.read_tile(tile)).all(axis=0)
        if self.known is not None:
            free &= self.known[tile.rows, tile.columns] == 0
        return np.asarray(distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1], np.float32)

    def _near(self, row: int, column: int) -> list[int]:
        """Return the filaments of a tile and of those beside it, whose wings may reach into it."""
        places = ((y, x) for y in range(row - 1, row + 2) for x in range(column - 1, column + 2))
        return [number for place in places for number in self._numbers.get(place, ())]

    def _render(self, row: int, column: int) -> tuple[FloatArray, Ids]:
        """Return the first channel and the ids of one tile, `(rows, columns)` each."""
        tile, numbers = self._tile(row, column), self._near(row, column)
        seen = tile.grown(BACKGROUND_REACH_PX, Tile.whole(self.shape))
        near = [self.filaments[number].shifted(-seen.y0, -seen.x0) for number in numbers]
        image, ids = inject(self.planes.read_tile(seen)[0], near)
        core = tile.within(seen)
        ids = np.array([0, *(number + 1 for number in numbers)], np.int32)[ids[core]]
        return image[core].copy(), ids  # without the margin, which a view would keep in memory

    def _changed(self, tile: Tile) -> Iterator[tuple[tuple[slice, slice], FloatArray, Ids]]:
        """Yield the places in a part of the map that filaments change, with the first channel and the ids there."""
        for row in range(tile.y0 // TILE_PX, -(-tile.y1 // TILE_PX)):
            for column in range(tile.x0 // TILE_PX, -(-tile.x1 // TILE_PX)):
                if self._near(row, column):
                    whole = self._tile(row, column)
                    part = whole.overlap(tile)
                    (image, ids), place = self._rendered(row, column), part.within(whole)
                    yield part.within(tile), image[place], ids[place]

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.planes.shape

    @override
    def read_tile(self, tile: Tile) -> FloatArray:
        image = np.array(self.planes.read_tile(tile))
        for place, changed, _ in self._changed(tile):
            image[0][place] = changed
        return image

    def ids(self, tile: Tile) -> Ids:
        """Return the number of the filament of each pixel of a part of the map, `(rows, columns)`; 0 for none."""
        ids = np.zeros(tile.shape, np.int32)
        for place, _, changed in self._changed(tile):
            ids[place] = changed
        return ids


def _random_filaments(
    generator: np.random.Generator,
    clear_px: FloatArray,
    number: int,
    contrasts: Limits,
    widths: Limits,
    lengths: Limits,
) -> list[InjectedFilament]:
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
    found: list[InjectedFilament] = []
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
                found.append(InjectedFilament(path, contrast, width_px, length_px))
                others = np.ones(clear_px.shape, np.bool_)
                others[y, x] = False
                np.minimum(clear_px, distance_transform_edt(others) - reach, out=clear_px)
                break
    return found


def _log_between(limits: Limits, fraction: float) -> float:
    return float(limits[0] * (limits[1] / limits[0]) ** fraction)
