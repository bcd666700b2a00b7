"""Names of files that are too long, or hold line breaks, tabs, bytes that are no text, or commands for a terminal."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Ended, Sky

STRANGE = {
    "line break": "a\nb",
    "tab": "a\tb",
    "no text": os.fsdecode(b"a\xff"),
    "escape": "a\x1b[31mb",
    "braces and quotes": "a{0}%s'\"b",
}


@pytest.mark.parametrize("name", STRANGE.values(), ids=STRANGE)
def test_a_strange_name_is_a_name_like_any_other(
    name: str,
    sky: Sky,
    patch_path: Path,
    trained: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(sky.path("image"), folder / f"{name}.fits")
    shutil.copy(trained / "best.pt", folder / f"{name}.pt")
    shutil.copy(patch_path, folder / f"{name}.h5")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(run_dict(epochs=1)))
    products = "mask,catalog,votable,mrt,regions,moc"
    commands: list[list[object]] = [
        ["preprocess", f"in/{name}.fits", "--patch-size", 16, "-o", f"{name}.h5"],
        ["split", f"in/{name}.h5", "-k", 4, "--area-size", 32, "-o", f"{name}.folds.json"],
        ["segment", f"in/{name}.pt", f"in/{name}.fits", "-o", f"{name}_out.fits", "--products", products],
        ["train", f"in/{name}.yaml"],
        ["kfold", f"in/{name}.yaml", "--only", 1, "--set", "trainer.run_name=kfold"],
    ]
    for command in commands:
        result = ended(0, *command)
        assert "\x1b[31m" not in result.out + result.err
    made = {path.name for path in tmp_path.iterdir()}
    endings = ("_out.fits", "_out.ecsv", "_out.vot", "_out.mrt", "_out.reg", "_out.moc.fits", ".h5", ".folds.json")
    assert {f"{name}{ending}" for ending in endings} <= made


@pytest.mark.parametrize("name", ["x" * 300, *STRANGE.values()], ids=["long", *STRANGE])
def test_a_strange_name_of_nothing_is_one_message(name: str, sky: Sky, trained: Path, ended: Ended) -> None:
    codes = dict.fromkeys(("preprocess", "split", "train", "kfold", "resume", "segment", "map"), 2)
    if len(name) < 255:
        codes |= {"preprocess": 4, "split": 4, "train": 3, "kfold": 3, "resume": 5, "segment": 5, "map": 4}
    else:
        codes |= {"train": 3, "kfold": 3}
    ended(codes["preprocess"], "preprocess", f"{name}.fits", "--patch-size", 16)
    ended(codes["split"], "split", f"{name}.h5")
    ended(codes["train"], "train", f"{name}.yaml")
    ended(codes["kfold"], "kfold", f"{name}.yaml")
    ended(codes["resume"], "resume", f"{name}.pt")
    ended(codes["segment"], "segment", f"{name}.pt", sky.path("image"))
    ended(codes["map"], "segment", trained, f"{name}.fits")


def test_an_output_whose_name_is_too_long_is_one_message(
    sky: Sky, patch_path: Path, trained: Path, run_dict: Callable[..., dict[str, Any]], ended: Ended, tmp_path: Path
) -> None:
    name = "x" * 300
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(epochs=1)))
    commands: list[list[object]] = [
        ["preprocess", sky.path("image"), "--patch-size", 16, "-o", f"{name}.h5"],
        ["split", patch_path, "-k", 4, "--area-size", 32, "-o", f"{name}.json"],
        ["segment", trained, sky.path("image"), "-o", f"{name}.fits"],
        ["train", "run.yaml", "--set", f"trainer.run_name={name}"],
        ["kfold", "run.yaml", "--set", f"trainer.output_dir={name}"],
    ]
    for command in commands:
        assert "File name too long" in ended(2, *command).err
    assert {path.name for path in tmp_path.iterdir()} <= {
        "run.yaml",
        "results",
        "sky.folds.json",
        "sky.folds.fits",
        "sky.folds.png",
    }
