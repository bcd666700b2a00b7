import numpy as np
import pytest
from astropy.wcs import WCS

from bigsf.errors import DataError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.columns import COLUMNS, DISTANCE_COLUMNS
from conftest import galactic_header
from drawn_lines import bar

DENSITY = 1e22
"""Column density of the filament in cm-2."""


def expected_mass(area_pc2: float, density_cm2: float = DENSITY) -> float:
    """Return the mass in solar masses, by numbers of a handbook."""
    grams = 2.8 * 1.6735e-24 * density_cm2 * area_pc2 * 3.0857e18**2
    return grams / 1.9885e33


def test_mass_of_a_filament_of_known_column_density_and_distance() -> None:
    """The bar is 20 x 5 pixels of 0.6 arcmin; at 3 kpc a pixel is 0.5236 pc wide."""
    mask, _ = bar()
    image = np.where(mask == 1, np.float32(DENSITY), np.float32(DENSITY / 4))
    table = Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit="cm-2", distance=3.0)
    row = table[0]
    area = 100 * 0.5236**2
    assert table.colnames == [*COLUMNS, *DISTANCE_COLUMNS]
    assert row["distance"] == 3
    assert row["area_pc2"] == pytest.approx(area, rel=1e-3)
    assert row["length_pc"] == pytest.approx(row["length_px"] * 0.5236, rel=1e-3)
    assert row["mass"] == pytest.approx(expected_mass(area), rel=1e-3)
    assert row["mass_excess"] == pytest.approx(0.75 * row["mass"], rel=1e-5)
    assert row["line_mass"] == pytest.approx(row["mass"] / area * 5 * 0.5236, rel=0.03)
    assert str(table["mass"].unit) == "solMass"
    assert str(table["line_mass"].unit) == "solMass / pc"


def test_any_unit_of_a_column_density_is_converted() -> None:
    mask, image = bar()
    wcs = WCS(galactic_header(60, 40))
    masses = [
        Filaments(mask).catalog(image * factor, wcs=wcs, unit=unit, distance=1.0)["mass"][0]
        for factor, unit in ((1, "1e22 cm-2"), (1e4, "1e22 m-2"), (1e22, "cm^-2"))
    ]
    assert masses == pytest.approx([masses[0]] * 3, rel=1e-6)


def test_the_unit_may_count_molecules_and_missing_pixels_leave_the_line_mass(recwarn: pytest.WarningsRecorder) -> None:
    mask, image = bar()
    wcs = WCS(galactic_header(60, 40))
    whole = Filaments(mask).catalog(image, wcs=wcs, unit="cm-2", distance=1.0)[0]
    image[:, ::2] = np.nan
    half = Filaments(mask).catalog(image, wcs=wcs, unit="H2/cm2", distance=1.0)[0]
    assert half["mass"] == pytest.approx(whole["mass"] / 2)
    assert half["line_mass"] == pytest.approx(whole["line_mass"])


def test_distances_of_a_map_are_medians_of_positive_values() -> None:
    mask, image = bar()
    mask[30, 10:20] = 1
    distance = np.full(mask.shape, 2.0, np.float32)
    distance[10:15, 20:28] = 7  # eight of 20 columns
    distance[10:15, 28] = 0
    distance[30] = -1
    wcs = WCS(galactic_header(60, 40))
    table = Filaments(mask).catalog(image, wcs=wcs, unit="cm-2", distance=distance)
    assert table["distance"][0] == 2
    assert all(np.isnan(table[name][1]) for name in DISTANCE_COLUMNS)


@pytest.mark.parametrize(("unit", "found"), [("K km/s", "K km/s"), ("", "not given"), ("N(H2) per beam", "N.H2. per")])
def test_a_map_of_another_unit_has_no_masses(unit: str, found: str) -> None:
    mask, image = bar()
    with pytest.raises(DataError, match=rf"The unit \(BUNIT\) of the map is {found}.*need a column density"):
        Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit=unit, distance=1.0)


@pytest.mark.parametrize(("distance", "kpc"), [(np.float32(2), 2.0), (np.int64(2), 2.0), (0, np.nan), (-2.0, np.nan)])
def test_one_distance_is_a_number_above_zero(distance: float, kpc: float) -> None:
    mask, image = bar()
    table = Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit="cm-2", distance=distance)
    np.testing.assert_equal(float(table["distance"][0]), kpc)
    assert np.isnan(table["mass"][0]) == np.isnan(kpc)


def test_missing_pixels_of_a_mask_are_no_filament() -> None:
    mask, _ = bar()
    plane = np.where(mask > 0, 1.0, np.nan)
    plane[0], plane[1] = 0, -1
    np.testing.assert_array_equal(Filaments(plane).labels, Filaments(mask).labels)
