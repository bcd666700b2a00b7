from dataclasses import replace

import numpy as np
import pytest

from bigsf.simulation.filaments import plummer
from bigsf.simulation.galaxy import Galaxy
from bigsf.simulation.random_fields import cloud_density
from bigsf.simulation.recipe import BENCHMARK


def test_contrast_is_the_peak_excess_over_the_local_background() -> None:
    recipe = replace(BENCHMARK, noise=0, holes_per_tile=0, hub_chance=0, filaments_per_tile=1.5, width_px=(4.0, 4.0))
    rows, columns = range(0, 512), range(0, 768)
    galaxy = Galaxy(8, recipe)
    density = galaxy.window(rows, columns)
    excess = density["PRIMARY"] / cloud_density(8, np.arange(512), np.arange(768), recipe) - 1
    checked = 0
    for filament in galaxy.filaments(rows, columns):
        here = density["TRUTH_ID"] == filament.id
        points = np.concatenate([filament.segments.start, filament.segments.end])
        others = [f for f in galaxy.filaments(rows, columns) if f.id != filament.id]
        distances = [np.hypot(*(points[:, None] - other.segments.start).T).min() for other in others]
        if points.min() < 12 or (points.max(axis=0) > [500, 756]).any() or min(distances) < 22:
            continue  # at the border, or with another filament in its wings
        # The brightest point of a spine falls between pixels.
        assert 0.85 * filament.contrast < excess[here].max() < 1.001 * filament.contrast
        area_px = np.pi * 4 + 4 * filament.length_px  # of the main spine; branches and bends change it
        assert 0.7 * area_px < here.sum() < 4 * area_px
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("width_px", [2.0, 6.0])
def test_profile_has_the_width_it_says(width_px: float) -> None:
    profile = plummer(np.array([0, width_px / 2, 2.5 * width_px, 9 * width_px]) ** 2, width_px)
    assert profile == pytest.approx([1, 0.5, 0, 0], abs=0.01)


def test_filaments_have_the_contrasts_of_the_benchmark() -> None:
    filaments = list(Galaxy(9).filaments(range(256, 1280), range(256, 1280)))
    contrast = np.array([filament.contrast for filament in filaments])
    bright = [filament for filament in filaments if filament.contrast > 0.4]
    assert contrast.min() > 0.05
    assert contrast.max() < 3
    quartiles = np.quantile(np.log(contrast), [0.25, 0.5, 0.75])
    assert quartiles == pytest.approx(np.log(0.05) + np.log(60) * np.array([0.25, 0.5, 0.75]), abs=0.4)
    assert not any(filament.in_target for filament in filaments if filament.contrast <= 0.4)
    assert np.mean([filament.in_target for filament in bright]) == pytest.approx(0.8, abs=0.1)
    assert all(2 <= f.width_px <= 6 and 20 <= f.length_px <= 200 for f in filaments)
