"""Channels in FITS files and in a patch file -> the same probabilities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits

from bigsf.errors import BigsfWarning
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.segmentation.segment import segment
from bigsf.training.trainer import Trainer
from conftest import Sky


def test_two_channels_have_the_same_probabilities_from_fits_files_and_from_a_patch_file(
    sky: Sky, run_in: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigsf.segmentation.result_writer.save_figure", lambda _, path, __: path.touch())
    temperature = sky.image[::-1].copy()
    temperature[40:44, 50:60] = np.nan
    hole = np.isnan(temperature) & np.isfinite(sky.image)
    assert hole.any()
    planes: dict[str, npt.NDArray[Any]] = {
        "image": sky.image,
        "temperature": temperature,
        "target": sky.target,
        "background": sky.background,
    }
    paths = {name: tmp_path / f"{name}.fits" for name in planes}
    for name, plane in planes.items():
        kind = np.float32 if name in ("image", "temperature") else np.uint8
        fits.PrimaryHDU(plane.astype(kind), sky.header).writeto(paths[name])
    config = PreprocessConfig(
        image=paths["image"],
        channels=[paths["temperature"]],
        target=paths["target"],
        background=paths["background"],
        patch_size=16,
    )
    patch_file = preprocess(config, tmp_path / "map.h5").output
    run = run_in(tmp_path, epochs=1)
    run["data"]["path"], run["split"]["path"] = str(patch_file), str(tmp_path / "map.folds.json")
    run["trainer"]["model"]["in_channels"] = 2
    trainer = Trainer.from_config(run)
    trainer.train()
    sources: dict[Path, list[Path]] = {patch_file: [], paths["image"]: [paths["temperature"]]}
    probabilities = []
    for source, channels in sources.items():
        output = tmp_path / f"probability_{source.suffix[1:]}.fits"
        with pytest.warns(BigsfWarning, match="are pixels of a map that the model was trained on"):
            report = segment(trainer.folder.path / "best.pt", source, output, precision="fp32", channels=channels)
        probabilities.append(fits.getdata(report.output, 0))
    from_patch_file, from_fits = probabilities
    assert np.isnan(from_patch_file[hole]).all()
    assert np.isfinite(from_patch_file).any()
    np.testing.assert_array_equal(from_fits, from_patch_file)
