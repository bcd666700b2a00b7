import numpy as np
import pytest
from skimage.measure import approximate_polygon

from bigsf.filaments.outlines import contours, simplified, with_holes


@pytest.mark.parametrize("seed", range(10))
def test_lines_are_simplified_as_scikit_image_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = [generator.uniform(size=(20, 30)) < density for density in (0.02, 0.5, 0.9, 1)]
    borders = [contours(np.pad(mask, 1))[0] for mask in masks]
    walk = np.cumsum(generator.normal(size=(300, 2)), axis=0)
    lines = [*borders, walk, walk[:1], walk[:2]]
    for found, line in zip(simplified(lines), lines, strict=True):
        np.testing.assert_array_equal(found, approximate_polygon(line, 0.35))


def test_no_lines_are_none() -> None:
    assert simplified([]) == []


def test_the_contour_of_a_pixel_is_a_diamond_around_it() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[2, 3] = True
    (contour,) = contours(mask)
    np.testing.assert_array_equal(contour[0], contour[-1])
    assert sorted(map(tuple, contour[:-1].tolist())) == [(1.5, 3), (2, 2.5), (2, 3.5), (2.5, 3)]


def test_a_block_with_two_holes_is_one_line_that_encloses_its_area() -> None:
    mask = np.zeros((7, 11), np.bool_)
    mask[1:6, 1:10] = True
    mask[3, 3] = mask[3, 7] = False
    outer, *holes = contours(mask)
    assert (np.ptp(outer, axis=0).tolist(), len(holes)) == ([5, 9], 2)
    line = with_holes([outer, *holes])
    np.testing.assert_array_equal(line[0], line[-1])
    y, x = line.T
    area = abs(np.sum(y[:-1] * x[1:] - y[1:] * x[:-1])) / 2
    assert area == 5 * 9 - 4 / 8 - 2 / 2  # the corners are cut, and each hole is a diamond of half a pixel
    known = {tuple(point) for border in (outer, *holes) for point in border.tolist()}
    added = {tuple(point) for point in line.tolist()} - known
    assert all(y % 1 == x % 1 == 0.5 for y, x in added)  # the ways run along the edges of pixels
