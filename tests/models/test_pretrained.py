"""The models that come with the package."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from bigsf.arrays import FloatArray
from bigsf.errors import BigsfWarning, SnapshotError
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.models.model_config import build_model
from bigsf.models.pretrained import FOLDER, NAMES, snapshot_path
from bigsf.patches.patch_file import PatchFile
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.ensemble import find_models
from bigsf.segmentation.segment import segment
from bigsf.simulation.galaxy import simulate_galaxy
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import Sky, preprocess_config, shared_data


@pytest.mark.parametrize("name", NAMES)
def test_model_is_small_has_a_card_and_names_no_path(name: str) -> None:
    path = snapshot_path(name)
    assert path.stat().st_size <= 5_000_000
    assert "licence" in path.with_suffix(".md").read_text().lower()
    config = Snapshot.load(name).global_config
    assert not [
        value for value in (config["data"]["path"], config["trainer"]["output_dir"]) if Path(value).is_absolute()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_model_has_the_default_network(name: str) -> None:
    Snapshot.load(name).load_weights(build_model(RunConfig.from_dict({"data": {"path": "any.h5"}}).trainer.model))


def disturbed(image: FloatArray) -> dict[str, FloatArray]:
    """Return a map as others would show it: noisy, in another unit and from another zero, with odd pixels."""
    median = np.float32(np.nanmedian(image))
    noise = np.random.default_rng(0).normal(0, 0.05 * median, image.shape).astype(np.float32)
    odd = image.copy()
    odd[20::60, 30::60] = 1e6 * median
    return {"noise": image + noise, "unit and zero": image / median - 1, "odd pixels": odd}


def test_filaments_small_gives_nearly_the_same_mask_on_a_disturbed_map(tmp_path: Path) -> None:
    with fits.open(simulate_galaxy(tmp_path / "simulated.fits", 256, 256, seed=5)) as hdus:
        image = hdus[0].data.astype(np.float32)
    masks = {}
    for name, plane in {"as it is": image, **disturbed(image)}.items():
        fits.writeto(tmp_path / "map.fits", plane, overwrite=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BigsfWarning)  # of the odd pixels
            segment("filaments-small", tmp_path / "map.fits", tmp_path / "out.fits", precision="fp32", overwrite=True)
        masks[name] = fits.getdata(tmp_path / "out.fits", "MASK") > 0
    expected = masks.pop("as it is")
    for name, least in {"noise": 0.6, "unit and zero": 0.99, "odd pixels": 0.9}.items():
        dice = 2 * (masks[name] & expected).sum() / (masks[name].sum() + expected.sum())
        assert dice > least, name


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_models(["higal-small"]) == [FOLDER / "higal-small.pt"]
    (tmp_path / "higal-small").mkdir()
    with pytest.raises(SnapshotError, match="holds no trained model"):
        find_models(["higal-small"])


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_filaments_of_a_new_map_better_than_what_needs_no_training(name: str, tmp_path: Path) -> None:
    path = simulate_galaxy(tmp_path / "simulated.fits", 256, 256, seed=5)
    preprocess(PreprocessConfig(image=path), tmp_path / "sky.h5")
    file = PatchFile(tmp_path / "sky.h5")
    found = fits.getdata(segment(name, path, tmp_path / "out.fits", precision="fp32").output)
    baselines = BaselineMaps(file)
    maps = {"model": found} | {
        f"{name}, {scale}": baselines.rows(name, scale, 0, 256)
        for name, scales in BASELINES.items()
        for scale in scales
    }
    assert file.truth is not None
    scores = {}
    for name, score in maps.items():
        curve = ThresholdCurve(quantile_edges(score[np.isfinite(found)]))
        curve.update(score[np.isfinite(found)], file.truth[np.isfinite(found)] > 0)
        scores[name] = curve.average_precision()
    assert scores.pop("model") > 1.1 * max(scores.values())


def test_it_knows_the_maps_that_it_was_trained_on(tmp_path: Path) -> None:
    with fits.open(simulate_galaxy(tmp_path / "simulated.fits", 768, 768, seed=11)) as hdus:
        fits.PrimaryHDU(hdus[0].data[100:200, 301:401]).writeto(tmp_path / "cut.fits")
    with fits.open(shared_data("train", "higal_lis2_image.fits")) as hdus:
        fits.PrimaryHDU(hdus[0].data[150:250, 201:301].astype(np.float32)).writeto(tmp_path / "sample.fits")
    for model in NAMES:
        for name in ("cut.fits", "sample.fits"):
            with pytest.warns(BigsfWarning, match=rf"100% of the pixels of {name} are pixels of a map that the model"):
                segment(model, tmp_path / name, tmp_path / "out.fits", overwrite=True)


@pytest.mark.parametrize(("name", "least"), [("taurus_planck_lognh.fits", 0.005), ("perseus_extinction.fits", 0.01)])
def test_it_marks_a_few_percent_of_other_maps_and_warns_of_them(name: str, least: float, tmp_path: Path) -> None:
    with pytest.warns(BigsfWarning, match=r"is unlike what the model was trained on .* noisier"):
        report = segment("higal-small", shared_data("maps", name), tmp_path / "out.fits")
    assert least < report.marked / report.valid < 0.1


def test_fine_tuning_starts_from_it(run_in: Callable[..., dict[str, Any]], sky: Sky, tmp_path: Path) -> None:
    preprocess(preprocess_config(sky, patch_size=32, stride=4), tmp_path / "sky.h5")
    run = run_in(tmp_path, model={"type": "unet"}, start_from="higal-small", epochs=1)
    run |= {"data": {"path": str(tmp_path / "sky.h5"), "samples_per_epoch": 16}, "split": {"k": 4, "area_size": 32}}
    trainer = Trainer.from_config(run)
    there = Snapshot.load("higal-small").model_state
    here = trainer.run.model.state_dict()
    assert all(np.allclose(here[key], there[key].float(), atol=1e-6) for key in there)
    trainer.train()
    assert RunConfig.from_yaml(trainer.folder.config).trainer.start_from == "higal-small"


def test_another_normalization_than_that_of_the_first_weights_is_named(
    run_in: Callable[..., dict[str, Any]], sky: Sky, tmp_path: Path
) -> None:
    preprocess(preprocess_config(sky, patch_size=32, stride=4), tmp_path / "sky.h5")
    run = run_in(tmp_path, model={"type": "unet"}, start_from="filaments-small", epochs=1)
    run |= {"data": {"path": str(tmp_path / "sky.h5"), "samples_per_epoch": 16}, "split": {"k": 4, "area_size": 32}}
    with pytest.warns(BigsfWarning, match="was trained behind the normalization robust, and this run has log"):
        Trainer.from_config(run)
