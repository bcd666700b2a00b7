import numpy as np
import pytest

from bigsf.maps.tiling import Tile
from bigsf.models.pyramid import BinnedMap, enlarged, squares_beside
from conftest import ArrayMap


def test_a_binned_map_holds_means_over_squares() -> None:
    image = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    image[0, :2, 2] = np.nan
    image[0, 2:, 4:] = np.nan
    binned = BinnedMap(ArrayMap(image), 2)
    assert binned.shape == (2, 3)
    expected = [[(0 + 1 + 6 + 7) / 4, np.nan, (4 + 5 + 10 + 11) / 4], [(12 + 13 + 18 + 19) / 4, 17.5, np.nan]]
    np.testing.assert_allclose(binned.read_rows(0, 2), [expected])
    np.testing.assert_allclose(binned.read_rows(1, 2), [expected[1:]])


def test_squares_may_reach_past_the_end() -> None:
    image = np.ones((1, 5, 7), np.float32)
    binned = BinnedMap(ArrayMap(image), 3)
    assert binned.shape == (2, 3)
    np.testing.assert_array_equal(binned.read_rows(0, 2)[0], [[1, 1, np.nan], [1, 1, np.nan]])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_plane_comes_back_to_its_grid(n: int) -> None:
    y, x = np.mgrid[: 12 * n, : 10 * n]
    plane = (2.0 * y - 3.0 * x).astype(np.float32)
    binned = BinnedMap(ArrayMap(plane[None]), n).read_rows(0, 12)
    inner = np.s_[n:-n, n:-n]
    held = Tile(0, 12, 0, 10)
    tiles = [Tile(y0, y0 + 4, 0, 10 * n) for y0 in range(0, 12 * n, 4)]
    rows = np.concatenate([enlarged(binned, held, n, tile, (12, 10))[0] for tile in tiles])
    np.testing.assert_allclose(rows[inner], plane[inner], rtol=1e-5, atol=1e-4)


def test_missing_squares_do_not_spread() -> None:
    level = np.array([[[1, np.nan, 3]]], np.float32)
    held, tile = Tile(0, 1, 0, 3), Tile(0, 1, 0, 6)
    np.testing.assert_array_equal(enlarged(level, held, 2, tile, (1, 3)), [[[1, 1, 1, 3, 3, 3]]])
    assert np.isnan(enlarged(np.full((1, 1, 3), np.nan, np.float32), held, 2, tile, (1, 3))).all()


@pytest.mark.parametrize("tile", [Tile(0, 5, 0, 7), Tile(5, 6, 13, 20), Tile(16, 17, 19, 20), Tile(0, 17, 0, 20)])
def test_the_squares_beside_a_part_are_enough_for_it(tile: Tile) -> None:
    level, n = np.random.default_rng(0).random((2, 6, 7)).astype(np.float32), 3
    whole = enlarged(level, Tile(0, 6, 0, 7), n, Tile(0, 17, 0, 20), (6, 7))
    held = squares_beside(tile, n, (6, 7))
    part = enlarged(level[:, held.y0 : held.y1, held.x0 : held.x1], held, n, tile, (6, 7))
    np.testing.assert_array_equal(part, whole[:, tile.y0 : tile.y1, tile.x0 : tile.x1])
