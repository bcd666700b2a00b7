import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import label

import bigsf
from bigsf.errors import BigsfWarning, ConfigError, SnapshotError, UsageError
from bigsf.filaments.cleaning import Cleaning
from bigsf.segmentation.config import SegmentConfig
from bigsf.segmentation.segment import segment
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import Segmented, Settings, Sky, galactic_header


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


@pytest.mark.parametrize("scales", [[1], [2], [1, 2]])
def test_a_model_that_gives_no_number_is_refused_and_writes_nothing(
    trained: Path, other_map: Path, tmp_path: Path, scales: list[int]
) -> None:
    snapshot = Snapshot.load(trained / "best.pt")
    weights = next(name for name, tensor in snapshot.model_state.items() if tensor.ndim == 4)
    snapshot.model_state[weights][0] = float("nan")
    snapshot.save(tmp_path / "broken.pt")
    with pytest.raises(SnapshotError, match=r"The probability of \d+ valid pixels of .* is no number"):
        segment(tmp_path / "broken.pt", other_map, tmp_path / "out.fits", scales=scales)
    assert not list(tmp_path.glob("*out*"))
    assert np.isnan(bigsf.load(tmp_path / "broken.pt")(fits.getdata(other_map), scales=scales)).all()


def test_mask_is_one_where_the_probability_reaches_the_threshold(segmented: Segmented, other_map: Path) -> None:
    report, out = segmented(other_map, threshold=0.4, border=0, min_skeleton=1)
    assert report.threshold == 0.4
    assert out["MASK"].dtype == np.uint8
    np.testing.assert_array_equal(out["MASK"], out["PRIMARY"] >= np.float32(0.4))
    assert 0 < report.marked == report.reached == out["MASK"].sum() < report.valid
    assert "cleaning" not in dict(Table.read(report.output, "PROVENANCE").iterrows())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ""),
        ({"threshold": 0.4, "tta": True}, ""),
        ({"tta": True}, "The threshold whole was found at stride 8; at stride 8 with tta another one"),
        ({"stride": 4, "threshold": "labelled"}, "The threshold labelled was found at stride 8; at stride 4 another"),
    ],
)
def test_a_threshold_of_validation_on_another_kind_of_prediction_is_said_once(
    segmented: Segmented, other_map: Path, caplog: pytest.LogCaptureFixture, options: dict[str, Any], said: str
) -> None:
    with caplog.at_level("INFO", logger="bigsf"):
        segmented(other_map, **options)
    assert len(caplog.messages) == bool(said)
    assert "".join(caplog.messages).startswith(said)


def test_cleaning_leaves_components_out_of_the_mask_and_of_its_products(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    _, plain = segmented(other_map, name="plain.fits", threshold=0.4)
    report, out = segmented(
        other_map, threshold=0.4, hysteresis=0.3, reconstruct=True, min_area=20, products="mask,skeleton,catalog"
    )
    np.testing.assert_array_equal(out["PRIMARY"], plain["PRIMARY"])
    low, high = (plain["PRIMARY"] >= np.float32(value) for value in (0.3, 0.4))
    expected = Cleaning(0.3, True, 20, 5, 3)(low, high, np.isfinite(plain["PRIMARY"]))
    assert not np.array_equal(expected, high)
    np.testing.assert_array_equal(out["MASK"], expected)
    assert report.marked == expected.sum()
    components, number = label(expected, np.ones((3, 3)))
    areas = np.sort(np.bincount(components.ravel())[1:])
    np.testing.assert_array_equal(np.sort(Table.read(tmp_path / "out.ecsv")["area_px"]), areas)
    assert report.filaments == number
    assert not out["SKELETON"][~expected].any()
    provenance = Table.read(report.output, "PROVENANCE")
    cleaning = dict(provenance.iterrows())["cleaning"]
    assert cleaning == "hysteresis 0.3, reconstruct, min-area 20, min-skeleton 5, border 3"


def test_border_and_spots_are_left_out_of_the_mask_by_default(
    segmented: Segmented, other_map: Path, tmp_path: Path
) -> None:
    image, header = fits.getdata(other_map, header=True)
    image[44:64, 60:110] = 0  # a gap, whose upper rim is raised
    image[42:44, 62:108] *= 4
    fits.PrimaryHDU(image, header).writeto(tmp_path / "gap.fits")
    _, every = segmented(tmp_path / "gap.fits", name="every.fits", blank=0, threshold=0.65, border=0, min_skeleton=1)
    report, out = segmented(tmp_path / "gap.fits", blank=0, threshold=0.65, products="mask,catalog,skeleton")
    valid, marked = np.isfinite(out["PRIMARY"]), every["MASK"] > 0
    np.testing.assert_array_equal(out["MASK"], Cleaning(min_skeleton=5, border=3)(marked, valid=valid))
    assert marked[42:44, 64:106].mean() > 0.5
    assert not out["MASK"][42:44, 64:106].any()
    assert report.marked == out["MASK"].sum() < report.reached == marked.sum()
    table = Table.read(report.output.with_suffix(".ecsv"))
    assert len(table) == report.filaments == label(out["MASK"], np.ones((3, 3)))[1]
    assert (table["length_px"] > 0).all()


def test_a_mask_that_its_cleaning_empties_is_said(segmented: Segmented, other_map: Path) -> None:
    with pytest.warns(
        BigsfWarning, match=r"MASK is empty: its cleaning \(min-area 9999, .*\) leaves out all \d+ pixels of other"
    ):
        report, _ = segmented(other_map, threshold=0.4, min_area=9999)
    assert report.marked == 0 < report.reached
    with pytest.warns(
        BigsfWarning, match=r"that reach the threshold 1e-06. These are 100% of the map: raise the thresh"
    ):
        segmented(other_map, threshold=1e-6, min_area=99999, overwrite=True)


def test_output_keeps_the_wcs_and_the_history_but_not_the_unit(segmented: Segmented, other_map: Path) -> None:
    report, _ = segmented(other_map)
    with fits.open(report.output) as hdus:
        for hdu in hdus[:2]:
            before, after = WCS(fits.getheader(other_map)), WCS(hdu.header)
            x, y = np.array([0, 159, 0, 159, 80.3]), np.array([0, 0, 95, 95, 40.7])
            expected = before.pixel_to_world_values(x, y)
            np.testing.assert_allclose(after.pixel_to_world_values(x, y), expected, rtol=0, atol=1e-10)
            assert "BUNIT" not in hdu.header
        assert "made for the tests" in list(hdus[0].header["HISTORY"])
        assert hdus[0].header["BTYPE"] == "probability"


def test_provenance_holds_models_and_configurations(segmented: Segmented, other_map: Path, trained: Path) -> None:
    report, _ = segmented(other_map)
    with fits.open(report.output) as hdus:
        entries, history = dict(hdus["PROVENANCE"].data), " ".join(hdus[0].header["HISTORY"])
    digest = hashlib.sha256((trained / "best.pt").read_bytes()).hexdigest()
    assert entries["model 1"] == f"{trained / 'best.pt'} SHA-256 {digest}"
    assert entries["map"] == str(other_map)
    assert '"features": 4' in entries["config"]
    recorded = SegmentConfig.model_validate_json(entries["segment config"])
    assert recorded == report.config
    assert (recorded.stride, recorded.products, recorded.precision) == (8, ["prob", "mask"], "fp32")
    assert "config" not in history
    assert "Probability of a filament, by bigsf" in history


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_does_not_change_the_result(segmented: Segmented, other_map: Path, batch_size: int) -> None:
    expected = segmented(other_map)[1]["PRIMARY"]
    found = segmented(other_map, name="batched.fits", batch_size=batch_size)[1]["PRIMARY"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_map_smaller_than_a_patch(segmented: Segmented, tmp_path: Path) -> None:
    image = np.random.default_rng(0).lognormal(50, 0.2, (7, 11)).astype(np.float32)
    image[2, 3] = np.nan
    fits.PrimaryHDU(image, galactic_header(11, 7, longitude=9)).writeto(tmp_path / "small.fits")
    _, out = segmented(tmp_path / "small.fits", threshold=0.01, border=0)
    np.testing.assert_array_equal(np.isnan(out["PRIMARY"]), np.isnan(image))


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


def test_products_of_an_earlier_segmentation_that_stay_are_named(segmented: Segmented, other_map: Path) -> None:
    segmented(other_map, threshold=0.4, products="mask,regions,catalog", figures="pdf")
    with pytest.warns(
        BigsfWarning, match=r"^out\.pdf, out\.reg beside out\.fits stay as an earlier segmentation wrote"
    ):
        segmented(other_map, threshold=0.5, products="mask,catalog", overwrite=True)


def test_dry_run_writes_nothing(trained: Path, other_map: Path, tmp_path: Path) -> None:
    report = segment(trained, other_map, tmp_path / "out.fits", dry_run=True)
    assert report.shape == (96, 160)
    assert not report.output.exists()


def test_dry_run_says_how_long_the_prediction_takes(
    trained: Path, other_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigsf.models.measured_time.seconds_per_window", lambda *_: 0.01)
    for models, options, windows in (
        ([trained], {"stride": 8}, 11 * 19),
        ([trained], {"stride": 16}, 6 * 10),
        ([trained], {"stride": 16, "tta": True}, 8 * 6 * 10),
        ([trained] * 2, {"stride": 16, "scales": [1, 2]}, 2 * (6 * 10 + 3 * 5)),
    ):
        report = segment(models, other_map, tmp_path / "out.fits", dry_run=True, **options)
        assert report.seconds == pytest.approx(0.01 * windows)


def test_failure_leaves_no_output(segmented: Segmented, other_map: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A stride of 17 pixels does not cover a map"):
        segmented(other_map, stride=17)
    assert [path.name for path in tmp_path.iterdir()] == ["other.fits"]


def test_memory_and_orientations(segmented: Segmented, other_map: Path) -> None:
    _, plain = segmented(other_map)
    _, little = segmented(other_map, name="little.fits", memory="2MB")
    np.testing.assert_allclose(little["PRIMARY"], plain["PRIMARY"], atol=1e-6)
    _, turned = segmented(other_map, name="turned.fits", tta=True)
    assert 0 < np.nanmax(abs(turned["PRIMARY"] - plain["PRIMARY"])) < 0.5


def test_a_map_beyond_the_positions_of_the_training_is_said_once(
    run_in: Settings, segmented: Segmented, sky: Sky, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model = {"type": "unet", "features": 4, "depth": 1, "position": {"type": "identity"}}
    trainer = Trainer.from_config(run_in(tmp_path, epochs=1, model=model))
    trainer.train()
    recwarn.clear()
    header = sky.header.copy()
    for name, longitude in (("here", 0), ("away", 170)):
        header["CRVAL1"] = longitude
        fits.PrimaryHDU(1.1 * sky.image[::-1].astype(np.float32), header).writeto(tmp_path / f"{name}.fits")
    segmented(tmp_path / "here.fits", trainer.folder.path)
    assert not [warning for warning in recwarn if "position" in str(warning.message)]
    copies = [trainer.folder.best, trainer.folder.last]
    with pytest.warns(
        BigsfWarning, match=r"away\.fits has positions l = 168\.71 to 170\.30 deg.* on l = 358\.71 to 0\.30"
    ) as said:
        segmented(tmp_path / "away.fits", copies, overwrite=True)
    assert len([warning for warning in said if "position" in str(warning.message)]) == 1
