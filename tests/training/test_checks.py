import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigsf.errors import (
    ConfigError,
)
from bigsf.training.checks import check_patch_size
from bigsf.training.trainer import Trainer
from conftest import Settings, Sky, write_patch_file


@pytest.mark.parametrize(
    ("size", "multiple", "listing"), [(100, 32, "96 or 128"), (10, 16, "16"), (33, 16, "32 or 48")]
)
def test_nearest_patch_sizes_are_named(size: int, multiple: int, listing: str) -> None:
    with pytest.raises(ConfigError, match=f"for example {listing}, in bigsf preprocess"):
        check_patch_size(size, multiple, "unet")
    check_patch_size(multiple, multiple, "unet")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"best_by": "val_f2"}, r"trainer\.best_by"),
        ({"early_stopping": {"type": "patience", "monitor": "val_f2"}}, r"trainer\.early_stopping\.monitor"),
        ({"scheduler": {"type": "plateau", "monitor": "val_f2"}}, r"trainer\.scheduler\.monitor"),
    ],
)
def test_quantity_that_is_not_logged_is_refused(settings: Settings, change: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} is 'val_f2', which is not logged\. Logged are .*val_dice"):
        Trainer.from_config(settings(epochs=1, **change)).train()


@pytest.mark.parametrize(("normalization", "warns"), [("log", True), ("asinh", False)])
def test_a_logarithm_of_a_map_that_is_not_positive_warns(
    settings: Settings, sky: Sky, tmp_path: Path, normalization: str, warns: bool
) -> None:
    image = np.nan_to_num(sky.image.astype(np.float32), nan=1e22)[None]
    image[:, ::8] = 0
    labels = (sky.target.astype(np.uint8), np.ones_like(sky.target, np.uint8))
    file = write_patch_file(tmp_path / "zeros.h5", image, 16, 8, labels)
    run = settings(model={"features": 4, "depth": 1, "normalization": {"type": normalization}})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        split = {**run["split"], "path": str(tmp_path / "zeros.folds.json")}
        Trainer.from_config({**run, "data": {"path": str(file.path)}, "split": split})
    assert any("takes the logarithm" in str(warning.message) for warning in said) == warns
