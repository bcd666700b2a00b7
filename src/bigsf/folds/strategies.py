"""How areas are assigned to folds: the family of split strategies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from scipy.optimize import linear_sum_assignment
from typing_extensions import override

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.config import Component, Config, CustomConfig, ignore_tag_case
from bigsf.errors import ConfigError


@dataclass(frozen=True)
class AreaContents:
    """What each area of a map holds; all arrays are `(areas down, areas across)`."""

    patches: IntArray
    """Patches that lie wholly in the area."""
    target: IntArray
    """Pixels on known structures."""
    background: IntArray
    """Pixels on sure background."""
    galactic: Float64Array | None = None
    """Galactic (l, b) of the centre in degrees, `(2, areas down, areas across)`; None where the map has no WCS."""

    @property
    def occupied(self) -> BoolArray:
        """Whether the area holds a patch."""
        return self.patches > 0

    def snake_order(self) -> list[tuple[int, int]]:
        """Return the areas in an order in which neighbours follow each other along the longer axis, occupied first."""
        down, across = self.patches.shape
        if across >= down:
            order = [(y, x) for x in range(across) for y in (range(down) if x % 2 == 0 else reversed(range(down)))]
        else:
            order = [(y, x) for y in range(down) for x in (range(across) if y % 2 == 0 else reversed(range(across)))]
        return sorted(order, key=lambda area: not self.occupied[area])


class Strategy(Protocol):
    """Assigns the areas of a map to folds."""

    def __call__(self, contents: AreaContents, k: int) -> IntArray:
        """Return the fold number, 1 to k, of each area."""
        ...


class RandomStrategy(Strategy):
    """Round-robin over the occupied areas, then the empty ones; each round of k areas is shuffled.

    Round-robin in file order would make stripes; shuffling the whole would leave parts of the map to one fold.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @override
    def __call__(self, contents: AreaContents, k: int) -> IntArray:
        generator = np.random.default_rng(self.seed)
        grid = np.zeros_like(contents.patches)
        areas = contents.snake_order()
        for start in range(0, len(areas), k):
            for area, fold in zip(areas[start : start + k], generator.permutation(k) + 1, strict=False):
                grid[area] = fold
        return grid


class RandomStrategyConfig(Component[Strategy], builds=RandomStrategy):
    """Areas are assigned round-robin along the map, shuffled inside each round: every fold samples the whole map."""

    type: Literal["random"] = "random"

    seed: NonNegativeInt = 0
    """Another seed gives another assignment."""


def naive_strategy(contents: AreaContents, k: int) -> IntArray:
    """Return 1 to k for the k areas along the longer axis."""
    return np.arange(1, k + 1).reshape(contents.patches.shape)


class NaiveStrategyConfig(Component[Strategy], builds=lambda: naive_strategy):
    """The map is cut into k equal, contiguous parts along its longer axis; `area_size` plays no part."""

    type: Literal["naive"]


class BalancedStrategy(Strategy):
    """Rounds as in `RandomStrategy`; in each, the assignment of areas to folds that leaves the folds most even.

    With totals T (fold, quantity) before a round and contents a (area, quantity) of it, the sum of squares of the
    totals after it is smallest when the sum of T·a over the assigned pairs is: a linear assignment problem.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @override
    def __call__(self, contents: AreaContents, k: int) -> IntArray:
        generator = np.random.default_rng(self.seed)
        quantities = np.stack([contents.patches, contents.target, contents.background], axis=-1).astype(float)
        quantities /= np.maximum(quantities.sum(axis=(0, 1)), 1)
        totals = np.zeros((k, quantities.shape[-1]))
        grid = np.zeros_like(contents.patches)
        areas = contents.snake_order()
        for start in range(0, len(areas), k):
            rows = [areas[i] for i in start + generator.permutation(len(areas[start : start + k]))]
            amounts = np.stack([quantities[area] for area in rows])
            for row, fold in zip(*linear_sum_assignment(amounts @ totals.T), strict=True):
                grid[rows[row]] = fold + 1
                totals[fold] += amounts[row]
        return grid


class BalancedStrategyConfig(Component[Strategy], builds=BalancedStrategy):
    """Like `random`, but each round goes to the folds so as to even out patches, target and background pixels."""

    type: Literal["balanced"]

    seed: NonNegativeInt = 0
    """Breaks ties; another seed gives another assignment of almost equal balance."""


class FoldRegion(Config):
    """A part of the sky, which a fold gets."""

    fold: PositiveInt
    """The fold, from 1 to k."""

    l: tuple[float, float] = (0.0, 360.0)  # noqa: E741
    """Galactic longitude from, to, in degrees; from 350 to 10 crosses 0."""

    b: tuple[float, float] = (-90.0, 90.0)
    """Galactic latitude from, to, in degrees."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        width = self.l[1] - self.l[0]
        if (width < 360 and width % 360 == 0) or self.b[0] >= self.b[1]:
            raise ValueError(
                f"l from {self.l[0]:g} to {self.l[1]:g}, b from {self.b[0]:g} to {self.b[1]:g} holds nothing; expected "
                "two longitudes, and two latitudes of which the first is lower."
            )
        return self

    def holds(self, longitude: Float64Array, latitude: Float64Array) -> BoolArray:
        """Say which points (degrees) lie in it."""
        whole = self.l[1] - self.l[0] >= 360
        along = (longitude - self.l[0]) % 360 < (self.l[1] - self.l[0]) % 360
        below = (latitude < self.b[1]) | (self.b[1] >= 90)  # the pole belongs to the last region
        return np.asarray((whole | along) & (latitude >= self.b[0]) & below)


class RegionsStrategy(Strategy):
    """Assigns areas by where on the sky they lie.

    Raises
    ------
    ConfigError
        Where the map has no WCS, a region's fold is not one of k, or an area with patches lies in no region.
    """

    def __init__(self, regions: Sequence[FoldRegion]) -> None:
        self.regions = regions

    @override
    def __call__(self, contents: AreaContents, k: int) -> IntArray:
        if contents.galactic is None:
            raise ConfigError("The split strategy regions needs a map with a celestial WCS; this one has none.")
        if sorted({region.fold for region in self.regions}) != list(range(1, k + 1)):
            raise ConfigError(
                f"split.strategy.regions names folds {sorted({region.fold for region in self.regions})}; expected each "
                f"of 1 to {k} (split.k)."
            )
        grid = np.zeros_like(contents.patches)
        for region in reversed(self.regions):  # the first that holds an area wins
            grid[region.holds(*contents.galactic)] = region.fold
        if outside := [tuple(area) for area in np.argwhere((grid == 0) & contents.occupied)]:
            longitude, latitude = contents.galactic[:, *outside[0]]
            raise ConfigError(
                f"{len(outside)} areas with patches lie in none of split.strategy.regions, e.g. that about "
                f"l = {longitude:.2f}, b = {latitude:.2f}. Add a last region of a fold alone, without l and b, for the "
                "rest."
            )
        return np.where(grid > 0, grid, 1)  # areas without a patch


class RegionsStrategyConfig(Component[Strategy], builds=RegionsStrategy):
    """Explicit regions by Galactic coordinates: an area goes to the first region that holds its centre."""

    type: Literal["regions"]

    regions: list[FoldRegion] = Field(min_length=1)
    """One without `l` and `b`, as the last, takes the rest."""


class CustomStrategyConfig(CustomConfig[Strategy]):
    """A callable of your own: called with `kwargs`, it returns a `Strategy`."""


StrategyConfig = Annotated[
    Annotated[
        RandomStrategyConfig
        | NaiveStrategyConfig
        | BalancedStrategyConfig
        | RegionsStrategyConfig
        | CustomStrategyConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
