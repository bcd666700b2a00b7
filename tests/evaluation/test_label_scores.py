from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from sklearn.metrics import average_precision_score

from bigsf.errors import BigsfWarning, DataError
from bigsf.evaluation.label_scores import MapScore, as_records, score
from bigsf.maps.config import MapConfig

NY, NX = 60, 80


def line(y: int, x0: int, x1: int, width: int = 4) -> npt.NDArray[Any]:
    plane = np.zeros((NY, NX), np.uint8)
    plane[y : y + width, x0:x1] = 1
    return plane


TARGET = line(10, 10, 70) + line(40, 10, 70)
IMAGE = np.ones((NY, NX), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image = IMAGE.copy()
    image[:, :5] = np.nan
    fits.writeto(tmp_path / "map.fits", image)
    fits.writeto(tmp_path / "target.fits", TARGET)
    return tmp_path


def scored(folder: Path, values: npt.NDArray[Any], **options: Any) -> dict[str, MapScore]:
    fits.writeto(folder / "found.fits", values, overwrite=True)
    options = {"against": folder / "target.fits", **options}
    return {row.against: row for row in score([folder / "found.fits"], folder / "map.fits", **options)}


def test_a_mask_is_scored_by_its_pixels_lines_and_objects(folder: Path) -> None:
    found = line(10, 10, 70) + line(25, 20, 60)  # one of the two, and one that is none
    row = scored(folder, found)["whole"]
    assert row.name == "found.fits"
    assert row.pixels == NY * (NX - 5)
    assert row.dice == pytest.approx(2 * 240 / (240 + 160 + 480))
    assert row.best_dice == pytest.approx(row.dice)
    assert np.isnan(row.average_precision)
    assert (row.object_completeness, row.object_purity) == (0.5, 0.5)
    assert row.completeness == pytest.approx(0.5, abs=0.03)
    assert row.purity == pytest.approx(58 / 96, abs=0.03)
    assert row.marked == pytest.approx(400 / (NY * 75))


def test_identifiers_count_as_a_mask(folder: Path) -> None:
    ids = 7 * line(10, 10, 70).astype(np.int32) + 900 * line(40, 10, 70).astype(np.int32)
    row = scored(folder, ids)["whole"]
    assert (row.dice, row.cldice, row.object_purity) == (1.0, 1.0, 1.0)


def test_identifiers_are_no_thresholds(folder: Path) -> None:
    ids = 1 * line(25, 10, 70).astype(np.int32) + 2 * line(10, 10, 70).astype(np.int32)  # the first is false
    rows = [scored(folder, found)["whole"] for found in (ids, (ids > 0).astype(np.uint8))]
    assert rows[0].best_dice == rows[1].best_dice == pytest.approx(rows[0].dice)


def test_whole_numbers_with_a_threshold_above_1_are_identifiers_with_a_warning(folder: Path) -> None:
    percent = (80 * TARGET + 30 * line(25, 10, 70)).astype(np.uint8)
    with pytest.warns(BigsfWarning, match="holds whole numbers, which are taken for identifiers: threshold=50 does"):
        row = scored(folder, percent, threshold=50)["whole"]
    assert row.dice == pytest.approx(0.8)
    assert np.isnan(row.average_precision)
    assert scored(folder, TARGET.astype(np.uint8), threshold=50)["whole"].dice == 1


def test_a_probability_is_scored_at_all_thresholds_and_at_one(folder: Path) -> None:
    probability = np.random.default_rng(0).uniform(0, 0.6, (NY, NX)).astype(np.float32) + 0.3 * TARGET
    row = scored(folder, probability)["whole"]
    where = np.s_[:, 5:]
    expected = average_precision_score(TARGET[where].ravel(), probability[where].ravel())
    assert row.average_precision == pytest.approx(expected, abs=1e-3)
    mask = probability[where] >= 0.5
    assert row.dice == pytest.approx(2 * (mask & (TARGET[where] > 0)).sum() / (mask.sum() + 480))
    assert row.best_dice > row.dice
    assert scored(folder, probability, threshold=0.6)["whole"].marked == pytest.approx(
        (probability[where] >= 0.6).mean()
    )


def test_a_score_of_any_range_has_no_mask_without_a_threshold(folder: Path) -> None:
    row = scored(folder, 10.0 * TARGET + 0.5)["whole"]
    assert np.isnan([row.dice, row.cldice, row.marked]).all()
    assert row.best_dice == row.average_precision == 1.0
    assert scored(folder, 10.0 * TARGET + 0.5, threshold=5)["whole"].dice == 1.0
    assert as_records([row])[0]["dice"] is None


def test_the_extension_mask_says_what_is_marked(folder: Path) -> None:
    hdus = [fits.PrimaryHDU(np.full((NY, NX), 0.1, np.float32) + 0.1 * TARGET), fits.ImageHDU(TARGET, name="MASK")]
    fits.HDUList(hdus).writeto(folder / "segmented.fits")
    (row,) = score([folder / "segmented.fits"], folder / "map.fits", folder / "target.fits")
    assert row.against == "whole"
    assert row.dice == 1.0


def test_a_background_needs_structures_which_the_map_may_hold(folder: Path) -> None:
    fits.PrimaryHDU(TARGET.astype(np.float32)).writeto(folder / "found.fits", overwrite=True)
    background = (1 - TARGET).astype(np.uint8)
    fits.PrimaryHDU(background).writeto(folder / "sure.fits")
    with pytest.raises(DataError, match=r"There is a background and no plane of the structures that it surrounds"):
        score([folder / "found.fits"], folder / "map.fits", background=folder / "sure.fits")
    with fits.open(folder / "map.fits") as hdus:
        hdus.append(fits.ImageHDU(TARGET.astype(np.uint8), name="TARGET"))
        hdus.writeto(folder / "labelled.fits")
    rows = score([folder / "found.fits"], folder / "labelled.fits", background=folder / "sure.fits")
    assert [row.against for row in rows] == ["labelled", "whole"]


def test_background_and_truth_make_further_rows(folder: Path) -> None:
    fits.writeto(folder / "background.fits", line(50, 10, 70))
    fits.writeto(folder / "truth.fits", TARGET + line(25, 10, 70))
    rows = scored(folder, TARGET, background=folder / "background.fits", truth=folder / "truth.fits")
    assert list(rows) == ["labelled", "whole", "truth"]
    assert rows["labelled"].pixels == 480 + 240
    assert np.isnan(rows["labelled"].cldice)
    assert rows["truth"].dice == pytest.approx(2 * 480 / (480 + 720))
    assert rows["truth"].object_completeness == pytest.approx(2 / 3)
    only = scored(folder, TARGET, against=None, truth=folder / "truth.fits")
    assert list(only) == ["truth"]
    assert as_records(list(only.values())) == as_records([rows["truth"]])


def test_all_maps_are_scored_on_the_pixels_that_all_of_them_have(folder: Path) -> None:
    half = np.where(np.arange(NX) < 40, np.nan, 0.2).astype(np.float32) * np.ones((NY, 1), np.float32)
    fits.writeto(folder / "half.fits", half)
    fits.writeto(folder / "found.fits", TARGET)
    maps = {"half": folder / "half.fits", "found": folder / "found.fits"}
    rows = score(maps, folder / "map.fits", folder / "target.fits")
    assert {row.pixels for row in rows} == {NY * 40}
    assert [row.name for row in rows if row.against == "whole"] == ["half", "found"]


def test_labels_may_be_regions(folder: Path) -> None:
    (folder / "target.reg").write_text("image\nbox(40.5,12.5,60,4,0)\nbox(40.5,42.5,60,4,0)\n")
    assert scored(folder, TARGET, against=folder / "target.reg")["whole"].dice == 1.0


def test_missing_data_are_not_scored(folder: Path) -> None:
    fits.writeto(folder / "valid.fits", np.uint8(np.arange(NX) >= 40) * np.ones((NY, 1), np.uint8))
    row = scored(folder, TARGET, config=MapConfig(valid=folder / "valid.fits"))["whole"]
    assert row.pixels == NY * 40


def test_there_must_be_labels_and_pixels(folder: Path) -> None:
    with pytest.raises(DataError, match="nothing to score against"):
        scored(folder, TARGET, against=None)
    with pytest.raises(DataError, match="has a value in all maps"):
        scored(folder, np.full((NY, NX), np.nan))
    with pytest.raises(DataError, match="All planes must share one grid"):
        scored(folder, TARGET[:-1])


def test_what_marks_missing_data_in_the_image_is_an_answer_in_a_mask(folder: Path) -> None:
    image = IMAGE.copy()
    image[:, :5] = 0
    fits.writeto(folder / "map.fits", image, overwrite=True)
    row = scored(folder, TARGET, config=MapConfig(blank=0))["whole"]
    assert row.pixels == NY * (NX - 5)
    assert row.marked == pytest.approx(480 / (NY * 75))


def test_two_maps_of_one_name_are_both_scored(folder: Path) -> None:
    paths = [folder / name / "found.fits" for name in ("one", "two")]
    for path, values in zip(paths, (TARGET, line(10, 10, 70)), strict=True):
        path.parent.mkdir()
        fits.writeto(path, values)
    rows = score(paths, folder / "map.fits", folder / "target.fits")
    assert [row.name for row in rows] == [str(path) for path in paths]
    assert [row.dice for row in rows] == pytest.approx([1.0, 2 / 3])


def test_the_extension_mask_decides_over_a_threshold(folder: Path) -> None:
    hdus = [fits.PrimaryHDU(np.full((NY, NX), 0.9, np.float32)), fits.ImageHDU(TARGET, name="MASK")]
    fits.HDUList(hdus).writeto(folder / "segmented.fits")
    (row,) = score([folder / "segmented.fits"], folder / "map.fits", folder / "target.fits", threshold=0.5)
    assert row.dice == 1.0


def test_where_no_pixel_has_a_label_there_are_no_scores_of_labelled_pixels(folder: Path) -> None:
    image = np.where((TARGET > 0) | (np.arange(NX) < 5), np.nan, 1).astype(np.float32)
    fits.writeto(folder / "map.fits", image, overwrite=True)
    fits.writeto(folder / "background.fits", np.zeros((NY, NX), np.uint8))
    assert list(scored(folder, TARGET, background=folder / "background.fits")) == ["whole"]


def test_a_path_that_names_an_hdu_means_that_hdu(folder: Path) -> None:
    hdus = [fits.PrimaryHDU(TARGET), fits.ImageHDU(line(25, 10, 70), name="MASK"), fits.ImageHDU(TARGET, name="OTHER")]
    fits.HDUList(hdus).writeto(folder / "tools.fits")
    for name, dice in (("tools.fits", 0.0), ("tools.fits[OTHER]", 1.0)):
        (row,) = score(folder / name, folder / "map.fits", folder / "target.fits")
        assert row.dice == dice
