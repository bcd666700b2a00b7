from typing import Any

import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord, Supergalactic
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.maps.fits_image import FitsImage
from bigsf.maps.wcs import (
    beam_px,
    binned_wcs,
    celestial_wcs,
    galactic_lb,
    nearest_galactic_lb,
    pixel_scale_deg,
    read_plane_wcs,
    sky_coordinates,
    sky_period_px,
    with_matrix,
)
from conftest import galactic_header, shared_data


def test_wcs_that_cannot_be_read_is_left_out_and_the_header_is_readable() -> None:
    header = galactic_header(5, 3)
    header["CTYPE2"] = "RA---TAN"
    plane, wcs, faults = read_plane_wcs(header)
    assert wcs is None
    assert len(faults) == 1
    assert "The WCS cannot be read and is left out" in faults[0]
    assert not WCS(plane).has_celestial


@pytest.mark.parametrize("name", ["gc_msx_e.fits.gz", "gc_bolocam_1mm.fits"])
def test_real_map_across_the_galactic_centre_has_falling_longitudes(name: str) -> None:
    with FitsImage(shared_data("odd", name)) as image:
        assert image.wcs is not None
        longitude = image.wcs.pixel_to_world(np.arange(image.shape[1]), image.shape[0] // 2).l.wrap_at("180d").deg
    assert (np.diff(longitude) < 0).all()
    assert longitude[0] > 0 > longitude[-1]


def test_wcs_is_read_where_the_plain_reader_raises() -> None:
    with FitsImage(shared_data("mosaic", "iris100_f293_b1950.fits")) as image:
        assert image.wcs is not None
        assert image.wcs.naxis == 2


def test_pixel_scale_is_the_side_of_a_square_pixel() -> None:
    header = galactic_header(5, 3)
    header.update(CDELT1=-0.02, CDELT2=0.005)
    assert pixel_scale_deg(WCS(header)) == pytest.approx(0.01)


def test_galactic_positions_of_pixels() -> None:
    found = galactic_lb(WCS(galactic_header(5, 3, longitude=0.02)), np.array([[0.0, 0.0], [2.0, 3.0]]))
    np.testing.assert_allclose(found[:, 0], [0.02, 359.99], atol=1e-9)
    assert found[1, 1] - found[0, 1] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [({}, 36_000), ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, np.inf), ({"PC1_2": 0.1, "PC2_1": -0.1}, np.inf)],
)
def test_sky_repeats_in_cylindrical_maps_with_longitude_along_x(cards: dict[str, Any], expected: float) -> None:
    header = galactic_header(5, 3)
    header.update(cards)
    assert sky_period_px(WCS(header), (3, 5)) == pytest.approx(expected)
    assert sky_period_px(None, (3, 5)) == np.inf


def all_sky(projection: str, longitude: float = 0.0, column: float = 183.0) -> WCS:
    """Return a Galactic WCS of 1 degree per pixel: a longitude lies at a column from 1, and falls with x."""
    header = galactic_header(364, 181, 1.0)
    header.update(CTYPE1=f"GLON-{projection}", CTYPE2=f"GLAT-{projection}", CRPIX1=column, CRVAL1=longitude)
    return WCS(header)


@pytest.mark.parametrize("projection", ["CAR", "CEA", "CYP", "MER"])
def test_columns_beyond_half_a_turn_have_positions(projection: str) -> None:
    found = galactic_lb(all_sky(projection), np.array([[90, 0], [90, 2], [90, 182], [90, 363]]))
    np.testing.assert_allclose(found[:, 0], [182, 180, 0, 179], atol=1e-9)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-9)


def test_a_cylindrical_map_may_have_its_reference_at_its_first_pixel() -> None:
    pixels = np.array([[90, 0], [90, 179], [90, 181], [90, 359], [90, 363]])
    found = galactic_lb(all_sky("CAR", longitude=180.0, column=1.0), pixels)
    np.testing.assert_allclose(found[:, 0], [180, 1, 359, 181, 177], atol=1e-9)


def test_rows_beyond_the_poles_and_corners_of_an_all_sky_map_show_no_sky() -> None:
    car = galactic_lb(all_sky("CAR"), np.array([[-1, 3], [0, 3], [181, 182], [181, 3]]))
    assert np.isnan(car).all(axis=1).tolist() == [True, False, True, True]
    ait = galactic_lb(all_sky("AIT"), np.array([[0, 0], [90, 182]]))
    assert np.isnan(ait).all(axis=1).tolist() == [True, False]


def test_a_pixel_off_the_sky_takes_the_edge_of_the_sky_towards_the_reference() -> None:
    wcs = all_sky("AIT")  # an ellipse; the line from the corner crosses it at b = 45.3 degrees or so
    found = nearest_galactic_lb(wcs, np.array([[90.0, 0.0], [90.0, 182.0], [0.0, 182.0], [-20.0, 182.0]]))
    np.testing.assert_allclose(found[:, 0] % 360, [180, 0, 0, 0], atol=0.1)
    np.testing.assert_allclose(found[:, 1], [0, 0, -90, -90], atol=0.1)
    inside = np.array([[90.0, 100.0], [40.0, 150.0]])
    np.testing.assert_array_equal(nearest_galactic_lb(wcs, inside), galactic_lb(wcs, inside))


@pytest.mark.parametrize("projection", ["TAN", "SIN", "CAR", "AIT", "COE"])
@pytest.mark.parametrize(
    ("kind", "cards", "frame"),
    [
        ("E", {}, BarycentricMeanEcliptic()),
        ("E", {"RADESYS": "FK5", "EQUINOX": 2015.5}, BarycentricMeanEcliptic(equinox="J2015.5")),
        ("E", {"RADESYS": "FK4"}, BarycentricMeanEcliptic(equinox="B1950")),
        ("S", {}, Supergalactic()),
    ],
)
@pytest.mark.parametrize("pole", [{}, {"LONPOLE": 40.0}])
def test_ecliptic_and_supergalactic_positions_are_those_of_skycoord(
    kind: str, cards: dict[str, Any], frame: Any, projection: str, pole: dict[str, float]
) -> None:
    header = galactic_header(90, 60, 0.5)
    header.update(CTYPE1=f"{kind}LON-{projection}", CTYPE2=f"{kind}LAT-{projection}", CRVAL1=30.0, **cards, **pole)
    header.update(CRPIX1=40.0, CRVAL2=35.0)
    if projection == "COE":
        header.update(PV2_1=45.0, PV2_2=20.0)
    wcs = celestial_wcs(header)
    assert wcs is not None
    pixels = np.array([[0.0, 0.0], [29.5, 44.5], [59.0, 89.0]])
    lon, lat = wcs.wcs_pix2world(pixels[:, ::-1], 0).T
    expected = SkyCoord(lon, lat, unit="deg", frame=frame).galactic
    assert np.isfinite(lon).all()
    assert sky_coordinates(wcs, pixels).separation(expected).arcsec.max() < 1e-3


@pytest.mark.parametrize("kind", ["HPL", "HGL", "CRL", "MOL", "MAL", "HLO", "TLO"])
def test_frames_that_move_among_the_stars_have_no_sky_coordinates(kind: str) -> None:
    header = galactic_header(5, 3)
    longitude, latitude = f"{kind}N", f"{kind[:2]}{'AT' if kind[2] == 'O' else 'LT'}"
    header.update(CTYPE1=f"{longitude}-TAN", CTYPE2=f"{latitude}-TAN")
    plane, wcs, (fault,) = read_plane_wcs(header)
    assert wcs is None
    assert f"({longitude}-TAN {latitude}-TAN" in fault
    assert plane["CTYPE1"] == f"{longitude}-TAN"


def test_an_unknown_radesys_has_no_sky_coordinates() -> None:
    header = galactic_header(5, 3)
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", RADESYS="GAPPT")
    assert celestial_wcs(header) is None


def test_period_of_a_cylindrical_perspective_follows_its_radius() -> None:
    header = galactic_header(5, 3)
    header.update(CTYPE1="GLON-CYP", CTYPE2="GLAT-CYP", PV2_1=1.0, PV2_2=0.5)
    assert sky_period_px(WCS(header), (3, 5)) == pytest.approx(18_000)


@pytest.mark.parametrize(("step_deg", "period"), [(0.666666666667, 540), (0.0166666666666667, 21600), (0.7, 360 / 0.7)])
def test_a_rounded_pixel_size_makes_no_period_that_is_not_whole(step_deg: float, period: float) -> None:
    header = galactic_header(5, 3, step_deg=step_deg)
    assert sky_period_px(celestial_wcs(header), (3, 5)) == period


@pytest.mark.parametrize("axes", [("RA", "DEC"), ("GLON", "GLAT")])
def test_axes_without_a_projection_are_on_the_sky(axes: tuple[str, str]) -> None:
    header = galactic_header(5, 3)
    header["CTYPE1"], header["CTYPE2"] = axes
    _, wcs, faults = read_plane_wcs(header)
    assert wcs is not None
    assert not faults


@pytest.mark.parametrize(("bmaj", "expected"), [(0.05, 5.0), (0.0, None), (-1.0, None), ("wide", None), (None, None)])
def test_a_beam_is_bmaj_in_pixels(bmaj: Any, expected: float | None) -> None:
    header = galactic_header(20, 10, step_deg=0.01)
    if bmaj is not None:
        header["BMAJ"] = bmaj
    found = beam_px(header, celestial_wcs(header))
    assert found == (expected and pytest.approx(expected))
    assert beam_px(header, None) is None


@pytest.mark.parametrize(
    "matrix",
    [
        {"CDELT1": -0.01, "CDELT2": 0.02},
        {"CD1_1": -0.01, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.01},
        {"CDELT1": -0.01, "CDELT2": 0.01, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"CDELT1": -0.01, "CDELT2": 0.02, "CROTA2": 30.0},
    ],
)
def test_a_binned_wcs_shows_the_middles_of_the_blocks(matrix: dict[str, float]) -> None:
    header = fits.Header({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 30.0, "CRVAL2": 1.0})
    header.update({"CRPIX1": 17.0, "CRPIX2": 9.5, **matrix})
    wcs = celestial_wcs(header)
    assert wcs is not None
    binned = WCS(binned_wcs(wcs, down=4, across=10).to_header())
    rows, columns = np.mgrid[:3, :5]
    there = binned.pixel_to_world(columns, rows)
    here = wcs.pixel_to_world(10 * columns + 4.5, 4 * rows + 1.5)
    assert there.separation(here).arcsec.max() < 1e-6


def test_two_forms_of_one_matrix_become_one() -> None:
    cards = {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 0.0, "CRVAL2": 0.0, "CRPIX1": 1.0, "CRPIX2": 1.0}
    forms = {"CDELT1": -0.01, "CDELT2": 0.01}, {"CD1_1": -0.01, "CD2_2": 0.01}
    one, other = (celestial_wcs(fits.Header({**cards, **form})) for form in forms)
    assert one is not None
    assert other is not None
    assert not one.wcs.compare(other.wcs)
    one, other = (with_matrix(wcs, wcs.pixel_scale_matrix) for wcs in (one, other))
    assert one.wcs.compare(other.wcs)
