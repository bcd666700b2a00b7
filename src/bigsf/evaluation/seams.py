"""The jump of an out-of-fold map where its predictor changes."""

import numpy as np
import numpy.typing as npt

from bigsf.arrays import FloatArray


class SeamContrast:
    """Compares neighbouring pixels across the borders of predicts with neighbours just beside them.

    A map without seams changes across a border no more than next to it.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(2)
        self._pixels = np.zeros(2, np.int64)
        self._above: tuple[FloatArray, npt.NDArray[np.integer]] | None = None

    def update(self, probability: FloatArray, predictor: npt.NDArray[np.integer]) -> None:
        """Take the next band of rows, top to bottom: probabilities, NaN where not predicted, and predicts `(rows, nx)`.

        A band holds two rows or more, and borders along x lie between bands only.
        """
        self._count(probability.T, predictor.T)
        if self._above is not None:
            joined = (
                np.concatenate([above, rows[:2]])
                for above, rows in zip(self._above, (probability, predictor), strict=True)
            )
            self._count(*joined)
        self._above = probability[-2:].copy(), predictor[-2:].copy()

    def _count(self, values: FloatArray, predictor: npt.NDArray[np.integer]) -> None:
        """Count pairs of neighbours along the first axis."""
        step = abs(np.diff(values, axis=0))
        border = predictor[1:] != predictor[:-1]
        beside = np.zeros_like(border)
        beside[1:] |= border[:-1]
        beside[:-1] |= border[1:]
        for kind, where in enumerate((border, beside & ~border)):
            found = step[where]
            found = found[np.isfinite(found)]
            self._sums[kind] += found.sum(dtype=np.float64)
            self._pixels[kind] += found.size

    def table(self) -> dict[str, float]:
        """Return the mean absolute difference of probability across borders and beside them, and pairs across."""
        with np.errstate(invalid="ignore"):
            across, beside = (self._sums / self._pixels).tolist()
        return {"across": across, "beside": beside, "pairs": int(self._pixels[0])}
