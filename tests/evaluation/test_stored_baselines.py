from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bigsf.evaluation.baseline_scales import BINNING_CONTRAST, ScaledBaselines, first_scales
from bigsf.evaluation.baselines import BASELINES, BaselineMaps, sampled_tiles
from bigsf.evaluation.stored_baselines import BaselinePredictor, StoredBaselines
from bigsf.maps.tiling import Tile
from bigsf.models import stored_prediction
from bigsf.models.stored_prediction import StoredPrediction
from conftest import ArrayMap

SHAPE = 150, 200
MAP = ArrayMap(np.random.default_rng(0).lognormal(3, 1, (1, *SHAPE)).astype(np.float32))


def test_baselines_of_several_processes_are_those_of_the_whole_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_prediction, "TILE_ROWS", 60)
    monkeypatch.setattr(stored_prediction, "TILE_COLUMNS", 90)
    first, _, third = BASELINES["Sato filter"]

    def left_and_right(tile: Tile) -> np.typing.NDArray[np.bool_]:
        left = np.broadcast_to(np.arange(tile.x0, tile.x1) < 77, tile.shape)
        return np.stack([left, ~left])

    scaled = ScaledBaselines(MAP, {**first_scales(2), "Sato filter": [first, third]}, left_and_right)
    prediction = StoredPrediction(tmp_path / "parts", "id", BaselinePredictor(scaled), MAP)
    with prediction.opened():
        for rank in range(3):
            prediction.predict(rank, 3)
        stored = StoredBaselines(prediction)
        assert stored.scales == scaled.scales
        for part in (Tile.whole(SHAPE), Tile(0, 1, 0, 200), Tile(55, 65, 85, 95), Tile(149, 150, 199, 200)):
            for name in (*BASELINES, BINNING_CONTRAST):
                whole = scaled.tile(name, Tile.whole(SHAPE))
                np.testing.assert_allclose(stored.tile(name, part), whole[part.rows, part.columns], atol=1e-6)
        other = ArrayMap(MAP.image * 2)
        assert_array_equal(
            stored.of_changed(other).tile("Sato filter", Tile.whole(SHAPE)),
            scaled.of_changed(other).tile("Sato filter", Tile.whole(SHAPE)),
        )


def test_the_contrast_of_bins_has_one_scale_whichever_is_best() -> None:
    coarse = ScaledBaselines(MAP, {**first_scales(1), "local contrast": ["sigma 24 px"]})
    expected = BaselineMaps(MAP).rows("local contrast", "sigma 12 px", 10, 30)
    assert_array_equal(coarse.tile(BINNING_CONTRAST, Tile(10, 30, 0, 200)), expected)


@pytest.mark.parametrize("shape", [(100, 114_000), (1800, 5000), (3000, 300), (40, 5000)])
def test_a_sample_of_a_large_map_reaches_from_end_to_end(shape: tuple[int, int]) -> None:
    tiles = sampled_tiles(shape)
    assert len(set(tiles)) == len(tiles) <= 16
    whole = Tile.whole(shape)
    assert all(tile.overlap(whole) == tile and min(tile.shape) > 0 for tile in tiles)
    assert min(tile.x0 for tile in tiles) < 256
    assert min(tile.y0 for tile in tiles) < 256
    assert max(tile.x1 for tile in tiles) > shape[1] - 512
    assert max(tile.y1 for tile in tiles) > shape[0] - 512
    assert sum(tile.shape[0] * tile.shape[1] for tile in tiles) <= 16 * 256 * 256


def test_a_small_map_is_its_own_sample() -> None:
    assert sampled_tiles((1000, 1000)) == [Tile(0, 1000, 0, 1000)]
