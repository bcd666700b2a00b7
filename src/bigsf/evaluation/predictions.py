"""The models of a k-fold -> the maps that they predict: for thresholds, out of fold, and with injected filaments."""

import math
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from bigsf.arrays import MaskArray
from bigsf.errors import warn
from bigsf.evaluation.baseline_scales import ScaledBaselines, ScalesOfBaselines
from bigsf.evaluation.completeness import mask_of_filaments
from bigsf.evaluation.injected_planes import TILE_PX, InjectedPlanes
from bigsf.evaluation.mask_thresholds import mask_of_validation
from bigsf.evaluation.out_of_fold import mask_of_test_folds
from bigsf.evaluation.stored_baselines import BaselinePredictor
from bigsf.folds.folds import Folds
from bigsf.maps.linearity import why_not_linear
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS
from bigsf.models.predicted_band import PixelMask, TilePredictor
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.patches.patch_file import PatchFile

MOST_GAUSSIAN_TILES, MOST_PLUMMER_TILES = 400, 200
"""Tiles that hold injected filaments of each family, at most."""

_ROWS_OF_SAMPLE = 100  # rows of the map whose values tell whether it is linear


class KFoldPredictions(NamedTuple):
    """What the models of a k-fold predict: their validation folds, or their test folds."""

    thresholds: StoredPrediction
    """The validation folds, for the thresholds of the mask."""
    out_of_fold: StoredPrediction
    """The test folds."""
    injected: StoredPrediction
    """Injected filaments of Gaussian profile, in the test folds."""
    injected_plummer: StoredPrediction
    """Injected filaments of Plummer-like profile, in the test folds."""
    baselines: StoredPrediction
    """The baselines in the place of models, see `StoredBaselines`."""

    @classmethod
    def of(
        cls, folder: Path, identity: str, predictor: SlidingWindowPredictor, folds: Folds, scales: ScalesOfBaselines
    ) -> Self:
        """Return the predictions of a k-fold, none of which is made yet.

        Parameters
        ----------
        folder
            The folder of the k-fold, in which their parts are kept while they are made.
        identity
            A text that changes with all that changes them.
        predictor
            The model of each split.
        folds
            Folds of a patch file with labels.
        scales
            The scales of the baselines, see `choose_scales`.
        """
        file, tested = folds.patch_file, mask_of_test_folds(folds)
        known = file.labels()[0] if file.truth is None else file.truth
        chunk_pixels = 4 * CHUNK_PIXELS  # so that a whole tile is filtered at a time: less work on margins
        baselines = BaselinePredictor(ScaledBaselines(file, scales, tested, chunk_pixels))

        most = most_tiles_to_inject(file)

        def stored(name: str, predictor: TilePredictor, planes: MapRows, mask: PixelMask | None) -> StoredPrediction:
            return StoredPrediction(folder / f".{name}.parts", identity, predictor, planes, mask)

        def stored_filaments(name: str, planes: InjectedPlanes) -> StoredPrediction:
            return stored(name, predictor, planes, mask_of_filaments(planes, len(predictor.models), tested))

        return cls(
            thresholds=stored("thresholds", predictor, file, mask_of_validation(folds)),
            out_of_fold=stored("out_of_fold", predictor, file, tested),
            injected=stored_filaments("injected", InjectedPlanes(file, known, most_tiles=most)),
            injected_plummer=stored_filaments("injected_plummer", _plummer_filaments(file, known, most)),
            baselines=stored("baselines", baselines, file, None),
        )

    def named(self) -> dict[str, StoredPrediction]:
        """Return the predictions by names that a user understands."""
        return {name.replace("_", " "): prediction for name, prediction in self._asdict().items()}


def _plummer_filaments(file: PatchFile, known: MaskArray, most_tiles: int) -> InjectedPlanes:
    """Return a map with filaments of the family that no augmentation adds, in every second tile, for speed."""
    rows, columns = (math.ceil(size / TILE_PX) for size in file.shape)
    tiles = min(most_tiles, MOST_PLUMMER_TILES, math.ceil(rows * columns / 2))
    return InjectedPlanes(file, known, 1, per_tile=12, most_tiles=tiles, width_px=(2.0, 12.0), profile="plummer")


def most_tiles_to_inject(file: PatchFile) -> int:
    """Return how many tiles may get filaments: none, with a warning, where their contrast makes no sense on the map."""
    rows = np.linspace(0, file.shape[0] - 1, min(file.shape[0], _ROWS_OF_SAMPLE)).round().astype(int)
    values = np.concatenate([file.read_rows(y, y + 1)[0, 0] for y in rows.tolist()])
    why = why_not_linear(values[np.isfinite(values)].astype(np.float64), file.unit)
    if why:
        warn(
            f"No filaments are injected to measure the completeness, as {why}: a contrast relative to the local mean "
            "makes no sense on it."
        )
    return 0 if why else MOST_GAUSSIAN_TILES
