import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bigsf.arrays import IntArray
from bigsf.errors import ConfigError
from bigsf.folds.strategies import (
    AreaContents,
    BalancedStrategy,
    CustomStrategyConfig,
    FoldRegion,
    RandomStrategy,
    RegionsStrategyConfig,
    Strategy,
    StrategyConfig,
    naive_strategy,
)


def contents(patches: IntArray, target: IntArray | None = None, background: IntArray | None = None) -> AreaContents:
    none = np.zeros_like(patches)
    return AreaContents(patches, none if target is None else target, none if background is None else background)


full = contents(np.ones((4, 30), np.int64))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 20), st.integers(3, 6), st.integers(0, 99), st.booleans())
def test_every_area_is_assigned_and_occupied_areas_evenly(
    down: int, across: int, k: int, seed: int, balanced: bool
) -> None:
    generator = np.random.default_rng(seed)
    patches, target, background = generator.integers(0, 3, (3, down, across))
    sky = contents(patches, target * (patches > 0), background * (patches > 0))
    grid = (BalancedStrategy if balanced else RandomStrategy)(seed)(sky, k)
    assert grid.shape == (down, across)
    assert set(np.unique(grid)) <= set(range(1, k + 1))
    number = np.bincount(grid[sky.occupied], minlength=k + 1)[1:]
    assert np.ptp(number) <= 1
    assert np.ptp(np.bincount(grid.ravel(), minlength=k + 1)[1:]) <= 1


@pytest.mark.parametrize("strategy", [RandomStrategy, BalancedStrategy])
def test_seed_decides_the_assignment(strategy: type[RandomStrategy] | type[BalancedStrategy]) -> None:
    np.testing.assert_array_equal(strategy(3)(full, 5), strategy(3)(full, 5))
    assert (strategy(3)(full, 5) != strategy(4)(full, 5)).any()


@pytest.mark.parametrize("strategy", [RandomStrategy, BalancedStrategy])
@pytest.mark.parametrize("shape", [(4, 30), (30, 4)])
def test_every_fold_samples_the_whole_map(
    strategy: type[RandomStrategy] | type[BalancedStrategy], shape: tuple[int, int]
) -> None:
    grid = strategy()(contents(np.ones(shape, np.int64)), 4)
    lines = grid if shape[0] > shape[1] else grid.T
    for line in lines:  # four areas across the shorter axis: one round
        assert sorted(line.tolist()) == [1, 2, 3, 4]


def test_random_assignment_makes_no_stripes() -> None:
    grid = RandomStrategy()(contents(np.ones((4, 30), np.int64)), 4)
    assert len({tuple(column) for column in grid.T.tolist()}) > 5
    assert all(len(set(row)) == 4 for row in grid.tolist())


def test_walk_follows_the_longer_axis_to_and_fro_and_ends_with_empty_areas() -> None:
    assert contents(np.array([[1, 1, 0], [0, 1, 1]])).snake_order() == [(0, 0), (1, 1), (0, 1), (1, 2), (1, 0), (0, 2)]
    assert contents(np.array([[1, 1], [1, 0], [1, 1]])).snake_order() == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
        (2, 1),
        (1, 1),
    ]


def test_empty_areas_are_assigned_last() -> None:
    sky = contents(np.array([[5, 0, 5, 0, 5, 0, 5, 0, 5, 0, 5, 0]]))
    grid = RandomStrategy()(sky, 3)
    assert np.bincount(grid[0, ::2])[1:].tolist() == [2, 2, 2]
    assert sorted(grid[0, :6:2].tolist()) == [1, 2, 3]


def test_naive_parts_are_contiguous() -> None:
    assert naive_strategy(contents(np.ones((1, 4), np.int64)), 4).tolist() == [[1, 2, 3, 4]]
    assert naive_strategy(contents(np.ones((3, 1), np.int64)), 3).tolist() == [[1], [2], [3]]


def unevenness(grid: IntArray, quantity: IntArray, k: int) -> float:
    return float(np.std([quantity[grid == fold].sum() for fold in range(1, k + 1)]))


@pytest.mark.parametrize("seed", range(5))
def test_balanced_is_more_even_than_random_on_a_lopsided_map(seed: int) -> None:
    generator = np.random.default_rng(seed)
    target = (10 * generator.pareto(1.2, (3, 24))).astype(np.int64)
    background = np.zeros((3, 24), np.int64)
    background[0, ::3] = 1000  # sure background in few areas
    sky = contents(np.full((3, 24), 9), target, background)
    balanced, random = BalancedStrategy(seed)(sky, 4), RandomStrategy(seed)(sky, 4)
    assert unevenness(balanced, background, 4) == 0
    assert unevenness(random, background, 4) > 0
    assert unevenness(balanced, target, 4) < unevenness(random, target, 4)


def test_strategy_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mylab_split.py").write_text(
        "import numpy as np\n"
        "def constant(fold):\n"
        "    return lambda contents, k: np.full(contents.patches.shape, fold)\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = CustomStrategyConfig.from_dict(
        {"type": "custom", "target": "mylab_split:constant", "kwargs": {"fold": 2}}, folder=tmp_path
    )
    assert config.build()(contents(np.ones((1, 3), np.int64)), 4).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("name", ["Random", "NAIVE", "balanced"])
def test_members_are_read_in_any_case_and_build(name: str) -> None:
    config = TypeAdapter[StrategyConfig](StrategyConfig).validate_python({"type": name})
    assert config.type == name.lower()
    assert sorted(config.build()(contents(np.ones((1, 3), np.int64)), 3)[0].tolist()) == [1, 2, 3]


# --- regions ----------------------------------------------------------------------------------------------------------


def on_the_sky(longitudes: list[float], latitudes: list[float], patches: int = 1) -> AreaContents:
    place = np.stack(np.meshgrid(longitudes, latitudes)).astype(float)
    counts = np.full(place.shape[1:], patches)
    return AreaContents(counts, 0 * counts, 0 * counts, place)


def regions(*parts: dict[str, object]) -> Strategy:
    config = TypeAdapter(StrategyConfig).validate_python({"type": "regions", "regions": list(parts)})
    assert isinstance(config, RegionsStrategyConfig)
    return config.build()


def test_areas_go_to_the_first_region_that_holds_their_centre() -> None:
    sky = on_the_sky([355, 5, 15, 25], [-0.5, 0.5])
    assign = regions({"fold": 1, "l": [350, 10]}, {"fold": 2, "l": [10, 20], "b": [0, 1]}, {"fold": 3})
    assert assign(sky, 3).tolist() == [[1, 1, 3, 3], [1, 1, 2, 3]]


def test_area_in_no_region_is_refused() -> None:
    assign = regions({"fold": 1, "l": [0, 10]}, {"fold": 2, "l": [10, 20]}, {"fold": 3, "l": [20, 30]})
    with pytest.raises(ConfigError, match=r"1 areas with patches .* about l = 31.00, b = 0.50. Add a last region"):
        assign(on_the_sky([5, 15, 25, 31], [0.5]), 3)
    assert assign(on_the_sky([5, 15, 25, 31], [0.5], patches=0), 3).tolist() == [[1, 2, 3, 1]]


def test_regions_need_a_sky_and_all_folds() -> None:
    with pytest.raises(ConfigError, match="needs a map with a celestial WCS"):
        regions({"fold": 1})(full, 3)
    with pytest.raises(ConfigError, match=r"names folds \[1, 2\]; expected each of 1 to 3"):
        regions({"fold": 1, "l": [0, 10]}, {"fold": 2})(on_the_sky([5], [0.5]), 3)


@pytest.mark.parametrize("part", [{"l": [10, 10]}, {"l": [180, -180]}, {"b": [1, -1]}, {"b": [1, 1]}])
def test_a_region_holds_something(part: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        regions({"fold": 1, **part})


def test_the_pole_belongs_to_a_region_that_reaches_it() -> None:
    region = FoldRegion.model_validate({"fold": 1, "l": (0, 360), "b": (80, 90)})
    held = region.holds(np.array([12.0, 12.0, 12.0]), np.array([90.0, 80.0, 79.9]))
    assert held.tolist() == [True, True, False]
