"""Folds files, patch files and snapshots that cannot be used, through every command that reads them."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
import yaml
from astropy.io import fits

from conftest import Ended, Sky
from fits_files import VALUES, plane


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_file_identity": "0" * 64}, "was made for another patch file (00000000... there"),
        ({"format_version": 9}, "has format 9, newer than 1"),
        ({"x_edges": [0, 160]}, "holds other edges of areas than its parameters give"),
        ({"grid": [[1]]}, "the grid must have"),
        ({"parameters": {"k": 5}}, "was made with other parameters (k: 5 there, 4 here"),
    ],
)
def test_folds_of_other_data_are_an_error_of_data(
    change: dict[str, Any],
    message: str,
    folds_path: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    folds = json.loads(folds_path.read_text())
    change = {key: {**folds[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (tmp_path / "sky.folds.json").write_text(json.dumps({**folds, **change}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    for command in ("train", "kfold"):
        assert message in " ".join(ended(4, command, "run.yaml").err.split())


def no_hdf5(path: Path) -> None:
    path.write_text("text")


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = VALUES


def newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 9


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_strings(path: Path) -> None:
    kind = h5py.h5t.vlen_create(h5py.h5t.py_create(h5py.string_dtype(), logical=True))
    with h5py.File(path, "r+") as file:
        del file.attrs["unit"]
        h5py.h5a.create(file.id, b"unit", kind, h5py.h5s.create(h5py.h5s.SCALAR))


PATCH_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no HDF5": (no_hdf5, "bad.h5 is not a patch file that can be read"),
    "another HDF5": (other_hdf5, "bad.h5 is an HDF5 file but no patch file of BigSF"),
    "a newer format": (newer, "bad.h5 has format 9"),
    "cut": (halved, "bad.h5 is not a patch file that can be read|bad.h5 is cut short"),
    "a list for a string": (of_strings, "bad.h5 is damaged: unit is not a string"),
    "absent": (Path.unlink, "bad.h5 does not exist"),
}


@pytest.mark.parametrize("name", PATCH_FILES)
def test_a_file_that_is_not_a_patch_file_is_an_error_of_data_in_every_command(
    name: str,
    trained: Path,
    patch_path: Path,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    write, message = PATCH_FILES[name]
    shutil.copy(patch_path, tmp_path / "bad.h5")
    write(tmp_path / "bad.h5")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    path = tmp_path / "bad.h5"
    commands: list[list[object]] = [
        ["split", "bad.h5"],
        ["train", "run.yaml", "--set", f"data.path={path}"],
        ["kfold", "run.yaml", "--set", f"data.path={path}"],
        ["segment", trained, "bad.h5"],
    ]
    for command in commands:
        assert re.search(message, ended(4, *command).err), command


def test_damaged_patch_file_is_an_error_of_data_in_every_command(
    trained: Path, patch_path: Path, run_dict: Callable[..., dict[str, Any]], ended: Ended, tmp_path: Path
) -> None:
    shutil.copy(patch_path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["positions"][0] = (10_000, 0)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict()))
    commands: list[list[object]] = [
        ["split", "bad.h5"],
        ["train", "run.yaml", "--set", f"data.path={tmp_path / 'bad.h5'}"],
        ["segment", trained, "bad.h5"],
    ]
    for command in commands:
        assert "bad.h5 is damaged: its planes, patches and attributes do not fit together" in ended(4, *command).err


def spanned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\6\7") + 16] = 2  # the number of disks of a zip64 archive
    path.write_bytes(content)


class _Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("hostile",)


SNAPSHOTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no snapshot": (lambda path: path.write_text("text"), "is no PyTorch file, or it was cut short"),
    "a FITS file": (
        lambda path: fits.PrimaryHDU(VALUES).writeto(path, overwrite=True),
        "is a FITS file; expected a snapshot",
    ),
    "another file of torch": (lambda path: torch.save({"a": 1}, path), "is a PyTorch file but no snapshot of BigSF"),
    "cut": (halved, "is no PyTorch file, or it was cut short"),
    "one of several archives": (spanned, "is not a snapshot that can be read: zipfiles that span multiple disks"),
    "hostile": (lambda path: torch.save(_Hostile(), path), "holds more than plain data"),
    "absent": (Path.unlink, "does not exist"),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_file_that_is_not_a_snapshot_is_a_snapshot_error_in_every_command(
    name: str,
    trained: Path,
    sky: Sky,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    write, message = SNAPSHOTS[name]
    path = tmp_path / "bad.pt"
    shutil.copy(trained / "last.pt", path)
    write(path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(start_from=str(path))))
    for command in (["segment", "bad.pt", sky.path("image")], ["resume", "bad.pt"], ["train", "run.yaml"]):
        assert message in " ".join(ended(5, *command).err.split()), command
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL_STATE", {"a": 1}, "is damaged: MODEL_STATE: Input should be an instance of Tensor"),
        ("PATCH_SIZE", "16", "is damaged: PATCH_SIZE: Input should be a valid integer"),
        ("THRESHOLDS", {}, "is damaged: THRESHOLDS: Field required"),
        ("GLOBAL_CONFIG", {"data": 1}, "The configuration in the snapshot cannot be used"),
        ("FORMAT_VERSION", 99, "has format 99"),
    ],
)
def test_damaged_snapshot_is_a_snapshot_error(
    key: str, value: Any, message: str, trained: Path, sky: Sky, ended: Ended, tmp_path: Path
) -> None:
    torch.save({**torch.load(trained / "last.pt", weights_only=True), key: value}, tmp_path / "model.pt")
    assert message in ended(5, "segment", "model.pt", sky.path("image")).err
    assert message in ended(5, "resume", "model.pt").err


def test_states_that_do_not_fit_are_a_snapshot_error(trained: Path, ended: Ended, tmp_path: Path) -> None:
    content = torch.load(trained / "last.pt", weights_only=True)
    torch.save({**content, "OPTIMIZER_STATE": {}}, tmp_path / "last.pt")
    assert "cannot go on from the snapshot's state" in ended(5, "resume", "last.pt").err


def test_resume_with_another_patch_file_is_an_error_of_data(trained: Path, ended: Ended, tmp_path: Path) -> None:
    plane(tmp_path / "map.fits", VALUES)
    ended(0, "preprocess", "map.fits", "--target", "map.fits", "--target-threshold", 50, "--patch-size", 8)
    result = ended(4, "resume", shutil.copy(trained / "last.pt", tmp_path), "--data", "map.h5")
    assert re.search(r"another patch file \([0-9a-f]{8}\.\.\. there, [0-9a-f]{8}\.\.\. (here|in)", result.err)
