from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigsf.evaluation.seams import SeamContrast, ensemble_of_fold
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from conftest import write_patch_file


def folds_of(path: Path, **settings: int) -> Folds:
    file = write_patch_file(path, np.ones((1, 32, 32), np.float32), 8, 4)
    return Folds.make(file, SplitConfig.from_dict({"area_size": 8, **settings}))


def test_folds_that_one_model_predicts_have_no_seam_between_them(tmp_path: Path) -> None:
    folds = folds_of(tmp_path / "pairs.h5", k=8, k_train=5, step=2)
    assert [split.test for split in folds.splits] == [[7, 8], [1, 2], [3, 4], [5, 6]]
    ensembles = ensemble_of_fold(folds)
    assert ensembles[7] == ensembles[8] != ensembles[1] == ensembles[2]
    assert len(set(ensembles[[1, 3, 5, 7]])) == 4
    assert ensembles[0] not in ensembles[1:9]


def test_each_fold_of_overlapping_tests_has_models_of_its_own(tmp_path: Path) -> None:
    """With two test folds in each split and every rotation, two models predict each fold, and no two folds share both.

    So there is a seam between any two folds.
    """
    assert len(set(ensemble_of_fold(folds_of(tmp_path / "all.h5", k=8, k_train=5))[1:9])) == 8


def test_a_step_at_every_seam_is_found() -> None:
    ensemble = np.zeros((8, 9), np.uint8)
    ensemble[:, 5:] += 1
    ensemble[4:] += 2
    seams = SeamContrast()
    for y in (0, 4):
        seams.update(0.25 * ensemble[y : y + 4].astype(np.float32), ensemble[y : y + 4])
    scores = seams.scores()
    assert scores.pairs == 8 + 9
    assert scores.across == pytest.approx((8 * 0.25 + 9 * 0.5) / 17)
    assert scores.beside == 0


def test_a_smooth_map_changes_as_much_across_seams_as_beside_them() -> None:
    y, x = np.mgrid[:12, :20]
    seams = SeamContrast()
    for top in (0, 4, 8):
        seams.update((0.02 * x + 0.02 * y)[top : top + 4].astype(np.float32), (x // 5 + y // 4)[top : top + 4])
    scores = seams.scores()
    assert scores.across == pytest.approx(0.02, rel=1e-4)
    assert scores.beside == pytest.approx(0.02, rel=1e-4)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 5))
def test_bands_count_what_the_whole_map_counts(seed: int, rows: int, height: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.random((rows * height, 11)).astype(np.float32)
    values[generator.random(values.shape) < 0.1] = np.nan
    ensemble = generator.integers(1, 4, (rows, 4)).repeat(height, 0).repeat(3, 1)[:, :11]
    seams = SeamContrast()
    for y in range(0, len(values), height):
        seams.update(values[y : y + height], ensemble[y : y + height])
    across = []
    for step_y, step_x in ((0, 1), (1, 0)):
        here, there = np.s_[: len(values) - step_y, : 11 - step_x], np.s_[step_y:, step_x:]
        across.append(abs(values[here] - values[there])[ensemble[here] != ensemble[there]])
    finite = np.concatenate(across)[np.isfinite(np.concatenate(across))]
    scores = seams.scores()
    assert scores.pairs == len(finite)
    if len(finite):
        assert scores.across == pytest.approx(finite.mean(), rel=1e-4)


def test_nothing_to_compare_is_not_a_number() -> None:
    seams = SeamContrast()
    seams.update(np.ones((4, 4), np.float32), np.ones((4, 4), np.uint8))
    assert seams.scores().across == pytest.approx(np.nan, nan_ok=True)
