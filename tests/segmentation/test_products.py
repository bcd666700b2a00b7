import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from matplotlib.image import imread
from scipy.ndimage import binary_dilation, binary_erosion, label

from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning, ConfigError, DataError, UsageError
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.ds9_regions import write_regions
from bigsf.filaments.spine import Points
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.config import SegmentConfig
from bigsf.segmentation.memory import check_memory
from bigsf.segmentation.products import SegmentReport
from bigsf.segmentation.segment import segment
from conftest import OutputPlanes, Segmented, galactic_header, write_patch_file


def read_products(report: SegmentReport) -> tuple[OutputPlanes, Table]:
    with fits.open(report.output) as hdus:
        planes = {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}
    return planes, Table.read(report.output.with_suffix(".ecsv"))


def test_products_agree_with_the_mask_and_the_map(segmented: Segmented, other_map: Path) -> None:
    report, out = segmented(other_map, threshold=0.4, products="mask,skeleton,labels,catalog,regions,spines")
    planes, table = read_products(report)
    components, number = label(out["MASK"], np.ones((3, 3)))
    assert report.filaments == number == len(table) > 1
    assert report.products == ["prob", "mask", "skeleton", "labels", "catalog", "regions", "spines"]
    assert planes["SKELETON"].dtype == planes["LABELS"].dtype == ">i4"
    np.testing.assert_array_equal(planes["LABELS"], components)
    assert set(np.unique(planes["SKELETON"])) == {0, *table["id"]}
    on_skeleton = planes["SKELETON"] > 0
    np.testing.assert_array_equal(planes["SKELETON"][on_skeleton], components[on_skeleton])
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


def as_floats(column: Any) -> FloatArray:
    """Return the values of a column, NaN where they are undefined."""
    return np.asarray(np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan))


def test_the_catalogue_is_the_same_in_all_formats(segmented: Segmented, other_map: Path) -> None:
    report, _ = segmented(other_map, threshold=0.4, products="catalog,votable,mrt")
    tables = [Table.read(report.output.with_suffix(".ecsv")), Table.read(report.output, hdu="CATALOG")]
    tables += [
        Table.read(report.output.with_suffix(ending), format=name)
        for ending, name in ((".vot", "votable"), (".mrt", "ascii.mrt"))
    ]
    for table in tables:
        assert table.colnames == tables[0].colnames
        for name in table.colnames:
            assert table[name].unit == tables[0][name].unit
            if name == "designation":
                assert list(map(str, table[name])) == list(tables[0][name])
                continue
            np.testing.assert_allclose(as_floats(table[name]), as_floats(tables[0][name]), rtol=1e-8)


@pytest.mark.parametrize(("product", "ending"), [("votable", ".vot"), ("mrt", ".mrt"), ("moc", ".moc.fits")])
def test_each_file_alone_is_written_and_kept_from_overwriting(
    segmented: Segmented, other_map: Path, tmp_path: Path, product: str, ending: str
) -> None:
    file = tmp_path / f"out{ending}"
    file.write_text("precious")
    with pytest.raises(UsageError, match=rf"out\{ending} exists already"):
        segmented(other_map, threshold=0.4, products=product)
    assert file.read_text() == "precious"
    report, out = segmented(other_map, threshold=0.4, products=product, overwrite=True)
    assert b"precious" not in file.read_bytes()
    assert report.outputs == [tmp_path / "out.fits", file, tmp_path / "out.png"]
    assert set(out) == {"PRIMARY"}
    with fits.open(report.output) as hdus:
        tables = [hdu.name for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    assert tables == (["PROVENANCE"] if product == "moc" else ["CATALOG", "PROVENANCE"])


def test_a_moc_is_the_sky_of_the_mask(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    pytest.importorskip("mocpy", reason="MOCs take mocpy: pip install 'bigsf[shapes]'")
    _, out = segmented(other_map, threshold=0.4, products="mask,moc")
    config = PreprocessConfig(image=other_map, target=tmp_path / "out.moc.fits", patch_size=16)
    preprocess(config, tmp_path / "other.h5")
    target, mask = PatchFile(tmp_path / "other.h5").target == 1, out["MASK"] == 1
    assert not (target & ~binary_dilation(mask, np.ones((3, 3)))).any()
    assert not (binary_erosion(mask, np.ones((3, 3))) & ~target).any()


def test_a_moc_without_a_wcs_is_refused_before_anything_is_written(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    fits.PrimaryHDU(fits.getdata(other_map)).writeto(tmp_path / "flat.fits")
    with pytest.raises(ConfigError, match=r"flat\.fits has no celestial WCS\. Leave moc out of the products\."):
        segmented(tmp_path / "flat.fits", products="moc", dry_run=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat.fits", "other.fits"]


def test_a_hips_is_a_folder_that_is_replaced_only_where_it_is_one(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    pytest.importorskip("reproject.hips", reason="a HiPS takes reproject: pip install 'bigsf[mosaic]'")
    folder = tmp_path / "out_hips"
    report, _ = segmented(other_map, products="mask", name="plain.fits")
    dry = segment(report.models, other_map, tmp_path / "out.fits", products="hips", dry_run=True)
    assert dry.outputs == [tmp_path / "out.fits", folder, tmp_path / "out.png"]
    assert not folder.exists()
    folder.mkdir()
    (folder / "precious.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"out_hips is to be a folder that holds a file 'properties', and there is"):
        segmented(other_map, products="hips", overwrite=True)
    (folder / "precious.txt").rename(folder / "properties")
    with pytest.raises(UsageError, match=r"out_hips exists already\. Pass overwrite=True"):
        segmented(other_map, products="hips")
    _, out = segmented(other_map, products="hips", overwrite=True)
    assert "hips_order" in (folder / "properties").read_text()
    values = [np.nanmax(fits.getdata(path)) for path in (folder / "Norder4").rglob("*.fits")]
    assert max(values) == np.nanmax(out["PRIMARY"])
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("plain")) == [
        "other.fits",
        "out.fits",
        "out.png",
        "out_hips",
    ]


def test_the_quicklook_is_written_in_another_format_too(trained: Path, other_map: Path, tmp_path: Path) -> None:
    for figures, beginning in (("pdf", b"%PDF-"), ("svg", b"<?xml")):
        output = tmp_path / f"{figures}.fits"
        report = segment(trained / "best.pt", other_map, output, figures=figures)
        assert report.outputs == [output, output.with_suffix(".png"), output.with_suffix(f".{figures}")]
        assert all(path.exists() for path in report.outputs)
        assert output.with_suffix(f".{figures}").read_bytes().startswith(beginning)
        assert imread(output.with_suffix(".png")).ndim == 3
    for ending in (".fits", ".png"):
        (tmp_path / f"pdf{ending}").unlink()
    with pytest.raises(UsageError, match=r"pdf\.pdf exists already"):
        segment(trained / "best.pt", other_map, tmp_path / "pdf.fits", figures="pdf")


def test_an_unknown_format_of_figures_is_one_message(trained: Path, other_map: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"figures: .*'png', 'pdf' or 'svg'"):
        segment(trained / "best.pt", other_map, tmp_path / "out.fits", figures="gif")


def test_the_quicklook_gets_the_outlines_of_products_of_filaments(
    segmented: Segmented, other_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def save(draw: Callable[[], Any], path: Path, _: Path) -> None:
        draw()
        path.touch()

    def figure(*_: Any, outlines: list[Points]) -> None:
        drawn.append(len(outlines))

    monkeypatch.setattr("bigsf.segmentation.result_writer.save_figure", save)
    monkeypatch.setattr("bigsf.segmentation.result_writer.quicklook_figure", figure)
    report, _ = segmented(other_map, threshold=0.4, products="skeleton")
    segmented(other_map, threshold=0.4, products="mask", overwrite=True)
    assert drawn == [report.filaments, 0]


def test_ids_of_all_files_are_those_of_the_catalogue(segmented: Segmented, other_map: Path) -> None:
    report, _ = segmented(other_map, threshold=0.4, products="labels,catalog,regions,spines")
    planes, table = read_products(report)
    names = "out_spines.ecsv", "out_branches.ecsv", "out_hubs.ecsv"
    points, branches, hubs = (Table.read(report.output.with_name(name)) for name in names)
    assert set(points["filament"]) == set(branches["filament"]) == set(table["id"])
    np.testing.assert_array_equal(np.bincount(branches["filament"])[1:], table["branches"])
    np.testing.assert_array_equal(np.bincount(hubs["filament"], minlength=len(table) + 1)[1:], table["hubs"])
    y, x = (np.rint(points[name]).astype(int) for name in "yx")
    assert (planes["LABELS"][y, x] == points["filament"]).mean() > 0.99  # smooth lines leave no more than corners
    lines = report.output.with_name("out_spines.reg").read_text().splitlines()
    ids = [int(text.partition("text={")[2].rstrip("}")) for text in lines if text.startswith("# segment(")]
    assert ids == [number for number, size in zip(branches["filament"], branches["length_px"], strict=True) if size > 0]
    assert [path.name for path in report.outputs[1:-1]] == [
        "out.ecsv",
        "out.reg",
        "out_spines.ecsv",
        "out_branches.ecsv",
        "out_hubs.ecsv",
        "out_spines.reg",
    ]


def test_every_plane_has_the_wcs(segmented: Segmented, other_map: Path, trained_kfold: Path) -> None:
    products = "mask,std,scale,skeleton,labels"
    report, _ = segmented(other_map, trained_kfold, threshold=0.4, products=products, scales="1,2")
    expected = fits.getheader(other_map)
    with fits.open(report.output) as hdus:
        images = [hdu for hdu in hdus if hdu.is_image]
        assert [hdu.name for hdu in images] == ["PRIMARY", "MASK", "STD", "SCALE", "SKELETON", "LABELS"]
        for hdu in images:
            for key in ("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2"):
                assert hdu.header[key] == expected[key]


# --- the spread of the probability ------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [True, False])
def test_std_and_the_catalogue_say_what_the_spread_is_taken_over(
    segmented: Segmented, other_map: Path, trained_kfold: Path, several: bool
) -> None:
    options: dict[str, Any] = {"models": trained_kfold} if several else {"tta": True}
    report, out = segmented(other_map, threshold=0.4, products="std,labels,catalog", **options)
    over = f"{len(report.models)} models" if several else "8 views of test-time augmentation"
    assert fits.getheader(report.output, "STD")["BTYPE"] == f"standard deviation over {over}"
    assert "BTYPE" not in fits.getheader(report.output, "LABELS")
    np.testing.assert_array_equal(np.isnan(out["STD"]), np.isnan(out["PRIMARY"]))
    _, table = read_products(report)
    assert table["probability_std"].description == f"standard deviation over {over}, mean over the filament"
    assert table.colnames.index("probability_std") == table.colnames.index("probability") + 1
    for row in table:
        assert row["probability_std"] == pytest.approx(out["STD"][out["LABELS"] == row["id"]].mean(), rel=1e-5)
    _, plain = segmented(other_map, name="plain.fits", threshold=0.4, products="labels,catalog", **options)
    np.testing.assert_array_equal(plain["PRIMARY"], out["PRIMARY"])
    assert "probability_std" not in Table.read(report.output.with_name("plain.ecsv")).colnames


# --- further maps and distances ---------------------------------------------------------------------------------------


@pytest.fixture
def dust(other_map: Path) -> Path:
    """Return a map on the grid of the other one, in K."""
    image, header = fits.getdata(other_map, header=True)
    header["BUNIT"] = "K"
    path = other_map.with_name("dust.fits")
    fits.writeto(path, np.add(*np.indices(image.shape)).astype(np.float32), header)
    return path


def test_the_catalogue_has_designations_masses_and_further_maps(
    segmented: Segmented, other_map: Path, dust: Path
) -> None:
    options = {"prefix": "BSF", "distance": 2.5, "measure": {"T": dust}}
    report, _ = segmented(other_map, threshold=0.4, products="labels,catalog", **options)
    planes, table = read_products(report)
    temperature = fits.getdata(dust)
    for row in table:
        assert row["T_median"] == pytest.approx(np.median(temperature[planes["LABELS"] == row["id"]]))
        assert re.fullmatch(r"BSF G\d{3}\.\d{3}[+-]\d{2}\.\d{3}[a-z]*", row["designation"])
        assert row["line_mass"] * row["area_pc2"] == pytest.approx(row["mass"] * row["width_pc"])
    assert str(table["T_mean"].unit) == "K"
    assert (table["distance"] == 2.5).all()
    assert len(set(table["designation"])) == len(table)


def test_a_part_of_the_map_measures_that_part_of_further_maps(
    segmented: Segmented, other_map: Path, dust: Path
) -> None:
    far = other_map.with_name("far.fits")
    image, header = fits.getdata(other_map, header=True)
    header["BUNIT"] = "pc"
    fits.writeto(far, np.full(image.shape, 3000, np.float32), header)
    wcs = WCS(header)
    ny, nx = image.shape
    (l0, b0), (l1, b1) = wcs.pixel_to_world_values([[nx - 1, 0], [nx // 2, ny - 1]])
    options = {"products": "labels,catalog", "distance": far, "measure": {"T": dust}}
    report, _ = segmented(other_map, threshold=0.4, region=f"{l0} {l1} {b0} {b1}", **options)
    planes, table = read_products(report)
    assert planes["LABELS"].shape[1] < nx
    left = round(header["CRPIX1"] - fits.getheader(report.output)["CRPIX1"])
    top = round(header["CRPIX2"] - fits.getheader(report.output)["CRPIX2"])
    ny, nx = planes["LABELS"].shape
    temperature = fits.getdata(dust)[top : top + ny, left : left + nx]
    for row in table:
        assert row["T_mean"] == pytest.approx(temperature[planes["LABELS"] == row["id"]].mean())
    np.testing.assert_allclose(table["distance"], 3)


def test_a_further_map_may_name_its_hdu(
    segmented: Segmented, other_map: Path, dust: Path, tmp_path: Path, trained: Path
) -> None:
    temperature, header = fits.getdata(dust, header=True)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(temperature, header, "T"),
        fits.ImageHDU(2 * temperature, header, "T", ver=2),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "cube.fits")
    cube = tmp_path / "cube.fits"
    maps = {"one": dust, "two": f"{cube}[2]", "named": f"{cube}[t,2]", "first": cube}
    report, _ = segmented(other_map, threshold=0.4, products="catalog", measure=maps)
    _, table = read_products(report)
    np.testing.assert_allclose(table["two_mean"], 2 * table["one_mean"], rtol=1e-6)
    np.testing.assert_array_equal(table["named_mean"], table["two_mean"])
    np.testing.assert_array_equal(table["first_mean"], table["one_mean"])
    with pytest.raises(DataError, match=r"cube\.fits has no HDU '7'; it has 0 PRIMARY \(\), 1 T \(.*2 T,2"):
        segmented(other_map, products="catalog", measure={"T": f"{cube}[7]"}, overwrite=True)
    with pytest.raises(DataError, match=r"cube\.fits\[1\] is the map of 'distance', and its unit \(BUNIT\) is K"):
        segmented(other_map, products="catalog", distance=f"{cube}[T]", overwrite=True)
    with pytest.raises(UsageError, match=r"cube\.fits is read by this command"):
        segment(trained / "best.pt", other_map, cube, products="catalog", measure={"T": f"{cube}[2]"}, overwrite=True)


def test_a_patch_file_measures_further_maps_too(
    segmented: Segmented, other_map: Path, dust: Path, tmp_path: Path
) -> None:
    image, header = fits.getdata(other_map, header=True)
    file = write_patch_file(tmp_path / "other.h5", image[None].astype(np.float32), 16, 4, header=header)
    tables = [
        read_products(
            segmented(path, name=f"{path.suffix[1:]}.fits", threshold=0.4, products="catalog", measure={"T": dust})[0]
        )[1]
        for path in (file.path, other_map)
    ]
    np.testing.assert_array_equal(tables[0]["T_mean"], tables[1]["T_mean"])


@pytest.mark.parametrize(
    ("unit", "change", "message"),
    [
        ("K", {}, r"distance\.fits is the map of 'distance', and its unit \(BUNIT\) is K\. Expected a length"),
        ("kpc", {"CRVAL1": 3.0}, "distance.fits has another WCS than other.fits"),
        ("kpc", None, r"distance\.fits has \d+ x \d+ pixels .* All planes must share one grid"),
    ],
)
def test_a_map_of_distances_that_cannot_be_used_is_refused(
    segmented: Segmented, other_map: Path, unit: str, change: dict[str, float] | None, message: str
) -> None:
    image, header = fits.getdata(other_map, header=True)
    header.update(change or {}, BUNIT=unit)
    path = other_map.with_name("distance.fits")
    fits.writeto(path, np.ones(image.shape if change is not None else (9, 9), np.float32), header)
    with pytest.raises(DataError, match=message):
        segmented(other_map, products="catalog", distance=path)


def test_a_distance_needs_a_column_density_and_a_wcs(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    fits.writeto(tmp_path / "flat.fits", image)
    with pytest.raises(DataError, match=r"flat\.fits has no celestial WCS: 'distance' needs the size of its pixels"):
        segmented(tmp_path / "flat.fits", products="catalog", distance=1.0)
    header["BUNIT"] = "K"
    fits.writeto(tmp_path / "kelvin.fits", image, header)
    with pytest.raises(DataError, match=r"The unit \(BUNIT\) of kelvin\.fits is K\. Masses at a distance need"):
        segmented(tmp_path / "kelvin.fits", products="catalog", distance=1.0)


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


@pytest.mark.filterwarnings("ignore:other.fits, binned by 2, is unlike:bigsf.errors.BigsfWarning")
@pytest.mark.filterwarnings("ignore:No pixel of other.fits reaches the threshold:bigsf.errors.BigsfWarning")
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
    with pytest.raises(ConfigError, match=r"standard deviation .* one model was given without test-time .* Give"):
        segmented(other_map, products="std")
    with pytest.raises(ConfigError, match=r"scale tells which of several factors .* one factor was given\. Give"):
        segmented(other_map, products="scale", scales=[2])
    (tmp_path / "out.reg").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.reg exists already"):
        segmented(other_map, products="regions")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["other.fits", "out.reg"]


def test_products_of_a_map_without_a_filament(segmented: Segmented, other_map: Path) -> None:
    with pytest.warns(BigsfWarning, match="No pixel"):
        report, _ = segmented(other_map, threshold=1.0, products="skeleton,catalog,votable,mrt,regions,moc")
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


@pytest.mark.parametrize(
    ("options", "bytes_per_pixel"),
    [
        ({"border": 0, "min_skeleton": 1}, 0),
        ({"products": "prob"}, 0),
        ({}, 7),
        ({"hysteresis": 0.2, "reconstruct": True}, 9),
        ({"products": "labels"}, 10),
        ({"products": "catalog"}, 13.5),
        ({"products": "catalog,spines"}, 17.5),
    ],
)
def test_the_memory_that_a_mask_and_its_products_need_is_known_before(
    options: dict[str, Any], bytes_per_pixel: float
) -> None:
    report = SegmentReport(Path("out.fits"), (1800, 114000), [], 0.5, SegmentConfig.from_dict(options))
    rows_at_a_time = 24 * 4_000_000 if "catalog" in report.products else 0
    assert report.memory_bytes == bytes_per_pixel * 1800 * 114000 + rows_at_a_time
    check_memory(report.config, report.shape)  # no memory was given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"products": "mask,catalog,spines"},
            r"'memory' \(1\.0 GB\) is too little: the products catalog, spines must have the whole of MASK in memory, "
            r"which takes about 3\.7 GB on a map of 114000 x 1800 pixels\. Allow that much; or leave them out; or",
        ),
        (
            {"products": "mask"},
            r"'memory' \(1\.0 GB\) is too little: the cleaning of MASK \(min-skeleton 5, border 3\) must .* 1\.4 GB .*"
            r"border=0 and min_skeleton=1",
        ),
        (
            {"products": "mask", "border": 0, "min_skeleton": 1, "min_area": 5},
            r"the cleaning of MASK \(min-area 5\) must .* Allow that much; or leave it out; or segment",
        ),
    ],
)
def test_products_that_need_more_memory_than_was_given_are_refused(options: dict[str, Any], message: str) -> None:
    def check(memory: str) -> None:
        config = SegmentConfig.from_dict({**options, "memory": memory})
        check_memory(config, (1800, 114000))

    check("4GB")
    with pytest.raises(ConfigError, match=message):
        check("1GB")


def test_a_map_whose_products_need_too_much_memory_is_refused_before_it_is_predicted(
    segmented: Segmented, other_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigsf.segmentation.memory._SPINES_BYTES", 1e6)
    monkeypatch.setattr("bigsf.segmentation.segment.write_outputs", lambda *_: pytest.fail("it was predicted"))
    with pytest.raises(ConfigError, match=r"'memory' \(1\.0 GB\) is too little: the products spines must"):
        segmented(other_map, products="spines", memory="1GB")
