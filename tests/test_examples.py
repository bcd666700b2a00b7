"""Every example is run, on a small map and for an epoch."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import bigsf
import gallery
import injection
import labels_from_ds9
import make_galaxy
import read_products
import whole_path
from bigsf.filaments.catalogue import Filaments
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.run_config import RunConfig
from bigsf.training.trainer import Trainer
from conftest import galactic_header
from programs import run_program

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNS = sorted(path for path in EXAMPLES.glob("*.yaml") if path.name != "preprocess.yaml")


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    simulated = bigsf.simulate_galaxy(folder / "galaxy.fits", 640, 256, seed=4)
    data = PreprocessConfig.from_yaml(EXAMPLES / "preprocess.yaml", [f"image={simulated}"])
    preprocess(data, folder / "galaxy.h5")
    return folder / "galaxy.h5"


def small(patches: Path, folder: Path) -> list[str]:
    """Return settings that make an example small."""
    settings = {
        "data.path": patches,
        "data.samples_per_epoch": 8,
        "split.path": folder / "folds.json",
        "trainer.output_dir": folder,
        "trainer.epochs": 1,
    }
    return [f"{key}={value}" for key, value in settings.items()]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_each_configuration_trains(path: Path, patches: Path, tmp_path: Path) -> None:
    scores = Trainer.from_config(path, small(patches, tmp_path)).train()
    assert 0 <= scores.test["whole_average_precision"] <= 1


def test_the_whole_path_in_python(tmp_path: Path) -> None:
    assert whole_path.main(tmp_path, size=(384, 256), epochs=1).exists()


def test_a_notebook_runs_from_an_empty_folder(tmp_path: Path) -> None:
    env = {**os.environ, "MPLBACKEND": "agg"}
    done = run_program([sys.executable, EXAMPLES / "notebook.py"], cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "Split(train=[1, 2], validation=[3], test=[4])" in done.stdout
    assert {"folds.png", "notebook.png"} <= {path.name for path in tmp_path.iterdir()}


def test_labels_of_three_forms_become_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("regions")
    drawn, spines, identifiers = labels_from_ds9.main(tmp_path)
    printed = capsys.readouterr().out.splitlines()
    for line, name, content in zip(
        printed,
        ("drawn.reg", "spines.ecsv", "identifiers.fits"),
        ("lines, 1 circle", "spines of", "identifiers"),
        strict=True,
    ):
        assert line.startswith(f"{name}: ")
        assert content in line
    truth = fits.getdata(tmp_path / "simulated.fits", "TRUTH") > 0
    np.testing.assert_array_equal(identifiers.labels()[0] > 0, truth & ~np.isnan(fits.getdata(tmp_path / "map.fits")))
    for file in (drawn, spines):
        target = file.labels()[0] > 0
        assert (target & truth).sum() > 0.9 * target.sum()


def test_all_products_of_a_filament_are_joined_by_its_id(tmp_path: Path) -> None:
    found = read_products.main(tmp_path)
    row = found["catalogue"]
    assert found["ids"] == [row["id"]] * 3
    assert found["pixels"] == row["area_px"]
    assert (found["branches"], found["hubs"], found["outlines"]) == (row["branches"], row["hubs"], 1)
    assert found["mean probability"] == pytest.approx(row["probability"], rel=1e-4)


def test_make_galaxy_writes_the_map_of_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, same = tmp_path / "galaxy.fits", tmp_path / "same.fits"
    make_galaxy.main(["--size", "300", "40", "--seed", "3", "-o", str(path)])
    assert capsys.readouterr().out == f"{path}\n"
    bigsf.simulate_galaxy(same, 300, 40, seed=3)
    assert path.read_bytes() == same.read_bytes()


def test_make_galaxy_keeps_an_existing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "galaxy.fits"
    path.write_text("precious")
    with pytest.raises(SystemExit, match="2"):
        make_galaxy.main(["--size", "32", "32", "-o", str(path)])
    assert "--overwrite" in capsys.readouterr().err
    assert path.read_text() == "precious"
    make_galaxy.main(["--size", "33", "20", "-o", str(path), "--overwrite"])
    assert fits.getdata(path).shape == (20, 33)


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--size", "0", "20"], ["--size", "20"]])
def test_make_galaxy_refuses_what_makes_no_map(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        make_galaxy.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_make_galaxy_has_an_example_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        make_galaxy.main(["--help"])
    assert "example: make_galaxy.py" in capsys.readouterr().out


def test_the_gallery_is_a_figure_in_the_format_of_its_ending(tmp_path: Path) -> None:
    image = bigsf.simulate_galaxy(tmp_path / "map.fits", 192, 128, seed=2)
    segmented = bigsf.segment("filaments-small", image, tmp_path / "found.fits", device="cpu").output
    for ending, beginning in (("png", b"\x89PNG"), ("pdf", b"%PDF-")):
        gallery.main(str(image), str(segmented), str(tmp_path / f"filaments.{ending}"))
        assert (tmp_path / f"filaments.{ending}").read_bytes().startswith(beginning)


def test_injected_filaments_are_looked_for(trained: Path, patch_path: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="was trained on"):
        injection.main(trained, patch_path, tmp_path)
    for profile in ("gaussian", "plummer"):
        found = json.loads((tmp_path / f"completeness_{profile}.json").read_text())
        assert found["profile"] == profile
        assert len(found["contrast"]) == len(found["completeness"]["BigSF"]) > 0
    assert (tmp_path / "completeness.png").exists()


@pytest.mark.filterwarnings("ignore")  # FilFinder's own
def test_filfinder_measures_widths_on_the_mask_and_the_skeleton(tmp_path: Path) -> None:
    pytest.importorskip("fil_finder")
    from filfinder_widths import widths

    y, x = np.mgrid[:120, :140]
    across = (y - 60) * np.cos(0.3) - (x - 70) * np.sin(0.3)  # a ridge of FWHM 5 pixels
    along = (x - 70) * np.cos(0.3) + (y - 60) * np.sin(0.3)
    image = 1e21 * (1 + 3 * np.exp(-4 * np.log(2) * (across / 5) ** 2) * (np.abs(along) < 45))
    mask = (image > 2.5e21).astype(np.uint8)
    planes = [fits.ImageHDU(mask, name="MASK"), fits.ImageHDU(Filaments(mask).skeleton(), name="SKELETON")]
    fits.PrimaryHDU(image, galactic_header(140, 120)).writeto(tmp_path / "map.fits")
    fits.HDUList([fits.PrimaryHDU(image), *planes]).writeto(tmp_path / "map_segmented.fits")
    table = widths(tmp_path / "map.fits", tmp_path / "map_segmented.fits")
    assert len(table) == 1
    assert table["fwhm"][0] == pytest.approx(5, abs=0.5)


def test_the_schema_for_editors_is_that_of_the_code() -> None:
    stored = json.loads((EXAMPLES / "config.schema.json").read_text(encoding="utf-8"))
    assert stored == RunConfig.model_json_schema(), "run: bigsf train --schema > examples/config.schema.json"
    printed = run_program([sys.executable, "-m", "bigsf", "train", "--schema"])
    assert json.loads(printed.stdout) == stored
