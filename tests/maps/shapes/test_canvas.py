import numpy as np
import pytest

from bigsf.maps.shapes.canvas import Canvas


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_line_beside_the_map_marks_what_reaches_into_it(side: int, axis: int, distance: int) -> None:
    canvas = Canvas((20, 30), None, "map.fits")
    line = np.full((2, 2), 5.0)
    line[:, axis] = -distance if side < 0 else (20, 30)[axis] - 1 + distance
    line[1, 1 - axis] = 12.0
    marked = canvas.draw_line(line, 3.0)
    assert marked == (distance <= 1)
    assert canvas.mask.any() == marked


def test_shapes_are_drawn_and_erased_where_they_lie_on_the_map() -> None:
    canvas = Canvas((20, 30), None, "map.fits")
    assert canvas.draw(np.ones((4, 6), np.bool_), -2, 27)
    assert canvas.mask.sum() == 2 * 3
    assert canvas.draw(np.ones((1, 30), np.bool_), 0, 0, erase=True)
    assert canvas.mask.sum() == 3
    assert not canvas.draw(np.zeros((4, 4), np.bool_), 3, 3)
