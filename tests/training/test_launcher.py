import logging

import pytest
import torch

from bigsf.training.launcher import join_world


@pytest.mark.parametrize(
    ("gpus", "device", "told"),
    [(4, None, True), (4, "cuda", True), (4, "cuda:1", False), (4, "cpu", False), (1, None, False), (0, None, False)],
)
def test_one_process_on_a_machine_of_several_gpus_says_how_to_use_all(
    gpus: int, device: str | None, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("sys.argv", ["bigsf", "segment", "my model.pt", "map.fits"])
    with join_world(device) as world:
        assert world.size == 1
    command = "torchrun --nproc-per-node=4 -m bigsf segment 'my model.pt' map.fits"
    said = f"One of the 4 GPUs here is used. To use all: {command}"
    assert [record.message for record in caplog.records] == ([said] if told else [])
