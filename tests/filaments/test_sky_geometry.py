import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.sky_geometry import NO_SKY, arcmin_per_pixel, equatorial, orientations, pixel_areas, sky_axes
from conftest import galactic_header
from drawn_lines import distance_map, line


def angle_between(first: float, second: float) -> float:
    return float(abs((first - second + 90) % 180 - 90))


@pytest.mark.parametrize(("length", "limit_deg"), [(20, 1.5), (60, 0.5), (200, 0.5)])
def test_orientation_counts_from_up_to_the_left(length: int, limit_deg: float) -> None:
    """Half a pixel over a length of 20 pixels is an angle of 1.4 degrees, so that 0.5 is not possible there."""
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


def test_the_axes_on_the_sky_are_those_of_the_header_across_l_0() -> None:
    """The pixels of the header are 0.01 deg wide, and longitude falls with x; at b = 0 nothing is foreshortened."""
    wcs = WCS(galactic_header(100, 101))
    axes = sky_axes(wcs, np.array([[50.0, 30.0], [50.0, 80.0]]))  # x = 30 is l = 0
    np.testing.assert_allclose(axes, [[[0, -0.6], [0.6, 0]]] * 2, atol=1e-6)
    np.testing.assert_allclose(pixel_areas(wcs, [np.array([[50.0, 30.0], [50.0, 80.0]])]), [0.36], rtol=1e-5)


@pytest.mark.parametrize("offset_px", [0.0, 0.3, 50.0])
def test_the_area_of_a_pixel_is_the_same_at_a_pole(offset_px: float) -> None:
    header = galactic_header(201, 201, step_deg=0.01)
    header.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=30.0, CRVAL2=90.0, CRPIX1=101.0, CRPIX2=101.0)
    assert pixel_areas(WCS(header), [np.array([[100 + offset_px, 100 - offset_px]])]) == pytest.approx([0.36], rel=1e-3)


def test_the_area_of_a_long_filament_is_that_of_all_its_pixels() -> None:
    """In a plate carree map, a pixel of 1 degree at the latitude b covers cos(b) square degrees."""
    mask = np.zeros((181, 360), np.bool_)
    mask[90:171, 100:103] = mask[90:93, 100:180] = True
    header = galactic_header(360, 181, 1.0)
    header["CRPIX2"] = 91.0  # the equator
    row = Filaments(mask).catalog(wcs=WCS(header))[0]
    latitudes = np.deg2rad(np.nonzero(mask)[0] - 90)
    assert row["area_arcmin2"] == pytest.approx(3600 * np.cos(latitudes).sum(), rel=0.02)


def test_pixels_beside_the_edge_of_the_sky_have_no_area_and_the_others_give_the_mean() -> None:
    header = galactic_header(60, 30, 6.0)
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT", CRPIX1=30.5, CRPIX2=15.5)
    wcs = WCS(header)
    y = np.arange(30.0)
    path = np.stack([y, np.full(30, 30.0)], axis=1)
    each = pixel_areas(wcs, [point[None] for point in path])
    assert 0 < np.isnan(each).sum() < 15
    np.testing.assert_allclose(pixel_areas(wcs, [path, path[:1]]), np.array([np.nanmean(each), np.nan]))


def test_positions_are_galactic_and_equatorial() -> None:
    """The Galactic pole, and where the Galactic equator crosses the other (Hipparcos catalogue, section 1.5.3)."""
    sky = equatorial(np.array([0, 32.93192, np.nan]), np.array([90, 0, np.nan]))
    np.testing.assert_allclose(sky["ra"], [192.85948, 282.85948, np.nan], atol=2e-5)
    np.testing.assert_allclose(sky["dec"], [27.12825, 0, np.nan], atol=2e-5)


def test_a_path_of_one_point_has_no_length_on_the_sky() -> None:
    wcs = WCS(galactic_header(100, 101))
    paths = [np.array([[50.0, 30.0]]), np.array([[50.0, 20.0], [50.0, 40.0]])]
    np.testing.assert_allclose(arcmin_per_pixel(wcs, paths), [0, 0.6], rtol=1e-6)


def test_a_round_spot_has_no_orientation() -> None:
    moments = np.array([np.eye(2), np.diag([2.0, 1.0])])  # the second is long along y, which is up
    np.testing.assert_array_equal(orientations(moments, NO_SKY), [np.nan, 0])


def test_a_filament_beyond_half_a_turn_is_on_the_sky_and_one_in_a_corner_is_not() -> None:
    mask = np.zeros((181, 364), np.bool_)
    mask[90, :10] = mask[1:10, 350] = True
    header = galactic_header(364, 181, 1.0)
    header["CRPIX1"] = 183.0
    beyond, corner = Filaments(mask).catalog(wcs=WCS(header))[[1, 0]]
    assert (beyond["l"], beyond["b"]) == pytest.approx((177.5, 0))
    assert beyond["length_arcmin"] == pytest.approx(60 * beyond["length_px"])
    assert np.isfinite(corner["l"])
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT")
    corner, beyond = Filaments(mask).catalog(wcs=WCS(header))
    for name in ("l", "b", "ra", "dec", "length_arcmin", "area_arcmin2", "orientation"):
        assert np.isnan(corner[name])
        assert np.isnan(beyond[name])
    assert corner["length_px"] > 6
