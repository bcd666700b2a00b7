from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import BigsfWarning, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.mosaic.mosaic import make_mosaic
from bigsf.maps.mosaic.tiles import MosaicTile
from bigsf.maps.tiling import Tile
from mosaic_tiles import NX, NY, MosaicTiles
from ramp_files import read


def test_masks_that_do_not_fit_their_tile_are_refused(tiles: MosaicTiles) -> None:
    with pytest.raises(DataError, match=r"a.fits\[1\] declares 2,370 of 2,370 finite pixels missing.*inverted"):
        make_mosaic([tiles.tile("a", missing=np.zeros((NY, NX))), tiles.tile("c")])
    small = tiles.write("small", tiles.image, tiles.header, TARGET=np.zeros((5, 5)))
    with pytest.raises(DataError, match=r"small.fits\[1\] has 5 x 5 pixels \(x, y\) but small.fits has 100 x 60"):
        make_mosaic([small, tiles.tile("b")])


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_value_that_stands_apart_is_named_for_its_tile(tiles: MosaicTiles, tmp_path: Path, dry_run: bool) -> None:
    image = np.array(tiles.image, np.float64)
    image[:2, :10] = -1.6375e30
    one, other = tiles.write("one", image, tiles.header), tiles.tile("b")
    with pytest.warns(BigsfWarning, match=r"one.fits holds -1.6375e\+30 in 20 of .* pass blank=-1.6375e\+30"):
        make_mosaic([one, other], tmp_path / "all.fits", dry_run=dry_run)
    make_mosaic([one, other], tmp_path / "all.fits", blank=-1.6375e30, overwrite=True, dry_run=dry_run)


def test_planes_shifted_by_less_than_a_pixel_are_interpolated(tiles: MosaicTiles, tmp_path: Path) -> None:
    y, x = np.mgrid[:NY, :NX]
    header = tiles.header.copy()
    header["CRPIX1"] -= 0.3  # its pixels lie 0.3 to the right
    header["CRPIX2"] += 0.4
    one = tiles.write("one", 2.0 * x + y, tiles.header)
    other = tiles.write("other", 2.0 * (x + 0.3) + (y - 0.4), header)
    report = make_mosaic([one, other], tmp_path / "all.fits")
    assert report.interpolated == [other]
    np.testing.assert_allclose(read(report.output)[1 : NY - 2, 1 : NX - 2], (2.0 * x + y)[1:-2, 1:-2], atol=1e-4)
    assert report.overlaps[0].difference == pytest.approx(0, abs=1e-5)


def test_tiles_of_several_frames_show_one_sky(tiles: MosaicTiles, tmp_path: Path) -> None:
    def star_field(frame: str, ctype: str, latitude: str, **cards: Any) -> Path:
        header = fits.Header()
        centre = SkyCoord(0.02, 40.01, unit="deg", frame="galactic").transform_to(frame)
        lon, lat = centre.spherical.lon.deg, centre.spherical.lat.deg
        header.update({"CTYPE1": f"{ctype}-TAN", "CTYPE2": f"{latitude}-TAN", "CRVAL1": lon, "CRVAL2": lat})
        header.update({"CRPIX1": 30.5, "CRPIX2": 40.5, "CDELT1": -0.01, "CDELT2": 0.01, **cards})
        path = tiles.write(frame, np.zeros((80, 60)), header)
        with FitsImage(path) as image:
            x, y = np.meshgrid(np.arange(60), np.arange(80))
            assert image.wcs is not None
            galactic = image.wcs.pixel_to_world(x, y).galactic
        path.unlink()
        value = 50 + 9 * np.sin(20 * ((galactic.l.deg + 180) % 360)) + 30 * galactic.b.deg
        return tiles.write(frame, value, header)

    paths = [
        star_field("galactic", "GLON", "GLAT"),
        star_field("fk4", "RA--", "DEC-", EQUINOX=1950.0),
        star_field("fk5", "RA--", "DEC-", EQUINOX=2000.0),
    ]
    report = make_mosaic(paths, tmp_path / "all.fits")
    assert report.wcs.wcs.ctype[0] == "GLON-TAN"
    assert max(report.shape) < 110
    for pair in report.overlaps:
        assert pair.correlation > 0.999
        assert pair.difference == pytest.approx(0, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.tuples(st.integers(0, 59), st.integers(1, 60), st.integers(0, 99), st.integers(1, 100)))
def test_blocks_cover_the_shared_part_of_a_tile_and_a_window_once(
    tmp_path_factory: pytest.TempPathFactory, block_px: int, window: tuple[int, int, int, int]
) -> None:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("tiles")
        tile = MosaicTile(MosaicTiles(folder).tile("c"), None, None, (), None, stack)
        tile.place(tile.grid)
        for shares_grid in (True, False):
            tile.shares_grid = shares_grid
            painted, expected = np.zeros((60, 100), int), np.zeros((60, 100), int)
            for y0, y1, x0, x1 in tile.blocks(Tile(*window), block_px):
                painted[y0:y1, x0:x1] += 1
            y0, y1, x0, x1 = window
            expected[y0:y1, x0:x1] = 1
            expected[50:], expected[:, 50:] = 0, 0  # the tile has 50 x 50 pixels
            np.testing.assert_array_equal(painted, expected)
