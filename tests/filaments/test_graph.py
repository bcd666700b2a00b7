from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from bigsf.arrays import BoolArray
from bigsf.filaments.graph import Graph, skeleton_graph
from bigsf.filaments.spine import skeleton_of
from drawn_lines import distance_map, line

Y, X = np.mgrid[:130, :130]
RING = abs(np.hypot(Y - 60, X - 60) - 12) < 1.5
ROW = abs(Y - 60) < 1.5


def graph_of(mask: BoolArray) -> Graph:
    skeleton = np.argwhere(skeleton_of(mask))
    half_width = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return skeleton_graph(skeleton, half_width[tuple(skeleton.T)])


def chain_graph(*pixels: tuple[int, int]) -> Graph:
    """Return the graph of single pixels, of which none is a spur."""
    return skeleton_graph(np.array(pixels), np.zeros(len(pixels)))


def test_a_line_is_one_branch_with_two_ends() -> None:
    graph = chain_graph((2, 7), (2, 5), (2, 6), (2, 4))
    (branch,) = graph.branches
    assert len(graph.hubs) == 0
    assert branch.ends == 2
    assert branch.length_px == pytest.approx(3, rel=0.01)
    ends = branch.path[[0, -1]]
    np.testing.assert_allclose(ends[ends[:, 1].argsort()], [[2, 4], [2, 7]], atol=0.02)


def test_a_pixel_is_a_branch_without_length() -> None:
    (branch,) = chain_graph((5, 5)).branches
    assert (branch.length_px, branch.ends, len(branch.path)) == (0, 2, 1)


def test_no_skeleton_has_no_branch() -> None:
    graph = skeleton_graph(np.empty((0, 2), np.int64), np.empty(0))
    assert graph.branches == []
    assert graph.hubs.shape == (0, 2)


def test_three_lines_meet_at_one_hub() -> None:
    graph = chain_graph(*[(5, x) for x in range(11)], *[(y, 4) for y in range(6, 12)])
    np.testing.assert_array_equal(graph.hubs, [[5, 4]])
    assert graph.degrees.tolist() == [3]
    assert sorted(branch.length_px for branch in graph.branches) == pytest.approx([4, 6, 6], rel=0.01)
    assert [branch.ends for branch in graph.branches] == [1, 1, 1]
    for branch in graph.branches:
        end = branch.path[0 if branch.hubs[0] == 0 else -1]
        np.testing.assert_allclose(end, [5, 4], atol=0.02)


def test_diagonal_lines_meet_too() -> None:
    arms = [(5 + d * dy, 5 + d * dx) for dy, dx in ((1, 1), (1, -1), (-1, 1), (-1, -1)) for d in range(1, 5)]
    graph = chain_graph((5, 5), *arms)
    assert graph.degrees.tolist() == [4]
    assert [branch.length_px for branch in graph.branches] == pytest.approx([4 * np.sqrt(2)] * 4, rel=0.01)


def test_a_ring_of_four_pixels_around_one_has_no_ends() -> None:
    (branch,) = chain_graph((1, 2), (2, 1), (2, 3), (3, 2)).branches
    assert branch.ends == 0
    assert branch.length_px == pytest.approx(4 * np.sqrt(2), abs=0.2)
    np.testing.assert_array_equal(branch.path[0], branch.path[-1])


def test_the_corner_of_a_square_of_pixels_is_no_loop() -> None:
    graph = chain_graph((2, 1), (2, 2), (3, 1), (3, 2), (1, 0), (1, 3), (4, 0))
    assert graph.degrees.tolist() == [3]
    assert [branch.ends for branch in graph.branches] == [1, 1, 1]


@pytest.mark.parametrize("radius", [6, 20, 50])
@pytest.mark.parametrize("half_width", [0.7, 1.5, 3.0])
def test_a_ring_is_one_branch_as_long_as_its_circumference(radius: float, half_width: float) -> None:
    graph = graph_of(abs(np.hypot(Y - 64.3, X - 63.8) - radius) < half_width)
    (branch,) = graph.branches
    assert (len(graph.hubs), branch.ends) == (0, 0)
    assert branch.length_px == pytest.approx(2 * np.pi * radius, abs=2)


@pytest.mark.parametrize(
    ("mask", "expected", "hubs"),
    [
        (RING | (ROW & (X >= 72) & (X < 110)), [(38, 1), (24 * np.pi, 0)], [3]),
        (RING | (ROW & (abs(X - 60) > 12) & (abs(X - 60) < 50)), [(38, 1)] * 2 + [(12 * np.pi, 0)] * 2, [3, 3]),
        (RING | (ROW & (abs(X - 60) < 12)), [(24, 0)] + [(12 * np.pi, 0)] * 2, [3, 3]),
        (ROW & (abs(X - 60) < 50) | (abs(X - 70) < 1.5) & (abs(Y - 60) < 30), [(30, 1)] * 2 + [(40, 1), (60, 1)], [4]),
    ],
    ids=["ring with a tail", "line with a loop", "ring with a bar", "cross"],
)
def test_branches_of_rings_and_crossings(mask: BoolArray, expected: list[tuple[float, int]], hubs: list[int]) -> None:
    graph = graph_of(mask)
    for ends in (0, 1):
        lengths = sorted(length for length, number in expected if number == ends)
        found = sorted(branch.length_px for branch in graph.branches if branch.ends == ends)
        assert found == pytest.approx(lengths, abs=2.5)
    assert graph.degrees.tolist() == hubs


@pytest.mark.parametrize("angles", [(30, -40), (0, 60), (10, 100), (60, 150)])
@pytest.mark.parametrize("half_width", [1.5, 2.5, 4.0])
def test_an_oblique_crossing_is_one_hub_of_four_branches(angles: tuple[float, float], half_width: float) -> None:
    one, other = (distance_map(line(100, angle), 130) <= half_width for angle in angles)
    graph = graph_of(one | other)
    assert graph.degrees.tolist() == [4]
    np.testing.assert_allclose(graph.hubs, [[65, 65]], atol=1.5)
    assert [branch.length_px for branch in graph.branches] == pytest.approx([50] * 4, abs=3)


def test_bumps_are_no_branches() -> None:
    mask = (abs(Y - 60) <= 4) & (abs(X - 60) < 50)
    mask |= (abs(X - 60) <= 1) & (Y >= 60) & (Y <= 65)  # a pixel higher than the border
    graph = graph_of(mask)
    assert [branch.ends for branch in graph.branches] == [2]
    assert len(graph.hubs) == 0


def test_a_branch_that_leaves_the_filament_is_kept() -> None:
    mask = (abs(Y - 60) <= 4) & (abs(X - 60) < 50) | (abs(X - 60) <= 1) & (Y >= 60) & (Y < 80)
    assert [branch.ends for branch in graph_of(mask).branches] == [1, 1, 1]


def test_of_short_branches_alone_two_remain() -> None:
    pixels = sorted({*((5, x) for x in range(11)), *((y, 5) for y in range(2, 9))})
    graph = skeleton_graph(np.array(pixels), np.full(len(pixels), 20.0))
    (branch,) = graph.branches
    assert branch.length_px == pytest.approx(10)


@pytest.mark.parametrize("seed", range(40))
def test_every_pixel_lies_on_one_branch_or_hub_and_hubs_join_three_branches(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.uniform(size=(40, 50)) < generator.uniform(0.3, 0.8)
    skeleton = np.argwhere(skeleton_of(mask))
    raw = skeleton_graph(skeleton, np.zeros(len(skeleton)))
    used = Counter(np.concatenate([branch.pixels for branch in raw.branches]).tolist())
    assert set(used.values()) == {1}
    components, number = label(mask, np.ones((3, 3)))
    owner = components[tuple(skeleton.T)]
    for graph in (raw, graph_of(mask)):
        assert (graph.degrees >= 3).all()
        owners = [set(owner[branch.pixels]) for branch in graph.branches]
        assert all(len(each) == 1 for each in owners)
        assert set.union(*owners) == set(range(1, number + 1))
        for branch in graph.branches:
            steps = np.abs(np.diff(skeleton[branch.pixels], axis=0)).max(axis=1, initial=0)
            assert (steps == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_graph_of_many_skeletons_is_that_of_each(seed: int) -> None:
    mask = np.random.default_rng(seed).uniform(size=(60, 70)) < 0.45
    components, number = label(mask, np.ones((3, 3)))
    skeleton = np.argwhere(skeleton_of(mask))
    half_width = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][tuple(skeleton.T)]
    together = skeleton_graph(skeleton, half_width)
    owner = components[tuple(skeleton.T)]
    hubs = []
    for filament in range(1, number + 1):
        own = np.flatnonzero(owner == filament)
        alone = skeleton_graph(skeleton[own], half_width[own])
        found = [branch for branch in together.branches if owner[branch.pixels[0]] == filament]
        for one, other in zip(found, alone.branches, strict=True):
            np.testing.assert_array_equal(one.pixels, own[other.pixels])
            np.testing.assert_array_equal(one.path, other.path)
            assert one.length_px == other.length_px
        hubs += alone.hubs.tolist()
    assert sorted(together.hubs.tolist()) == sorted(hubs)
