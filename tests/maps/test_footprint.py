from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import BoolArray
from bigsf.maps.footprint import Footprint
from bigsf.maps.planes import MapSource
from bigsf.simulation.galaxy import make_header
from conftest import ArrayMap, galactic_header


class SkyMap(ArrayMap, MapSource):
    """A map in memory with a header; NaN where it is not valid."""

    channels, unit, beam_px, image_sha256 = 1, "", None, ""

    def __init__(self, header: fits.Header, valid: BoolArray) -> None:
        super().__init__(np.where(valid, np.float32(1), np.float32(np.nan))[None])
        self.header = header

    @property
    def wcs(self) -> WCS | None:
        wcs = WCS(self.header)
        return wcs if wcs.has_celestial else None

    def output_header(self) -> fits.Header:
        return self.header


def footprint(header: fits.Header, shape: tuple[int, int], valid: Any = True) -> Footprint:
    return Footprint.of(SkyMap(header, np.broadcast_to(valid, shape)))


def tangent_plane(longitude: float, latitude: float, size: int, step_deg: float) -> fits.Header:
    """Return the header of a map in equatorial coordinates around a Galactic position."""
    centre = SkyCoord(longitude, latitude, unit="deg", frame="galactic").icrs
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = centre.ra.deg, centre.dec.deg
    header["CRPIX1"] = header["CRPIX2"] = (size + 1) / 2
    header["CDELT1"], header["CDELT2"] = -step_deg, step_deg
    return header


def test_blocks_are_covered_where_their_middle_holds_data() -> None:
    valid = np.ones((100, 3), np.bool_)
    valid[50:, 1] = False
    covered = footprint(galactic_header(3, 100), (100, 3), valid).covered
    assert covered.shape == (64, 3)
    np.testing.assert_array_equal(covered[:, 1], np.arange(64) < 32)
    assert covered[:, [0, 2]].all()


def test_the_part_of_the_smaller_map_counts_whichever_comes_first() -> None:
    strip = footprint(galactic_header(4000, 100, longitude=20), (100, 4000))
    field = footprint(tangent_plane(0, 0.25, 50, 0.01), (50, 50))  # half of its rows lie above the strip
    assert strip.overlap(field) == field.overlap(strip) == pytest.approx(0.97, abs=0.05)
    half = footprint(tangent_plane(0, 0.5, 50, 0.01), (50, 50))
    assert 0.2 < half.overlap(strip) < 0.8
    assert footprint(tangent_plane(0, 1, 50, 0.01), (50, 50)).overlap(strip) == 0


def test_missing_parts_are_no_common_sky() -> None:
    shape, header = (80, 80), galactic_header(80, 80)
    left = footprint(header, shape, np.arange(80) < 40)
    right = footprint(header, shape, np.arange(80) >= 40)
    assert left.overlap(right) == 0
    assert left.overlap(footprint(header, shape)) == 1
    assert footprint(header, shape, valid=False).overlap(left) == 0


def test_a_map_far_from_its_reference_is_found_a_turn_away() -> None:
    header = galactic_header(100, 50, step_deg=0.1, longitude=-170)  # from l = 190 to 180 degrees
    assert footprint(header, (50, 100)).overlap(footprint(tangent_plane(185, 0, 20, 0.1), (20, 20))) == 1
    beyond = galactic_header(100, 50, step_deg=0.1, longitude=190)  # the same sky, the reference on the other side
    assert footprint(beyond, (50, 100)).overlap(footprint(tangent_plane(185, 0, 20, 0.1), (20, 20))) == 1


def test_a_distorted_map_and_one_far_from_it_are_compared_in_silence() -> None:
    """The inverse of a SIP distortion does not converge far from its map; warnings are errors here."""
    header = tangent_plane(0, 0, 1000, 0.001)
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=4e-6, B_1_1=6e-6)
    distorted, sky = footprint(header, (1000, 1000)), footprint(galactic_header(360, 180, 1.0), (180, 360))
    assert distorted.overlap(footprint(tangent_plane(90, 0, 40, 0.1), (40, 40))) == 0
    assert distorted.overlap(sky) == distorted.overlap(distorted) == 1


def test_maps_on_the_two_sides_of_the_sky_share_none() -> None:
    here, there = (footprint(tangent_plane(lon, 0, 40, 0.1), (40, 40)) for lon in (0, 180))
    assert here.overlap(there) == 0


def test_simulated_maps_show_no_sky() -> None:
    header = make_header(40, 40, seed=1)
    assert footprint(header, (40, 40)).cards == ""
    header["OBJECT"] = "W43"
    assert footprint(header, (40, 40)).cards != ""


@pytest.mark.parametrize("ctype", [("", ""), ("HPLN-TAN", "HPLT-TAN"), ("LINEAR", "LINEAR")])
def test_a_map_off_the_sky_of_the_stars_has_no_footprint(ctype: tuple[str, str]) -> None:
    header = tangent_plane(0, 0, 40, 0.1)
    header["CTYPE1"], header["CTYPE2"] = ctype
    off = footprint(header, (40, 40))
    assert off.cards == ""
    assert off.overlap(footprint(tangent_plane(0, 0, 40, 0.1), (40, 40))) == 0
    assert off.overlap(off) == 0
