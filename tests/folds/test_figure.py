from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from bigsf.folds import figure
from bigsf.folds.figure import draw_folds
from bigsf.folds.folds import Folds
from bigsf.patches.patch_file import PatchFile


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect figures instead of writing them."""
    figures: list[Any] = []
    monkeypatch.setattr(figure, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_fold_map_has_one_colour_per_fold_and_white_where_data_are_missing(
    patch_path: Path, folds_path: Path, drawn: list[Any]
) -> None:
    folds = Folds.load(folds_path, PatchFile(patch_path))
    draw_folds(folds, Path("folds.png"))
    shown, number = (
        next(axes.images[0] for axes in drawn[0].axes if axes.images).get_array(),
        folds.rows(0, folds.patch_file.shape[0]),
    )
    missing = np.isnan(folds.patch_file.image[0])
    assert (np.asarray(shown[missing]) == 1.0).all()
    colours = shown / np.maximum(shown.max(axis=-1, keepdims=True), 1e-9)
    for fold in range(1, 5):
        where = (number == fold) & ~missing
        assert np.ptp(np.asarray(colours[where]), axis=0).max() < 1e-6
    assert len({tuple(np.round(colours[(number == fold) & ~missing][0], 3)) for fold in range(1, 5)}) == 4
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert texts[0].startswith(f"fold 1: {folds.counts[1]['patches']} patches")


def test_fold_map_is_written(patch_path: Path, folds_path: Path, tmp_path: Path) -> None:
    draw_folds(Folds.load(folds_path, PatchFile(patch_path)), tmp_path / "folds.png")
    assert imread(tmp_path / "folds.png").ndim == 3
