from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bigsf.arrays import IntArray
from bigsf.errors import DataError
from bigsf.folds.folds import Folds
from bigsf.folds.leakage import covered, measure_leakage
from bigsf.folds.splits import Split, SplitConfig
from bigsf.maps.tiling import window_starts
from bigsf.patches.patch_file import PatchFile
from conftest import galactic_header, write_patch_file


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


def painted(folds: Folds) -> dict[int, IntArray]:
    """Return how many kept patches of each fold cover each pixel."""
    file = folds.patch_file
    planes = {fold: np.zeros(file.shape, np.int64) for fold in range(1, int(folds.grid.max()) + 1)}
    for (y, x), fold in zip(file.positions, folds.patch_fold, strict=True):
        for row in range(y, y + file.patch_size):
            for column in range(x, x + file.patch_size):
                if fold:
                    planes[fold][row, column] += 1
    return planes


def painted_straddling(folds: Folds) -> dict[int, IntArray]:
    """Return how many training patches of each fold show each pixel, those that straddle areas among them."""
    side = folds.patch_file.patch_size
    planes = {}
    for fold in range(1, int(folds.grid.max()) + 1):
        planes[fold] = np.zeros(folds.patch_file.shape, np.int64)
        indices = folds.training_patches([fold])
        for (y, x), own in zip(folds.patch_file.positions[indices], folds.visible_pixels(indices, [fold]), strict=True):
            planes[fold][y : y + side, x : x + side] += own
    return planes


def near(length: int, reach: int, period: float = np.inf) -> IntArray:
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
    assert folds.leakage.shared == 0
    assert folds.leakage.clear_px == min(clear(planes, split, period) for split in folds.splits)


def clear(planes: dict[int, IntArray], split: Split, period: float) -> int:
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
    assert folds.leakage.shared == np.count_nonzero(number > 1)
    assert folds.leakage.labelled_uncovered == np.count_nonzero((number == 0) & (labelled > 0))


def test_leakage_is_counted_chunk_by_chunk(patch_file: PatchFile) -> None:
    folds = Folds.make(patch_file, split_config(area_size=32, overlap=4))
    found = measure_leakage(patch_file, folds.areas, folds.area, folds.patch_fold, folds.splits, chunk_pixels=500)
    assert found == folds.leakage
    assert found.shared > 0


def test_overlap_shares_pixels(patch_file: PatchFile) -> None:
    assert Folds.make(patch_file, split_config(area_size=32)).leakage.shared == 0
    assert Folds.make(patch_file, split_config(area_size=32, overlap=4)).leakage.shared > 0


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 25), st.integers(3, 25), st.integers(1, 6), st.integers(0, 2**31))
def test_covered_is_what_patches_paint(ny: int, nx: int, patch_size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    patch_size = min(patch_size, ny, nx)
    every = np.array([(y, x) for y in window_starts(ny, patch_size, 2) for x in window_starts(nx, patch_size, 3)])
    positions = every[generator.random(len(every)) < 0.3]
    painted = np.zeros((ny, nx), bool)
    for y, x in positions:
        painted[y : y + patch_size, x : x + patch_size] = True
    for y0, y1 in ((0, ny), (1, ny - 1)):
        np.testing.assert_array_equal(covered(positions, patch_size, y0, y1, nx), painted[y0:y1])
