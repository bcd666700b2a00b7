import warnings
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.maps.plane_header import plane_header
from conftest import galactic_header


def read(header: fits.Header) -> WCS:
    """Return the WCS of a header; astropy may say that it corrects units."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header)


@pytest.mark.parametrize(
    ("unit", "scale"), [("degree", 1.0), ("Degrees", 1.0), ("DEG", 1.0), ("ARCSEC", 3600.0), ("RADIAN", np.pi / 180)]
)
def test_units_in_any_spelling_are_read(unit: str, scale: float) -> None:
    expected = WCS(galactic_header(5, 3)).pixel_to_world(4, 2)
    header = galactic_header(5, 3)
    header.update(CUNIT1=unit, CUNIT2=unit, CDELT1=-0.01 * scale, CDELT2=0.01 * scale)
    plane, faults = plane_header(header)
    assert faults == ()
    assert read(plane).pixel_to_world(4, 2).separation(expected).arcsec < 1e-6


def test_sip_beside_pv_is_read() -> None:
    header = galactic_header(5, 3)
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-6)
    header.update({f"PV{axis}_{number}": float(number == 1) for axis in (1, 2) for number in range(11)})
    plane, faults = plane_header(header)
    assert faults == ()
    assert read(plane).has_celestial


@pytest.mark.parametrize("form", ["PC{}_{}", "PC{:02d}_{:02d}", "PC{:03d}{:03d}", "PC{}_{}A"])
def test_cards_of_dropped_axes_are_left_out_in_all_spellings(form: str) -> None:
    header = galactic_header(5, 3)
    header.update(
        {"WCSAXES": 4, "CTYPE3": "STOKES", "CTYPE4": "FREQ", "PV4_1": 1.0, "CTYPE12A": "FREQ", "CRVAL3A": 2.0}
    )
    header.update({form.format(i, j): float(i == j) for i in range(1, 5) for j in range(1, 5)})
    plane, faults = plane_header(header)
    assert faults == ()
    gone = ["CTYPE3", "CTYPE4", "PV4_1", "CTYPE12A", "CRVAL3A", form.format(3, 1), form.format(1, 4), form.format(4, 4)]
    assert [key for key in gone if key in plane] == []
    assert plane[form.format(2, 2)] == 1.0
    assert read(plane).naxis == 2
    expected = WCS(galactic_header(5, 3)).pixel_to_world(4, 2)
    assert read(plane).pixel_to_world(4, 2).separation(expected).arcsec < 1e-6


def test_a_header_of_two_axes_stays_as_it_is() -> None:
    header = galactic_header(5, 3)
    header.update({"PC1_1": 1.0, "CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "LONPOLE": 0.0, "CROTA2": 0.0})
    header.add_history("first")
    assert plane_header(header).header.tostring() == header.tostring()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_axes_are_renumbered_in_any_order_of_the_cards(order: tuple[int, ...]) -> None:
    header = fits.Header()
    for axis in order:
        header[f"CTYPE{axis}"] = ("STOKES", "RA---TAN", "DEC--TAN")[axis - 1]
        header[f"CRVAL{axis}A"] = float(axis)
        header[f"CD{axis}_{axis}"] = 0.25 * axis
    header["CD2_3"] = 0.05
    header["CROTA3"] = 7.0
    plane, faults = plane_header(header, (2, 3))
    assert faults == ()
    expected = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1A": 2.0, "CRVAL2A": 3.0}
    assert dict(plane) == expected | {"CD1_1": 0.5, "CD2_2": 0.75, "CD1_2": 0.05, "CROTA2": 7.0}


@pytest.mark.parametrize("matrix", [{}, {"CD1_1": -0.01, "CD2_2": 0.1, "CD3_3": 100.0}, {"PC1_1": 1.0, "PC3_3": 1.0}])
def test_a_longitude_without_its_latitude_is_no_sky(matrix: dict[str, Any]) -> None:
    header = galactic_header(5, 1)
    header.update({"CTYPE3": "VRAD", "CRVAL3": 5000.0, "CRPIX3": 2.0, "CDELT3": 100.0, "CUNIT3": "m/s", **matrix})
    plane, (fault,) = plane_header(header, (1, 3))
    assert "GLON-CAR and VRAD of the plane are no pair on the sky" in fault
    wcs = WCS(plane)
    assert not wcs.has_celestial
    assert list(wcs.wcs.ctype) == ["", "VRAD"]
    np.testing.assert_allclose(wcs.wcs_pix2world([[3.0, 2.0], [3.0, 4.0]], 1)[:, 1], [5000, 5200])


def test_look_up_distortions_are_left_out_and_named() -> None:
    header = galactic_header(5, 3)
    header.update({"CPDIS1": "LOOKUP", "D2IMDIS2": "Lookup", "CPERR1": 0.1, "D2IMERR2": 0.1})
    header.append(fits.Card.fromstring("DP1     = 'EXTVER: 1'"))
    header.append(fits.Card.fromstring("D2IM2   = 'EXTVER: 1'"))
    plane, (fault,) = plane_header(header)
    assert "(CPDIS1, D2IMDIS2) are left out" in fault
    assert plane.tostring() == galactic_header(5, 3).tostring()


@pytest.mark.parametrize("cards", [{}, {"PS1_0": "TABLE"}, {"PS1_0": "TABLE", "PS2_0": "TABLE"}])
def test_coordinates_that_are_tables_are_left_out(cards: dict[str, str]) -> None:
    """Without some of their cards wcslib says that it has no memory."""
    header = galactic_header(5, 3)
    header.update({"CTYPE1": "RA---TAB", "CTYPE2": "DEC--TAB", "CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", **cards})
    plane, (fault,) = plane_header(header)
    assert "left out: its coordinates (RA---TAB and DEC--TAB) are tables" in fault
    assert not WCS(plane).has_celestial
    header.update({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CTYPE1A": "WAVE-TAB"})
    plane, faults = plane_header(header)
    assert faults == ()
    assert "CTYPE1A" not in plane
    assert WCS(plane).has_celestial


def test_a_plane_that_is_turned_into_a_dropped_axis_has_no_wcs() -> None:
    header = galactic_header(5, 3)
    header.update({"CTYPE3": "FREQ", "CRPIX3": 4.0, "PC1_3": 0.2})
    plane, (fault,) = plane_header(header)
    assert "turns the plane into the dropped axis 3" in fault
    assert not WCS(plane).has_celestial
    header["CRPIX3"] = 1.0  # the plane lies at pixel 1, where the term is 0
    assert plane_header(header).faults == ()


def test_an_alternate_wcs_that_is_turned_leaves_the_primary_one() -> None:
    header = galactic_header(5, 3)
    header.update({"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CTYPE3A": "FREQ", "CRPIX3A": 4.0, "PC1_3A": 0.2})
    plane, faults = plane_header(header)
    assert faults == ()
    assert WCS(plane).has_celestial
    assert plane.tostring() == galactic_header(5, 3).tostring()


def test_a_plane_of_outer_axes_that_is_turned_has_no_wcs_at_all() -> None:
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "FREQ", "CTYPE3": "DEC--TAN", "CRPIX2": 4.0})
    header.update({"CD1_1": -0.01, "CD2_2": 100.0, "CD3_3": 0.01, "CD1_2": 0.2})
    plane, (fault,) = plane_header(header, (1, 3))
    assert "turns the plane into the dropped axis 2" in fault
    assert dict(plane) == {}
