import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, ConfigError, DataError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.mosaic.mosaic import make_mosaic
from bigsf.patches.patch_file import PatchFile
from conftest import Run, Sky, galactic_header
from mosaic_tiles import BOXES, NX, NY, MosaicTiles
from ramp_files import read


@pytest.mark.parametrize("chunk_pixels", [4_000_000, 1, 1875])
def test_tiles_of_one_grid_make_the_map_they_were_cut_from(
    tiles: MosaicTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_pixels: int
) -> None:
    monkeypatch.setitem(sys.modules, "reproject", None)  # copying does not need it
    report = make_mosaic(tiles.all(), tmp_path / "all.fits", match_background=True, chunk_pixels=chunk_pixels)
    np.testing.assert_array_equal(read(report.output), tiles.image)
    assert (report.shape, report.interpolated, report.unit) == ((NY, NX), [], "cm-2")
    assert report.offsets == pytest.approx([0] * 4, abs=1e-12)
    assert report.valid == np.isfinite(tiles.image).sum()
    for pixel in ((0, 0), (NX - 1, NY - 1)):
        there = WCS(fits.getheader(report.output)).pixel_to_world(*pixel)
        assert there.separation(WCS(tiles.header).pixel_to_world(*pixel)).arcsec < 1e-4


def test_each_tile_may_count_longitude_from_where_it_likes(tiles: MosaicTiles, tmp_path: Path) -> None:
    references = {"a": 0.4, "b": 359.5, "c": 0.0, "d": 360.0}
    paths = []
    for name, longitude in references.items():
        moved = (longitude + 180) % 360 - 180
        paths.append(tiles.tile(name, CRVAL1=longitude, CRPIX1=31 - BOXES[name][2] - moved / 0.01))
    report = make_mosaic(paths, tmp_path / "all.fits")
    np.testing.assert_array_equal(read(report.output), tiles.image)


@pytest.mark.parametrize("pixels", [(-100, 0, 100), (1700, 1800, 1900), (3000, 3060), (1500, 0, 3000, 4500)])
@pytest.mark.parametrize("step", [0.1, 0.07])  # the sky is a whole number of pixels around, and is not
def test_a_mosaic_is_cut_where_there_is_no_tile(
    tiles: MosaicTiles, tmp_path: Path, pixels: tuple[int, ...], step: float
) -> None:
    paths = []
    for number, pixel in enumerate(pixels):
        header = galactic_header(600, 20, step)
        header["CRVAL1"], header["CRPIX1"] = 0.0, 300.5 + pixel  # a reference far outside the tile
        paths.append(tiles.write(f"t{number}", np.ones((20, 600), np.float32), header))
    report = make_mosaic(paths, tmp_path / "all.fits")
    assert report.interpolated == []
    if len(pixels) < 4 or step == 0.07:
        assert report.shape == (20, max(pixels) - min(pixels) + 600)


def test_an_overlap_is_the_mean_of_the_valid_pixels_and_masks_are_honoured(tiles: MosaicTiles, tmp_path: Path) -> None:
    valid = np.ones((4, 5))
    valid[1, 1] = 0
    one = np.full((4, 5), 1.0)
    one[2, 2] = np.nan
    other = np.full((4, 5), 4.0)
    other[2, 2] = np.nan
    header = galactic_header(5, 4)
    paths = [tiles.write("one", one, header, VALID=valid), tiles.write("other", other, header)]
    paths.append(tiles.write("blank", np.full((4, 5), -1.0), header))
    with pytest.warns(BigsfWarning, match=r"other.fits differs from one.fits by \+3 cm-2"):
        report = make_mosaic(paths, tmp_path / "all.fits", blank=-1)
    expected = np.full((4, 5), 2.5)
    expected[1, 1], expected[2, 2] = 4, np.nan
    np.testing.assert_array_equal(read(report.output), expected)


@pytest.mark.parametrize("shift", [0, 0.2])
def test_targets_and_backgrounds_of_tiles_are_joined(tiles: MosaicTiles, tmp_path: Path, shift: float) -> None:
    tiles.image = np.ones_like(tiles.image)
    target = np.zeros((NY, NX))
    target[10:14], target[40:44] = 1, 1
    background = 1 - target
    paths = [tiles.tile("a", target=target, background=background)]
    for name in "bcd":
        crpix = 31 - BOXES[name][2] + shift
        paths.append(tiles.tile(name, target=target, background=background, CRPIX1=crpix))
    report = make_mosaic(paths, tmp_path / "all.fits")
    assert report.masks == ["target", "background"]
    with FitsImage(report.output, "TARGET") as plane:
        np.testing.assert_array_equal(plane.read()[:, 2:98], target[:, 2:98])
    with FitsImage(report.output, "BACKGROUND") as plane:
        np.testing.assert_array_equal(plane.read()[:, 2:98], background[:, 2:98])


def test_maps_on_two_sides_of_the_sky_have_no_tangent_plane(tiles: MosaicTiles) -> None:
    paths = []
    for number, longitude in enumerate((0, 120, 240)):
        header = galactic_header(NX, NY)
        header.update({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": longitude, "CRPIX1": 50.5})
        paths.append(tiles.write(str(number), tiles.image, header))
    with pytest.raises(DataError, match=r"0.fits, 1.fits, 2.fits do not fit onto one tangent plane.*cylindrical"):
        make_mosaic(paths)


def test_without_reproject_other_grids_are_refused_in_one_line(
    tiles: MosaicTiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reproject", None)
    with pytest.raises(ConfigError, match=r"takes reproject\. pip install 'bigsf\[mosaic\]'$") as error:
        make_mosaic([tiles.tile("a"), tiles.tile("b", CRPIX1=31.5)])
    assert error.value.exit_code == 3


def test_the_command_makes_a_mosaic_and_its_patches(tiles: MosaicTiles, tmp_path: Path, bigsf_command: Run) -> None:
    paths = tiles.all()
    options = ["--patch-size", 16, "-o", "galaxy.h5"]
    said = bigsf_command("preprocess", *paths, *options, "--dry-run", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "Would write galaxy_mosaic.fits" in said.out
    assert "a.fits b.fits" in said.out
    assert not (tmp_path / "galaxy_mosaic.fits").exists()
    said = bigsf_command("preprocess", *paths, *options, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "Wrote galaxy_mosaic.fits" in said.out
    assert "Wrote galaxy.h5" in said.out
    np.testing.assert_array_equal(PatchFile(tmp_path / "galaxy.h5", in_memory=True).image[0], tiles.image)
    header = fits.getheader(tmp_path / "galaxy_mosaic.fits")
    assert (header["BUNIT"], "BTYPE" in header) == ("cm-2", False)
    assert "a.fits SHA-256" in "".join(header["HISTORY"])
    again = bigsf_command("preprocess", *paths, *options, cwd=tmp_path)
    assert (again.code, "exists already" in again.err) == (2, True)
    assert bigsf_command("preprocess", *paths, *options, "--overwrite", cwd=tmp_path).code == 0


@pytest.mark.parametrize("target_in_tiles", [True, False])
def test_a_threshold_is_for_labels_of_tiles_or_of_a_file_once(
    tiles: MosaicTiles, tmp_path: Path, bigsf_command: Run, target_in_tiles: bool
) -> None:
    target, background = np.zeros((2, NY, NX), np.uint8)
    target[20:24], target[30:40], background[40:50] = 10, 3, 9
    own = {"background": background} | ({"target": target} if target_in_tiles else {})
    tiles.image[np.isnan(tiles.image)] = -999
    paths = [tiles.tile(name, **own) for name in BOXES]
    options = ["--patch-size", 16, "--target-threshold", 5, "--blank", -999, "-o", "map.h5"]
    if not target_in_tiles:
        fits.writeto(tmp_path / "target.fits", target, tiles.header)
        options += ["--target", "target.fits"]
    said = bigsf_command("preprocess", *paths, *options, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "blank" not in said.err
    found, labelled = PatchFile(tmp_path / "map.h5").labels()
    covered = np.zeros((NY, NX), np.bool_)
    for y0, y1, x0, x1 in BOXES.values():
        covered[y0:y1, x0:x1] = True
    valid = covered & (tiles.image != -999)
    np.testing.assert_array_equal(found > 0, (target > 5) & valid)
    np.testing.assert_array_equal(labelled > 0, ((target > 5) | (background > 5)) & valid)


def test_one_map_is_no_mosaic(sky: Sky, tmp_path: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bigsf.maps.mosaic.mosaic", None)
    assert bigsf_command("preprocess", sky.path("image"), "--patch-size", 16, cwd=tmp_path).code == 0
    said = bigsf_command("preprocess", sky.path("image"), "--match-background", cwd=tmp_path)
    assert (said.code, "for several tiles" in said.err) == (2, True)


def test_tiles_may_hold_one_matrix_in_two_forms(
    tiles: MosaicTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reproject", None)
    paths = tiles.all()
    with fits.open(paths[1], mode="update") as hdus:
        header = hdus[0].header
        header["CD1_1"], header["CD2_2"] = header.pop("CDELT1"), header.pop("CDELT2")
    report = make_mosaic(paths, tmp_path / "all.fits")
    np.testing.assert_array_equal(read(report.output), tiles.image)


def test_the_mosaic_keeps_the_beam_and_the_object_that_all_tiles_have(tiles: MosaicTiles, tmp_path: Path) -> None:
    one, other = tiles.tile("a", BMAJ=0.02, OBJECT="sky", BPA=3.0), tiles.tile("b", BMAJ=0.02, OBJECT="sky", BPA=4.0)
    header = fits.getheader(make_mosaic([one, other], tmp_path / "two.fits").output)
    assert (header["BMAJ"], header["OBJECT"]) == (0.02, "sky")
    assert "BPA" not in header
