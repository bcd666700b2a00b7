"""What a prediction gives for some rows of a map."""

from typing import NamedTuple

from bigsf.arrays import FloatArray, MaskArray


class PredictedBand(NamedTuple):
    """A band of rows of a predicted map."""

    y0: int
    """The first row."""
    y1: int
    """The row after the last one."""
    probability: FloatArray
    """float32 `(models, y1 - y0, nx)`; NaN where the map is missing."""
    scale: MaskArray
    """The factor by which the map was binned where the mean probability was taken from, uint8 `(y1 - y0, nx)`; 0 where
    the probability is NaN, or no square of a binned map is valid."""
    views: FloatArray
    """What each view of test-time augmentation alone gives, float32 `(8, y1 - y0, nx)`; `(0, y1 - y0, nx)` where they
    are not kept apart."""

    def spread(self) -> FloatArray:
        """Return the standard deviation over the views where they are kept apart, else over the models, `(rows, nx)`.

        It is NaN where the probability is.
        """
        spread: FloatArray = (self.views if len(self.views) else self.probability).std(axis=0)
        return spread
