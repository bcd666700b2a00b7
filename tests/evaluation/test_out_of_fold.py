from pathlib import Path

import numpy as np

from bigsf.evaluation.out_of_fold import ensemble_of_fold
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from conftest import write_patch_file


def folds_of(path: Path, **settings: int) -> Folds:
    file = write_patch_file(path, np.ones((1, 32, 32), np.float32), 8, 4)
    return Folds.make(file, SplitConfig.from_dict({"area_size": 8, **settings}))


def test_folds_that_one_model_judges_are_no_border(tmp_path: Path) -> None:
    folds = folds_of(tmp_path / "pairs.h5", k=8, k_train=5, step=2)
    assert [split.test for split in folds.splits] == [[7, 8], [1, 2], [3, 4], [5, 6]]
    predicts = ensemble_of_fold(folds)
    assert predicts[7] == predicts[8] != predicts[1] == predicts[2]
    assert len(set(predicts[[1, 3, 5, 7]])) == 4
    assert predicts[0] not in predicts[1:9]


def test_each_fold_of_overlapping_tests_has_judges_of_its_own(tmp_path: Path) -> None:
    """Two folds a split and every rotation: each fold has two predicts, no two folds the same."""
    assert len(set(ensemble_of_fold(folds_of(tmp_path / "all.h5", k=8, k_train=5))[1:9])) == 8
