"""A model that learnt from a simulated map, and maps that are like it or not."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from scipy.ndimage import distance_transform_edt, zoom

from bigsf.errors import ConfigError
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.segment import segment
from bigsf.simulation.galaxy import simulate_galaxy
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import galactic_header

SIZE = 256

Image = npt.NDArray[np.float32]


def write(path: Path, image: npt.NDArray[Any], beam_px: float | None = None) -> Path:
    """Write a map far from that of the training, so that its sky is not recognised."""
    header = galactic_header(image.shape[1], image.shape[0], longitude=90.0)
    if beam_px:
        header["BMAJ"] = beam_px * header["CDELT2"]
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)
    return path


def simulated(folder: Path, seed: int) -> Image:
    image: Image = fits.getdata(simulate_galaxy(folder / f"{seed}.fits", SIZE, SIZE, seed)).astype(np.float32)
    return image


def filled(image: Image) -> Image:
    """Return a map whose missing pixels have the value of the nearest valid one."""
    y, x = distance_transform_edt(~np.isfinite(image), return_distances=False, return_indices=True)
    return np.asarray(image[y, x])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of windows of 32 pixels, trained for a moment on the simulated map of seed 0."""
    folder = tmp_path_factory.mktemp("comparison")
    with fits.open(simulate_galaxy(folder / "galaxy.fits", SIZE, SIZE, 0)) as hdus:
        for name in ("PRIMARY", "TARGET", "MISSING"):
            fits.PrimaryHDU(hdus[name].data, hdus[0].header).writeto(folder / f"{name}.fits")
    planes = {"image": "PRIMARY", "target": "TARGET", "missing": "MISSING"}
    config: dict[str, Any] = {role: folder / f"{name}.fits" for role, name in planes.items()}
    preprocess(PreprocessConfig(**config, patch_size=32), folder / "galaxy.h5")
    run: dict[str, Any] = {
        "data": {"path": str(folder / "galaxy.h5"), "samples_per_epoch": 32},
        "split": {"k": 3, "area_size": 64},
        "trainer": {"output_dir": str(folder), "run_name": "run", "epochs": 1, "precision": "fp32"},
    }
    run["trainer"]["model"] = {"type": "unet", "features": 2, "depth": 1, "normalization": {"type": "robust"}}
    trainer = Trainer.from_config(run)
    trainer.train()
    return trainer.folder.best


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the map of the training, without missing pixels."""
    return filled(simulated(tmp_path_factory.mktemp("image"), 0))


def enlarged(image: Image, n: int) -> Image:
    return np.asarray(zoom(image, n, order=1, mode="nearest"))


def said(model: Path | list[Path], image: Path, **options: Any) -> list[str]:
    """Return what is said of a map that the model does not know."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        segment(model, image, image.with_suffix(".out.fits"), dry_run=True, **options)
    return [message for warning in found if "pixels of a map that" not in (message := str(warning.message))]


def changed(model: Path, path: Path, normalization: str = "robust", **fields: Any) -> Path:
    """Return a copy of a model with another normalization, and other fields of its snapshot."""
    snapshot = Snapshot.load(model)
    snapshot.global_config["trainer"]["model"]["normalization"] = {"type": normalization}
    for name, value in fields.items():
        setattr(snapshot, name, value)
    snapshot.save(path)
    return path


def test_the_map_of_the_training_and_a_part_of_it_are_like_it(model: Path, image: Image, tmp_path: Path) -> None:
    for number, part in enumerate((image, image[:128], image[:, 128:])):
        assert said(model, write(tmp_path / f"{number}.fits", part)) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_maps_of_the_same_recipe_are_like_it(model: Path, tmp_path: Path, seed: int) -> None:
    assert said(model, write(tmp_path / "other.fits", simulated(tmp_path, seed))) == []


def test_a_training_map_of_one_kind_leaves_a_margin(model: Path, tmp_path: Path) -> None:
    ranges = Snapshot.load(model).window_ranges
    narrow = {name: (median, median, median) for name, (_, median, _) in ranges.items()}
    other = changed(model, tmp_path / "narrow.pt", "asinh", window_ranges=narrow)
    assert said(other, write(tmp_path / "other.fits", simulated(tmp_path, 1))) == []


def test_noise_is_said_once_with_numbers_and_advice(model: Path, image: Image, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=image.shape)
    noisy = write(tmp_path / "noisy.fits", image + 0.1 * np.median(image) * noise)
    (message,) = said(model, noisy)
    assert message.startswith("noisy.fits is unlike what the model was trained on (median of windows of 32 pixels")
    assert "It is noisier: the noise from pixel to pixel is " in message
    low, _, high = Snapshot.load(model).window_ranges["noise"]
    assert f" of the spread of the values, there {low:.1%} to {high:.1%}. It is rougher: pixels 4 apart" in message
    assert "If that is noise, bin the map (scales=[2]) or smooth it" in message


def test_each_model_of_an_ensemble_is_compared(model: Path, image: Image, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=image.shape)
    noisy = write(tmp_path / "noisy.fits", image + 0.1 * np.median(image) * noise)
    ranges = Snapshot.load(model).window_ranges
    (alone,) = said(model, noisy)
    tolerant = changed(model, tmp_path / "tolerant.pt", window_ranges=dict.fromkeys(ranges, (0.0, 1.0, 1e9)))
    assert said(tolerant, noisy) == []
    (message,) = said([tolerant, model], noisy)
    assert message == alone.replace("what the model was trained on", "what 1 of 2 models were trained on")
    rougher = dict.fromkeys(ranges, (0.0, 0.0, 0.0)) | {"smoothness": (0.9, 1.0, 1.1), "noise": (0.0, 9.0, 9.0)}
    other = changed(model, tmp_path / "rougher.pt", window_ranges=rougher)
    (message,) = said([other, model, model], noisy)  # to the one the map is smoother, to the others rougher
    assert "It is rougher" in message
    assert "It is smoother" not in message


def test_an_oversampled_map_is_smoother_and_the_advice_ends_it(model: Path, image: Image, tmp_path: Path) -> None:
    large = write(tmp_path / "large.fits", enlarged(image, 3))
    (message,) = said(model, large)
    assert "It is smoother: pixels 4 apart differ 1.9" in message
    assert message.endswith("bin it (scales=[3, 6]).")
    assert said(model, large, scales="3,6") == []
    (binned,) = said(model, large, scales="2")
    assert binned.startswith("large.fits, binned by 2, is unlike")


def test_a_map_that_the_binning_makes_rougher_is_to_be_binned_by_less(
    model: Path, image: Image, tmp_path: Path
) -> None:
    (message,) = said(model, write(tmp_path / "map.fits", image), scales="4")
    assert message.startswith("map.fits, binned by 4, is unlike")
    assert "It is rougher: pixels 4 apart differ 1." in message
    assert message.endswith("or smooth it; if it comes from the binning, bin it by less.")


@pytest.mark.parametrize(("normalization", "warned"), [("asinh", True), ("none", True), ("robust", False)])
def test_logarithm_and_zero_level_are_said_where_the_normalization_does_not_remove_them(
    model: Path, image: Image, tmp_path: Path, normalization: str, warned: bool
) -> None:
    other = changed(model, tmp_path / "model.pt", normalization)
    for number, values in enumerate((np.log10(image), image - np.median(image))):
        messages = said(other, write(tmp_path / f"{number}.fits", values))
        assert len(messages) == warned
        assert all("Its values spread by " in message for message in messages)
        assert all(
            "take a model with the normalization robust, e.g. filaments-small." in message for message in messages
        )


def test_a_few_windows_and_a_model_without_ranges_say_nothing(model: Path, image: Image, tmp_path: Path) -> None:
    noise = write(tmp_path / "noise.fits", np.random.default_rng(0).normal(1, 0.1, (SIZE, SIZE)))
    assert len(said(model, noise)) == 1
    assert said(changed(model, tmp_path / "old.pt", window_ranges={}), noise) == []
    assert said(model, write(tmp_path / "small.fits", fits.getdata(noise)[:40, :64])) == []


@pytest.mark.filterwarnings("ignore:No pixel of")
@pytest.mark.parametrize(("n", "scales"), [(1, [1, 2]), (2, [2, 4]), (3, [3, 6])])
def test_scales_that_suit_a_map_are_chosen_printed_and_recorded(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, n: int, scales: list[int]
) -> None:
    path = write(tmp_path / "map.fits", enlarged(filled(simulated(tmp_path, 1)), n))
    text = f"{scales[0]},{scales[1]}"
    for dry_run in (True, False):
        caplog.clear()
        with caplog.at_level("INFO", logger="bigsf"):
            report = segment(model, path, tmp_path / "out.fits", dry_run=dry_run, scales="auto", products="prob")
        assert report.config.scales == scales
        assert caplog.messages[0].startswith(f"scales='auto' is {text} for map.fits: ")
        assert f"scales {text}" in caplog.messages[1]
    table = fits.getdata(tmp_path / "out.fits", "PROVENANCE")
    recorded = dict(zip(*(table[column] for column in table.names), strict=True))
    assert json.loads(recorded["segment config"])["scales"] == scales


def test_scales_follow_the_beams_where_all_headers_say_them(
    model: Path, image: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_beam = changed(model, tmp_path / "beam.pt", beam_px=2.0)
    path = write(tmp_path / "map.fits", image, beam_px=7.5)
    with caplog.at_level("INFO", logger="bigsf"):
        said(with_beam, path, scales="auto")
        said(model, path, scales="auto")
    assert caplog.messages[0] == (
        "scales='auto' is 4,8 for map.fits: its beam spans 7.5 pixels (BMAJ), that of the training 2."
    )
    assert next(m for m in caplog.messages[1:] if "auto" in m).startswith("scales='auto' is 1,2 for map.fits: pixels 4")


def test_a_beam_that_would_leave_less_than_a_window_is_left_to_the_smoothness(
    model: Path, image: Image, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_beam = changed(model, tmp_path / "beam.pt", beam_px=2.0)
    with caplog.at_level("INFO", logger="bigsf"):
        said(with_beam, write(tmp_path / "map.fits", image, beam_px=64.0), scales="auto")
    assert caplog.messages[0].startswith("scales='auto' is 1,2 for map.fits: pixels 4 apart")


def test_scales_that_cannot_be_chosen_are_refused(model: Path, image: Image, tmp_path: Path) -> None:
    path = write(tmp_path / "map.fits", 1.1 * image)
    old = changed(model, tmp_path / "old.pt", window_ranges={})
    with pytest.raises(
        ConfigError, match=r"scales='auto': old\.pt does not know how smooth .* Give numbers, e\.g\. scales="
    ):
        segment([model, old], path, tmp_path / "out.fits", scales="auto")
    y, x = np.mgrid[:100, :100]
    slope = write(tmp_path / "slope.fits", y + x + 1)
    with pytest.raises(
        ConfigError, match=r"training\. Binned by 3, it still is\. By more it would be smaller than a window"
    ):
        segment(model, slope, tmp_path / "out.fits", scales="auto")
    small = write(tmp_path / "small.fits", (y + x + 1)[:20, :20])
    with pytest.raises(
        ConfigError, match=r"small\.fits is smoother than the map of the training\. By more it would be"
    ):
        segment(model, small, tmp_path / "out.fits", scales="auto")
