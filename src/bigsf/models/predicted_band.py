"""What a prediction gives for some rows of a map, what may be left out of it, and what gives it."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from bigsf.arrays import BoolArray, FloatArray, MaskArray
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile

PixelMask = Callable[[Tile], BoolArray]
"""A function from a part of a map to a mask `(models, rows, columns)`, True where a model predicts a pixel."""


class PredictedBand(NamedTuple):
    """A band of rows of a predicted map."""

    y0: int
    """The first row."""
    y1: int
    """The row after the last one."""
    probability: FloatArray
    """float32 `(models, y1 - y0, nx)`; NaN where the map is missing, or a model gave no number."""
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


class TilePredictor(Protocol):
    """What predicts parts of a map."""

    @property
    def models(self) -> Sequence[object]:
        """The models that predict it."""
        ...

    views: int
    """Views of test-time augmentation that are kept apart."""

    def predict_tile(
        self,
        tile: Tile,
        planes: MapRows,
        pixel_mask: PixelMask | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Iterator[PredictedBand]:
        """Yield the bands of rows of a part of a map, see `SlidingWindowPredictor.predict_tile`."""
        ...


class BandPredictor(Protocol):
    """What gives the probability of a map by bands of rows."""

    @property
    def models(self) -> Sequence[object]:
        """The models that predict it."""
        ...

    def predict_bands(
        self, planes: MapRows, pixel_mask: PixelMask | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield bands of rows, see `SlidingWindowPredictor.predict_bands`."""
        ...
