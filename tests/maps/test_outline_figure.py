from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from bigsf.arrays import Float64Array, FloatArray
from bigsf.figures import drawn, new_figure
from bigsf.maps.outline_figure import MOST_NUMBERS, draw_outlines
from bigsf.maps.quicklook import quicklook_figure
from bigsf.maps.subsampled import SubsampledPlanes
from conftest import galactic_header


def box(y: float, x: float, height: float, width: float) -> Float64Array:
    """Return a closed outline of points (y, x)."""
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]])
    return np.asarray([y, x] + corners * [height, width], np.float64)


def axes_of_a_map(ny: int = 100, nx: int = 100) -> Any:
    figure = new_figure(6.0, 6.0)
    axes = figure.add_subplot()
    axes.imshow(np.zeros((ny, nx)), origin="lower")
    return axes


def numbers(axes: Any) -> dict[str, Any]:
    """Return the box of each number, in pixels of the figure."""
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


def lines_of(axes: Any) -> list[Float64Array]:
    (collection,) = (each for each in axes.collections if isinstance(each, LineCollection))
    return [np.asarray(path.vertices) for path in collection.get_paths()]


def test_outlines_lie_on_their_pixels() -> None:
    axes = axes_of_a_map()
    draw_outlines([axes], [box(8, 24, 4, 40)])
    np.testing.assert_allclose(lines_of(axes)[0].min(axis=0), [24, 8])  # x, y
    np.testing.assert_allclose(lines_of(axes)[0].max(axis=0), [64, 12])


def test_the_longest_get_their_numbers_beside_them() -> None:
    outlines = [box(2 * n, 10, 1, 5 + n) for n in range(49)]
    axes = axes_of_a_map()
    draw_outlines([axes], outlines)
    shown = {int(text) for text in numbers(axes)}
    assert shown <= set(range(49 - MOST_NUMBERS + 1, 50))
    assert {49, 48} <= shown
    (x, y) = next(text.get_position() for text in axes.texts if text.get_text() == "49")
    assert abs(y - 96.5) < 8
    assert 5 < x < 72


def test_numbers_overlap_no_other_and_stay_on_the_map() -> None:
    generator = np.random.default_rng(0)
    outlines = [box(y, x, 4, 9) for y, x in generator.uniform(0, 90, (60, 2))]
    axes = axes_of_a_map()
    draw_outlines([axes], outlines)
    found, frame = numbers(axes), axes.get_window_extent()
    assert 10 < len(found) <= MOST_NUMBERS
    assert not any(one.padded(-0.5).overlaps(other.padded(-0.5)) for one, other in combinations(found.values(), 2))
    assert all(frame.x0 <= each.x0 and each.x1 <= frame.x1 for each in found.values())
    assert all(frame.y0 <= each.y0 and each.y1 <= frame.y1 for each in found.values())


def test_a_number_that_finds_no_place_is_left_out() -> None:
    axes = axes_of_a_map()
    draw_outlines([axes], [box(40, 40, 2, 2)] * 40)
    assert 0 < len(axes.texts) < MOST_NUMBERS
    assert len(lines_of(axes)) == 40


def column_density(ny: int, nx: int) -> FloatArray:
    return np.random.default_rng(0).lognormal(np.log(2e22), 1, (ny, nx)).astype(np.float32)


@pytest.mark.parametrize("shape", [(60, 80), (20, 1000)])
def test_the_quicklook_draws_them_over_the_map_alone(shape: tuple[int, int]) -> None:
    subsampled = SubsampledPlanes(shape)
    subsampled.add(0, image=column_density(*shape), probability=np.full(shape, np.float32(0.5)))
    outlines = [box(4, 10, 6, 20), box(10, shape[1] - 30, 3, 25)]

    def draw() -> Any:
        return quicklook_figure(subsampled, galactic_header(*shape[::-1]), "cm-2", "map", 0.5, outlines=outlines)

    figure = draw()
    panels = [axes for axes in figure.axes if axes.images]
    shown = [line.mean(axis=0)[0] for axes in panels[::2] for line in lines_of(axes)]
    assert shown == sorted(outline[:, 1].mean() for outline in outlines), "each in its strip alone"
    assert not any(axes.collections or axes.texts for axes in panels[1::2])
    assert [text.get_text() for axes in panels[::2] for text in axes.texts].count("1") == 1
    assert [text.get_text() for axes in panels[::2] for text in axes.texts].count("2") == 1
    assert drawn(draw, "map.png")
    plain = quicklook_figure(subsampled, galactic_header(*shape[::-1]), "cm-2", "map", 0.5)
    assert not any(axes.collections or axes.texts for axes in plain.axes if axes.images)
