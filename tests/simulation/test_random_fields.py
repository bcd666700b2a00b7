import math

import numpy as np
import pytest

from bigsf.simulation.random_fields import EQUATOR_PX, cloud_density, latitude_profile
from bigsf.simulation.recipe import BENCHMARK


def test_column_density_follows_the_latitude_profile() -> None:
    profile = latitude_profile(EQUATOR_PX + np.array([0, 900, -900]), BENCHMARK)
    assert profile[0] == pytest.approx(2e22)
    assert profile[1] == profile[2] < 2.1e21


def test_clouds_have_a_power_spectrum_of_index_3() -> None:
    n = 512
    window = np.hanning(n)[:, None] * np.hanning(n)
    wavenumber = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n))
    beam_power = np.exp(-((2 * np.pi * wavenumber * 2 / math.sqrt(8 * math.log(2))) ** 2))
    edges = np.geomspace(4 / n, 1 / 8, 11)
    spectra = []
    for seed in range(6):
        y = np.arange(n)
        density = cloud_density(seed, y, y, BENCHMARK) / latitude_profile(y, BENCHMARK)[:, None]
        power = np.abs(np.fft.fft2(window * (density / density.mean() - 1))) ** 2 / beam_power
        ring = np.digitize(wavenumber, edges)
        spectra.append([np.log(power[ring == number].mean()) for number in range(1, len(edges))])
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.mean(spectra, axis=0), 1)[0]
    assert slope == pytest.approx(-3, abs=0.2)
