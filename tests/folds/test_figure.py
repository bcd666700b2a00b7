from pathlib import Path

import numpy as np
from matplotlib.image import imread

from bigsf.folds.figure import folds_figure
from bigsf.folds.folds_file import load_folds, write_folds
from bigsf.patches.patch_file import PatchFile


def test_figure_has_one_colour_per_fold_and_white_where_data_are_missing(patch_path: Path, folds_path: Path) -> None:
    folds = load_folds(folds_path, PatchFile(patch_path))
    figure = folds_figure(folds)
    shown, number = np.asarray(figure.axes[0].images[0].get_array()), folds.rows(0, folds.patch_file.shape[0])
    missing = np.isnan(folds.patch_file.image[0])
    assert (np.asarray(shown[missing]) == 1.0).all()
    colours = shown / np.maximum(shown.max(axis=-1, keepdims=True), 1e-9)
    for fold in range(1, 5):
        where = (number == fold) & ~missing
        assert np.ptp(np.asarray(colours[where]), axis=0).max() < 1e-6
    assert len({tuple(np.round(colours[(number == fold) & ~missing][0], 3)) for fold in range(1, 5)}) == 4
    legend = figure.axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0].startswith(f"fold 1: {folds.counts[1].patches} patches")


def test_each_area_has_the_number_of_its_fold(patch_path: Path, folds_path: Path) -> None:
    folds = load_folds(folds_path, PatchFile(patch_path))
    texts = folds_figure(folds).axes[0].texts
    places = {tuple(round(value) for value in text.get_position()): text.get_text() for text in texts}
    assert len(places) == folds.grid.size
    rows = folds.rows(0, folds.patch_file.shape[0])
    assert all(str(rows[y, x]) == number for (x, y), number in places.items())


def test_figure_is_written_beside_the_folds_file(patch_path: Path, folds_path: Path, tmp_path: Path) -> None:
    write_folds(load_folds(folds_path, PatchFile(patch_path)), tmp_path / "sky.folds.json")
    assert imread(tmp_path / "sky.folds.png").ndim == 3
