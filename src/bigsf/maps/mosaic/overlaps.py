"""Tiles of a mosaic -> how they agree where they overlap, and the constants that make them agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components

from bigsf.errors import warn
from bigsf.maps.mosaic.tiles import MosaicTile
from bigsf.maps.tiling import Tile
from bigsf.option_names import option

SAMPLE_PIXELS = 4_000_000
"""Pixels, about, that the statistics of a large overlap are taken from."""

SAMPLE_ROWS = 64
"""Rows that are read together for the sample of an overlap."""


@dataclass(frozen=True)
class Overlap:
    """Two tiles compared where both are valid."""

    first: int
    """Number of the first tile, from 0."""
    second: int
    """Number of the second tile, from 0."""
    pixels: int
    """Pixels of the mosaic in which both tiles are valid."""
    fraction: float
    """These pixels as a fraction of the area of the smaller tile, which includes its missing pixels."""
    correlation: float
    """Pearson's r of the two maps; NaN where one of them is constant."""
    difference: float
    """Median of the second map minus the first, in the unit of the map."""
    scatter: float
    """1.4826 times the median absolute deviation of the difference from its median, in the unit of the map."""


def find_overlaps(
    tiles: Sequence[MosaicTile], sample_pixels: int = SAMPLE_PIXELS, sample_rows: int = SAMPLE_ROWS
) -> list[Overlap]:
    """Compare all pairs of tiles that share valid pixels.

    Parameters
    ----------
    tiles
        Tiles that were placed on the grid of a mosaic.
    sample_pixels, sample_rows
        A larger overlap is sampled: in bands of `sample_rows` rows, spread evenly over it, with about `sample_pixels`
        pixels in all.
    """
    found = (_overlap(tiles, i, j, sample_pixels, sample_rows) for i, j in combinations(range(len(tiles)), 2))
    return [pair for pair in found if pair is not None]


def _overlap(tiles: Sequence[MosaicTile], i: int, j: int, sample_pixels: int, sample_rows: int) -> Overlap | None:
    """Compare two tiles where both are valid, or return None where nowhere both are."""
    y0, y1, x0, x1 = tiles[i].box.overlap(tiles[j].box)
    if y0 == y1 or x0 == x1:
        return None
    step = sample_rows * max(1, round((y1 - y0) * (x1 - x0) / sample_pixels))
    windows = [Tile(y, min(y + sample_rows, y1), x0, x1) for y in range(y0, y1, step)]
    pairs = []
    for block in (block for window in windows for block in tiles[i].blocks(window)):
        here = np.stack([tiles[i].read(block), tiles[j].read(block)]).reshape(2, -1)
        pairs.append(here[:, np.isfinite(here).all(axis=0)])
    one, other = np.concatenate(pairs, axis=1).astype(np.float64)
    if not one.size:
        return None
    pixels = round(one.size * (y1 - y0) / sum(window.shape[0] for window in windows))
    difference = other - one
    median = float(np.median(difference))
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant map has no correlation
        correlation = float(np.corrcoef(one, other)[0, 1]) if one.size > 1 else np.nan
    smaller = min(tiles[i].pixels_of_mosaic, tiles[j].pixels_of_mosaic)
    return Overlap(
        i,
        j,
        pixels,
        min(1.0, pixels / smaller),
        correlation,
        median,
        1.4826 * float(np.median(abs(difference - median))),
    )


def match_backgrounds(names: Sequence[str], overlaps: Sequence[Overlap]) -> list[float]:
    """Return the constant to add to each tile so that all agree where they overlap.

    The constants minimise the sum over pairs of pixels * (difference + offset of second - offset of first)^2. The
    constant of the first tile is 0. In a group of tiles that no chain of overlaps joins to the first tile, the
    constant of the first of the group is 0.

    Parameters
    ----------
    names
        The tiles, for warnings.
    overlaps
        Their overlaps.

    Returns
    -------
    list of float
        In the unit of the map.
    """
    n = len(names)
    equations, levels = np.zeros((len(overlaps), n)), np.zeros(len(overlaps))
    linked = np.zeros((n, n))
    for row, pair in enumerate(overlaps):
        weight = np.sqrt(pair.pixels)
        equations[row, [pair.first, pair.second]] = -weight, weight
        levels[row] = -weight * pair.difference
        linked[pair.first, pair.second] = 1
    solution = np.linalg.lstsq(equations, levels)[0] if overlaps else np.zeros(n)
    groups, group = connected_components(linked, directed=False)
    firsts = [int(np.argmax(group == number)) for number in range(groups)]
    for tile in firsts[1:]:
        warn(
            f"No overlap joins {names[tile]} to {names[0]}: their backgrounds cannot be compared, and the level of "
            "both is kept."
        )
    return [float(offset) for offset in solution - solution[np.array(firsts)[group]]]


def warn_of_seams(names: Sequence[str], overlaps: Sequence[Overlap], unit: str) -> None:
    """Warn where the difference of two tiles is more than three times its scatter: their border would show."""
    steep = [pair for pair in overlaps if abs(pair.difference) > 3 * pair.scatter]
    if steep:
        pair = max(steep, key=lambda pair: abs(pair.difference))
        warn(
            f"{names[pair.second]} differs from {names[pair.first]} by {pair.difference:+.4g} "
            f"{unit} with a scatter of {pair.scatter:.4g}: a step will show at the border. "
            f"{option('match_background', True)} removes it."
        )
