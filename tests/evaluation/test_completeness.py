import json
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from bigsf.arrays import BoolArray
from bigsf.evaluation.baseline_scales import ScaledBaselines, first_scales
from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.completeness import measure_completeness
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.maps.tiling import Tile
from bigsf.models.sliding_window import SlidingWindowPredictor
from conftest import ArrayMap, StubModel

SHAPE = (200, 300)


@pytest.fixture
def injected() -> InjectedPlanes:
    return InjectedPlanes(ArrayMap(np.full((1, *SHAPE), 100, np.float32)), seed=1)


def segmented(folder: Path, marked: float = 0.1) -> Path:
    probability = np.random.default_rng(0).uniform(size=SHAPE).astype(np.float32)
    mask = (probability < marked).astype(np.uint8)
    path = folder / "segmented.fits"
    fits.HDUList([fits.PrimaryHDU(probability), fits.ImageHDU(mask, name="MASK")]).writeto(path)
    return path


def test_a_model_that_knows_the_background_finds_what_rises_above_it(injected: InjectedPlanes, tmp_path: Path) -> None:
    predictor = SlidingWindowPredictor([StubModel(lambda image, _: torch.sigmoid(image - 120))], 32)
    found = measure_completeness(injected, predictor, [0.5], segmented(tmp_path))
    contrast, completeness = np.array(found.contrast), np.array(found.completeness["BigSF"])
    assert sum(found.filaments) == len(injected.filaments)
    assert (np.diff(contrast) > 0).all()
    assert not completeness[contrast < 0.15].any()
    assert (completeness[contrast > 0.5] > 0.9).all()
    assert found.marked == pytest.approx(0.1, abs=0.01)
    assert np.mean(found.before["BigSF"]) == pytest.approx(0.1, abs=0.02)
    assert set(found.completeness) == {"BigSF", *BASELINES}
    assert (found.profile, found.width_px) == ("gaussian", (2.0, 6.0))
    json.dumps(found.model_dump(), allow_nan=False)


def test_baselines_mark_as_much_as_the_model(tmp_path: Path) -> None:
    sky = np.random.default_rng(2).lognormal(3, 0.3, (1, *SHAPE)).astype(np.float32)
    predictor = SlidingWindowPredictor([StubModel(lambda image, _: torch.zeros_like(image))], 32)
    injected = InjectedPlanes(ArrayMap(sky), seed=1)
    found = measure_completeness(injected, predictor, [0.5], segmented(tmp_path, 0.2))
    assert not any(found.completeness["BigSF"])
    for name in BASELINES:
        assert np.mean(found.before[name]) == pytest.approx(0.2, abs=0.05)
        assert found.completeness[name][-1] > 0.8


def test_baselines_have_the_scale_of_the_model_that_predicts_a_pixel(tmp_path: Path) -> None:
    """Each half of the map is as complete as with the scale of its model alone."""
    sky = np.random.default_rng(2).lognormal(3, 0.3, (1, *SHAPE)).astype(np.float32)
    injected = InjectedPlanes(ArrayMap(sky), seed=1, width_px=(6, 12), profile="plummer")
    predictor = SlidingWindowPredictor([StubModel(lambda image, _: torch.zeros_like(image))] * 2, 32)

    def halves(tile: Tile) -> BoolArray:
        left = np.broadcast_to(np.arange(tile.x0, tile.x1) < 150, tile.shape)
        return np.stack([left, ~left])

    segmented(tmp_path)
    first, _, third = BASELINES["Sato filter"]
    mixed, fine, coarse = (
        measure_completeness(
            injected,
            predictor,
            [0.5, 0.5],
            tmp_path / "segmented.fits",
            halves,
            ScaledBaselines(injected.planes, {**first_scales(2), "Sato filter": scales}, halves),
        )
        for scales in ([first, third], [first, first], [third, third])
    )
    assert (mixed.profile, mixed.width_px) == ("plummer", (6, 12))
    each = [np.mean(found.completeness["Sato filter"]) for found in (fine, mixed, coarse)]
    assert each == sorted(each)
    assert each[0] < each[1] - 0.02 < each[2] - 0.04
    assert mixed.completeness["local contrast"] == fine.completeness["local contrast"]


def test_only_pixels_that_a_model_may_predict_count(injected: InjectedPlanes, tmp_path: Path) -> None:
    models = [StubModel(lambda image, _: torch.full_like(image, 0.3)), StubModel(lambda image, _: image * 0 + 0.9)]
    thresholds = [0.2, 0.95]

    def left_half_by_the_first(tile: Tile) -> BoolArray:
        mask = np.zeros((2, *SHAPE), np.bool_)
        mask[0, :, :150] = True
        return mask[:, tile.rows, tile.columns]

    found = measure_completeness(
        injected, SlidingWindowPredictor(models, 32), thresholds, segmented(tmp_path), left_half_by_the_first
    )
    assert 0 < sum(found.filaments) < len(injected.filaments)
    assert found.completeness["BigSF"] == [1.0] * len(found.contrast)
    found = measure_completeness(
        injected, SlidingWindowPredictor(models[1:], 32), thresholds[1:], tmp_path / "segmented.fits"
    )
    assert not any(found.completeness["BigSF"])


def test_a_map_without_room_gives_empty_curves(tmp_path: Path) -> None:
    full = InjectedPlanes(ArrayMap(np.ones((1, *SHAPE), np.float32)), np.ones(SHAPE, np.uint8))
    predictor = SlidingWindowPredictor([StubModel(lambda image, _: image)], 32)
    found = measure_completeness(full, predictor, [0.5], segmented(tmp_path))
    assert found.contrast == found.filaments == found.completeness["BigSF"] == []


def test_the_kfold_reports_it(trained_kfold: Path) -> None:
    summary = json.loads((trained_kfold / "summary.json").read_text())
    for family, profile, widths in (("injected", "gaussian", [2, 6]), ("injected_plummer", "plummer", [2, 12])):
        injected = summary[family]
        assert (injected["profile"], injected["width_px"]) == (profile, widths)
        assert sum(injected["filaments"]) > 0
        assert all(0 <= share <= 1 for shares in injected["completeness"].values() for share in shares)
    assert "Injected filaments" in (trained_kfold / "report.html").read_text()
