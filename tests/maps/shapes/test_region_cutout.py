from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import ConfigError, DataError
from bigsf.maps.config import MapConfig, SkyBox
from bigsf.maps.fits_image import FitsImage, open_planes
from bigsf.maps.shapes.region_cutout import region_cutout
from bigsf.maps.tiling import Tile
from bigsf.maps.wcs import galactic_lb

NY, NX = 256, 640


def header(**cards: Any) -> fits.Header:
    """A Galactic plate carree map of 0.01 degrees, whose middle shows l = 0."""
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    made["CRVAL1"], made["CRVAL2"] = 0.0, 0.0
    made["CRPIX1"], made["CRPIX2"] = NX / 2 + 0.5, NY / 2 + 0.5
    made["CDELT1"], made["CDELT2"] = -0.01, 0.01
    made.update(cards)
    return made


def written(folder: Path, cards: fits.Header) -> Path:
    values = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX)
    fits.writeto(folder / "map.fits", values, cards, overwrite=True)
    return folder / "map.fits"


@pytest.mark.parametrize(
    "cards",
    [
        header(),
        header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", PC1_1=0.8, PC1_2=-0.6, PC2_1=0.6, PC2_2=0.8),
        header(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=266.4, CRVAL2=-28.94),
        header(CDELT1=0.01),
    ],
    ids=["car", "rotated", "equatorial", "mirrored"],
)
def test_the_part_holds_the_box_and_keeps_its_places_on_the_sky(tmp_path: Path, cards: fits.Header) -> None:
    path = written(tmp_path, cards)
    with FitsImage(path) as whole:
        cutout = region_cutout(SkyBox(359.7, 0.3, -0.2, 0.1), whole)
        pixels = np.argwhere(np.ones((NY, NX)))[::7]
        sky = galactic_lb(whole.wcs, pixels)  # type: ignore[arg-type]
        longitude = (sky[:, 0] + 180) % 360 - 180
        inside = pixels[(np.abs(longitude) < 0.3) & (sky[:, 1] > -0.2) & (sky[:, 1] < 0.1)]
        assert len(inside) > 100
        assert (inside >= [cutout.y0, cutout.x0]).all()
        assert (inside < [cutout.y1, cutout.x1]).all()
        assert cutout.shape < whole.shape
        expected = whole.read(cutout.y0, cutout.y1)[:, cutout.x0 : cutout.x1]
    with FitsImage(path, cutout=cutout) as part:
        assert part.shape == cutout.shape
        np.testing.assert_array_equal(part.read(), expected)
        np.testing.assert_array_equal(part.read(3, 5, slice(2, 9)), expected[3:5, 2:9])
        here = galactic_lb(part.wcs, np.array([[0.0, 0.0], [5.0, 9.0]]))
        there = galactic_lb(WCS(cards), np.array([[cutout.y0, cutout.x0], [cutout.y0 + 5.0, cutout.x0 + 9.0]]))
        np.testing.assert_allclose(here, there, atol=1e-9)
        from_header = galactic_lb(WCS(part.output_header()), np.array([[0.0, 0.0]]))
        np.testing.assert_allclose(from_header, there[:1], atol=1e-9)


def test_the_edges_lie_at_steps_of_64_pixels_or_of_the_map(tmp_path: Path) -> None:
    with FitsImage(written(tmp_path, header())) as whole:
        assert region_cutout(SkyBox(359.5, 0.5, -0.05, 0.05), whole) == Tile(64, 192, 256, 384)
        assert region_cutout(SkyBox(350, 10, -5, 0), whole) == Tile(0, 128, 0, NX)


def test_the_longitudes_run_upwards(tmp_path: Path) -> None:
    with FitsImage(written(tmp_path, header(CDELT1=-0.6, CDELT2=0.6))) as whole:  # 384 degrees wide
        assert region_cutout(SkyBox(359, 1, -1, 1), whole).shape == (128, 64 + 64)
        assert region_cutout(SkyBox(1, 359, -1, 1), whole).shape[1] == NX


def test_a_region_on_the_other_side_of_the_reference_is_found(tmp_path: Path) -> None:
    with FitsImage(written(tmp_path, header(CRVAL1=0.0, CRPIX1=1.0, CDELT1=-0.5, CDELT2=0.5))) as whole:
        cutout = region_cutout(SkyBox(60, 70, -5, 5), whole)  # 290 to 300 degrees below 360
        assert cutout.x0 <= 580 <= cutout.x1


def test_a_file_of_regions(tmp_path: Path) -> None:
    region = tmp_path / "part.reg"
    region.write_text("galactic\ncircle(0.0,0.0,0.02)\n")
    with FitsImage(written(tmp_path, header())) as whole:
        assert region_cutout(region, whole) == Tile(64, 192, 256, 384)


def test_what_is_no_region_is_an_error(tmp_path: Path) -> None:
    with FitsImage(written(tmp_path, header())) as whole:
        for name in ("0 0.3 -0.2 0.9 1", "map.fits"):
            with pytest.raises(
                DataError, match=rf"The region {name} is neither four numbers, as in 359 1 -0\.5 0\.5, nor"
            ):
                region_cutout(tmp_path / name, whole)


def test_a_region_off_the_map_is_an_error(tmp_path: Path) -> None:
    with FitsImage(written(tmp_path, header())) as whole:
        with pytest.raises(DataError, match=r"does not show the region l = 30 to 31, b = -1 to 1\."):
            region_cutout(SkyBox(30, 31, -1, 1), whole)
        with pytest.raises(DataError, match="does not show the region"):
            region_cutout(SkyBox(359, 1, 40, 41), whole)


@pytest.mark.parametrize("text", ["359 1 -0.5 0.5", [359, 1, -0.5, 0.5]])
def test_a_box_is_read_from_a_text_or_a_list(text: object) -> None:
    assert MapConfig(region=text).region == SkyBox(359, 1, -0.5, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0 1 0.5 -0.5", "0 1 -100 0", "0 1 nan 1"])
def test_an_impossible_box_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected l0 l1 b0 b1 in degrees with b0 below b1"):
        MapConfig(region=text)  # type: ignore[arg-type]


def test_a_region_that_covers_nothing_is_an_error(tmp_path: Path) -> None:
    region = tmp_path / "part.reg"
    region.write_text("image\ncircle(50,50,3)\n-circle(50,50,9)\n")
    with FitsImage(written(tmp_path, header())) as whole, pytest.raises(DataError, match="covers no pixel of map"):
        region_cutout(region, whole)


def test_a_box_has_a_width() -> None:
    with pytest.raises(ConfigError, match=r"which has no width\. All longitudes are 0 360"):
        MapConfig.from_dict({"region": "10 10 -0.1 0.1"})
    assert MapConfig.from_dict({"region": "0 360 -1 1"}).region == SkyBox(0, 360, -1, 1)


def test_a_box_that_holds_a_pole_or_all_of_the_map(tmp_path: Path) -> None:
    cards = header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL2=80.0, CDELT1=-0.05, CDELT2=0.05)
    with FitsImage(written(tmp_path, cards)) as whole:
        assert region_cutout(SkyBox(0, 360, -90, 90), whole) == Tile(0, NY, 0, NX)
    all_sky = header(CTYPE1="GLON-MOL", CTYPE2="GLAT-MOL", CDELT1=-0.5, CDELT2=0.7)
    with FitsImage(written(tmp_path, all_sky)) as whole:
        assert region_cutout(SkyBox(0, 360, -90, 90), whole) == Tile(0, NY, 0, NX)
        assert region_cutout(SkyBox(350, 10, -10, 10), whole).shape < (NY, NX)


@pytest.mark.parametrize(
    ("projection", "box"),
    [
        ("CAR", SkyBox(118, 128, 22, 32)),
        ("CAR", SkyBox(298, 308, -32, -22)),
        ("SFL", SkyBox(118, 128, 22, 32)),
        ("CAR", SkyBox(0, 360, 20, 90)),
    ],
)
def test_a_box_that_holds_a_pole_of_a_map_of_all_the_sky(tmp_path: Path, projection: str, box: SkyBox) -> None:
    ny, nx = 720, 1440
    cards = header(CTYPE1=f"RA---{projection}", CTYPE2=f"DEC--{projection}", CDELT1=-0.25, CDELT2=0.25)
    cards["CRPIX1"], cards["CRPIX2"] = nx / 2 + 0.5, ny / 2 + 0.5
    fits.writeto(tmp_path / "sky.fits", np.zeros((ny, nx), np.uint8), cards)
    with FitsImage(tmp_path / "sky.fits") as whole:
        tile = region_cutout(box, whole)
        assert whole.wcs is not None
        pixels = np.indices((ny, nx)).reshape(2, -1).T.astype(np.float64)
        longitude, latitude = galactic_lb(whole.wcs, pixels).T.reshape(2, ny, nx)
    inside = ((longitude - box.l0) % 360 <= box.width) & (latitude >= box.b0) & (latitude <= box.b1)
    assert inside.sum() > 100
    assert inside[tile.rows, tile.columns].sum() == inside.sum()


def test_masks_and_channels_may_hold_the_part_alone(tmp_path: Path) -> None:
    path, cutout = written(tmp_path, header()), Tile(64, 128, 128, 256)
    with FitsImage(path, cutout=cutout) as part:
        fits.writeto(tmp_path / "part.fits", part.read(), part.output_header())
    fits.writeto(tmp_path / "valid.fits", np.ones(cutout.shape, np.uint8))
    fits.writeto(tmp_path / "other.fits", np.ones((9, 9), np.uint8))
    with ExitStack() as stack:
        files, masks = [path, tmp_path / "part.fits"], {"valid": tmp_path / "valid.fits"}
        planes, opened = open_planes(files, masks, stack, find_cutout=lambda _: cutout)
        np.testing.assert_array_equal(planes[0].read(), planes[1].read())
        assert opened["valid"].read().shape == cutout.shape
        with pytest.raises(DataError, match=r"other.fits has 9 x 9 pixels"):
            open_planes([path, tmp_path / "other.fits"], {}, stack, find_cutout=lambda _: cutout)


def test_a_box_beside_a_tilted_map_is_refused_although_its_outline_surrounds_a_corner(tmp_path: Path) -> None:
    tilted = header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", PC1_1=0.7071, PC1_2=-0.7071, PC2_1=0.7071, PC2_2=0.7071)
    lon, lat = galactic_lb(WCS(tilted), np.array([[-106.0, -106.0]]))[
        0
    ]  # the box is a diamond of 141 pixels to its tips
    with FitsImage(written(tmp_path, tilted)) as image:
        outside = SkyBox((lon - 1) % 360, (lon + 1) % 360, lat - 1, lat + 1)
        longitude, latitude = galactic_lb(WCS(tilted), np.argwhere(np.ones((NY, NX))).astype(float)).T
        inside = ((longitude - outside.l0) % 360 <= outside.width) & (np.abs(latitude - lat) <= 1)
        assert not inside.any()
        with pytest.raises(DataError, match="does not show the region"):
            region_cutout(outside, image)
