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
            stored.on_map(other).tile("Sato filter", Tile.whole(SHAPE)),
            scaled.on_map(other).tile("Sato filter", Tile.whole(SHAPE)),
        )


def test_the_contrast_of_bins_has_one_scale_whichever_is_best() -> None:
    coarse = ScaledBaselines(MAP, {**first_scales(1), "local contrast": ["sigma 24 px"]})
    expected = BaselineMaps(MAP).rows("local contrast", "sigma 12 px", 10, 30)
    assert_array_equal(coarse.tile(BINNING_CONTRAST, Tile(10, 30, 0, 200)), expected)


@pytest.mark.parametrize("shape", [(100, 114_000), (1800, 50_000), (4000, 4000), (30_000, 300)])
def test_a_sample_of_a_large_map_is_spread_over_it(shape: tuple[int, int]) -> None:
    """Every second column of tiles, or row of a narrow map, holds no pixel that counts."""
    whole, wide = Tile.whole(shape), shape[1] > 300

    def counts(tile: Tile) -> bool:
        return (tile.x0 if wide else tile.y0) // 256 % 2 == 0

    sample = sampled_tiles(shape, lambda tile: np.full(tile.shape, counts(tile)))
    tiles = [tile for tile, _ in sample]
    assert len(set(tiles)) == len(tiles)
    assert all(tile.overlap(whole) == tile and counts(tile) for tile in tiles)
    assert 1_000_000 <= sum(int(where.sum()) for _, where in sample) < 1_000_000 + 256 * 256
    for starts, size in (([tile.y0 for tile in tiles], shape[0]), ([tile.x0 for tile in tiles], shape[1])):
        assert len(set(starts)) >= min(4, -(-size // 512))
        assert np.ptp(starts) >= 0.4 * (size - 512)


def test_a_small_map_is_its_own_sample_and_a_sparse_one_is_searched() -> None:
    ((tile, where),) = sampled_tiles((1000, 1000), lambda tile: np.ones(tile.shape, np.bool_))
    assert (tile, where.sum()) == (Tile(0, 1000, 0, 1000), 1_000_000)
    corner = np.zeros((3000, 3000), np.bool_)
    corner[-1, -1] = True
    ((tile, where),) = sampled_tiles((3000, 3000), lambda tile: corner[tile.rows, tile.columns])
    assert where.sum() == 1
    assert (tile.y1, tile.x1) == (3000, 3000)
