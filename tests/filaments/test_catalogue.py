from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from bigsf.arrays import FloatArray, MaskArray
from bigsf.filaments.catalogue import COLUMNS, Filaments
from bigsf.maps.fits_image import FitsImage
from conftest import galactic_header
from drawn_lines import distance_map, line


def angle_between(first: float, second: float) -> float:
    return float(abs((first - second + 90) % 180 - 90))


def bar(ny: int = 40, nx: int = 60) -> tuple[MaskArray, FloatArray]:
    """Return a mask of 5 x 20 pixels and a map that is 3 on it and 2 around it."""
    mask = np.zeros((ny, nx), np.uint8)
    mask[10:15, 20:40] = 1
    return mask, np.where(mask == 1, np.float32(3), np.float32(2))


@pytest.mark.parametrize(("length", "limit_deg"), [(20, 1.5), (60, 0.5), (200, 0.5)])
def test_orientation_counts_from_up_to_the_left(length: int, limit_deg: float) -> None:
    """Where 20 pixels do not hold half a degree: a step of half a pixel in them is 1.4."""
    for angle in (0, 10, 37, 45, 80, 90, 120, 163, 179):
        for width_px in (3, 5, 9):
            mask = distance_map(line(length, angle + 90), length + 40, (0.1, 0.3)) <= width_px / 2
            row = Filaments(mask).catalog()[0]
            assert angle_between(row["orientation"], angle) < limit_deg
            assert 0 <= row["orientation"] < 180


@pytest.mark.parametrize(
    ("axes", "centre"), [(("GLON-CAR", "GLAT-CAR"), (0.0, 0.0)), (("RA---TAN", "DEC--TAN"), (83.8, -5.4))]
)
def test_orientation_on_the_sky_is_the_galactic_position_angle(
    axes: tuple[str, str], centre: tuple[float, float]
) -> None:
    header = galactic_header(200, 200)
    header["CTYPE1"], header["CTYPE2"] = axes
    header["CRVAL1"], header["CRVAL2"] = centre
    header["CRPIX1"] = 100.5
    wcs = WCS(header)
    spine = line(120, 30)
    mask = distance_map(spine, 200) <= 2.5
    row = Filaments(mask).catalog(wcs=wcs)[0]
    ends = wcs.pixel_to_world(*(spine[[0, -1]] + 100).T[::-1]).galactic
    expected = ends[0].position_angle(ends[1]).deg
    assert angle_between(row["orientation"], expected) < 0.5
    middle = SkyCoord(row["l"], row["b"], unit="deg", frame="galactic")
    assert middle.separation(wcs.pixel_to_world(100, 100).galactic).arcmin < 1
    assert row["length_arcmin"] == pytest.approx(ends[0].separation(ends[1]).arcmin, abs=2 * 0.6)
    assert row["area_arcmin2"] == pytest.approx(mask.sum() * 0.36, rel=1e-3)


def test_orientation_is_of_the_sky_where_pixels_are_not_square() -> None:
    header = galactic_header(200, 200)
    header["CDELT2"] = 0.02
    header["CRPIX1"] = 100.0
    mask = distance_map(line(100, 135), 200) <= 2
    row = Filaments(mask).catalog(wcs=WCS(header))[0]
    assert angle_between(row["orientation"], np.rad2deg(np.arctan2(1, 2))) < 2


def test_levels_are_of_the_filament_and_of_the_ring_around_it() -> None:
    mask, image = bar()
    image[12, 30] = 9
    image[5, 25] = np.nan  # 5 pixels away
    image[:, 48:] = 100  # 9 pixels away
    image[8, 25] = 50  # 2 pixels away: its own wings
    table = Filaments(mask).catalog(image, np.full(image.shape, 0.75, np.float32), unit="cm-2")
    row = table[0]
    assert row["mean"] == pytest.approx(3.06)
    assert row["peak"] == 9
    assert row["background"] == 2
    assert row["contrast"] == pytest.approx(0.53)
    assert row["probability"] == 0.75
    assert row["area_px"] == 100
    assert (row["x"], row["y"]) == pytest.approx((29.5, 12), abs=1)
    assert str(table["mean"].unit) == "1 / cm2"


def test_another_filament_is_no_background() -> None:
    mask, image = bar()
    mask[18:26, 15:45] = 1
    image[18:26, 15:45] = 70
    assert Filaments(mask).catalog(image)["background"][0] == 2


def test_bands_do_not_change_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    image = generator.normal(10, 1, (60, 50)).astype(np.float32)
    mask = generator.uniform(size=image.shape) < 0.1
    mask[5:50, 20:23] = True
    whole = Filaments(mask).catalog(image, image)
    monkeypatch.setattr("bigsf.filaments.catalogue._BAND_PIXELS", 3 * 50)
    banded = Filaments(mask).catalog(lambda y0, y1: image[y0:y1], image)
    for name in COLUMNS:
        np.testing.assert_allclose(banded[name], whole[name], rtol=1e-6)


def test_what_is_undefined_is_nan() -> None:
    mask, image = bar()
    table = Filaments(mask).catalog()
    assert all(np.isnan(table[name][0]) for name in ("l", "b", "length_arcmin", "mean", "contrast", "probability"))
    assert np.isnan(Filaments(mask).catalog(image - 2)["contrast"][0])  # no relation to a background of 0
    assert np.isnan(Filaments(mask).catalog(np.where(mask, image, np.nan))["background"][0])
    assert np.isnan(Filaments(np.ones((4, 4))).catalog()["orientation"][0])


def test_no_filament_is_an_empty_table_with_all_columns(tmp_path: Path) -> None:
    filaments = Filaments(np.zeros((20, 30)))
    table = filaments.catalog(np.ones((20, 30), np.float32), wcs=WCS(galactic_header(30, 20)))
    assert (len(filaments), len(table), table.colnames) == (0, 0, list(COLUMNS))
    assert not filaments.skeleton().any()
    assert filaments.outlines() == []
    table.write(tmp_path / "empty.ecsv")
    assert Table.read(tmp_path / "empty.ecsv")["length_px"].unit == "pix"


def test_table_is_read_back_with_units_and_meanings(tmp_path: Path) -> None:
    mask, image = bar()
    Filaments(mask).catalog(image, wcs=WCS(galactic_header(60, 40)), unit="K km/s").write(tmp_path / "table.ecsv")
    table = Table.read(tmp_path / "table.ecsv")
    assert {name: str(table[name].unit) for name in ("l", "length_arcmin", "peak", "area_px")} == {
        "l": "deg",
        "length_arcmin": "arcmin",
        "peak": "K km / s",
        "area_px": "pix2",
    }
    assert table["b"].description == "Galactic latitude of the middle of the spine"


def test_unit_that_astropy_does_not_know_is_kept_in_the_meta() -> None:
    mask, image = bar()
    table = Filaments(mask).catalog(image, unit="N(H2) per beam")
    assert table["mean"].unit is None
    assert table.meta["BUNIT"] == "N(H2) per beam"


def test_filaments_touching_at_a_corner_are_one_and_are_numbered_by_rows() -> None:
    mask = np.zeros((12, 12))
    mask[2:4, 6:9] = mask[4:6, 9:11] = mask[8, 1:4] = 1
    filaments = Filaments(mask)
    assert len(filaments) == 2
    table = filaments.catalog()
    assert list(table["id"]) == [1, 2]
    assert list(table["area_px"]) == [10, 3]
    assert len(filaments.outlines()[0]) > 6


def test_outline_is_the_outer_border() -> None:
    mask = np.zeros((30, 30))
    mask[5:25, 5:25] = 1
    mask[6:24, 6:24:2] = 0  # holes with more border than the outside has
    (outline,) = Filaments(mask).outlines()
    np.testing.assert_allclose(outline.min(axis=0), 4.5)
    np.testing.assert_allclose(outline.max(axis=0), 24.5)


def test_maps_are_read_from_fits(tmp_path: Path) -> None:
    mask, image = bar()
    fits.PrimaryHDU(image, galactic_header(60, 40)).writeto(tmp_path / "map.fits")
    with FitsImage(tmp_path / "map.fits") as file:
        table = Filaments(mask).catalog(file.read, wcs=file.wcs, unit=file.unit)
    assert table["peak"][0] == 3
