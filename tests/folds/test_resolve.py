from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigsf.folds.resolve import resolve_split
from bigsf.folds.splits import SplitConfig, default_folds_path
from bigsf.patches.patch_file import PatchFile
from conftest import write_patch_file


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


def test_defaults_depend_on_the_patch_file(patch_file: PatchFile, tmp_path: Path) -> None:
    config = resolve_split(SplitConfig(), patch_file)
    assert (config.area_size, config.k_train) == (64, 2)
    assert config.path == default_folds_path(patch_file.path) == patch_file.path.with_name("sky.folds.json")
    wide = write_patch_file(tmp_path / "wide.h5", np.ones((1, 50, 60), np.float32), 40)
    assert resolve_split(SplitConfig(), wide).area_size == 80


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, (10, 7, 2)),
        ({"strategy": {"type": "balanced"}}, (10, 7, 2)),
        ({"area_size": 15}, (4, 2, 1)),  # fewer areas
        ({"step": 2}, (4, 2, 2)),
        ({"k_train": 1}, (4, 1, 1)),
        ({"k": 8}, (8, 6, 1)),
        ({"strategy": {"type": "naive"}}, (4, 2, 1)),
    ],
)
def test_a_map_of_fifteen_areas_has_ten_folds(
    chosen: dict[str, Any], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    square = write_patch_file(tmp_path / "square.h5", np.ones((1, 36, 60), np.float32), 4)
    config = resolve_split(split_config(**{"area_size": 12, **chosen}), square)
    assert (config.k, config.k_train, config.step) == expected
