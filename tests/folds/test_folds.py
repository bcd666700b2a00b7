import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bigsf.errors import BigsfWarning, ConfigError, DataError
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split, SplitConfig, default_folds_path, make_splits
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessReport
from conftest import galactic_header, write_patch_file


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


# --- splits ---------------------------------------------------------------------------------------------------------


def sizes(split: Split) -> list[int]:
    return [len(part) for part in split]


def test_splits_as_specified() -> None:
    rotations: list[Split] = [
        Split([1, 2], [3], [4]),
        Split([2, 3], [4], [1]),
        Split([3, 4], [1], [2]),
        Split([4, 1], [2], [3]),
    ]
    assert make_splits(4, 2) == make_splits(4, 0.5) == make_splits(4) == rotations
    assert make_splits(4, 2, step=2) == rotations[::2]
    assert make_splits(4, 2, step=9) == rotations[:1]


@pytest.mark.parametrize(
    ("k", "k_train", "number", "expected"),
    [
        (10, 0.6, 10, [6, 2, 2]),
        (5, 0.6, 5, [3, 1, 1]),
        (1, None, 1, [8, 1, 1]),
        (1, 0.8, 1, [8, 1, 1]),
        (1, 6, 1, [6, 2, 2]),
        (3, None, 3, [1, 1, 1]),
        (5, 2, 5, [2, 1, 2]),
        (10, 0.7, 10, [7, 1, 2]),
        (100, 0.29, 100, [29, 35, 36]),
    ],
)
def test_sizes_of_splits(k: int, k_train: float | None, number: int, expected: list[int]) -> None:
    splits = make_splits(k, k_train)
    assert len(splits) == number
    assert {tuple(sizes(split)) for split in splits} == {tuple(expected)}


def test_standard_training_is_the_first_split_of_ten_folds() -> None:
    assert make_splits(1) == [([1, 2, 3, 4, 5, 6, 7, 8], [9], [10])]


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 40), st.data())
def test_every_split_uses_every_fold_once_and_every_fold_is_tested_equally_often(k: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, k - 2))
    fraction = count / k
    splits = make_splits(k, count)
    assert splits == make_splits(k, fraction)
    for train, valid, test in splits:
        assert sorted(train + valid + test) == list(range(1, k + 1))
        assert len(train) == count
        assert len(test) - len(valid) in (0, 1)
    for part in zip(*splits, strict=True):
        number = np.bincount(np.concatenate(part), minlength=k + 1)[1:]
        assert (number == number[0]).all()


@pytest.mark.parametrize("k_train", [0.0, 0.001, 1.5, 3, 4, 5, -1])
def test_impossible_splits_are_refused(k_train: float) -> None:
    with pytest.raises(ConfigError, match=rf"k_train is {k_train:g} of 4 folds; expected 1 to 2, or a fraction of k"):
        make_splits(4, k_train)


def test_two_folds_are_too_few() -> None:
    with pytest.raises(
        ConfigError, match=r"k is 2; training, validation and test need a fold each: expected 1 or at least 3"
    ):
        make_splits(2)


# --- no pixel in two folds ------------------------------------------------------------------------------------------


def painted(folds: Folds) -> dict[int, npt.NDArray[np.int64]]:
    """Return how many kept patches of each fold cover each pixel."""
    file = folds.patch_file
    planes = {fold: np.zeros(file.shape, np.int64) for fold in range(1, int(folds.grid.max()) + 1)}
    for (y, x), fold in zip(file.positions, folds.patch_fold, strict=True):
        for row in range(y, y + file.patch_size):
            for column in range(x, x + file.patch_size):
                if fold:
                    planes[fold][row, column] += 1
    return planes


def painted_straddling(folds: Folds) -> dict[int, npt.NDArray[np.int64]]:
    """Return how many training patches of each fold show each pixel, those that straddle areas among them."""
    side = folds.patch_file.patch_size
    planes = {}
    for fold in range(1, int(folds.grid.max()) + 1):
        planes[fold] = np.zeros(folds.patch_file.shape, np.int64)
        indices = folds.training_patches([fold])
        for (y, x), own in zip(folds.patch_file.positions[indices], folds.visible_pixels(indices, [fold]), strict=True):
            planes[fold][y : y + side, x : x + side] += own
    return planes


def near(length: int, reach: int, period: float = np.inf) -> npt.NDArray[np.int64]:
    """Say which pixels along an axis have less than `reach` clear pixels between them; it closes after `period`."""
    pixel = np.arange(length)
    distance = abs(pixel[:, None] - pixel)
    return np.asarray(np.minimum(distance, abs(period - distance)) < reach + 1 - 1e-6, np.int64)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_folds_share_no_pixel_and_keep_the_gap_also_where_the_map_wraps(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ny, nx, patch_size = (data.draw(st.integers(*limits)) for limits in ((8, 30), (8, 40), (1, 5)))
    gap, stride, k = (data.draw(st.integers(*limits)) for limits in ((0, 4), (1, 3), (3, 4)))
    period = data.draw(st.just(np.inf) | st.floats(nx / 1.4, nx * 1.1))
    header = galactic_header(nx, ny, step_deg=360 / period) if np.isfinite(period) else None
    path = tmp_path_factory.getbasetemp() / "wrap.h5"
    labels = np.ones((2, ny, nx), np.uint8)
    file = write_patch_file(path, np.ones((1, ny, nx), np.float32), patch_size, stride, (labels[0], labels[1]), header)
    strategy = {"type": data.draw(st.sampled_from(["random", "naive", "balanced"]))}
    area_size = data.draw(st.integers(patch_size, 12))
    try:
        folds = Folds.make(file, split_config(k=k, strategy=strategy, area_size=area_size, gap=gap))
    except DataError:  # too few areas
        reject()
    planes = painted(folds)
    near_y, near_x = near(ny, gap), near(nx, gap, period)
    for seen in (planes, painted_straddling(folds)):
        for fold, plane in seen.items():
            assert plane.any()
            around = near_y @ plane @ near_x
            assert not any((around * other).any() for number, other in seen.items() if number != fold)
        if np.isfinite(period):  # no patch shows sky again
            assert not any(plane[:, int(period + 1e-6) :].any() for plane in seen.values())
    assert folds.pixels["shared"] == 0
    assert folds.clear_px == min(clear(planes, split, period) for split in folds.splits)


def clear(planes: dict[int, npt.NDArray[np.int64]], split: Split, period: float) -> int:
    """Return the clear pixels between training and test patches by comparing all pixels."""
    train, test = (np.argwhere(np.sum([planes[fold] for fold in folds], axis=0)) for folds in (split.train, split.test))
    dy, dx = (abs(train[:, None, axis] - test[:, axis]) for axis in (0, 1))
    return int(np.floor(np.maximum(dy, np.minimum(dx, abs(period - dx))).min() - 1 + 1e-6))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.integers(1, 3), st.integers(4, 9), st.integers(0, 99))
def test_shared_and_uncovered_pixels_are_counted(
    tmp_path_factory: pytest.TempPathFactory, overlap: int, stride: int, area_size: int, seed: int
) -> None:
    labelled = np.random.default_rng(seed).integers(0, 2, (17, 26)).astype(np.uint8)
    file = write_patch_file(
        tmp_path_factory.getbasetemp() / "overlap.h5", np.ones((1, 17, 26), np.float32), 4, stride, (labelled, labelled)
    )
    folds = Folds.make(file, split_config(k=3, area_size=area_size, overlap=overlap))
    number = np.sum([plane > 0 for plane in painted(folds).values()], axis=0)
    assert folds.pixels == {
        "shared": np.count_nonzero(number > 1),
        "labelled_uncovered": np.count_nonzero((number == 0) & (labelled > 0)),
    }


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


def test_straddling_patches_are_found_band_by_band(patch_file: PatchFile, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = Folds.make(patch_file, split_config(area_size=32))
    whole = folds.straddling([1, 2])
    assert len(whole)
    monkeypatch.setattr("bigsf.folds.folds._BAND_PIXELS", 500)
    assert folds.straddling([1, 2]).tolist() == whole.tolist()


def test_overlap_shares_pixels(patch_file: PatchFile) -> None:
    assert Folds.make(patch_file, split_config(area_size=32)).pixels["shared"] == 0
    assert Folds.make(patch_file, split_config(area_size=32, overlap=4)).pixels["shared"] > 0


# --- making folds ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> PatchFile:
    """8 x 12 pixels, six areas of 4 x 4; target in the first, background in the last."""
    target, labelled = np.zeros((2, 8, 12), np.uint8)
    target[:4, :4] = labelled[:4, :4] = labelled[4:, 8:] = 1
    return write_patch_file(tmp_path / "small.h5", np.ones((1, 8, 12), np.float32), 4, 2, (target, labelled))


def test_counts_by_hand(small: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, area_size=4))
    assert folds.grid.shape == (2, 3)
    assert folds.patches_per_area.tolist() == [[1, 1, 1], [1, 1, 1]]
    kept = small.positions[folds.patch_fold > 0]
    assert kept.tolist() == [[0, 0], [0, 4], [0, 8], [4, 0], [4, 4], [4, 8]]
    for fold, count in folds.counts.items():
        assert (count["areas"], count["patches"], count["repeated_sky"]) == (2, 2, 0)
        assert count["target"] == 16 * (folds.grid[0, 0] == fold)
        assert count["background"] == 16 * (folds.grid[1, 2] == fold)
        assert count["labelled"] == count["target"] + count["background"]
    assert sum(count["past_area"] for count in folds.counts.values()) == len(small) - 6
    assert folds.pixels == {"shared": 0, "labelled_uncovered": 0}
    assert folds.clear_px == 0
    assert folds.patches_in([1, 2, 3]).tolist() == np.flatnonzero(folds.patch_fold).tolist()
    assert [small[int(i)].position.tolist() for i in folds.patches_in([int(folds.grid[1, 1])])].count([4, 4]) == 1


def test_patches_are_dropped_for_one_reason_each(tmp_path: Path) -> None:
    """Three areas of 6 x 6 in a row: of 6 columns of patches in the first two, 3 stay, 1 is in the gap, 2 past it."""
    file = write_patch_file(tmp_path / "row.h5", np.ones((1, 6, 18), np.float32), 3, 1)
    folds = Folds.make(file, split_config(k=3, area_size=6, gap=1))
    names = ("patches", "past_area", "in_gap", "repeated_sky")
    total = {why: sum(count[why] for count in folds.counts.values()) for why in names}
    assert total == {"patches": 40, "past_area": 16, "in_gap": 8, "repeated_sky": 0}
    assert folds.clear_px == 1


def test_regions_of_the_sky_are_folds(patch_file: PatchFile) -> None:
    """The map runs from l = 0.3 down to l = 358.7 along x."""
    parts = [{"fold": 1, "l": [359.3, 0.0]}, {"fold": 2, "l": [0.0, 1.0]}, {"fold": 3}]
    folds = Folds.make(patch_file, split_config(k=3, area_size=16, strategy={"type": "regions", "regions": parts}))
    assert folds.grid.tolist() == [[2, 2, 1, 1, 1, 1, 3, 3, 3, 3]] * 6
    assert folds.pixels["shared"] == 0


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
    assert sum(count["patches"] for count in folds.counts.values()) == 6
    assert folds.pixels["labelled_uncovered"] == 0


def test_naive_folds_are_parts_along_the_longer_axis(small: PatchFile) -> None:
    folds = Folds.make(small, split_config(k=3, strategy={"type": "naive"}))
    assert folds.grid.tolist() == [[1, 2, 3]]
    assert folds.areas.x_edges == (0, 4, 8, 12)
    assert [count["patches"] for count in folds.counts.values()] == [3, 3, 3]


def test_standard_training_has_ten_folds(patch_file: PatchFile) -> None:
    folds = Folds.make(patch_file, split_config(k=1, area_size=24))
    assert set(np.unique(folds.grid)) == set(range(1, 11))
    assert [sizes(split) for split in folds.splits] == [[8, 1, 1]]


def test_too_few_areas_for_the_folds(small: PatchFile) -> None:
    with pytest.raises(DataError, match=r"4 folds need at least 4 areas with patches; small.h5 has 2, each 6"):
        Folds.make(small, split_config(k=4, area_size=6))


@pytest.mark.parametrize(
    ("grid", "found"), [(np.zeros((2, 3)), "0 to 0"), (np.full((2, 3), 4), "4 to 4"), (np.ones((1, 3)), "1 to 1")]
)
def test_strategy_with_impossible_folds_is_refused(
    small: PatchFile, monkeypatch: pytest.MonkeyPatch, grid: npt.NDArray[np.float64], found: str
) -> None:
    monkeypatch.setattr("bigsf.config.base.CustomConfig.load", lambda _: lambda: lambda *_: grid)
    config = split_config(k=3, area_size=4, strategy={"type": "custom", "target": "mylab:strategy"})
    with pytest.raises(
        ConfigError, match=rf"custom returned fold numbers {found} of shape .*; expected 1 to 3, \(2, 3\)"
    ):
        Folds.make(small, config)


def test_defaults_depend_on_the_patch_file(patch_file: PatchFile, tmp_path: Path) -> None:
    config = SplitConfig().resolved(patch_file)
    assert (config.area_size, config.k_train) == (64, 2)
    assert config.path == default_folds_path(patch_file.path) == patch_file.path.with_name("sky.folds.json")
    wide = write_patch_file(tmp_path / "wide.h5", np.ones((1, 50, 60), np.float32), 40)
    assert SplitConfig().resolved(wide).area_size == 80


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, (8, 5, 2)),
        ({"strategy": {"type": "balanced"}}, (8, 5, 2)),
        ({"area_size": 15}, (4, 2, 1)),  # 12 areas
        ({"step": 2}, (4, 2, 2)),
        ({"k_train": 1}, (4, 1, 1)),
        ({"k": 8}, (8, 6, 1)),
        ({"strategy": {"type": "naive"}}, (4, 2, 1)),
    ],
)
def test_a_map_of_sixteen_areas_has_eight_folds(
    chosen: dict[str, Any], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    square = write_patch_file(tmp_path / "square.h5", np.ones((1, 46, 60), np.float32), 4)
    config = split_config(**{"area_size": 12, **chosen}).resolved(square)
    assert (config.k, config.k_train, config.step) == expected


def test_by_default_every_fold_is_tested_by_one_of_four_models(tmp_path: Path) -> None:
    square = write_patch_file(tmp_path / "square.h5", np.ones((1, 48, 48), np.float32), 4)
    folds = Folds.make(square, split_config(area_size=12))
    assert len(folds.splits) == 4
    assert sorted(fold for _, _, test in folds.splits for fold in test) == list(range(1, 9))


# --- the folds file -------------------------------------------------------------------------------------------------

CONFIG = split_config(k=4, area_size=32)


@pytest.fixture
def saved(patch_file: PatchFile, tmp_path: Path) -> Path:
    path = tmp_path / "sky.folds.json"
    Folds.make(patch_file, CONFIG).save(path)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("strategy", ["random", "naive", "balanced"])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_file_gives_the_same_folds(patch_file: PatchFile, tmp_path: Path, strategy: str, k: int) -> None:
    config = split_config(k=k, area_size=24, strategy={"type": strategy}, gap=2)
    if (strategy, k) == ("naive", 1):
        config = config.model_copy(update={"gap": 0})  # ten strips of 16 pixels
    made = Folds.make(patch_file, config)
    made.save(tmp_path / "folds.json")
    for loaded in (
        Folds.load(tmp_path / "folds.json", patch_file, config),
        Folds.load(tmp_path / "folds.json", patch_file),
    ):
        np.testing.assert_array_equal(loaded.grid, made.grid)
        np.testing.assert_array_equal(loaded.patch_fold, made.patch_fold)
        assert (loaded.splits, loaded.areas, loaded.counts, loaded.edited) == (
            made.splits,
            made.areas,
            made.counts,
            False,
        )
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "folds.json").read_text()


def test_file_can_be_read_by_a_person(saved: Path, patch_file: PatchFile) -> None:
    lines = saved.read_text().splitlines()
    data = json.loads(saved.read_text())
    assert len(data["grid"]) == 3
    assert all(f"    {json.dumps(row)}" in [line.rstrip(",") for line in lines] for row in data["grid"])
    assert data["splits"][1] == [[2, 3], [4], [1]]
    assert data["parameters"] == {
        "strategy": {"type": "random", "seed": 0},
        "k": 4,
        "k_train": 2,
        "step": 1,
        "area_size": 32,
        "overlap": 0,
        "gap": 0,
    }
    assert data["patch_file"] == "sky.h5"
    assert data["patch_file_identity"] == patch_file.identity
    assert set(data["counts"]) == {"1", "2", "3", "4"}


def test_file_of_another_patch_file_is_refused(saved: Path, small: PatchFile) -> None:
    with pytest.raises(DataError, match=rf"made for another patch file \([0-9a-f]{{8}}\.* there, {small.identity[:8]}"):
        Folds.load(saved, small, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"k": 5},
            r"\(k: 4 there, 5 here, k_train: 2 there, 3 here\). To use it as it is, leave all of split",
        ),
        ({"area_size": 24}, r"\(area_size: 32 there, 24 here\)"),
        ({"gap": 1}, r"\(gap: 0 there, 1 here\)"),
        ({"strategy": {"type": "balanced"}}, r"\(strategy: .*random.* there, .*balanced.* here\)"),
        ({"step": 2}, r"\(step: 1 there, 2 here\)"),
    ],
)
def test_file_of_other_parameters_is_refused(
    saved: Path, patch_file: PatchFile, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=r"sky.folds.json was made with other parameters " + message):
        Folds.load(saved, patch_file, split_config(**{"k": 4, "area_size": 32, **changes}))


def test_what_a_config_leaves_out_is_as_in_the_file(patch_file: PatchFile, tmp_path: Path) -> None:
    made = split_config(k=5, k_train=2, step=2, area_size=20, gap=3, strategy={"type": "balanced", "seed": 7})
    path = tmp_path / "sky.folds.json"
    Folds.make(patch_file, made).save(path)
    for says in ({}, {"k": None}, {"gap": 3}, {"area_size": 20, "k": 5, "k_train": 0.4, "step": 2}):
        folds = Folds.load_or_make(patch_file, split_config(path=str(path), **says))
        assert folds.config.model_dump(exclude={"path"}) == made.resolved(patch_file).model_dump(exclude={"path"})
    with pytest.raises(DataError, match=r"\(k_train: 2 there, 3 here, step: 2 there, 1 here\)"):
        Folds.load(path, patch_file, split_config(k=5))


def test_choice_of_a_split_is_no_other_parameter(saved: Path, patch_file: PatchFile) -> None:
    config = split_config(k=4, k_train=0.5, area_size=32, use=3, path="elsewhere.json")
    assert Folds.load(saved, patch_file, config).config.use == 3


def test_newer_format_is_refused(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(format_version=2, news="unheard of"))
    with pytest.raises(DataError, match=r"sky.folds.json has format 2, newer than 1. Update bigsf"):
        Folds.load(saved, patch_file, CONFIG)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b"3", b"{}", b'{"format": "bigsf folds"}', b"\xff\xfe", b'{"format_version": []}'],
)
def test_what_is_no_folds_file_is_refused(saved: Path, patch_file: PatchFile, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(DataError, match=r"sky.folds.json is not a folds file of BigSF: "):
        Folds.load(saved, patch_file, CONFIG)


def test_absent_file_is_named(patch_file: PatchFile, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json cannot be read: .*No such file"):
        Folds.load(tmp_path / "none.json", patch_file)


def test_edit_by_hand_is_counted_anew_and_marked(saved: Path, patch_file: PatchFile) -> None:
    before = Folds.load(saved, patch_file, CONFIG)
    old = int(before.grid[0, 0])
    new = old % 4 + 1
    edit(saved, lambda data: data["grid"][0].__setitem__(0, new))
    with pytest.warns(BigsfWarning, match=r"sky.folds.json was edited by hand; its folds are counted anew"):
        edited = Folds.load(saved, patch_file, CONFIG)
    assert edited.edited
    assert edited.grid[0, 0] == new
    moved = before.patches_per_area[0, 0]
    assert edited.counts[old]["patches"] == before.counts[old]["patches"] - moved
    assert edited.counts[new]["patches"] == before.counts[new]["patches"] + moved
    again = Folds.load(saved, patch_file, CONFIG)  # without a warning
    assert again.edited
    assert json.loads(saved.read_text())["counts"][str(new)] == edited.counts[new]
    with fits.open(saved.with_suffix(".fits")) as hdus:
        np.testing.assert_array_equal(hdus[0].data, edited.grid)


def test_splits_may_be_edited(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(splits=[[[1], [2], [3, 4]]]))
    with pytest.warns(BigsfWarning, match=r"edited by hand"):
        assert Folds.load(saved, patch_file, CONFIG).splits == [([1], [2], [3, 4])]


def test_edit_is_left_as_it_is_where_nothing_may_be_written(saved: Path, patch_file: PatchFile) -> None:
    edit(saved, lambda data: data.update(splits=[[[1], [2], [3, 4]]]))
    before = saved.read_bytes()
    with pytest.warns(BigsfWarning, match=r"edited by hand"):
        assert Folds.load(saved, patch_file, CONFIG, write=False).edited
    assert saved.read_bytes() == before


def set_corner(data: dict[str, Any], value: int) -> None:
    data["grid"][0][0] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["grid"].pop(), "the grid must have 3 rows of 5 areas"),
        (lambda data: data["grid"][1].pop(), "the grid must have 3 rows of 5 areas"),
        (lambda data: set_corner(data, 0), "fold numbers run from 0 to 4; expected 1 to 255"),
        (lambda data: set_corner(data, 256), "fold numbers run from 1 to 256"),
        (
            lambda data: data.update(splits=[[[1, 2], [2], [4]]]),
            r"split 1 is \[\[1, 2\], \[2\], \[4\]\]; expected three",
        ),
        (lambda data: data["splits"][1][0].append(9), "split 2 is .*9.*; expected three lists of folds of the grid"),
        (lambda data: data.update(splits=[[[1, 2], [], [4]]]), "split 1 is .* none empty"),
        (lambda data: data["y_edges"].pop(), "holds other edges of areas than its parameters give"),
        (lambda data: data.update(x_edges=[0, 40, 64, 96, 128, 160]), "holds other edges of areas"),
        (lambda data: data.update(nonsense=1), "is not a folds file of BigSF: nonsense: Extra inputs"),
    ],
)
def test_impossible_edit_is_refused(
    saved: Path, patch_file: PatchFile, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(saved, change)
    with pytest.raises(DataError, match=message):
        Folds.load(saved, patch_file, CONFIG)


def test_folds_are_made_when_absent_and_reused_when_present(patch_file: PatchFile, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sky.folds.json"
    config = split_config(area_size=32, path=str(path))
    made = Folds.load_or_make(patch_file, config, write=False)
    assert not path.parent.exists()
    Folds.load_or_make(patch_file, config)
    assert sorted(file.name for file in path.parent.iterdir()) == [f"sky.folds.{e}" for e in ("fits", "json", "png")]
    before = path.stat().st_ino, path.stat().st_mtime_ns
    np.testing.assert_array_equal(Folds.load_or_make(patch_file, config).grid, made.grid)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    with pytest.raises(DataError, match=r"other parameters \(gap: 0 there, 2 here\)"):
        Folds.load_or_make(patch_file, config.model_copy(update={"gap": 2}))


def test_area_image_lies_on_the_sky_of_the_map(patch_file: PatchFile, tmp_path: Path) -> None:
    folds = Folds.make(patch_file, CONFIG)
    folds.write(tmp_path / "sky.folds.json")
    with fits.open(tmp_path / "sky.folds.fits") as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, folds.grid)
        sky = WCS(hdus[0].header).pixel_to_world([0, 4], [0, 2])
    assert patch_file.wcs is not None
    expected = patch_file.wcs.pixel_to_world([15.5, 4 * 32 + 15.5], [15.5, 2 * 32 + 15.5])
    assert sky.separation(expected).arcsec.max() < 1e-3


# --- the real sample ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlap", "fullest", "emptiest"), [(0, 1089, 90), (10, 1849, 165)])
def test_real_sample_has_the_areas_of_the_reference(
    higal: PreprocessReport, overlap: int, fullest: int, emptiest: int
) -> None:
    folds = Folds.make(PatchFile(higal.output), split_config(area_size=64, overlap=overlap))
    occupied = folds.patches_per_area[folds.patches_per_area > 0]
    assert folds.grid.size == len(occupied) == 64
    assert (occupied.max(), occupied.min()) == (fullest, emptiest)
    assert (folds.pixels["shared"] > 0) == (overlap > 0)


@pytest.mark.parametrize(("k", "k_train", "expected"), [(10, 0.6, [6, 2, 2]), (1, 0.8, [8, 1, 1])])
def test_real_sample_has_the_splits_of_the_reference(
    higal: PreprocessReport, k: int, k_train: float, expected: Sequence[int]
) -> None:
    folds = Folds.make(PatchFile(higal.output), split_config(k=k, k_train=k_train, area_size=64))
    assert len(folds.splits) == k
    assert all(sizes(split) == expected for split in folds.splits)
    assert min(count["labelled"] for count in folds.counts.values()) > 0
