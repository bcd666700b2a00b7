import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigsf.arrays import FloatArray
from bigsf.errors import UsageError
from bigsf.maps.tiling import Tile, tiles_of
from bigsf.models import stored_prediction
from bigsf.models.normalizations import MinMaxConfig
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.models.unet import UNet
from conftest import ArrayMap

IMAGE = np.random.default_rng(0).lognormal(size=(1, 75, 90)).astype(np.float32)
IMAGE[0, 20:40, 30:50] = np.nan
MAP = ArrayMap(IMAGE)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_prediction, "TILE_ROWS", 32)
    monkeypatch.setattr(stored_prediction, "TILE_COLUMNS", 48)


def model(seed: int) -> SegmentationModel:
    torch.manual_seed(seed)
    return SegmentationModel(UNet(features=2, depth=2), MinMaxConfig().build(1))


def predictor(
    models: int = 1, scales: tuple[int, ...] = (1,), stride: int = 6, tta: bool = False
) -> SlidingWindowPredictor:
    return SlidingWindowPredictor(
        [model(seed) for seed in range(models)], 16, stride, batch_size=5, tta=tta, scales=scales, views=tta
    )


def left_and_right(tile: Tile) -> npt.NDArray[np.bool_]:
    left = np.broadcast_to(np.arange(tile.x0, tile.x1) < 37, tile.shape)
    return np.stack([left, ~left])


def bands(prediction: StoredPrediction) -> list[FloatArray]:
    """Return probability, views and scale of the whole map, with the planes first."""
    found = list(prediction.bands())
    assert [band.y0 for band in found] == [0, *(band.y1 for band in found[:-1])]
    joined = [np.concatenate(parts, axis=1) for parts in zip(*((b.probability, b.views) for b in found), strict=True)]
    return [*joined, np.concatenate([band.scale for band in found])]


def test_it_tells_what_is_kept_where_it_is_stopped(tmp_path: Path) -> None:
    whole, part = MAP, ArrayMap(IMAGE[:, :32, :48])
    assert StoredPrediction(tmp_path, "", predictor(), part).what_is_kept.startswith(
        "This map is predicted in one part"
    )
    kept = StoredPrediction(tmp_path, "", predictor(), whole).what_is_kept
    assert kept.startswith("Parts of the map that are done, of up to 48 x 32 pixels, are kept")


@pytest.mark.parametrize("tile", [Tile(0, 75, 0, 90), Tile(10, 11, 3, 90), Tile(60, 75, 77, 90), Tile(31, 64, 0, 48)])
@pytest.mark.parametrize("scales", [(1,), (1, 3), (2, 4)])
def test_a_part_of_a_map_is_predicted_as_in_the_whole(tile: Tile, scales: tuple[int, ...]) -> None:
    made = predictor(2, scales)
    whole, part = (
        [np.concatenate(planes, axis=-2) for planes in zip(*((b.probability, b.scale) for b in found), strict=True)]
        for found in (made.predict_tile(Tile.whole(MAP.shape), MAP), made.predict_tile(tile, MAP))
    )
    assert part[0].shape == (2, *tile.shape)
    where = np.s_[..., tile.y0 : tile.y1, tile.x0 : tile.x1]
    np.testing.assert_allclose(part[0], whole[0][where], atol=2e-6)
    assert (part[1] == whole[1][where]).mean() > 0.999


def test_tiles_cover_a_map_once() -> None:
    for shape in ((1, 1), (75, 90), (1024, 2048), (1025, 2049), (1800, 114000)):
        rows = tiles_of(shape, 1024, 2048)
        assert [row[0].y0 for row in rows] == [0, *(row[0].y1 for row in rows[:-1])]
        assert rows[-1][0].y1 == shape[0]
        for row in rows:
            assert [tile.x0 for tile in row] == [0, *(tile.x1 for tile in row[:-1])]
            assert row[-1].x1 == shape[1]
            assert all(tile.shape[0] <= 1024 and tile.shape[1] <= 2048 for tile in row)


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_what_the_predictor_gives_however_many_processes_make_it(masked: bool, tmp_path: Path) -> None:
    made, mask = predictor(2, (1, 2)), left_and_right if masked else None
    expected = np.concatenate([values for _, _, values in made.predict_bands(MAP, mask)], axis=1)
    results = []
    for size in (1, 2, 4, 8):
        prediction = StoredPrediction(tmp_path / str(size), "id", made, MAP, mask)
        with prediction.opened():
            for rank in reversed(range(size)):
                prediction.predict(rank, size)
        results.append(bands(prediction))
        prediction.remove()
    np.testing.assert_allclose(results[0][0], expected, atol=2e-6)
    for result, plane in itertools.product(results[1:], range(3)):
        np.testing.assert_array_equal(result[plane], results[0][plane])
    assert not list(tmp_path.iterdir())


def test_the_views_of_test_time_augmentation_are_kept(tmp_path: Path) -> None:
    made = predictor(tta=True)
    prediction = StoredPrediction(tmp_path / "parts", "id", made, MAP)
    with prediction.opened():
        prediction.predict()
    whole = list(made.predict_tile(Tile.whole(MAP.shape), MAP))
    np.testing.assert_allclose(bands(prediction)[1], np.concatenate([b.views for b in whole], axis=1), atol=2e-6)


def test_it_goes_on_with_the_parts_that_are_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictions = [StoredPrediction(tmp_path / "parts", "id", predictor(), MAP) for _ in range(3)]
    counted: list[int] = []
    with predictions[0].opened():
        predictions[0].predict(0, 3, counted.append)
    assert sum(counted) == predictions[0].pixels(0, 3) < 75 * 90
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.f4")}
    longest = max(before, key=lambda path: path.stat().st_size)
    longest.write_bytes(longest.read_bytes()[:-1])  # as after a crash of the machine
    with predictions[1].opened():
        predictions[1].predict()
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.f4")}
    assert {path for path in before if after[path] == before[path]} == set(before) - {longest}
    assert len(after) == 6
    with caplog.at_level("INFO", logger="bigsf"), predictions[2].opened():
        pass
    assert "6 of 6 parts of the map are predicted already." in caplog.text


def test_parts_of_other_inputs_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, other = (StoredPrediction(tmp_path / "parts", identity, predictor(), MAP) for identity in ("id", "other"))
    with first.opened():
        first.predict(0, 6)
    with caplog.at_level("INFO", logger="bigsf"), other.opened():
        assert not list((tmp_path / "parts").glob("*.f4"))
    assert "1 of 6 parts of the map are predicted already, from other inputs or options: all are" in caplog.text


def test_two_commands_do_not_share_a_folder(tmp_path: Path) -> None:
    first, other = (StoredPrediction(tmp_path / "parts", "id", predictor(), MAP) for _ in range(2))
    with first.opened(), pytest.raises(UsageError, match=r"parts is in use by process"), other.opened():
        pass


def test_a_part_in_which_nothing_is_to_be_predicted_takes_no_disk_and_is_not_read(tmp_path: Path) -> None:
    def first_columns(tile: Tile) -> npt.NDArray[np.bool_]:
        return np.repeat(np.broadcast_to(np.arange(tile.x0, tile.x1) < 10, tile.shape)[None], 2, axis=0)

    made = predictor(2, (1, 2))
    prediction = StoredPrediction(tmp_path / "parts", "id", made, MAP, first_columns)
    with prediction.opened():
        done: list[int] = []
        prediction.predict(advance=done.append)
        sizes = {path.name: path.stat().st_size for path in prediction.folder.glob("*.f4")}
        assert {size > 0 for name, size in sizes.items() if name.endswith("_0.f4")} == {True}
        assert {size for name, size in sizes.items() if not name.endswith("_0.f4")} == {0}
        assert sum(done) == prediction.pixels() == MAP.shape[0] * MAP.shape[1]
        probability, _, scale = bands(prediction)
        np.testing.assert_array_equal(prediction.read(1, Tile(0, 5, 0, 90)), probability[1, :5])
    whole = np.concatenate([values for _, _, values in made.predict_bands(MAP, first_columns)], axis=1)
    np.testing.assert_allclose(probability, whole, atol=2e-6)
    assert np.isnan(probability[:, :, 10:]).all()
    assert not scale[:, 10:].any()
