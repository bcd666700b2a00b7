"""What a survey does to the sky: white noise, elliptical holes, and a ragged border."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.simulation.random_fields import BORDER, NOISE, TILE_PX, normal, uniform
from bigsf.simulation.recipe import Recipe

_STEP_PX = 48  # length of the steps of the border, as where the scans of a survey end
_FRINGE_PX = 5  # length of the teeth of its fringe


class Hole(NamedTuple):
    """An ellipse without data: its middle and its semi-axes in pixels, and the angle of the first axis from x."""

    y: float
    x: float
    semi_axis_px: float
    other_semi_axis_px: float
    angle_rad: float


def add_noise(density: Float64Array, seed: int, y: IntArray, x: IntArray, recipe: Recipe) -> Float64Array:
    """Return a map `(ny, nx)` with white noise added, in proportion to the column density.

    Parameters
    ----------
    density
        `(ny, nx)`, in cm^-2.
    seed
        Any integer from 0 on.
    y, x
        Rows `(ny,)` and columns `(nx,)` of the map.
    recipe
        Sets the noise.
    """
    return density * (1 + recipe.noise * normal(seed, NOISE, y, x))


def scatter_holes(generator: np.random.Generator, corner_px: IntArray, recipe: Recipe) -> list[Hole]:
    """Return random holes whose middles lie in a tile.

    Parameters
    ----------
    generator
        Source of the random numbers.
    corner_px
        First position (y, x) of the tile.
    recipe
        Sets the number and the size of the holes.
    """
    holes = []
    for _ in range(generator.poisson(recipe.holes_per_tile)):
        y, x = corner_px + generator.uniform(0, TILE_PX, 2)
        semi_axis_px, other_semi_axis_px = generator.uniform(*recipe.hole_px, 2)
        holes.append(Hole(y, x, semi_axis_px, other_semi_axis_px, generator.uniform(0, np.pi)))
    return holes


def outside_holes(holes: Iterable[Hole], corner_px: IntArray) -> BoolArray:
    """Return the pixels `(TILE_PX, TILE_PX)` outside all holes, in the tile whose first position is (y, x)."""
    y, x = np.ogrid[:TILE_PX, :TILE_PX]
    outside = np.ones((TILE_PX, TILE_PX), np.bool_)
    for hole in holes:
        dy, dx = y + corner_px[0] - hole.y, x + corner_px[1] - hole.x
        cosine, sine = np.cos(hole.angle_rad), np.sin(hole.angle_rad)
        along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
        outside &= (along / hole.semi_axis_px) ** 2 + (across / hole.other_semi_axis_px) ** 2 > 1
    return outside


def inside_border(seed: int, y: range, x: range, footprint: tuple[range, range], recipe: Recipe) -> BoolArray:
    """Return the pixels `(ny, nx)` of a window where the ragged border of a survey leaves data.

    Parameters
    ----------
    seed
        Any integer from 0 on.
    y, x
        Rows and columns of the window.
    footprint
        Rows and columns of the whole survey.
    recipe
        Sets the depth of the border.
    """
    rows, columns = (np.arange(axis.start, axis.stop) for axis in (y, x))
    inside = np.ones((len(rows), len(columns)), np.bool_)
    for side, edge_px in enumerate((footprint[0].start, footprint[0].stop - 1)):
        inside &= np.abs(rows - edge_px)[:, None] >= _border_depth_px(seed, side, columns, recipe)
    for side, edge_px in enumerate((footprint[1].start, footprint[1].stop - 1), 2):
        inside &= np.abs(columns - edge_px) >= _border_depth_px(seed, side, rows, recipe)[:, None]
    return inside


def _border_depth_px(seed: int, side: int, along: IntArray, recipe: Recipe) -> Float64Array:
    """Return the depth `(n,)` of the border in whole pixels at positions `(n,)` along one of the sides 0 to 3."""
    steps, fringe = (
        uniform(seed, BORDER, np.array([key]), along // length_px)[0]
        for key, length_px in ((side, _STEP_PX), (side + 4, _FRINGE_PX))
    )
    return np.asarray(np.floor(recipe.border_px * (0.75 * steps + 0.25 * fringe)))
