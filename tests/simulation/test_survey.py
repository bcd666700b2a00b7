from dataclasses import replace

import numpy as np
import pytest

from bigsf.simulation.galaxy import Galaxy
from bigsf.simulation.random_fields import cloud_density
from bigsf.simulation.recipe import BENCHMARK
from bigsf.simulation.survey import Hole, inside_border, outside_holes


def test_the_border_does_not_depend_on_the_chunks() -> None:
    footprint = range(-20, 140), range(0, 400)
    whole = inside_border(3, *footprint, footprint, BENCHMARK)
    part = inside_border(3, range(50, 140), range(300, 400), footprint, BENCHMARK)
    np.testing.assert_array_equal(part, whole[70:, 300:])
    assert not whole.all()
    assert whole[12:-12, 12:-12].all()


def test_a_hole_is_an_ellipse() -> None:
    hole = Hole(y=300.0, x=-100.0, semi_axis_px=20.0, other_semi_axis_px=5.0, angle_rad=np.pi / 2)
    missing = ~outside_holes([hole], np.array([256, -256]))
    rows, columns = np.nonzero(missing)
    assert (rows.min() + 256, rows.max() + 256) == (280, 320)  # the first axis lies along y
    assert (columns.min() - 256, columns.max() - 256) == (-105, -95)
    assert missing.sum() == pytest.approx(np.pi * 20 * 5, rel=0.05)


def test_noise_is_one_percent() -> None:
    y, x = np.arange(256), np.arange(256)
    recipe = replace(BENCHMARK, filaments_per_tile=0, holes_per_tile=0)
    image = Galaxy(6, recipe).tile(0, 0)["PRIMARY"]
    assert np.std(image / cloud_density(6, y, x, recipe) - 1) == pytest.approx(0.01, rel=0.05)
