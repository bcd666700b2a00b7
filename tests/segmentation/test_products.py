import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import label

from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning, ConfigError, UsageError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.spine import Points
from bigsf.segmentation.ds9_regions import write_regions
from bigsf.segmentation.products import SegmentReport
from conftest import OutputPlanes, Segmented, galactic_header, write_patch_file


def read_products(report: SegmentReport) -> tuple[OutputPlanes, Table]:
    with fits.open(report.output) as hdus:
        planes = {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}
    return planes, Table.read(report.output.with_suffix(".ecsv"))


def test_products_agree_with_the_mask_and_the_map(segmented: Segmented, other_map: Path) -> None:
    report, out = segmented(other_map, threshold=0.4, products="mask,skeleton,catalog,regions")
    planes, table = read_products(report)
    components, number = label(out["MASK"], np.ones((3, 3)))
    assert report.filaments == number == len(table) > 1
    assert report.products == ["prob", "mask", "skeleton", "catalog", "regions"]
    assert planes["SKELETON"].dtype == np.uint8
    assert 0 < planes["SKELETON"].sum() < planes["MASK"].sum()
    assert not (planes["SKELETON"] > planes["MASK"]).any()
    image = fits.getdata(other_map)
    for row in table:
        on = components == row["id"]
        assert row["area_px"] == on.sum()
        assert row["peak"] == pytest.approx(image[on].max(), rel=1e-6)
        assert row["probability"] == pytest.approx(out["PRIMARY"][on].mean(), rel=1e-5)
    longest = table[np.argmax(table["length_px"])]
    x, y = WCS(fits.getheader(other_map)).world_to_pixel_values(longest["l"], longest["b"])
    assert (x, y) == pytest.approx((longest["x"], longest["y"]), abs=1e-3)
    assert str(table["mean"].unit) == "1 / cm2"
    assert report.output.with_suffix(".reg").read_text().count("polygon(") == number


def test_catalogue_of_a_patch_file_is_that_of_the_map(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    file = write_patch_file(tmp_path / "other.h5", image[None].astype(np.float32), 16, 4, header=header)
    tables = [
        read_products(segmented(path, name=f"{path.suffix[1:]}.fits", threshold=0.4, products="catalog")[0])[1]
        for path in (file.path, other_map)
    ]
    for name in ("x", "mean", "background", "orientation", "l"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-5)


def test_pixels_masked_as_missing_are_no_background(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    valid = np.ones(image.shape, np.uint8)
    valid[60:, 100:] = 0
    fits.PrimaryHDU(valid, header).writeto(tmp_path / "valid.fits")
    fits.PrimaryHDU(np.where(valid == 1, image, np.nan), header).writeto(tmp_path / "cut.fits")
    masked, cut = (
        read_products(segmented(path, name=f"{path.stem}_out.fits", products=["catalog"], **options)[0])[1]
        for path, options in ((other_map, {"valid": tmp_path / "valid.fits"}), (tmp_path / "cut.fits", {}))
    )
    np.testing.assert_array_equal(masked["background"], cut["background"])


def test_scale_is_the_factor_of_binning_that_the_probability_was_taken_from(
    segmented: Segmented, other_map: Path, trained_kfold: Path
) -> None:
    models = trained_kfold / "split_1", trained_kfold / "split_2"

    def probabilities(scale: int) -> FloatArray:
        options = {"name": "one.fits", "scales": [scale], "products": "prob", "overwrite": True}
        return np.stack([segmented(other_map, model, **options)[1]["PRIMARY"] for model in models])

    by_model = {scale: probabilities(scale) for scale in (1, 2, 4)}
    for number in (1, 2):
        each = np.stack([level[:number].mean(axis=0) for level in by_model.values()])
        largest = np.array(list(by_model))[each.argmax(axis=0)]
        report, out = segmented(
            other_map, models[:number], "many.fits", scales="1,2,4", products="prob,scale", overwrite=True
        )
        missing = np.isnan(out["PRIMARY"])
        assert report.planes == {"PRIMARY": "f4", "SCALE": "u1"}
        assert out["SCALE"].dtype == np.uint8
        np.testing.assert_array_equal(out["SCALE"], np.where(missing, 0, largest))
        assert set(np.unique(out["SCALE"])) == {0, 1, 2, 4}
        expected = np.max([level[:number] for level in by_model.values()], axis=0).mean(axis=0)
        np.testing.assert_allclose(out["PRIMARY"], expected, atol=1e-6)


def test_only_what_is_asked_for_is_written(
    segmented: Segmented, other_map: Path, tmp_path: Path, trained_kfold: Path
) -> None:
    assert set(segmented(other_map, products="prob")[1]) == {"PRIMARY"}
    _, out = segmented(other_map, trained_kfold, "several.fits", products=["STD", "skeleton"])
    assert set(out) == {"PRIMARY", "STD", "SKELETON"}
    names = ["other.fits", "out.fits", "out.png", "several.fits", "several.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_products_that_cannot_be_are_refused(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="unknown 'catalogue'; did you mean 'catalog'\\? Allowed: prob, mask, std, scale"
    ):
        segmented(other_map, products="mask,catalogue")
    with pytest.raises(ConfigError, match="std is the standard deviation of several models, and one model was given"):
        segmented(other_map, products="std")
    with pytest.raises(ConfigError, match=r"scale tells which of several factors .* one factor was given: 2\. Give"):
        segmented(other_map, products="scale", scales=[2])
    (tmp_path / "out.reg").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.reg exists already"):
        segmented(other_map, products="regions")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["other.fits", "out.reg"]


def test_products_of_a_map_without_a_filament(segmented: Segmented, other_map: Path) -> None:
    with pytest.warns(BigsfWarning, match="No pixel"):
        report, _ = segmented(other_map, threshold=1.0, products="skeleton,catalog,regions")
    planes, table = read_products(report)
    assert report.filaments == len(table) == planes["SKELETON"].sum() == 0


# --- regions of DS9 --------------------------------------------------------------------------------------------------

LINE = re.compile(r"polygon\(([-+.,\d]+)\) # text=\{(\d+)\}")


def read_regions(path: Path) -> tuple[str, dict[int, Points]]:
    """Return the coordinate system of a DS9 file and its polygons `(n, 2)` by their labels."""
    first, settings, system, *lines = path.read_text().splitlines()
    assert first == "# Region file format: DS9 version 4.1"
    assert settings.startswith("global ")
    polygons = {}
    for line in lines:
        match = LINE.fullmatch(line)
        assert match, line
        polygons[int(match[2])] = np.array(match[1].split(","), float).reshape(-1, 2)
    return system, polygons


@pytest.fixture
def filaments() -> Filaments:
    mask = np.zeros((20, 30))
    mask[3:6, 10:25] = mask[12, 4] = 1
    return Filaments(mask)


def test_without_a_wcs_the_first_pixel_is_1(filaments: Filaments, tmp_path: Path) -> None:
    write_regions(tmp_path / "map.reg", filaments.outlines())
    system, polygons = read_regions(tmp_path / "map.reg")
    assert system == "image"
    np.testing.assert_allclose([polygons[1].min(axis=0), polygons[1].max(axis=0)], [[10.5, 3.5], [25.5, 6.5]])
    np.testing.assert_allclose([polygons[2].min(axis=0), polygons[2].max(axis=0)], [[4.5, 12.5], [5.5, 13.5]])


def test_with_a_wcs_they_are_galactic(filaments: Filaments, tmp_path: Path) -> None:
    wcs = WCS(galactic_header(30, 20, longitude=0.1))
    write_regions(tmp_path / "map.reg", filaments.outlines(), wcs)
    system, polygons = read_regions(tmp_path / "map.reg")
    assert system == "galactic"
    x, y = wcs.world_to_pixel_values(*polygons[1].T)
    np.testing.assert_allclose([x.min(), x.max(), y.min(), y.max()], [9.5, 24.5, 2.5, 5.5], atol=1e-3)


def test_no_filament_is_a_file_without_polygons(tmp_path: Path) -> None:
    for number, wcs in enumerate((None, WCS(galactic_header(30, 20)))):
        write_regions(tmp_path / f"{number}.reg", [], wcs)
        assert read_regions(tmp_path / f"{number}.reg")[1] == {}


def test_the_regions_package_reads_them(filaments: Filaments, tmp_path: Path) -> None:
    regions = pytest.importorskip("regions")
    wcs = WCS(galactic_header(30, 20))
    write_regions(tmp_path / "map.reg", filaments.outlines(), wcs)
    found = regions.Regions.read(tmp_path / "map.reg", format="ds9")
    assert [str(region.meta["text"]) for region in found] == ["1", "2"]
    mask = found[0].to_pixel(wcs).to_mask(mode="center").to_image((20, 30))
    assert mask.sum() == 45
