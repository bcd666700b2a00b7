"""How tiles agree where they overlap, and the constants that make them agree."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components

from bigsf.errors import BigsfWarning
from bigsf.maps.mosaic.tiles import Tile, overlap

_SAMPLE_PX = 4e6  # pixels of an overlap that its median and correlation are taken from, about


_SAMPLE_ROWS = 64


@dataclass(frozen=True)
class Overlap:
    """What two tiles say of the sky that they share; `difference` is the median of second minus first."""

    first: int
    second: int
    pixels: int
    fraction: float
    """Of the area of the smaller tile, its missing pixels included."""
    correlation: float
    """Pearson's r of the two maps over the shared pixels."""
    difference: float
    """In the unit of the map."""
    scatter: float
    """Of the difference: 1.4826 times the median absolute deviation from its median, in the unit of the map."""


def find_overlaps(tiles: Sequence[Tile]) -> list[Overlap]:
    """Compare all pairs of relocated tiles that share valid pixels."""
    found = (_overlap(tiles, i, j) for i, j in combinations(range(len(tiles)), 2))
    return [pair for pair in found if pair is not None]


def _overlap(tiles: Sequence[Tile], i: int, j: int) -> Overlap | None:
    """Compare two tiles where both are valid: in all of their overlap, or in bands of rows spread over it."""
    y0, y1, x0, x1 = overlap(tiles[i].box, tiles[j].box)
    if y0 == y1 or x0 == x1:
        return None
    step = _SAMPLE_ROWS * max(1, round((y1 - y0) * (x1 - x0) / _SAMPLE_PX))
    windows = [(y, min(y + _SAMPLE_ROWS, y1), x0, x1) for y in range(y0, y1, step)]
    pairs = []
    for block in (block for window in windows for block in tiles[i].blocks(window)):
        here = np.stack([tiles[i].read(block), tiles[j].read(block)]).reshape(2, -1)
        pairs.append(here[:, np.isfinite(here).all(axis=0)])
    one, other = np.concatenate(pairs, axis=1).astype(np.float64)
    if not one.size:
        return None
    pixels = round(one.size * (y1 - y0) / sum(window[1] - window[0] for window in windows))
    difference = other - one
    median = float(np.median(difference))
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant map correlates with nothing
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
    """Return what to add to each tile so that all agree where they overlap; 0 for the first.

    Minimises the sum over pairs of pixels * (difference + offset of second - offset of first)^2. Tiles that no chain
    of overlaps joins to the first keep the level of the first among themselves.
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
        warnings.warn(
            f"No overlap joins {names[tile]} to {names[0]}: their backgrounds cannot be "
            "compared, and the level of both is kept.",
            BigsfWarning,
            stacklevel=3,
        )
    return [float(offset) for offset in solution - solution[np.array(firsts)[group]]]


def warn_of_seams(names: Sequence[str], overlaps: Sequence[Overlap], unit: str) -> None:
    """Warn where tiles differ by more than they scatter, so that their borders would show."""
    steep = [pair for pair in overlaps if abs(pair.difference) > 3 * pair.scatter]
    if steep:
        pair = max(steep, key=lambda pair: abs(pair.difference))
        warnings.warn(
            f"{names[pair.second]} differs from {names[pair.first]} by {pair.difference:+.4g} "
            f"{unit} with a scatter of {pair.scatter:.4g}: a step will show at the border. --match-background "
            "removes it.",
            BigsfWarning,
            stacklevel=3,
        )
