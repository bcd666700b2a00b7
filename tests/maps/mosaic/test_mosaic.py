import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.errors import BigsfWarning, ConfigError, DataError, UsageError
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.mosaic.mosaic import make_mosaic
from bigsf.patches.patch_file import PatchFile
from conftest import Run, Sky, galactic_header, shared_data

NY, NX = 60, 100
CUTS = {"a": (0, 40, 0, 60), "b": (20, 60, 0, 70), "c": (10, 60, 50, 100), "d": (0, 30, 45, 100)}  # y0, y1, x0, x1


class Tiles:
    """A smooth map with noise and a hole, across l = 0, and tiles cut from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generator = np.random.default_rng(3)
        y, x = np.mgrid[:NY, :NX]
        self.image = (100 + 10 * np.sin(x / 9) + 8 * np.cos(y / 7) + generator.normal(0, 0.1, (NY, NX))).astype("f4")
        self.image[25:30, 52:58] = np.nan
        self.header = galactic_header(NX, NY)

    def write(self, name: str, image: npt.NDArray[Any], header: fits.Header, **masks: npt.NDArray[Any]) -> Path:
        path = self.folder / f"{name}.fits"
        planes = [fits.ImageHDU(mask.astype(np.uint8), name=role) for role, mask in masks.items()]
        fits.HDUList([fits.PrimaryHDU(image, header), *planes]).writeto(path)
        return path

    def cut(self, name: str, **changes: Any) -> Path:
        """Write a tile, its header counted from its own corner, its masks cut with it."""
        y0, y1, x0, x1 = CUTS[name]
        header = self.header.copy()
        header["CRPIX1"] -= x0
        header["CRPIX2"] -= y0
        header.update({key: value for key, value in changes.items() if key.isupper()})
        masks = {key: value[y0:y1, x0:x1] for key, value in changes.items() if key.islower()}
        return self.write(name, self.image[y0:y1, x0:x1], header, **masks)

    def cuts(self) -> list[Path]:
        return [self.cut(name) for name in CUTS]


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    return Tiles(tmp_path)


def read(path: Path) -> npt.NDArray[np.float32]:
    with FitsImage(path) as image:
        return image.read()


@pytest.mark.parametrize("band_bytes", [64e6, 1, 30_000])
def test_tiles_of_one_grid_make_the_map_they_were_cut_from(
    tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, band_bytes: float
) -> None:
    monkeypatch.setattr("bigsf.maps.mosaic.mosaic._BAND_BYTES", band_bytes)
    monkeypatch.setattr("bigsf.maps.mosaic.tiles._BLOCK_PX", 17)
    monkeypatch.setitem(sys.modules, "reproject", None)  # which copying does not need
    report = make_mosaic(tiles.cuts(), tmp_path / "all.fits", match_background=True)
    np.testing.assert_array_equal(read(report.output), tiles.image)
    assert (report.shape, report.interpolated, report.unit) == ((NY, NX), [], "cm-2")
    assert report.offsets == pytest.approx([0] * 4, abs=1e-12)
    assert report.valid == np.isfinite(tiles.image).sum()
    for pixel in ((0, 0), (NX - 1, NY - 1)):
        there = WCS(fits.getheader(report.output)).pixel_to_world(*pixel)
        assert there.separation(WCS(tiles.header).pixel_to_world(*pixel)).arcsec < 1e-4


def test_each_tile_may_count_longitude_from_where_it_likes(tiles: Tiles, tmp_path: Path) -> None:
    references = {"a": 0.4, "b": 359.5, "c": 0.0, "d": 360.0}
    paths = []
    for name, longitude in references.items():
        moved = (longitude + 180) % 360 - 180
        paths.append(tiles.cut(name, CRVAL1=longitude, CRPIX1=31 - CUTS[name][2] - moved / 0.01))
    report = make_mosaic(paths, tmp_path / "all.fits")
    np.testing.assert_array_equal(read(report.output), tiles.image)


@pytest.mark.parametrize("pixels", [(-100, 0, 100), (1700, 1800, 1900), (3000, 3060), (1500, 0, 3000, 4500)])
@pytest.mark.parametrize("step", [0.1, 0.07])  # the sky is a whole number of pixels around, and is not
def test_a_mosaic_is_cut_where_there_is_no_tile(
    tiles: Tiles, tmp_path: Path, pixels: tuple[int, ...], step: float
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


def test_planes_shifted_by_less_than_a_pixel_are_interpolated(tiles: Tiles, tmp_path: Path) -> None:
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


def test_tiles_of_several_frames_show_one_sky(tiles: Tiles, tmp_path: Path) -> None:
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


def test_an_overlap_is_the_mean_of_the_valid_pixels_and_masks_are_honoured(tiles: Tiles, tmp_path: Path) -> None:
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
def test_targets_and_backgrounds_of_tiles_are_joined(tiles: Tiles, tmp_path: Path, shift: float) -> None:
    tiles.image = np.ones_like(tiles.image)
    target = np.zeros((NY, NX))
    target[10:14], target[40:44] = 1, 1
    background = 1 - target
    paths = [tiles.cut("a", target=target, background=background)]
    for name in "bcd":
        crpix = 31 - CUTS[name][2] + shift
        paths.append(tiles.cut(name, target=target, background=background, CRPIX1=crpix))
    report = make_mosaic(paths, tmp_path / "all.fits")
    assert report.masks == ["target", "background"]
    with FitsImage(report.output, "TARGET") as plane:
        np.testing.assert_array_equal(plane.read()[:, 2:98], target[:, 2:98])
    with FitsImage(report.output, "BACKGROUND") as plane:
        np.testing.assert_array_equal(plane.read()[:, 2:98], background[:, 2:98])


def test_masks_in_some_tiles_only_are_refused(tiles: Tiles) -> None:
    paths = [tiles.cut("a", target=np.ones((NY, NX))), tiles.cut("b")]
    with pytest.raises(DataError, match=r"1 of 2 tiles bring a TARGET extension, b.fits does not"):
        make_mosaic(paths, dry_run=True)
    assert make_mosaic(paths, masks=(), dry_run=True).masks == []


def test_masks_that_do_not_fit_their_tile_are_refused(tiles: Tiles) -> None:
    with pytest.raises(DataError, match=r"a.fits\[1\] declares 2,370 of 2,370 finite pixels missing.*inverted"):
        make_mosaic([tiles.cut("a", missing=np.zeros((NY, NX))), tiles.cut("c")])
    small = tiles.write("small", tiles.image, tiles.header, TARGET=np.zeros((5, 5)))
    with pytest.raises(DataError, match=r"small.fits\[1\] has 5 x 5 pixels \(x, y\) but small.fits has 100 x 60"):
        make_mosaic([small, tiles.cut("b")])


def test_matching_backgrounds_recovers_the_offsets(tiles: Tiles, tmp_path: Path) -> None:
    paths = []
    for name, level in {"a": 0.0, "b": 5.0, "c": -3.0, "d": 7.5}.items():
        tiles.image += np.float32(level)
        paths.append(tiles.cut(name))
        tiles.image -= np.float32(level)
    with pytest.warns(
        BigsfWarning, match=r"differs from .* by [+-]1?\d\.?\d* cm-2 with a scatter of .*--match-background"
    ):
        plain = make_mosaic(paths, tmp_path / "plain.fits")
    assert plain.offsets == [0, 0, 0, 0]
    report = make_mosaic(paths, tmp_path / "all.fits", match_background=True)
    assert report.offsets == pytest.approx([0, -5, 3, -7.5], abs=1e-4)
    np.testing.assert_allclose(read(report.output), tiles.image, atol=1e-3)


def test_backgrounds_of_tiles_that_nothing_joins_are_said_to_be_kept(tiles: Tiles) -> None:
    tiles.image[:, :] = 1
    paths = [tiles.cut("a")]
    header = tiles.header.copy()
    header["CRPIX1"] -= 70
    paths.append(tiles.write("far", np.full((NY, 30), 9.0), header))
    with pytest.warns(BigsfWarning, match=r"No overlap joins far.fits to a.fits"):
        report = make_mosaic(paths, match_background=True, dry_run=True)
    assert (report.overlaps, report.offsets) == ([], [0, 0])


def test_a_large_overlap_is_sampled(tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.maps.mosaic.overlaps._SAMPLE_PX", 500)
    monkeypatch.setattr("bigsf.maps.mosaic.overlaps._SAMPLE_ROWS", 4)
    tiles.image[:] = np.arange(NX)
    pair = make_mosaic([tiles.cut("a"), tiles.cut("b")], dry_run=True).overlaps[0]
    assert (pair.pixels, pair.fraction, pair.difference) == (20 * 60, 0.5, 0)
    assert pair.correlation == pytest.approx(1)


def test_what_does_not_fit_together_is_refused(tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tiles.cut("a"), tiles.cut("b")
    bare = tiles.write("bare", tiles.image, fits.Header())
    with pytest.raises(DataError, match=r"bare.fits has no celestial WCS"):
        make_mosaic([a, bare])
    with pytest.raises(DataError, match=r"c.fits is in K but a.fits is in cm-2 \(BUNIT\)"):
        make_mosaic([a, tiles.cut("c", BUNIT="K")])
    with pytest.warns(BigsfWarning, match=r"d.fits has no BUNIT; it is taken to be in cm-2 as a.fits"):
        make_mosaic([a, tiles.cut("d", BUNIT="")], dry_run=True)
    far = tiles.write("far", tiles.image, galactic_header(NX, NY, longitude=40))
    with pytest.raises(DataError, match=r"The tiles would fill at most \d.\d% of a mosaic of 40\d\d x 60 pixels"):
        make_mosaic([a, far], dry_run=True)
    with pytest.raises(UsageError, match=r"a.fits is given twice"):
        make_mosaic([a, b, a])
    with pytest.raises(UsageError, match=r"b.fits is a tile and would be the mosaic"):
        make_mosaic([a, b], b, overwrite=True)
    with pytest.raises(DataError, match=r"has 100 x 60 pixels \(x, y\) but all.fits has 70 x 60.* extensions TARGET"):
        make_mosaic([a, b], tmp_path / "all.fits", on_grid=[far])
    fine = galactic_header(NX, NY, step_deg=0.005)
    with pytest.warns(BigsfWarning, match=r"fine.fits are 2 times finer than .* the grid of a.fits: detail is lost"):
        make_mosaic([a, tiles.write("fine", tiles.image, fine)], dry_run=True)
    monkeypatch.setattr("bigsf.maps.mosaic.mosaic.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"takes 16\.8 kB, but 1\.0 kB are free"):
        make_mosaic([a, b], dry_run=True)


def test_maps_on_two_sides_of_the_sky_have_no_tangent_plane(tiles: Tiles) -> None:
    paths = []
    for number, longitude in enumerate((0, 120, 240)):
        header = galactic_header(NX, NY)
        header.update({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": longitude, "CRPIX1": 50.5})
        paths.append(tiles.write(str(number), tiles.image, header))
    with pytest.raises(DataError, match=r"0.fits, 1.fits, 2.fits do not fit onto one tangent plane.*cylindrical"):
        make_mosaic(paths)


def test_without_reproject_other_grids_are_refused_in_one_line(tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reproject", None)
    with pytest.raises(ConfigError, match=r"takes reproject\. pip install 'bigsf\[mosaic\]'$") as error:
        make_mosaic([tiles.cut("a"), tiles.cut("b", CRPIX1=31.5)])
    assert error.value.exit_code == 3


def test_the_command_makes_a_mosaic_and_its_patches(tiles: Tiles, tmp_path: Path, bigsf_command: Run) -> None:
    paths = tiles.cuts()
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


def test_one_map_is_no_mosaic(sky: Sky, tmp_path: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bigsf.maps.mosaic.mosaic", None)
    assert bigsf_command("preprocess", sky.path("image"), "--patch-size", 16, cwd=tmp_path).code == 0
    said = bigsf_command("preprocess", sky.path("image"), "--match-background", cwd=tmp_path)
    assert (said.code, "for several tiles" in said.err) == (2, True)


def test_the_maps_of_mbm40_agree_as_measured(tmp_path: Path) -> None:
    names = ("iris100_f293_b1950.fits", "iris100_mbm40_90as.fits", "iras100_mbm40_120as_blank.fits")
    paths = [shared_data("mosaic", name) for name in names]
    report = make_mosaic(paths, tmp_path / "all.fits", match_background=True)
    iris, iras = report.overlaps[0], report.overlaps[1]
    assert iris.fraction == pytest.approx(0.93, abs=0.005)
    assert iris.correlation == pytest.approx(0.998, abs=0.0005)
    assert abs(iris.difference) == pytest.approx(0.001, abs=0.01)
    assert iras.difference == pytest.approx(-1.08, abs=0.01)
    for pair in report.overlaps:
        left = pair.difference + report.offsets[pair.second] - report.offsets[pair.first]
        assert left == pytest.approx(0, abs=0.01)
