from typing import Any

import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import DataError
from bigsf.maps.mosaic.sky_grid import SkyGrid, common_grid
from conftest import galactic_header


def grid(shape: tuple[int, int] = (20, 30), name: str = "map", **cards: Any) -> SkyGrid:
    header = galactic_header(shape[1], shape[0])
    header.update(cards)
    return SkyGrid.of(name, WCS(header), shape)


def test_the_reference_moves_by_whole_pixels_and_no_pixel_on_the_sky() -> None:
    header = galactic_header(30, 20, longitude=170.3)
    one, other = WCS(header), SkyGrid.of("map", WCS(header), (20, 30)).wcs
    assert 0 < other.wcs.crpix[0] <= 30
    assert (other.wcs.crpix - one.wcs.crpix)[0] % 1 == pytest.approx(0, abs=1e-9)
    x, y = np.arange(30.0), np.arange(30.0) % 20
    assert other.pixel_to_world(0, 0).l.deg == pytest.approx(170.3)
    assert one.pixel_to_world(x, y).separation(other.pixel_to_world(x, y)).arcsec.max() < 1e-6
    np.testing.assert_allclose(other.world_to_pixel(one.pixel_to_world(x, y)), (x, y), atol=1e-6)


def test_pixels_more_than_half_a_turn_from_their_reference_have_a_place() -> None:
    far = SkyGrid.of("far", WCS(galactic_header(30, 20, longitude=200.3)), (20, 30))
    assert far.centre.l.deg == pytest.approx(200.155)


@pytest.mark.parametrize(
    ("cards", "shift"),
    [
        ({}, [0, 0]),
        ({"CRPIX1": 21, "CRPIX2": 5.5}, [5, 10]),
        ({"CRVAL1": 359.9}, [0, 10]),
        ({"CRPIX1": 30.7}, [0, 0.3]),
        ({"CRPIX1": 30.995}, [0, 0]),
        ({"CDELT1": -0.011}, None),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, None),
        ({"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR"}, None),
        ({"CRVAL2": 1.0}, None),
        ({"CRPIX1": 36031}, [0, 0]),  # once around the sky
    ],
)
def test_grids_are_one_but_for_a_shift(cards: dict[str, Any], shift: list[float] | None) -> None:
    found = grid().shift(grid(**cards))
    assert found is None if shift is None else found == pytest.approx(shift)


@pytest.mark.parametrize(("radesys", "same"), [({"EQUINOX": 2000.0}, True), ({"EQUINOX": 1950.0}, False)])
def test_equinoxes_are_compared(radesys: dict[str, Any], same: bool) -> None:
    equatorial: dict[str, Any] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    shift = grid(**equatorial, RADESYS="FK5", EQUINOX=2000.0).shift(grid(**equatorial, **radesys))
    assert (shift is not None) == same


def test_a_distorted_map_is_no_shift_of_another() -> None:
    header = galactic_header(30, 20)
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-3})
    header.update({"B_0_2": 1e-3, "CRPIX1": 15, "CRPIX2": 10})
    one = SkyGrid.of("map", WCS(header), (20, 30))
    assert one.shift(one) is None
    part = one.window(4, 9, 6, 20)
    assert part.shape == (5, 14)
    assert part.wcs.pixel_to_world(1, 2).separation(one.wcs.pixel_to_world(7, 6)).arcsec < 1e-6


def test_a_map_that_shows_more_than_a_projection_can_is_refused() -> None:
    plane = grid(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN")
    whole_sky = grid(name="sky", CDELT1=-12.0, CDELT2=9.0, CRPIX1=15.5)
    with pytest.raises(DataError, match="sky lies too far from map for one TAN projection"):
        plane.box(whole_sky)


def test_the_first_cylindrical_map_gives_the_grid() -> None:
    header = fits.Header()
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 266.4, "CRVAL2": -28.9})
    header.update({"CRPIX1": 10.5, "CRPIX2": 10.5, "CDELT1": -0.01, "CDELT2": 0.01})
    first, equatorial = grid(), SkyGrid.of("equatorial", WCS(header), (20, 20))
    common = common_grid("all", [first, equatorial])
    assert common.wcs.wcs.ctype[0] == "GLON-CAR"
    shift = common.shift(first)
    assert shift is not None
    assert (shift == np.round(shift)).all()
    assert common.box(first) == (*np.array([shift[0], shift[0] + 20, shift[1], shift[1] + 30]).astype(int),)
    y0, y1, x0, x1 = common.box(equatorial)
    assert 0 <= y0 < y1 <= common.shape[0]
    assert 0 <= x0 < x1 <= common.shape[1]


def test_an_ecliptic_map_lies_where_it_is_among_galactic_ones() -> None:
    header = galactic_header(30, 20)
    header.update(CTYPE1="ELON-TAN", CTYPE2="ELAT-TAN", CRVAL1=30.0, CRVAL2=5.0, CRPIX1=15.5, CRPIX2=10.5)
    ecliptic = SkyGrid.of("ecliptic", WCS(header), (20, 30))
    centre = SkyCoord(30, 5, unit="deg", frame=BarycentricMeanEcliptic()).galactic
    assert ecliptic.centre.separation(centre).arcsec < 1e-3
    header.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=centre.l.deg, CRVAL2=centre.b.deg)
    galactic = SkyGrid.of("galactic", WCS(header), (20, 30))
    np.testing.assert_allclose(galactic.pixels_of(ecliptic).mean(axis=1), [9.5, 14.5], atol=1e-3)
