"""Code and addresses that a snapshot or a run folder names are not used, unless the user trusts them."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from command_processes import Commands, write_yaml
from conftest import Ended, Sky


@pytest.fixture
def untrusted(trained: Path, tmp_path: Path) -> Path:
    """Return a snapshot that names code, which makes a folder once it is imported."""
    (tmp_path / f"{tmp_path.name}.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'made')!r})\nfrom bigsf.models.unet import UNet as Net\n"
    )
    content = torch.load(trained / "last.pt", weights_only=True)
    custom = {"type": "custom", "target": f"{tmp_path.name}:Net", "folder": str(tmp_path)}
    content["GLOBAL_CONFIG"]["trainer"]["model"] = custom
    torch.save(content, tmp_path / "last.pt")
    return tmp_path / "last.pt"


@pytest.mark.parametrize("command", ["segment", "resume", "start_from"])
def test_code_that_a_snapshot_names_is_not_run(
    command: str,
    untrusted: Path,
    sky: Sky,
    run_dict: Callable[..., dict[str, Any]],
    ended: Ended,
    tmp_path: Path,
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_dict(start_from=str(untrusted), epochs=1)))
    commands: dict[str, list[object]] = {
        "segment": ["segment", untrusted, sky.path("image")],
        "resume": ["resume", untrusted],
        "start_from": ["train", "run.yaml", "--set", "trainer.model.features=8"],
    }
    arguments = commands[command]
    result = ended(5, *arguments)
    assert not (tmp_path / "made").exists()
    if command != "start_from":
        assert f"would run {tmp_path.name}:Net in {tmp_path}. A file does not tell who made it" in result.err
        assert "pass --trust" in result.err
        ended(5, *arguments, "--trust")  # its weights are those of another network
        assert (tmp_path / "made").exists()


def test_a_kfold_runs_no_code_that_its_config_does_not_name(
    command: Commands, run_dict: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    assert command("kfold", config, "--only", 1).code == 0
    folder = tmp_path / "results" / "run" / "split_1"
    (tmp_path / "untrusted.py").write_text("import os\nos.mkdir('made')\nfrom bigsf.models.unet import UNet as Net\n")
    for name in ("last.pt", "best.pt"):
        content = torch.load(folder / name, weights_only=True)
        custom = {"type": "custom", "target": "untrusted:Net", "folder": str(tmp_path)}
        content["GLOBAL_CONFIG"]["trainer"]["model"] = custom
        torch.save(content, folder / name)
    (folder / "scores.json").unlink()
    for arguments in (["kfold", config, "--only", 1], ["resume", folder.parent, "--trust"]):
        result = command(*arguments)
        assert result.code == 5
        assert f"would run untrusted:Net in {tmp_path}" in result.err
    assert not (tmp_path / "made").exists()


ADDRESSES = [
    ({"type": "mlflow", "uri": "http://elsewhere.example"}, "send results to http://elsewhere.example (mlflow)"),
    (
        {"type": "wandb", "project": "theirs", "mode": "online"},
        "send results to the project theirs of Weights & Biases",
    ),
]


@pytest.fixture(params=["snapshot", "unsaved", "kfold"])
def received(request: pytest.FixtureRequest, trained: Path, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that gives the folder of a run with a tracker: finished, not saved yet, or a k-fold."""
    folder = tmp_path / "received"

    def make(tracker: dict[str, Any]) -> Path:
        shutil.copytree(trained, folder)
        content = yaml.safe_load((folder / "config.yaml").read_text())
        content["trainer"]["trackers"] = [tracker]
        write_yaml(folder / "config.yaml", content)
        for name in ("last.pt", "best.pt"):
            snapshot = torch.load(folder / name, weights_only=True)
            snapshot["GLOBAL_CONFIG"]["trainer"]["trackers"] = [tracker]
            torch.save(snapshot, folder / name)
            if request.param != "snapshot":
                (folder / name).unlink()
        if request.param == "kfold":
            (folder / "config.yaml").rename(folder / "kfold.yaml")
        return folder

    return make


@pytest.mark.parametrize(("tracker", "named"), ADDRESSES)
def test_an_address_that_a_run_folder_names_is_not_used(
    tracker: dict[str, Any],
    named: str,
    received: Callable[[dict[str, Any]], Path],
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = received(tracker)
    monkeypatch.setitem(sys.modules, tracker["type"], None)  # as if it were not installed
    result = ended(5, "resume", folder)
    assert f"would {named}. A file does not tell who made it" in " ".join(result.err.split())
    assert "pass --trust" in result.err
    result = ended(3, "resume", folder, "--trust")
    assert f"tracker {tracker['type']} takes {tracker['type']}. pip install 'bigsf[" in " ".join(result.err.split())


@pytest.mark.parametrize("tracker", [{"type": "tensorboard"}, {"type": "mlflow"}, {"type": "wandb"}])
def test_trackers_without_an_address_need_no_trust(
    tracker: dict[str, Any],
    received: Callable[[dict[str, Any]], Path],
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = received(tracker)
    monkeypatch.setitem(sys.modules, tracker["type"], None)
    result = ended(3, "resume", folder)
    assert f"tracker {tracker['type']} takes {tracker['type']}. pip install" in " ".join(result.err.split())


def test_a_kfold_uses_no_address_that_its_config_does_not_name(
    command: Commands, run_dict: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    assert command("kfold", config, "--only", 1).code == 0
    folder = tmp_path / "results" / "run" / "split_1"
    for name in ("last.pt", "best.pt"):
        content = torch.load(folder / name, weights_only=True)
        content["GLOBAL_CONFIG"]["trainer"]["trackers"] = [ADDRESSES[0][0]]
        torch.save(content, folder / name)
    (folder / "scores.json").unlink()
    assert command("kfold", config, "--only", 1).code == 0
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["trackers"] == [{"type": "csv"}]
    assert not (tmp_path / "mlruns").exists()


def test_a_dry_run_of_resume_writes_nothing(
    command: Commands, run_dict: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_dict(epochs=1))
    assert command("kfold", config, "--only", 1).code == 0
    folder = tmp_path / "results" / "run"
    unsaved = folder.with_name("unsaved")
    unsaved.mkdir()
    shutil.copy(folder / "split_1" / "config.yaml", unsaved)
    for without in ("", "sky.folds.json"):
        if without:
            (tmp_path / without).unlink()
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        for path in (folder, folder / "split_1", folder / "split_1" / "best.pt", unsaved):
            assert command("resume", path, "--dry-run").code == 0
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
