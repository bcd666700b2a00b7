from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter1d, label

from bigsf.arrays import BoolArray
from bigsf.filaments.spine import lengths_px, measure_spine, skeleton_of, smooth
from drawn_lines import Line, distance_map, line

ANGLES = [0, 10, 22.5, 45, 61, 90, 120, 135, 163]
LENGTHS = [20, 40, 80, 200]


def length_of(mask: BoolArray) -> float:
    return measure_spine(np.argwhere(mask), np.argwhere(skeleton_of(mask))).length_px


def lines(bend: Callable[[Line], Line] = np.zeros_like) -> Iterator[tuple[float, Line]]:
    """Yield lengths and distance maps of lines at many angles, shifted by fractions of a pixel."""
    generator = np.random.default_rng(3)
    for length in LENGTHS:
        for angle in ANGLES:
            offset = generator.uniform(-0.5, 0.5, 2)
            yield length, distance_map(line(length, angle, bend), length + 40, (offset[0], offset[1]))


@pytest.mark.parametrize(
    "bend",
    [
        np.zeros_like,
        lambda s: s / s[-1],  # an arc
        lambda s: 0.6 * np.sin(2 * np.pi * s / 60),  # a wave
    ],
    ids=["straight", "arc", "wave"],
)
def test_length_of_a_dilated_line_is_that_of_the_line(bend: Callable[[Line], Line]) -> None:
    errors = np.array(
        [
            [length_of(distance <= width_px / 2) - length for width_px in (3, 4, 5, 7, 9)]
            for length, distance in lines(bend)
        ]
    )
    assert np.abs(errors).max() < 2
    assert np.abs(errors.mean(axis=0)).max() < 0.8


def test_length_of_a_ridge_above_a_threshold() -> None:
    for length, distance in lines():
        ridge = np.exp(-0.5 * (distance / 2.0) ** 2)
        assert length_of(ridge > 0.5) == pytest.approx(length, abs=2)


def test_a_chain_of_pixels_is_no_longer_than_the_line_it_stands_for() -> None:
    chain = np.stack([np.rint(np.arange(200) * np.tan(np.deg2rad(22.5))), np.arange(200)], axis=1).astype(int)
    raw = np.hypot(*np.diff(chain, axis=0).T).sum()
    true = np.hypot(*(chain[-1] - chain[0]))
    assert raw > 1.07 * true
    assert measure_spine(chain, chain).length_px == pytest.approx(true, abs=1)


def test_a_branch_does_not_count() -> None:
    trunk = distance_map(line(120, 30), 200) <= 2.5
    branch = distance_map(line(30, 100), 200, (12.0, -5.0)) <= 2.5
    assert label(trunk | branch, np.ones((3, 3)))[1] == 1
    assert length_of(trunk | branch) == pytest.approx(120, abs=2)


def test_spots_and_specks_have_no_length() -> None:
    assert length_of(np.ones((1, 1), np.bool_)) == 0
    y, x = np.mgrid[-9:10, -9:10]
    assert length_of(y**2 + x**2 < 50) <= 1


def test_the_middle_lies_on_a_bent_filament() -> None:
    distance = distance_map(line(100, 0, lambda s: 4 * s / s[-1]), 140)
    mask = distance <= 2
    middle = measure_spine(np.argwhere(mask), np.argwhere(skeleton_of(mask))).middle
    np.testing.assert_allclose(middle, 70, atol=1.5)
    assert distance[tuple(np.rint(middle).astype(int))] < 1.5


@given(arrays(np.bool_, (12, 17)))
def test_a_skeleton_is_connected_as_its_mask_is(mask: BoolArray) -> None:
    skeleton = skeleton_of(mask)
    connected = np.ones((3, 3))
    assert not (skeleton & ~mask).any()
    components, number = label(mask, connected)
    assert label(skeleton, connected)[1] == number
    assert set(components[skeleton]) == set(range(1, number + 1))


@given(arrays(np.bool_, (9, 14), elements=st.booleans()))
def test_any_mask_has_a_length(mask: BoolArray) -> None:
    components, number = label(mask, np.ones((3, 3)))
    for component in range(1, number + 1):
        assert 0 <= length_of(components == component) < mask.size


def test_oblique_filaments_of_any_width_keep_their_skeleton() -> None:
    for width_px in (2, 3, 4, 6, 7):  # the thinning of Zhang & Suen removes some of these completely
        for angle in (45, 135):
            for shift in (0.0, 0.25, 0.5):
                mask = distance_map(line(80, angle), 120, (shift, 0.0)) <= width_px / 2
                assert skeleton_of(mask).sum() > 0.6 * 80 / np.sqrt(2)


@pytest.mark.parametrize("radius", [6, 20, 50])
@pytest.mark.parametrize("half_width", [0.7, 1.5, 3.0])
def test_length_of_a_ring_is_its_circumference(radius: float, half_width: float) -> None:
    y, x = np.mgrid[:130, :130]
    mask = abs(np.hypot(y - 64.3, x - 63.8) - radius) < half_width
    spine = measure_spine(np.argwhere(mask), np.argwhere(skeleton_of(mask)))
    assert spine.length_px == pytest.approx(2 * np.pi * radius, abs=2.5)
    np.testing.assert_array_equal(spine.path[0], spine.path[-1])


def test_a_ring_of_four_pixels_around_one() -> None:
    mask = np.zeros((5, 5), np.bool_)
    mask[[1, 2, 2, 3], [2, 1, 3, 2]] = True
    assert length_of(mask) == pytest.approx(4 * np.sqrt(2), abs=0.2)


@pytest.mark.parametrize(("start", "length"), [(0, 48 + 12 * np.pi + 48), (60, 12 * np.pi + 48)])
def test_a_line_with_a_loop_and_a_ring_with_a_tail_are_open(start: int, length: float) -> None:
    y, x = np.mgrid[:60, :120]
    ring = abs(np.hypot(y - 30, x - 60) - 12) < 1.5
    mask = ring | ((abs(y - 30) < 1.5) & (abs(x - 60) > 12) & (x >= start))
    spine = measure_spine(np.argwhere(mask), np.argwhere(skeleton_of(mask)))
    assert (spine.path[0] != spine.path[-1]).any()
    assert spine.length_px == pytest.approx(length, abs=6)


def test_paths_are_smoothed_each_by_itself() -> None:
    """Several paths at a time, of one to twenty points, become what scipy makes of each with its mirror images."""
    generator = np.random.default_rng(3)
    paths = [np.cumsum(generator.integers(0, 2, (n, 2)), axis=0) for n in (1, 2, 3, 6, 7, 8, 20)]
    smoothed = smooth(paths)
    for path, found in zip(paths, smoothed, strict=True):
        reach = min(len(path) - 1, 6)
        before, after = 2 * path[0] - path[reach:0:-1], 2 * path[-1] - path[::-1][1 : reach + 1]
        longer = np.concatenate([before, path, after]).astype(float)
        expected = gaussian_filter1d(longer, 1.5, axis=0, mode="nearest")[reach : reach + len(path)]
        np.testing.assert_array_equal(found, expected if len(path) > 2 else path)
    assert smooth([]) == []


def test_lengths_are_of_each_path() -> None:
    paths = [np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]), np.array([[9.0, 9.0]]), np.array([[0.0, 0.0], [0.0, 2.0]])]
    assert lengths_px(paths).tolist() == [6, 0, 2]
