import csv
import errno
import fcntl
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

from bigsf.errors import (
    BigsfError,
    BigsfWarning,
    ConfigError,
    DataError,
    InterruptedRunError,
    LostProcessError,
    TrainingError,
    UsageError,
)
from bigsf.interrupts import Stop
from bigsf.lock import lock_folder
from bigsf.metrics.metric import State
from bigsf.patches.patch_file import PatchFile
from bigsf.training.build import Parts, build_run
from bigsf.training.checks import check_states
from bigsf.training.components.losses import LossSum
from bigsf.training.dataset import PatchDataset
from bigsf.training.distributed import World
from bigsf.training.launcher import join_world
from bigsf.training.resume import warn_if_other_machine
from bigsf.training.run_config import RunConfig
from bigsf.training.sent_array import SentArray
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from conftest import ROOT, Settings
from programs import PATIENCE_S, run_program, started_program, wait_for


@pytest.fixture
def config(run_dict: Settings, tmp_path: Path) -> Path:
    """A run whose last batch of an epoch cannot be shared evenly, without batch statistics, with dropout off.

    Its optimizer is Adam: Muon computes in bf16, which makes more of the rounding of a gradient.
    """
    settings = run_dict(
        batch_size=7,
        optimizer={"type": "adam", "lr": 0.01},
        model={"type": "unet", "features": 4, "depth": 2, "norm": "group", "normalization": {"type": "log"}},
        metrics=[{"type": "dice"}, {"type": "average_precision"}, {"type": "mssim"}, {"type": "cldice"}],
    )
    settings["data"]["samples_per_epoch"] = 15
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def torchrun(processes: int, config: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launch, "-m", "bigsf", "train", str(config), "--device", "cpu"]
    command += [word for setting in settings for word in ("--set", setting)]
    return run_program(command)


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_one_two_and_three_processes_train_the_same(config: Path, tmp_path: Path) -> None:
    alone = Trainer.from_config(config, ["trainer.run_name=alone"])
    alone.train()
    expected = rows(alone.folder.path)
    for processes in (2, 3):
        done = torchrun(processes, config, f"trainer.run_name=of_{processes}")
        assert done.returncode == 0, done.stderr
        found = rows(tmp_path / "results" / f"of_{processes}")
        assert len(found) == len(expected) == 2
        for one, other in zip(expected, found, strict=True):
            assert other == pytest.approx(one, rel=1e-3, abs=2e-4)
            assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
    assert done.stdout.count("best.pt of epoch") == 1, "one process speaks"


def test_the_processes_share_a_batch_and_lose_no_sample(patch_file: PatchFile) -> None:
    indices = torch.arange(11).numpy()
    parts = [PatchDataset(patch_file, indices, 4, rank=rank, processes=3) for rank in range(3)]
    whole = PatchDataset(patch_file, indices, 4)
    for step in range(whole.steps):
        shared = torch.cat([part.batch(0, step).image for part in parts])
        assert sorted(shared.nan_to_num().flatten(1).sum(1).tolist()) == pytest.approx(
            sorted(whole.batch(0, step).image.nan_to_num().flatten(1).sum(1).tolist())
        )


def test_failure_of_a_process_ends_all_with_its_cause(config: Path) -> None:
    done = torchrun(2, config, "trainer.best_by=val_nothing")
    assert done.returncode != 0
    assert "trainer.best_by is 'val_nothing', which is not logged" in done.stderr


def test_processes_that_cannot_meet_are_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"process 2 of 4 but MASTER_ADDR is not set"), join_world():
        pass


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0"}, r"The environment has no WORLD_SIZE. RANK, WORLD_SIZE, LOCAL_RANK must be set together"),
        ({"WORLD_SIZE": "2"}, r"The environment has no RANK"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, r"The environment has RANK='first'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK=2 and WORLD_SIZE=2: .* so RANK must be below WORLD_SIZE"),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}, r"no SLURM_LOCALID"),
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "many"}, r"no SLURM_PROCID"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "x"},
            r"The environment has MASTER_PORT='x'. Set it to the number of a free port",
        ),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables:
        monkeypatch.setenv(name, variables[name])
    with pytest.raises(ConfigError, match=message), join_world():
        pass


def test_processes_end_in_order_with_their_launcher(config: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigsf"]
    options = ["train", config, "--device", "cpu", "--set", "trainer.epochs=100000"]
    last = tmp_path / "results" / "run" / "last.pt"
    with started_program([*launch, *options], stderr=subprocess.PIPE) as process:
        wait_for(last, process)
        process.kill()
        _, printed = process.communicate(timeout=PATIENCE_S)  # the workers have it too: they have ended
    assert "Stopped by SIGTERM after" in printed
    assert not (last.parent / ".lock").exists()
    assert Snapshot.load(last).epochs_run >= 1


def test_one_process_is_a_world_of_its_own() -> None:
    with join_world() as world:
        assert (world.rank, world.size, world.is_first) == (0, 1, True)
        assert world.sums([1.5, 2]) == [1.5, 2]
        assert world.gather("a", TypeAdapter(str)) == ["a"]
        world.wait()
        world.share_buffers(nn.BatchNorm2d(2))


# --- what processes send to each other --------------------------------------------------------------------------------


class SentFirst:
    """Takes the place of `all_gather` in the second of two processes; the first one sends these bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __call__(self, received: list[torch.Tensor], own: torch.Tensor) -> None:
        first = torch.tensor([len(self.content)])
        if own.dtype == torch.uint8:
            first = torch.zeros_like(own)
            first[: len(self.content)] = torch.tensor(list(self.content))
        for place, sent in zip(received, (first, own), strict=True):
            place.copy_(sent)


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "sent", ["pickle", "no JSON", '["SystemExit"]', '["DataError", "why", []]', "{}", "\udcff", "7"]
)
def test_what_another_process_sends_is_never_run(sent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = pickle.dumps(Hostile(tmp_path / "made"))
    content = pickled if sent == "pickle" else sent.encode(errors="surrogateescape")
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(content))
    with pytest.raises(LostProcessError, match=r"Process 0 of 2 sent what no process of this run sends: "):
        World(1, 2).first(lambda: None)
    assert not (tmp_path / "made").exists()
    pickle.loads(pickled)
    assert (tmp_path / "made").exists(), "it would have worked"


@pytest.mark.parametrize(
    "array", ['["|O", [1], "AAAAAAAAAAA="]', '["<i8", [2], "AAAAAAAAAAA="]', '["<i8", [1], "?"]', "3"]
)
def test_an_array_that_is_none_is_refused(array: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(f'{{"counts": {array}}}'.encode()))
    with pytest.raises(LostProcessError, match=r"Process 0 of 2 sent what no process of this run sends: "):
        World(1, 2).gather({"counts": np.zeros(1)}, TypeAdapter(dict[str, SentArray]))


@pytest.mark.parametrize("values", [np.arange(6).reshape(2, 3), np.zeros((2, 0), np.bool_), np.float32(np.nan), 7, 0.1])
def test_arrays_arrive_bit_for_bit(values: npt.ArrayLike, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = TypeAdapter(dict[str, SentArray])
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(kind.dump_json({"much": np.ones(99)})))
    theirs, ours = World(1, 2).gather({"some": values}, kind)
    np.testing.assert_array_equal(theirs["much"], np.ones(99))
    np.testing.assert_array_equal(ours["some"], np.asarray(values), strict=True)


class OddDataError(DataError):
    """An error of a kind that other processes do not know."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((kind("what was found\n[red]"), kind) for kind in BigsfError.__subclasses__() if kind != InterruptedRunError),
        (BigsfError("found"), BigsfError),
        (InterruptedRunError("Stopped by SIGTERM.", 143), InterruptedRunError),
        (OddDataError("odd"), DataError),
    ],
)
def test_an_error_of_the_first_process_is_raised_in_the_others(
    error: BigsfError, kind: type[BigsfError], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    def note(received: list[torch.Tensor], own: torch.Tensor) -> None:
        sent.append(own.numpy().tobytes())
        for place in received:
            place.copy_(own)

    def fail() -> None:
        raise error

    monkeypatch.setattr(torch.distributed, "all_gather", note)
    with pytest.raises(kind) as first:
        World(0, 2).first(fail)
    assert first.value is error
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(sent[-1]))
    with pytest.raises(kind, match=re.escape(str(error))) as other:
        World(1, 2).first(fail)
    assert (type(other.value), other.value.exit_code) == (kind, error.exit_code)


def test_an_error_of_any_process_ends_the_work_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(b'["DataError", "The map is gone.", 4]'))
    done: list[int] = []
    with pytest.raises(DataError, match=r"^The map is gone\.$"):
        World(1, 2).each(lambda: done.append(1))
    assert done == [1]


WAITING = r"""
import os, time
from datetime import timedelta
from unittest import mock
from torch import distributed
from bigsf.training import launcher

launcher._HANDSHAKE = timedelta(seconds=4)
init = distributed.init_process_group
with mock.patch.object(distributed, "init_process_group", lambda *a, **k: init(*a, **k, timeout=timedelta(seconds=4))):
    with launcher.join_world("cpu") as world:
        world.first(lambda: time.sleep(6))
        world.each(lambda: time.sleep(6 * world.rank))
        os.write(1, f"{int(world.sums([world.rank])[0])} of {world.size}\n".encode())  # lines that do not mix
"""


def test_processes_wait_for_work_longer_than_for_each_other_elsewhere(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    done = run_program([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["1 of 2", "1 of 2"]


DYING = """
import os
from datetime import timedelta
from torch import distributed
from bigsf.errors import LostProcessError
from bigsf.training import launcher

launcher._HANDSHAKE = timedelta(seconds=5)
if os.environ["RANK"] == "1":
    distributed.init_process_group("gloo")
    os._exit(0)  # it has met the other, and dies before they form a group for long waits
try:
    with launcher.join_world("cpu"):
        print("joined")
except LostProcessError as error:
    print(error)
"""


def test_a_process_that_dies_while_all_get_ready_is_not_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    done = run_program([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script])
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 2 lost its connection to another" in done.stdout


def test_all_processes_stop_for_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "sums", lambda world, values: [1.0])
    monkeypatch.setattr(torch.distributed, "all_gather", SentFirst(b'["SIGTERM", 143]'))
    for own in (None, Stop("the time limit", 75)):
        assert World(1, 2).agree(own) == Stop("SIGTERM", 143)


class Unshared:
    """A metric for one process."""

    higher_is_better = True

    def reset(self) -> None:
        pass


class OfObjects(Unshared):
    def state(self) -> State:
        return {"parts": "some text"}


@pytest.mark.parametrize(
    ("metric", "found"), [(Unshared(), r"'Unshared' .* 'state'. "), (OfObjects(), r"'some text' is no number")]
)
def test_a_metric_that_processes_cannot_share_is_refused_before_they_train(
    metric: Any, found: str, config: Path
) -> None:
    parts, file = Parts(metrics={"odd": metric}), RunConfig.from_yaml(config)
    build_run(file, parts=parts)
    with pytest.raises(ConfigError, match=rf"cannot share the metric odd: {found}.*Give its class a method state\(\)"):
        check_states({"odd": metric})


# --- one step --------------------------------------------------------------------------------------------------------


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.run.model.parameters()]


@pytest.mark.parametrize("parts", [2, 3, 100])
def test_a_batch_cut_into_parts_gives_the_same_step(config: Path, parts: int) -> None:
    whole, cut = (Trainer.from_config(config, [f"trainer.accumulate={n}"], overwrite=True) for n in (1, parts))
    for trainer in (whole, cut):
        assert trainer.step(0, 0) == len(trainer.run.dataset.batch_indices(0, 0))
    for one, other in zip(weights(whole), weights(cut), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert cut.run.state.partial_loss == pytest.approx(whole.run.state.partial_loss)


def test_long_gradients_are_scaled_down(config: Path) -> None:
    sgd = "trainer.optimizer={type: sgd, lr: 1.0, momentum: 0}"
    trainer = Trainer.from_config(config, [sgd, "trainer.clip_gradient=0.01"])
    before = weights(trainer)
    trainer.step(0, 0)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, weights(trainer), strict=True)])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_batch_without_weight_moves_nothing_and_makes_no_nan(config: Path) -> None:
    def nothing(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> LossSum:
        return LossSum((logits * 0).sum(), weight.sum() * 0)

    trainer = Trainer.from_config(config, parts=Parts(loss=nothing))
    before = weights(trainer)
    trainer.step(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))


def test_a_gradient_that_is_no_number_stops_before_the_weights_change(config: Path) -> None:
    def steep(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> LossSum:
        return LossSum((logits * 0).abs().sqrt().sum(), weight.sum())  # 0, with an infinite slope

    trainer = Trainer.from_config(config, parts=Parts(loss=steep))
    before = weights(trainer)
    with pytest.raises(TrainingError, match=r"The loss or its gradient is not a number in epoch 1, step 1"):
        trainer.step(0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))


# --- stopping and sharing a folder ------------------------------------------------------------------------------------


def test_time_limit_stops_in_order_and_the_rest_can_follow(config: Path) -> None:
    undisturbed = Trainer.from_config(config, ["trainer.run_name=undisturbed"])
    undisturbed.train()
    trainer = Trainer.from_config(config)
    with pytest.raises(InterruptedRunError, match=r"Stopped by the time limit after step 1 of \d+ of epoch 1") as stop:
        trainer.train(time_limit_s=0)
    assert stop.value.exit_code == 75
    Trainer.from_snapshot(trainer.folder.path).train()
    one, other = (Snapshot.load(t.folder.last).model_state for t in (undisturbed, trainer))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_the_command_stops_it_in_order(config: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bigsf", "train", str(config), "--set", "trainer.epochs=100000", "--quiet"]
    last = tmp_path / "results" / "run" / "last.pt"
    with started_program(command, stderr=subprocess.PIPE) as process:
        wait_for(last, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number, said
    assert f"Stopped by {signal.Signals(number).name}" in said
    assert "Go on with: bigsf resume" in said
    assert Snapshot.load(last).epochs_run >= 1
    assert not (last.parent / ".lock").exists()


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / ".lock").symlink_to(tmp_path / "thesis.txt")
    with (
        pytest.raises(UsageError, match="lock could not be written: Too many levels of symbolic links"),
        lock_folder(tmp_path),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_locked_is_used_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    warning = pytest.warns(BigsfWarning, match=r"cannot be locked \(No locks available\)")
    with warning, lock_folder(tmp_path):
        (tmp_path / "last.pt").write_text("a snapshot")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_in_use_is_refused_and_names_its_user(config: Path) -> None:
    trainer, other = Trainer.from_config(config), Trainer.from_config(config)
    trainer.folder.path.mkdir(parents=True)
    in_use = rf"is in use by process {os.getpid()} on .* since 20"
    with lock_folder(trainer.folder.path), pytest.raises(UsageError, match=in_use):
        other.train()
    assert list(trainer.folder.path.iterdir()) == []
    other.train()


def test_going_on_elsewhere_is_said(config: Path) -> None:
    trainer = Trainer.from_config(config, ["trainer.epochs=1"])
    trainer.train()
    with pytest.warns(UserWarning, match=r"processes 1 there, 2 here\): it goes on, but no longer bit for bit"):
        warn_if_other_machine(trainer.run.machine, {**trainer.run.machine, "processes": World(size=2).size})


@pytest.mark.parametrize(("code", "requeued"), [(75, True), (0, False), (4, False)])
def test_the_slurm_example_puts_itself_back_into_the_queue(code: int, requeued: bool, tmp_path: Path) -> None:
    for name, body in (
        ("bigsf", f'echo "$@" > {tmp_path}/asked; exit {code}'),
        ("scontrol", f'echo "$@" > {tmp_path}/queue'),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    script = ROOT / "examples" / "slurm_kfold.sh"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "73", "SLURM_ARRAY_TASK_ID": "3"}
    run_program(["bash", script, "config.yaml"], env=environment)
    assert (tmp_path / "asked").read_text() == "kfold config.yaml --only 3 --time-limit 3h50min --quiet\n"
    assert (tmp_path / "queue").exists() == requeued
    if requeued:
        assert (tmp_path / "queue").read_text() == "requeue 73\n"
