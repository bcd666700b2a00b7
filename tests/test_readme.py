"""Every command and every block of the README is run, on small skies and with a small network."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bigsf.training.run_config import RunConfig
from conftest import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {
    "trainer.epochs": "1",
    "trainer.model.features": "4",
    "trainer.model.depth": "2",
    "data.samples_per_epoch": "16",
    "trainer.batch_size": "8",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def block(language: str, containing: str) -> str:
    return next(text for text in blocks(language) if containing in text)


def run(command: list[str], cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def small(text: str) -> str:
    """Return a configuration with the sizes of a test."""
    data = yaml.safe_load(text)
    for key, value in SMALL.items():
        *path, last = key.split(".")
        inner = data
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = int(value)
    return yaml.safe_dump(data)


@pytest.fixture(scope="module")
def skies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    make = [sys.executable, str(ROOT / "examples" / "make_galaxy.py")]
    run([*make, "--size", "320", "256", "--seed", "1", "-o", "galaxy.fits"], folder)
    run([*make, "--size", "192", "128", "--seed", "2", "-o", "map.fits"], folder)
    from astropy.io import fits

    for plane, name in (("TARGET", "spines"), ("BACKGROUND", "background"), ("MISSING", "missing")):
        with fits.open(folder / "galaxy.fits") as hdus:
            fits.PrimaryHDU(hdus[plane].data, hdus[0].header).writeto(folder / f"{name}.fits")
    (folder / "config.yaml").write_text(small(block("yaml", "data:\n  path: galaxy.h5\n")))
    return folder


def test_the_commands_run_one_after_the_other(skies: Path, bigsf_command: Run) -> None:
    commands = [line for line in block("bash", "bigsf kfold").splitlines() if line]
    assert [shlex.split(line)[1] for line in commands] == [
        "preprocess",
        "split",
        "train",
        "kfold",
        "resume",
        "segment",
    ]
    for line in commands:
        words = shlex.split(line)
        said = bigsf_command(*words[1:], cwd=skies)
        assert said.code == 0, said.err
    assert (skies / "map_segmented.fits").exists()
    assert (skies / "map_segmented.png").exists()
    assert (skies / "results" / "four_folds" / "out_of_fold.fits").exists()


def test_the_python_block_runs(skies: Path, tmp_path: Path) -> None:
    for name in ("galaxy.fits", "map.fits", "config.yaml"):
        (tmp_path / name).symlink_to(skies / name)
    (tmp_path / "block.py").write_text(block("python", "import bigsf"))
    assert "pixels are marked" in run([sys.executable, "block.py"], tmp_path)


def test_the_reference_holds_every_default() -> None:
    reference = yaml.safe_load(block("yaml", "trackers"))
    minimal = {"data": {"path": "galaxy.h5"}}
    assert RunConfig.from_dict(reference) == RunConfig.from_dict(minimal)
    assert missing_keys(reference, RunConfig.from_dict(minimal).model_dump(mode="json")) == []


def missing_keys(given: Any, whole: Any, path: str = "") -> list[str]:
    if isinstance(whole, list):
        return [key for i, item in enumerate(whole) for key in missing_keys(given[i], item, f"{path}.{i}")]
    if not isinstance(whole, dict):
        return []
    absent = [f"{path}.{key}" for key in whole if key not in given and key not in ("seed", "type")]
    shown = [key for key in whole if key in given]
    return absent + [key for name in shown for key in missing_keys(given[name], whole[name], f"{path}.{name}")]


def test_the_seed_trainer_block_works_word_for_word() -> None:
    text = """
data: {path: galaxy.h5}
trainer:
  output_dir: ./results
  run_name: experiment_1
  model:
    type: unet
    in_channels: 1
    out_channels: 1
  optimizer:
    type: adam
    lr: 0.001
  epochs: 50
  batch_size: 16
  metrics:
    - type: dice
"""
    config = RunConfig.from_dict(yaml.safe_load(text))
    assert (config.trainer.run.epochs, config.trainer.batch_size) == (50, 16)


def test_parts_of_ones_own(skies: Path, tmp_path: Path, bigsf_command: Run) -> None:
    (tmp_path / "mylab.py").write_text(block("python", "class OneLayer"))
    (tmp_path / "config.yaml").write_text(block("yaml", "mylab:Columns"))
    assert bigsf_command("preprocess", skies / "galaxy.fits", cwd=tmp_path).code == 0
    assert "Highest" in bigsf_command("train", "config.yaml", cwd=tmp_path).out


def test_the_table_of_the_developer_section_names_what_exists() -> None:
    import importlib

    rows = re.findall(r"^\| `\w+` \| `(\w+)\.([\w.]+)` \|", README, re.MULTILINE)
    assert len(rows) == 6
    for module, name in rows:
        found: Any = importlib.import_module(f"bigsf.{module}")
        for part in name.split("."):
            found = getattr(found, part)
    for module in set(re.findall(r"`(\w+)\.py`", README)) - {"mylab"}:
        assert (ROOT / "src" / "bigsf" / f"{module}.py").exists(), module
