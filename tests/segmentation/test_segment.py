import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import label

from bigsf.errors import BigsfWarning, ConfigError, DataError, SnapshotError, UsageError
from bigsf.filaments.cleaning import Cleaning
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.ensemble import find_models
from bigsf.segmentation.segment import SegmentReport, segment
from bigsf.training.snapshot import Snapshot
from conftest import Sky, galactic_header, write_patch_file

MapRows = dict[str, npt.NDArray[Any]]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigsf.segmentation.segment.draw_quicklook", lambda _, path, *__, **___: path.touch())


@pytest.fixture
def other_map(sky: Sky, tmp_path: Path) -> Path:
    """Return a map that no model was trained on: the sky, brighter and upside down, in another unit."""
    path = tmp_path / "other.fits"
    fits.PrimaryHDU(1.1 * sky.image[::-1].astype(np.float32), sky.header).writeto(path)
    return path


@pytest.fixture
def segmented(trained: Path, tmp_path: Path) -> Callable[..., tuple[SegmentReport, MapRows]]:
    """Segment a map, by default with one model, and return the report and the planes of the output."""

    def make(image: Path, models: Any = None, name: str = "out.fits", **options: Any) -> tuple[SegmentReport, MapRows]:
        report = segment(models or trained / "best.pt", image, tmp_path / name, precision="fp32", **options)
        with fits.open(report.output) as hdus:
            return report, {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}

    return make


Segmented = Callable[..., tuple[SegmentReport, MapRows]]


def test_probability_finds_the_structures_and_is_nan_exactly_where_the_map_is(
    segmented: Segmented, other_map: Path, sky: Sky
) -> None:
    report, out = segmented(other_map)
    probability, missing = out["PRIMARY"], np.isnan(sky.image[::-1])
    assert probability.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(np.isnan(probability), missing)
    assert report.valid == (~missing).sum()
    on = (sky.target[::-1] > 0) & ~missing
    off = (sky.background[::-1] > 0) & ~missing
    assert probability[on].mean() > probability[off].mean() + 0.3


def test_mask_is_one_where_the_probability_reaches_the_threshold(segmented: Segmented, other_map: Path) -> None:
    report, out = segmented(other_map, threshold=0.4)
    assert report.threshold == 0.4
    assert out["MASK"].dtype == np.uint8
    np.testing.assert_array_equal(out["MASK"], out["PRIMARY"] >= np.float32(0.4))
    assert 0 < report.marked == out["MASK"].sum() < report.valid


def test_cleaning_leaves_pieces_out_of_the_mask_and_of_all_that_is_made_of_it(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    _, plain = segmented(other_map, name="plain.fits", threshold=0.4)
    report, out = segmented(
        other_map, threshold=0.4, hysteresis=0.3, reconstruct=True, min_area=20, products="mask,skeleton,catalog"
    )
    np.testing.assert_array_equal(out["PRIMARY"], plain["PRIMARY"])
    low, high = (plain["PRIMARY"] >= np.float32(value) for value in (0.3, 0.4))
    expected = Cleaning(0.3, True, 20)(low, high)
    assert not np.array_equal(expected, high)
    np.testing.assert_array_equal(out["MASK"], expected)
    assert report.marked == expected.sum()
    pieces, number = label(expected, np.ones((3, 3)))
    areas = np.sort(np.bincount(pieces.ravel())[1:])
    np.testing.assert_array_equal(np.sort(Table.read(tmp_path / "out.ecsv")["area_px"]), areas)
    assert report.filaments == number
    assert not out["SKELETON"][~expected].any()
    said = Table.read(report.output, "PROVENANCE")
    assert dict(said.iterrows())["cleaning"] == "hysteresis 0.3, reconstruct, min-area 20"


@pytest.mark.parametrize("options", [{"hysteresis": 0.5}, {"hysteresis": float("nan")}, {"min_area": 0}])
def test_cleaning_that_makes_no_sense_is_refused(
    segmented: Segmented, other_map: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).replace("_", "-")):
        segmented(other_map, threshold=0.4, **options)
    assert not (tmp_path / "out.fits").exists()


def test_thresholds_come_from_the_snapshot_or_the_user(segmented: Segmented, other_map: Path, trained: Path) -> None:
    stored = Snapshot.load(trained / "best.pt").thresholds
    assert stored.whole != stored.labelled
    for number, (threshold, expected) in enumerate(
        [("whole", stored.whole), ("labelled", stored.labelled), ("0.25", 0.25), (0.75, 0.75)]
    ):
        assert segmented(other_map, name=f"{number}.fits", threshold=threshold)[0].threshold == expected


@pytest.mark.parametrize("threshold", ["half", "1.5", -0.1, "nan"])
def test_impossible_threshold_is_refused(segmented: Segmented, other_map: Path, threshold: object) -> None:
    with pytest.raises(ConfigError, match=f"--threshold {threshold}: expected whole, labelled, or a probability"):
        segmented(other_map, threshold=threshold)


def test_output_keeps_the_wcs_and_the_history_but_not_the_unit(segmented: Segmented, other_map: Path, sky: Sky) -> None:
    report, _ = segmented(other_map)
    with fits.open(report.output) as hdus:
        for hdu in hdus[:2]:
            before, after = WCS(sky.header), WCS(hdu.header)
            x, y = np.array([0, 159, 0, 159, 80.3]), np.array([0, 0, 95, 95, 40.7])
            expected = before.pixel_to_world_values(x, y)
            np.testing.assert_allclose(after.pixel_to_world_values(x, y), expected, rtol=0, atol=1e-10)
            assert "BUNIT" not in hdu.header
        assert "made for the tests" in list(hdus[0].header["HISTORY"])
        assert hdus[0].header["BTYPE"] == "probability"


def test_provenance_names_model_and_config(segmented: Segmented, other_map: Path, trained: Path) -> None:
    report, _ = segmented(other_map)
    with fits.open(report.output) as hdus:
        entries, history = dict(hdus["PROVENANCE"].data), " ".join(hdus[0].header["HISTORY"])
    digest = hashlib.sha256((trained / "best.pt").read_bytes()).hexdigest()
    assert entries["model 1"] == f"{trained / 'best.pt'} SHA-256 {digest}"
    assert entries["map"] == str(other_map)
    assert '"features": 4' in entries["config"]
    assert "Probability of a filament, by bigsf" in history


def test_several_models_vote_and_say_how_much_they_differ(
    segmented: Segmented, other_map: Path, trained: Path, trained_kfold: Path
) -> None:
    models = [trained / "best.pt", trained_kfold / "split_2" / "best.pt"]
    report, together = segmented(other_map, models)
    each = np.stack([segmented(other_map, model, f"{i}.fits")[1]["PRIMARY"] for i, model in enumerate(models)])
    assert report.models == models
    np.testing.assert_allclose(together["PRIMARY"], each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(together["STD"], each.std(axis=0), atol=1e-6)
    thresholds = [Snapshot.load(model).thresholds.whole for model in models]
    assert report.threshold == pytest.approx(np.mean(thresholds))


def test_run_folder_and_kfold_folder_are_models(trained: Path, trained_kfold: Path) -> None:
    splits = [trained_kfold / f"split_{number}" / "best.pt" for number in range(1, 5)]
    assert find_models([trained]) == [trained / "best.pt"]
    assert find_models([trained_kfold]) == splits
    assert find_models([trained, trained_kfold / "split_1" / "last.pt"]) == [
        trained / "best.pt",
        trained_kfold / "split_1" / "last.pt",
    ]


def test_a_kfold_that_is_not_complete_says_so(trained_kfold: Path, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    shutil.copytree(trained_kfold, folder)
    (folder / "split_2" / "best.pt").unlink()
    (folder / "summary.json").unlink()
    with pytest.warns(BigsfWarning, match=r"begun holds a k-fold that has not ended; of its models only 3 can vote"):
        assert len(find_models([folder])) == 3


def test_the_models_of_a_kfold_folder_vote(segmented: Segmented, other_map: Path, trained_kfold: Path) -> None:
    report, out = segmented(other_map, trained_kfold)
    assert len(report.models) == 4
    assert np.nanmax(out["STD"]) > 0


def test_folder_without_a_model_and_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"holds no trained model: neither best\.pt nor split_\*/best\.pt"):
        find_models([tmp_path])
    (tmp_path / "last.pt").touch()
    with pytest.raises(SnapshotError, match=r"stopped before its first epoch ended. Go on with bigsf resume"):
        find_models([tmp_path])
    with pytest.raises(SnapshotError, match="does not exist"):
        find_models([tmp_path / "absent.pt"])


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_does_not_change_the_result(segmented: Segmented, other_map: Path, batch_size: int) -> None:
    expected = segmented(other_map)[1]["PRIMARY"]
    found = segmented(other_map, name="batched.fits", batch_size=batch_size)[1]["PRIMARY"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_map_smaller_than_a_patch(segmented: Segmented, tmp_path: Path) -> None:
    image = np.random.default_rng(0).lognormal(50, 0.2, (7, 11)).astype(np.float32)
    image[2, 3] = np.nan
    fits.PrimaryHDU(image, galactic_header(11, 7)).writeto(tmp_path / "small.fits")
    _, out = segmented(tmp_path / "small.fits", threshold=0.01)
    np.testing.assert_array_equal(np.isnan(out["PRIMARY"]), np.isnan(image))


def test_map_without_a_wcs_gives_the_same_probabilities(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    fits.PrimaryHDU(fits.getdata(other_map)).writeto(tmp_path / "bare.fits")
    report, out = segmented(tmp_path / "bare.fits", name="bare_out.fits")
    np.testing.assert_array_equal(out["PRIMARY"], segmented(other_map)[1]["PRIMARY"])
    assert not WCS(fits.getheader(report.output)).has_celestial


def test_patch_file_is_a_map(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    header.remove("BUNIT")
    file = write_patch_file(tmp_path / "other.h5", image[None].astype(np.float32), 16, 4, header=header)
    _, out = segmented(file.path)
    np.testing.assert_allclose(out["PRIMARY"], segmented(other_map, name="fits.fits")[1]["PRIMARY"], atol=1e-6)


def test_pixels_masked_as_missing_are_nan_and_influence_nothing(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    image, header = fits.getdata(other_map, header=True)
    valid = np.ones(image.shape, np.uint8)
    valid[60:, 100:] = 0
    fits.PrimaryHDU(valid, header).writeto(tmp_path / "valid.fits")
    fits.PrimaryHDU(np.where(valid == 1, image, np.nan), header).writeto(tmp_path / "cut.fits")
    masked = segmented(other_map, valid=tmp_path / "valid.fits")[1]["PRIMARY"]
    np.testing.assert_array_equal(masked, segmented(tmp_path / "cut.fits", name="cut_out.fits")[1]["PRIMARY"])


def test_blank_value_is_missing(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    image, header = fits.getdata(other_map, header=True)
    fits.PrimaryHDU(np.nan_to_num(image, nan=-999), header).writeto(tmp_path / "blank.fits")
    blank = segmented(tmp_path / "blank.fits", name="blank_out.fits", blank=-999)[1]["PRIMARY"]
    np.testing.assert_array_equal(blank, segmented(other_map)[1]["PRIMARY"])


def test_map_without_a_valid_pixel_warns_and_is_all_nan(segmented: Segmented, tmp_path: Path) -> None:
    fits.PrimaryHDU(np.full((20, 30), np.nan, np.float32)).writeto(tmp_path / "empty.fits")
    with pytest.warns(BigsfWarning, match=r"empty\.fits holds no valid pixel; the output is all NaN"):
        _, out = segmented(tmp_path / "empty.fits")
    assert np.isnan(out["PRIMARY"]).all()
    assert not out["MASK"].any()


def test_nothing_found_is_an_answer(segmented: Segmented, other_map: Path) -> None:
    with pytest.warns(BigsfWarning, match=r"No pixel of other\.fits reaches the threshold 1"):
        report, _ = segmented(other_map, threshold=1.0)
    assert report.marked == 0


def test_map_of_the_training_warns_and_points_to_the_out_of_fold_map(
    segmented: Segmented, sky: Sky, patch_path: Path
) -> None:
    for number, image in enumerate((sky.path("image"), patch_path)):
        with pytest.warns(BigsfWarning, match=rf"{image.name} is the map that the model was trained on.*out_of_fold"):
            segmented(image, name=f"{number}.fits")


def test_map_of_the_training_is_known_in_other_patches_too(segmented: Segmented, sky: Sky, tmp_path: Path) -> None:
    preprocess(PreprocessConfig(image=sky.path("image"), patch_size=16, stride=16, keep="valid"), tmp_path / "again.h5")
    with pytest.warns(BigsfWarning, match=r"again\.h5 is the map that the model was trained on"):
        segmented(tmp_path / "again.h5")


def test_other_maps_do_not_warn(segmented: Segmented, other_map: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmented(other_map)


def test_existing_output_is_kept_unless_told_otherwise(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    (tmp_path / "out.fits").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.fits exists already"):
        segmented(other_map)
    assert (tmp_path / "out.fits").read_text() == "precious"
    assert "PRIMARY" in segmented(other_map, overwrite=True)[1]


def test_default_output_lies_in_the_current_folder(
    trained: Path, other_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    segment(trained, other_map)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == ["other_segmented.fits", "other_segmented.png"]


def test_dry_run_writes_nothing(trained: Path, other_map: Path, tmp_path: Path) -> None:
    report = segment(trained, other_map, tmp_path / "out.fits", dry_run=True)
    assert report.shape == (96, 160)
    assert not report.output.exists()


def test_number_of_channels_must_be_that_of_the_model(segmented: Segmented, other_map: Path) -> None:
    with pytest.raises(DataError, match=r"The model takes 1 image planes, other\.fits gives 2"):
        segmented(other_map, channels=[other_map])


def test_models_of_different_patch_sizes_do_not_vote(
    segmented: Segmented, other_map: Path, trained: Path, tmp_path: Path
) -> None:
    snapshot = Snapshot.load(trained / "best.pt")
    snapshot.patch_size = 32
    snapshot.save(tmp_path / "wide.pt")
    with pytest.raises(SnapshotError, match=r"must share one patch size; found .*best\.pt: 16, .*wide\.pt: 32"):
        segmented(other_map, [trained / "best.pt", tmp_path / "wide.pt"])


def test_failure_leaves_no_output(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A stride of 17 pixels does not cover a map"):
        segmented(other_map, stride=17)
    assert [path.name for path in tmp_path.iterdir()] == ["other.fits"]


def read_products(report: SegmentReport) -> tuple[MapRows, Table]:
    with fits.open(report.output) as hdus:
        planes = {hdu.name: np.array(hdu.data) for hdu in hdus if hdu.is_image}
    return planes, Table.read(report.output.with_suffix(".ecsv"))


def test_products_agree_with_the_mask_and_the_map(segmented: Segmented, other_map: Path, sky: Sky) -> None:
    report, out = segmented(other_map, threshold=0.4, products="mask,skeleton,catalog,regions")
    planes, table = read_products(report)
    pieces, number = label(out["MASK"], np.ones((3, 3)))
    assert report.filaments == number == len(table) > 1
    assert report.products == ["prob", "mask", "skeleton", "catalog", "regions"]
    assert planes["SKELETON"].dtype == np.uint8
    assert 0 < planes["SKELETON"].sum() < planes["MASK"].sum()
    assert not (planes["SKELETON"] > planes["MASK"]).any()
    image = fits.getdata(other_map)
    for row in table:
        on = pieces == row["id"]
        assert row["area_px"] == on.sum()
        assert row["peak"] == pytest.approx(image[on].max(), rel=1e-6)
        assert row["probability"] == pytest.approx(out["PRIMARY"][on].mean(), rel=1e-5)
    longest = table[np.argmax(table["length_px"])]
    x, y = WCS(sky.header).world_to_pixel_values(longest["l"], longest["b"])
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
        ConfigError, match="unknown 'catalogue'; did you mean 'catalog'\\? Allowed: prob, mask, std, skel"
    ):
        segmented(other_map, products="mask,catalogue")
    with pytest.raises(ConfigError, match="std is how much several models differ, and one model was given"):
        segmented(other_map, products="std")
    (tmp_path / "out.reg").write_text("precious")
    with pytest.raises(UsageError, match=r"out\.reg exists already"):
        segmented(other_map, products="regions")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["other.fits", "out.reg"]


def test_products_of_a_map_without_a_filament(segmented: Segmented, other_map: Path) -> None:
    with pytest.warns(BigsfWarning, match="No pixel"):
        report, _ = segmented(other_map, threshold=1.0, products="skeleton,catalog,regions")
    planes, table = read_products(report)
    assert report.filaments == len(table) == planes["SKELETON"].sum() == 0


def test_memory_and_orientations(segmented: Segmented, other_map: Path) -> None:
    _, plain = segmented(other_map)
    _, little = segmented(other_map, name="little.fits", memory="2MB")
    np.testing.assert_allclose(little["PRIMARY"], plain["PRIMARY"], atol=1e-6)
    _, turned = segmented(other_map, name="turned.fits", tta=True)
    assert 0 < np.nanmax(abs(turned["PRIMARY"] - plain["PRIMARY"])) < 0.5


@pytest.mark.parametrize(("memory", "message"), [("lots", "expected a size such as"), ("1kB", "is too little: a band")])
def test_impossible_memory_is_refused(segmented: Segmented, other_map: Path, memory: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--memory {memory[0]}.*{message}"):
        segmented(other_map, memory=memory)
