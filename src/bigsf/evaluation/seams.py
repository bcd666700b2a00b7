"""An out-of-fold map -> seam contrast: how much it changes where one model ends and another begins."""

import numpy as np
import numpy.typing as npt

from bigsf.arrays import FloatArray, IntArray
from bigsf.evaluation.records import SeamScores
from bigsf.folds.folds import Folds


def ensemble_of_fold(folds: Folds) -> IntArray:
    """Return a number for each fold, `(256,)`. It is the same for folds that the same models predict.

    Index 0, for pixels of no fold, and folds that no model predicts share a number.
    """
    models = [frozenset(i for i, split in enumerate(folds.splits) if fold in split.test) for fold in range(256)]
    numbers = {ensemble: number for number, ensemble in enumerate(dict.fromkeys(models))}
    return np.array([numbers[ensemble] for ensemble in models])


def models_of_fold(folds: Folds) -> IntArray:
    """Return how many models predict each fold, `(256,)`; index 0 is for pixels of no fold."""
    return np.array([sum(fold in split.test for split in folds.splits) for fold in range(256)])


class SeamContrast:
    """Compares neighbouring pixels across seams, where the models change, with the nearest neighbours that do not.

    In a map without visible seams both differ by the same amount.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(2)
        self._pairs = np.zeros(2, np.int64)
        self._above: tuple[FloatArray, npt.NDArray[np.integer]] | None = None

    def update(self, probability: FloatArray, ensemble: npt.NDArray[np.integer]) -> None:
        """Add the next band of rows, from top to bottom.

        Parameters
        ----------
        probability
            `(rows, nx)`, two rows or more. NaN where no model predicted a pixel.
        ensemble
            A number for the models that predicted each pixel, `(rows, nx)`. Within a band it changes along x only.
        """
        self._count(probability.T, ensemble.T)
        if self._above is not None:
            joined = (
                np.concatenate([above, rows[:2]])
                for above, rows in zip(self._above, (probability, ensemble), strict=True)
            )
            self._count(*joined)
        self._above = probability[-2:].copy(), ensemble[-2:].copy()

    def _count(self, values: FloatArray, ensemble: npt.NDArray[np.integer]) -> None:
        """Count pairs of neighbours along the first axis."""
        step = abs(np.diff(values, axis=0))
        seam = ensemble[1:] != ensemble[:-1]
        beside = np.zeros_like(seam)
        beside[1:] |= seam[:-1]
        beside[:-1] |= seam[1:]
        for kind, where in enumerate((seam, beside & ~seam)):
            found = step[where]
            found = found[np.isfinite(found)]
            self._sums[kind] += found.sum(dtype=np.float64)
            self._pairs[kind] += found.size

    def scores(self) -> SeamScores:
        """Return the mean absolute differences of probability; NaN where there is no pair."""
        with np.errstate(invalid="ignore"):
            across, beside = (self._sums / self._pairs).tolist()
        return SeamScores(across=across, beside=beside, pairs=int(self._pairs[0]))
