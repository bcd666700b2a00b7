from typing import Any

import numpy as np
import pytest
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.wcs import celestial_wcs, galactic_lb, pixel_scale_deg, sky_period_px
from conftest import galactic_header, shared_data


def test_wcs_that_cannot_be_read_is_left_out_with_a_warning() -> None:
    header = galactic_header(5, 3)
    header["CTYPE2"] = "RA---TAN"
    with pytest.warns(BigsfWarning, match=r"The WCS cannot be read and is left out"):
        assert celestial_wcs(header) is None


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
