import logging
import socket
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from bigsf.errors import ConfigError, DataError, InterruptedRunError
from bigsf.training import launcher
from bigsf.training.launcher import _check_own_gpu, _gpu_of, join_world


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


@pytest.mark.parametrize(("local_rank", "gpus", "expected"), [(1, 4, 1), (3, 4, 3), (1, 1, 0), (2, 2, None)])
def test_each_process_takes_the_gpu_that_it_sees(
    local_rank: int, gpus: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if expected is not None:
        assert _gpu_of(local_rank, "cuda") == expected
        return
    with pytest.raises(ConfigError, match=rf"Process {local_rank + 1} of this node has no GPU: there are {gpus}\."):
        _gpu_of(local_rank, None)


@pytest.mark.parametrize(("other", "shared"), [(0, True), (1, False)])
def test_two_processes_do_not_share_a_gpu(other: int, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(places: list[torch.Tensor], mine: torch.Tensor, group: object) -> None:
        places[0].copy_(mine)
        places[1].copy_(mine + other)

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="GPU-1"))
    monkeypatch.setattr("torch.distributed.all_gather", gather)
    with pytest.raises(ConfigError, match="Several processes have one GPU") if shared else nullcontext():
        _check_own_gpu(0, 2, None)


def test_a_port_that_is_taken_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other_job:
        port = str(other_job.getsockname()[1])
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_PORT", port)
        message = rf"Process 0 of 2 did not meet the others at 127\.0\.0\.1:{port} \(.*set MASTER_PORT to the number"
        with pytest.raises(ConfigError, match=message), join_world("cpu"):
            pass


@pytest.mark.parametrize(
    ("error", "on_gpu", "leaves"),
    [
        (None, True, True),
        (InterruptedRunError("Stopped by SIGTERM.", 143), True, True),
        (DataError("The map is gone."), True, False),
        (DataError("The map is gone."), False, True),
    ],
)
def test_a_process_that_fails_does_not_wait_for_the_others_to_leave(
    error: Exception | None, on_gpu: bool, leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    monkeypatch.setattr(launcher, "_ranks", lambda: (0, 2, 0))
    monkeypatch.setattr(launcher, "_end_with_parent", lambda: None)
    monkeypatch.setattr(launcher, "_check_own_gpu", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "new_group", lambda **_: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: left.append(True))
    monkeypatch.setenv("MASTER_ADDR", "node1")
    with nullcontext() if error is None else pytest.raises(type(error)), join_world():
        if error is not None:
            raise error
    assert bool(left) == leaves


def test_one_gpu_for_all_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match="names one GPU, and several processes take one each"):
        _gpu_of(1, "cuda:1")
