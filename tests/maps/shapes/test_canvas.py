import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.shapes.canvas import Canvas
from bigsf.maps.shapes.drawn_mask import DrawnMask


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_line_beside_the_map_marks_what_reaches_into_it(side: int, axis: int, distance: int) -> None:
    canvas = Canvas((20, 30), None, "map.fits")
    line = np.full((2, 2), 5.0)
    line[:, axis] = -distance if side < 0 else (20, 30)[axis] - 1 + distance
    line[1, 1 - axis] = 12.0
    marked = canvas.draw_line(line, 3.0)
    assert marked == (distance <= 1)
    assert canvas.mask.any() == marked


def test_shapes_are_drawn_and_erased_where_they_lie_on_the_map() -> None:
    canvas = Canvas((20, 30), None, "map.fits")
    assert canvas.draw(np.ones((4, 6), np.bool_), -2, 27)
    assert canvas.mask.sum() == 2 * 3
    assert canvas.draw(np.ones((1, 30), np.bool_), 0, 0, erase=True)
    assert canvas.mask.sum() == 3
    assert not canvas.draw(np.zeros((4, 4), np.bool_), 3, 3)


@pytest.mark.parametrize("projection", ["AIT", "MOL", "SFL"])
def test_what_crosses_the_edge_of_a_map_of_the_whole_sky_is_not_drawn_across_it(
    tmp_path: Path, projection: str
) -> None:
    header = fits.Header({"CTYPE1": f"GLON-{projection}", "CTYPE2": f"GLAT-{projection}"})
    header.update(CRPIX1=450.5, CRPIX2=225.5, CRVAL1=0.0, CRVAL2=0.0, CDELT1=-0.4, CDELT2=0.4)
    canvas = Canvas((450, 900), WCS(header), "sky.fits")
    points = canvas.path_to_pixels(SkyCoord([177, 179, 181, 183], [50, 50, 51, 51], unit="deg", frame="galactic"))
    assert np.isnan(points).all(axis=1).sum() == 1
    assert canvas.draw_line(points, 3.0)
    assert 6 < canvas.mask.sum() < 60
    (tmp_path / "a.reg").write_text("galactic\npolygon(178,48,182,48,182,52,178,52)\ncircle(0,0,2)\n")
    fits.writeto(tmp_path / "sky.fits", np.ones((450, 900), np.float32), header)
    with FitsImage(tmp_path / "sky.fits") as image, pytest.warns(BigsfWarning, match=r"1 region off sky\.fits"):
        drawn = DrawnMask(tmp_path / "a.reg", image).read(0, 450)
    assert 60 < drawn.sum() < 100


def test_a_shape_far_larger_than_the_map_takes_memory_by_the_map(tmp_path: Path) -> None:
    canvas = Canvas((30, 40), None, "map.fits")
    tracemalloc.start()
    assert canvas.draw_line(np.array([[-20_000.0, -20_000.0], [20_000.0, 20_000.0]]), 3.0)
    np.testing.assert_array_equal(canvas.mask[10, 7:14], [False, *[True] * 5, False])
    fits.writeto(tmp_path / "map.fits", np.ones((30, 40), np.float32))
    (tmp_path / "a.reg").write_text("image\ncircle(20,15,20000)\n-circle(20,15,5.5)\n")
    with FitsImage(tmp_path / "map.fits") as image:
        drawn = DrawnMask(tmp_path / "a.reg", image).read(0, 30)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    y, x = np.mgrid[:30, :40]
    np.testing.assert_array_equal(drawn > 0, np.hypot(y - 14, x - 19) >= 5.5)


def test_lines_near_the_pole_of_a_cylindrical_map_are_drawn() -> None:
    header = fits.Header({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 0.0, "CRVAL2": 0.0})
    header.update(CRPIX1=360.5, CRPIX2=180.5, CDELT1=-0.5, CDELT2=0.5)
    canvas = Canvas((360, 720), WCS(header), "sky.fits")
    points = canvas.path_to_pixels(SkyCoord([10, 90, 170], [86, 86, 86], unit="deg", frame="galactic"))
    assert np.isfinite(points).all()
    assert canvas.draw_line(points, 3.0)
    assert canvas.mask.sum() > 900
