"""The models of a k-fold -> the maps that they predict: for thresholds, out of fold, and with injected filaments."""

import math
from pathlib import Path
from typing import NamedTuple, Self

from bigsf.arrays import MaskArray
from bigsf.evaluation.completeness import mask_of_filaments
from bigsf.evaluation.injection import TILE_PX, InjectedPlanes
from bigsf.evaluation.mask_thresholds import mask_of_validation
from bigsf.evaluation.out_of_fold import mask_of_test_folds
from bigsf.folds.folds import Folds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.patches.patch_file import PatchFile


class KFoldPredictions(NamedTuple):
    """What the models of a k-fold predict. Each pixel is predicted by the models of the splits that the map is for."""

    thresholds: StoredPrediction
    """The validation folds, for the thresholds of the mask."""
    out_of_fold: StoredPrediction
    """The test folds."""
    injected: StoredPrediction
    """Injected filaments of Gaussian profile, in the test folds."""
    injected_plummer: StoredPrediction
    """Those of the other family."""

    @classmethod
    def of(cls, folder: Path, identity: str, predictor: SlidingWindowPredictor, folds: Folds) -> Self:
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
        """
        file, tested = folds.patch_file, mask_of_test_folds(folds)
        known = file.labels()[0] if file.truth is None else file.truth
        families = InjectedPlanes(file, known), _plummer_filaments(file, known)
        on_filaments = (mask_of_filaments(family, len(predictor.models), tested) for family in families)
        maps = [(file, mask_of_validation(folds)), (file, tested), *zip(families, on_filaments, strict=True)]
        return cls(
            *(
                StoredPrediction(folder / f".{name}.parts", identity, predictor, planes, mask)
                for name, (planes, mask) in zip(cls._fields, maps, strict=True)
            )
        )

    def named(self) -> dict[str, StoredPrediction]:
        """Return the predictions by names that a user understands."""
        return {name.replace("_", " "): prediction for name, prediction in self._asdict().items()}


def _plummer_filaments(file: PatchFile, known: MaskArray) -> InjectedPlanes:
    """Return a map with filaments of the family that no augmentation adds, in every second tile, for speed."""
    tiles = math.prod(-(-size // TILE_PX) for size in file.shape)
    return InjectedPlanes(
        file, known, 1, per_tile=12, most_tiles=min(200, -(-tiles // 2)), width_px=(2.0, 12.0), profile="plummer"
    )
