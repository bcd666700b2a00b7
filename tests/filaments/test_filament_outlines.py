import numpy as np
import pytest
from skimage.measure import approximate_polygon

from bigsf.filaments.outlines import outer_contour, simplified


@pytest.mark.parametrize("seed", range(10))
def test_lines_are_simplified_as_scikit_image_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = [generator.uniform(size=(20, 30)) < density for density in (0.02, 0.5, 0.9, 1)]
    contours = [outer_contour(np.pad(mask, 1)) for mask in masks]
    walk = np.cumsum(generator.normal(size=(300, 2)), axis=0)
    lines = [*contours, walk, walk[:1], walk[:2]]
    for found, line in zip(simplified(lines), lines, strict=True):
        np.testing.assert_array_equal(found, approximate_polygon(line, 0.4))


def test_no_lines_are_none() -> None:
    assert simplified([]) == []


def test_the_contour_of_a_pixel_is_a_diamond_around_it() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[2, 3] = True
    contour = outer_contour(mask)
    np.testing.assert_array_equal(contour[0], contour[-1])
    assert sorted(map(tuple, contour[:-1].tolist())) == [(1.5, 3), (2, 2.5), (2, 3.5), (2.5, 3)]
