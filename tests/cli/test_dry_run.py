import numpy as np
import pytest
from torch import Tensor

from bigsf.cli.dry_run import count_windows
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from conftest import ArrayMap, StubModel


@pytest.mark.parametrize("scales", [[1], [2], [1, 2, 4]])
@pytest.mark.parametrize("stride", [4, 6, 16])
@pytest.mark.parametrize("which", [[1], [2, 3], [1, 2, 3, 4]])
def test_windows_are_counted_as_the_predictor_takes_them(
    patch_file: PatchFile, which: list[int], stride: int, scales: list[int]
) -> None:
    folds = Folds.make(patch_file, SplitConfig(k=4, area_size=40))
    seen = []

    def count(image: Tensor, position: Tensor | None) -> Tensor:
        seen.append(len(image))
        return image

    predictor = SlidingWindowPredictor([StubModel(count)], patch_file.patch_size, stride, scales=scales)
    whole = ArrayMap(np.ones((1, *patch_file.shape), np.float32))
    for _ in predictor.predict_bands(whole, lambda y0, y1: np.isin(folds.rows(y0, y1), which)[None]):
        pass
    assert sum(seen) == count_windows(folds, which, stride, scales)
