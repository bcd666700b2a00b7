from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from bigsf.evaluation.catalogue_rows import Components
from bigsf.filaments.catalogue import Filaments
from bigsf.folds.folds import Folds
from bigsf.folds.splits import SplitConfig
from conftest import write_patch_file

EIGHT = np.ones((3, 3))


@pytest.fixture(autouse=True)
def _two_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seams between chunks of rows would show."""
    monkeypatch.setattr(
        "bigsf.evaluation.catalogue_rows.row_chunks",
        lambda shape: ((y0, min(y0 + 2, shape[0])) for y0 in range(0, shape[0], 2)),
    )


def components(mask: np.ndarray) -> Components:
    return Components(*label(mask, EIGHT))


def test_pixels_and_means_of_each_component() -> None:
    mask = np.zeros((5, 8), np.uint8)
    mask[0:3, 1] = mask[4, 4:8] = 1
    found = components(mask)
    plane = np.arange(40, dtype=np.float32).reshape(5, 8)
    plane[4, 7] = np.nan
    assert found.pixels.tolist() == [3, 4]
    np.testing.assert_allclose(found.mean(lambda y0, y1: plane[y0:y1]), [9, 37])
    np.testing.assert_allclose(found.mean(lambda y0, y1: plane[y0:y1] * np.float32(np.nan)), [np.nan, np.nan])


@pytest.mark.parametrize(("distance_px", "beside"), [(2, True), (3, False)])
def test_beside_reaches_two_pixels_along_rows_columns_and_diagonals(distance_px: int, beside: bool) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[8, 8] = 1
    for step in ((1, 0), (0, -1), (-1, 1), (1, 1)):
        other = np.zeros_like(mask)
        other[8 + step[0] * distance_px, 8 + step[1] * distance_px] = 1
        assert components(mask).beside(other).tolist() == [beside]


def test_a_component_belongs_to_the_fold_of_most_of_its_pixels_and_may_touch_a_seam(tmp_path: Path) -> None:
    """Four strips of 16 columns, one for each fold."""
    file = write_patch_file(tmp_path / "map.h5", np.ones((1, 32, 64), np.float32), 8, 4)
    folds = Folds.make(file, SplitConfig.from_dict({"k": 4, "k_train": 2, "strategy": {"type": "naive"}}))
    numbers = folds.rows(0, 1)[0]
    assert (numbers[[0, 16, 32, 48]] == numbers[[15, 31, 47, 63]]).all()
    mask = np.zeros(file.shape, np.uint8)
    mask[2, 10:26] = 1  # 6 pixels in the first strip, 10 in the second
    mask[9, 20:30] = 1  # within the second
    mask[20, 32:40] = 1  # in the third, beside the border
    mask[30, 33:40] = 1  # in the third, one pixel further
    found = components(mask)
    assert found.folds(folds).tolist() == numbers[[16, 16, 32, 32]].tolist()
    assert found.on_seams(folds).tolist() == [True, False, True, False]


@pytest.mark.parametrize("width_px", [1, 2, 3, 4, 5])
def test_the_width_of_a_straight_band(width_px: int) -> None:
    mask = np.zeros((20, 60), np.uint8)
    mask[6 : 6 + width_px, 10:50] = 1
    for band in (mask, mask.T):
        width = components(band).widths(Filaments(band).skeleton())
        np.testing.assert_allclose(width, [width_px], atol=0.25)


def test_the_width_of_diagonal_and_round_components() -> None:
    y, x = np.mgrid[:60, :60]
    diagonal = (abs(y - x) < 2.12 * 1.0) & (abs(y + x - 59) < 40)  # 3 pixels wide
    np.testing.assert_allclose(components(diagonal).widths(Filaments(diagonal).skeleton()), [3], atol=0.6)
    spot = np.hypot(y - 30, x - 30) <= 5
    np.testing.assert_allclose(components(spot).widths(Filaments(spot).skeleton()), [np.sqrt(spot.sum())], atol=1)
