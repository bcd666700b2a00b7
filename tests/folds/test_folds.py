from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bigsf.arrays import Float64Array, IntArray
from bigsf.errors import ConfigError, DataError
from bigsf.folds.folds import Folds
from bigsf.folds.leakage import Leakage
from bigsf.folds.splits import Split, SplitConfig
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessReport
from conftest import galactic_header, write_patch_file


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


def sizes(split: Split) -> list[int]:
    return [len(part) for part in split]


def patches_per_area(folds: Folds) -> IntArray:
    """Return the number of kept patches in each area."""
    kept = folds.area[folds.patch_fold > 0]
    return np.bincount(kept, minlength=folds.grid.size).reshape(folds.grid.shape)


@pytest.fixture
def small(tmp_path: Path) -> PatchFile:
    """8 x 12 pixels, six areas of 4 x 4; target in the first, background in the last."""
    target, labelled = np.zeros((2, 8, 12), np.uint8)
    target[:4, :4] = labelled[:4, :4] = labelled[4:, 8:] = 1
    return write_patch_file(tmp_path / "small.h5", np.ones((1, 8, 12), np.float32), 4, 2, (target, labelled))


def test_counts_by_hand(small: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, area_size=4))
    assert folds.grid.shape == (2, 3)
    assert patches_per_area(folds).tolist() == [[1, 1, 1], [1, 1, 1]]
    kept = small.positions[folds.patch_fold > 0]
    assert kept.tolist() == [[0, 0], [0, 4], [0, 8], [4, 0], [4, 4], [4, 8]]
    for fold, count in folds.counts.items():
        assert (count.areas, count.patches, count.repeated_sky) == (2, 2, 0)
        assert count.target == 16 * (folds.grid[0, 0] == fold)
        assert count.background == 16 * (folds.grid[1, 2] == fold)
        assert count.labelled == count.target + count.background
    assert sum(count.past_area for count in folds.counts.values()) == len(small) - 6
    assert folds.leakage == Leakage(shared=0, labelled_uncovered=0, clear_px=0)
    assert folds.patches_in([1, 2, 3]).tolist() == np.flatnonzero(folds.patch_fold).tolist()
    assert [small[int(i)].position.tolist() for i in folds.patches_in([int(folds.grid[1, 1])])].count([4, 4]) == 1


def test_patches_are_dropped_for_one_reason_each(tmp_path: Path) -> None:
    """Three areas of 6 x 6 in a row: of 6 columns of patches in the first two, 3 stay, 1 is in the gap, 2 past it."""
    file = write_patch_file(tmp_path / "row.h5", np.ones((1, 6, 18), np.float32), 3, 1)
    folds = Folds.make(file, split_config(k=3, area_size=6, gap=1))
    names = ("patches", "past_area", "in_gap", "repeated_sky")
    total = {why: sum(getattr(count, why) for count in folds.counts.values()) for why in names}
    assert total == {"patches": 40, "past_area": 16, "in_gap": 8, "repeated_sky": 0}
    assert folds.leakage.clear_px == 1


def test_regions_of_the_sky_are_folds(patch_file: PatchFile) -> None:
    """The map runs from l = 0.3 down to l = 358.7 along x."""
    parts = [{"fold": 1, "l": [359.3, 0.0]}, {"fold": 2, "l": [0.0, 1.0]}, {"fold": 3}]
    folds = Folds.make(patch_file, split_config(k=3, area_size=16, strategy={"type": "regions", "regions": parts}))
    assert folds.grid.tolist() == [[2, 2, 1, 1, 1, 1, 3, 3, 3, 3]] * 6
    assert folds.leakage.shared == 0


def test_areas_whose_centre_lies_off_the_sky_are_in_a_region(tmp_path: Path) -> None:
    """Both ends of a Hammer-Aitoff map are half a turn from its middle; the corners show no sky."""
    header = galactic_header(360, 180, 1.0)
    header.update(CTYPE1="GLON-AIT", CTYPE2="GLAT-AIT", CRPIX1=180.5)
    file = write_patch_file(tmp_path / "sky.h5", np.ones((1, 180, 360), np.float32), 30, 30, header=header)
    parts = [{"fold": 1, "l": [0, 90]}, {"fold": 2, "l": [270, 360]}, {"fold": 3, "l": [90, 270]}]
    folds = Folds.make(file, split_config(k=3, area_size=60, strategy={"type": "regions", "regions": parts}))
    assert folds.grid.tolist() == [[3, 3, 1, 2, 3, 3]] * 3


def test_rows_are_the_fold_of_every_pixel(small: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, area_size=4))
    np.testing.assert_array_equal(folds.rows(0, 8), np.kron(folds.grid, np.ones((4, 4))))
    np.testing.assert_array_equal(folds.rows(3, 5), np.kron(folds.grid, np.ones((4, 4)))[3:5])


def test_folds_poor_in_background_are_named(small: PatchFile, patch_file: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, area_size=4))
    assert folds.poor_in_background == [fold for fold in (1, 2, 3) if fold != folds.grid[1, 2]]
    assert Folds.make(patch_file, split_config(area_size=32)).poor_in_background == []


def test_folds_without_labels(tmp_path: Path) -> None:
    file = write_patch_file(tmp_path / "bare.h5", np.ones((1, 8, 12), np.float32), 4)
    folds = Folds.make(file, split_config(k=3, area_size=4))
    assert folds.poor_in_background == []
    assert sum(count.patches for count in folds.counts.values()) == 6
    assert folds.leakage.labelled_uncovered == 0


def test_naive_folds_are_parts_along_the_longer_axis(small: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, strategy={"type": "naive"}))
    assert folds.grid.tolist() == [[1, 2, 3]]
    assert folds.areas.x_edges == (0, 4, 8, 12)
    assert [count.patches for count in folds.counts.values()] == [3, 3, 3]


def test_standard_training_has_ten_folds(patch_file: PatchFile) -> None:
    folds = Folds.make(patch_file, split_config(k=1, area_size=24))
    assert set(np.unique(folds.grid)) == set(range(1, 11))
    assert [sizes(split) for split in folds.splits] == [[8, 1, 1]]


def test_too_few_areas_for_the_folds(small: PatchFile) -> None:
    with pytest.raises(DataError, match=r"4 folds need at least 4 areas with patches; small.h5 has 2, each 6"):
        Folds.make(small, split_config(k=4, area_size=6))


def test_a_gap_that_leaves_too_few_areas_is_named(small: PatchFile) -> None:
    message = r"has 1, each 4 pixels wide, with a gap of 2 pixels\. Use a smaller gap, or larger areas\.$"
    with pytest.raises(DataError, match=message):
        Folds.make(small, split_config(k=3, area_size=4, gap=2))


@pytest.mark.parametrize(
    ("grid", "found"), [(np.zeros((2, 3)), "0 to 0"), (np.full((2, 3), 4), "4 to 4"), (np.ones((1, 3)), "1 to 1")]
)
def test_strategy_with_impossible_folds_is_refused(
    small: PatchFile, monkeypatch: pytest.MonkeyPatch, grid: Float64Array, found: str
) -> None:
    monkeypatch.setattr("bigsf.config.CustomConfig.load", lambda _: lambda: lambda *_: grid)
    config = split_config(k=3, area_size=4, strategy={"type": "custom", "target": "mylab:strategy"})
    with pytest.raises(
        ConfigError, match=rf"custom returned fold numbers {found} of shape .*; expected 1 to 3, \(2, 3\)"
    ):
        Folds.make(small, config)


def test_by_default_every_fold_is_tested_by_one_of_five_models(tmp_path: Path) -> None:
    square = write_patch_file(tmp_path / "square.h5", np.ones((1, 48, 48), np.float32), 4)
    folds = Folds.make(square, split_config(area_size=12))
    assert len(folds.splits) == 5
    assert sorted(fold for _, _, test in folds.splits for fold in test) == list(range(1, 11))


@pytest.mark.parametrize(("overlap", "fullest", "emptiest"), [(0, 1089, 90), (10, 1849, 165)])
def test_real_sample_has_the_areas_of_the_reference(
    higal: PreprocessReport, overlap: int, fullest: int, emptiest: int
) -> None:
    folds = Folds.make(PatchFile(higal.output), split_config(area_size=64, overlap=overlap))
    patches = patches_per_area(folds)
    occupied = patches[patches > 0]
    assert folds.grid.size == len(occupied) == 64
    assert (occupied.max(), occupied.min()) == (fullest, emptiest)
    assert (folds.leakage.shared > 0) == (overlap > 0)


@pytest.mark.parametrize(("k", "k_train", "expected"), [(10, 0.6, [6, 2, 2]), (1, 0.8, [8, 1, 1])])
def test_real_sample_has_the_splits_of_the_reference(
    higal: PreprocessReport, k: int, k_train: float, expected: Sequence[int]
) -> None:
    folds = Folds.make(PatchFile(higal.output), split_config(k=k, k_train=k_train, area_size=64))
    assert len(folds.splits) == k
    assert all(sizes(split) == expected for split in folds.splits)
    assert min(count.labelled for count in folds.counts.values()) > 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_straddling_patches_have_their_centre_and_a_label_in_the_folds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ny, nx, patch_size = (data.draw(st.integers(*limits)) for limits in ((8, 30), (8, 40), (1, 5)))
    overlap, stride = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3))
    labelled = (np.random.default_rng(data.draw(st.integers(0, 99))).uniform(size=(ny, nx)) < 0.1).astype(np.uint8)
    path = tmp_path_factory.getbasetemp() / "straddle.h5"
    file = write_patch_file(path, np.ones((1, ny, nx), np.float32), patch_size, stride, (labelled, labelled))
    try:
        folds = Folds.make(file, split_config(k=3, area_size=data.draw(st.integers(patch_size, 12)), overlap=overlap))
    except DataError:  # too few areas
        reject()
    chosen = [1, 3]
    fold = folds.rows(0, ny)
    straddling = set(folds.straddling(chosen).tolist())
    for index, (y, x) in enumerate(file.positions):
        here = np.s_[y : y + patch_size, x : x + patch_size]
        kept = folds.patch_fold[index] in chosen
        inside = np.isin(fold[here], chosen)
        centred = fold[y + patch_size // 2, x + patch_size // 2] in chosen
        assert (index in straddling) == (not kept and centred and bool((labelled[here] * inside).any()))
        np.testing.assert_array_equal(folds.visible_pixels(np.array([index]), chosen)[0], inside | kept)
    every = set(folds.training_patches(chosen).tolist())
    assert every == straddling | set(folds.patches_in(chosen).tolist())
    assert set(folds.training_patches(chosen, straddle=False).tolist()) == set(folds.patches_in(chosen).tolist())


def test_straddling_patches_are_found_chunk_by_chunk(patch_file: PatchFile) -> None:
    whole = Folds.make(patch_file, split_config(area_size=32)).straddling([1, 2])
    assert len(whole)
    in_chunks = Folds.make(patch_file, split_config(area_size=32), chunk_pixels=500).straddling([1, 2])
    assert in_chunks.tolist() == whole.tolist()


def test_more_naive_folds_than_the_map_has_pixels(small: PatchFile) -> None:
    with pytest.raises(DataError, match=r"has \d+\. Use fewer folds, or smaller patches"):
        Folds.make(small, split_config(k=200, strategy={"type": "naive"}))


def test_no_fold_may_be_empty(tmp_path: Path) -> None:
    file = write_patch_file(tmp_path / "sky.h5", np.ones((1, 8, 12), np.float32), 4, header=galactic_header(12, 8))
    regions = [{"fold": 1, "l": [100, 110]}, {"fold": 2}, {"fold": 3, "b": [80, 90]}]
    with pytest.raises(ConfigError, match="regions gives fold 1 of 3 no area"):
        Folds.make(file, split_config(k=3, area_size=4, strategy={"type": "regions", "regions": regions}))
