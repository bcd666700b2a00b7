"""The baselines of a map -> files that several processes write, each a part, and from which scores read them."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from typing_extensions import override

from bigsf.arrays import FloatArray
from bigsf.evaluation.baseline_scales import BINNING_CONTRAST, BaselineTiles, ScaledBaselines
from bigsf.evaluation.baselines import BASELINES
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import Tile, row_chunks
from bigsf.models.predicted_band import PixelMask, PredictedBand, TilePredictor
from bigsf.models.stored_prediction import StoredPrediction

BASELINE_NAMES = [*BASELINES, BINNING_CONTRAST]
"""What is stored, in this order."""


class BaselinePredictor(TilePredictor):
    """Baselines in the place of models: a `StoredPrediction` of it holds the baselines of a map.

    Parameters
    ----------
    baselines
        The baselines of the map.
    """

    views = 0

    def __init__(self, baselines: ScaledBaselines) -> None:
        self.baselines = baselines

    @property
    @override
    def models(self) -> Sequence[object]:
        return BASELINE_NAMES

    @override
    def predict_tile(
        self,
        tile: Tile,
        planes: MapRows,
        pixel_mask: PixelMask | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Iterator[PredictedBand]:
        assert planes is self.baselines.planes
        assert pixel_mask is None
        values = np.stack([self.baselines.tile(name, tile) for name in BASELINE_NAMES])
        for top, bottom in row_chunks((tile.shape[0], tile.shape[1] * len(BASELINE_NAMES))):
            rows = values[:, top:bottom]
            nowhere, none = np.zeros(rows.shape[1:], np.uint8), np.empty((0, *rows.shape[1:]), np.float32)
            yield PredictedBand(tile.y0 + top, tile.y0 + bottom, rows, nowhere, none)
        advance(tile.shape[0])


class StoredBaselines(BaselineTiles):
    """The baselines of a map, read from the files of a `StoredPrediction`.

    Parameters
    ----------
    prediction
        One of a `BaselinePredictor`, of which all parts are there.
    """

    def __init__(self, prediction: StoredPrediction) -> None:
        assert isinstance(prediction.predictor, BaselinePredictor)
        self._prediction, self._computed = prediction, prediction.predictor.baselines
        self.scales = self._computed.scales

    @override
    def tile(self, name: str, tile: Tile) -> FloatArray:
        return self._prediction.read(BASELINE_NAMES.index(name), tile)

    @override
    def on_map(self, planes: MapRows) -> BaselineTiles:
        return self._computed.on_map(planes)  # computed where they are asked for
