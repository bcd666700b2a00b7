"""Code that a snapshot names is not imported, unless the user trusts it."""

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
        assert f"names code to run: {tmp_path.name}:Net in {tmp_path}. If that code is yours" in result.err
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
        assert f"names code to run: untrusted:Net in {tmp_path}" in result.err
    assert not (tmp_path / "made").exists()
