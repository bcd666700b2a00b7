from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table

from bigsf.arrays import MaskArray
from bigsf.evaluation.catalogue import cleaned_mask, make_catalogue
from bigsf.evaluation.review import COLUMNS, MOST_CANDIDATES, make_review, write_candidates
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.spine import Points
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from conftest import galactic_header
from evaluation.test_kfold_catalogue import NX, NY, folds_of, write_out_of_fold

THRESHOLDS = [0.5] * 4


def review(folder: Path, found: MaskArray, target: MaskArray, probability: np.ndarray) -> tuple[Table, list[Points]]:
    folds = folds_of(folder / "map.h5", target, np.ones((NY, NX), np.float32))
    path = write_out_of_fold(folder / "out_of_fold.fits", found, probability.astype(np.float32))
    return make_review(folds, path, make_catalogue(folds, path, [], Filaments(cleaned_mask(path))), THRESHOLDS)


def bars(*places: tuple[int, int, int]) -> MaskArray:
    """Return a mask with a bar of three rows and so many columns at each place (y, x, columns)."""
    mask = np.zeros((NY, NX), np.uint8)
    for y, x, columns in places:
        mask[y : y + 3, x : x + columns] = 1
    return mask


SURE, LABELLED, UNSURE, MISSED, NEAR = (10, 10, 20), (10, 60, 20), (25, 10, 20), (25, 60, 20), (40, 10, 20)


def three_kinds(folder: Path) -> tuple[Table, list[Points]]:
    """A sure filament without a label, one with a label, two that are less sure, and a label that was not found."""
    probability = np.full((NY, NX), 0.2)
    for place, value in ((SURE, 0.95), (LABELLED, 0.95), (UNSURE, 0.6), (MISSED, 0.1), (NEAR, 0.9)):
        probability[bars(place) > 0] = value
    target = bars(LABELLED, MISSED) + bars((44, 10, 20))  # one free row below the last
    return review(folder, bars(SURE, LABELLED, UNSURE, NEAR), target, probability)


def test_candidates_are_ranked_by_the_pixels_at_stake(tmp_path: Path) -> None:
    table, outlines = three_kinds(tmp_path)
    assert table["kind"].tolist() == ["missed", "unlabelled", "uncertain", "uncertain"]
    assert table["rank"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(table["score"], [48, 45, 45, 15])  # 60 pixels times 0.8, 0.75, 0.75 and 0.25
    np.testing.assert_allclose(table["probability"], [0.1, 0.95, 0.6, 0.9], rtol=1e-5)
    assert table["area_px"].tolist() == [60] * 4
    assert table["y"].tolist() == [26, 11, 26, 41]
    assert table["id"].tolist() == [2, 1, 3, 4]  # the first is a component of the target
    assert [outline.mean(axis=0).round().tolist()[0] for outline in outlines] == [26, 11, 26, 41]
    assert list(table.colnames) == list(COLUMNS)
    assert all(parse_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True) for name in COLUMNS)


def test_of_many_the_first_200_are_listed(tmp_path: Path) -> None:
    """240 labels are missed; 40 of them are half as large."""
    places = [(y, x, 4) for y in range(1, NY - 3, 5) for x in range(2, NX - 6, 6)]
    target = bars(*[(y, x, 2 if number < 40 else 4) for number, (y, x, _) in enumerate(places[:240])])
    table, outlines = review(tmp_path, target * 0, target, np.zeros((NY, NX)))
    assert set(table["kind"]) == {"missed"}
    assert len(table) == len(outlines) == MOST_CANDIDATES
    assert set(table["area_px"]) == {12}


def test_a_map_without_candidates_gives_empty_files(tmp_path: Path) -> None:
    table, outlines = review(tmp_path, bars(SURE), bars(SURE), np.ones((NY, NX)))
    assert (len(table), outlines) == (0, [])
    write_candidates(tmp_path / "review.reg", table, outlines)
    assert "polygon" not in (tmp_path / "review.reg").read_text()


@pytest.mark.parametrize("on_sky", [True, False])
def test_the_regions_come_back_as_labels(on_sky: bool, tmp_path: Path) -> None:
    """A person keeps two of four candidates; preprocess marks their pixels."""
    pytest.importorskip("regions", reason="reading regions takes regions: pip install 'bigsf[shapes]'")
    table, outlines = three_kinds(tmp_path)
    fits.writeto(tmp_path / "map.fits", np.ones((NY, NX), np.float32), galactic_header(NX, NY))
    wcs = PatchFile(tmp_path / "map.h5").wcs
    write_candidates(tmp_path / "review.reg", table, outlines, wcs if on_sky else None)
    lines = (tmp_path / "review.reg").read_text().splitlines()
    assert [line.partition(" # ")[2] for line in lines[3:]] == [
        "color=red text={1 missed}",
        "color=green text={2 unlabelled}",
        "color=yellow text={3 uncertain}",
        "color=yellow text={4 uncertain}",
    ]
    (tmp_path / "checked.reg").write_text("\n".join([*lines[:3], *lines[4:6]]) + "\n")
    preprocess(
        PreprocessConfig(image=tmp_path / "map.fits", target=tmp_path / "checked.reg", patch_size=16),
        tmp_path / "checked.h5",
    )
    np.testing.assert_array_equal(PatchFile(tmp_path / "checked.h5").labels()[0], bars(SURE, UNSURE))


def test_the_kfold_writes_them(trained_kfold: Path) -> None:
    table = Table.read(trained_kfold / "review.ecsv")
    assert list(table["rank"]) == list(range(1, len(table) + 1))
    assert (np.diff(table["score"]) <= 0).all()
    assert (trained_kfold / "review.reg").read_text().count("polygon(") == len(table)
