"""Runs of the tests: stopped at a step, with scripted losses, and compared bit for bit."""

import csv
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bigsf.metrics.threshold_curve import ThresholdCurve
from bigsf.training.callbacks import Callback
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState
from bigsf.training.trainer import Trainer
from bigsf.training.validation import Evaluation, Validator


class ActAt(Callback):
    """Acts once, after a step of an epoch, both counted from 0."""

    def __init__(self, epoch: int, step: int, act: Callable[[], object]) -> None:
        self.at, self.act = (epoch, step + 1), act

    def after_step(self, state: TrainingState) -> None:
        if (state.epochs_run, state.steps_run) == self.at:
            self.act()


def terminate_at(epoch: int, step: int) -> ActAt:
    return ActAt(epoch, step, lambda: signal.raise_signal(signal.SIGTERM))


def kill() -> None:
    raise SystemExit("killed")


class ScriptedLosses(Validator):
    """Gives the losses of a list, epoch after epoch, and at last 1 for the test folds."""

    def __init__(self, *losses: float) -> None:
        self.losses = iter([*losses, 1.0])

    def evaluate(self, which: list[int], after_chunk: Callable[[], object] = lambda: None) -> Evaluation:
        return Evaluation(next(self.losses), {}, ThresholdCurve(), ThresholdCurve())


def scripted(trainer: Trainer, *losses: float) -> Trainer:
    trainer.validator = ScriptedLosses(*losses)
    return trainer


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries and lists with their paths; tensors as arrays."""
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{name}.{key}")
    else:
        yield name, value.numpy() if isinstance(value, Tensor) else value


def assert_same_run(folder: Path, other: Path, files: tuple[str, ...] = ("best.pt", "last.pt")) -> None:
    """Assert that two runs are equal bit for bit: weights, all states, every row of the log, scores."""
    for file in files:
        one, two = (vars(Snapshot.load(path / file)) for path in (folder, other))
        for state in (one, two):
            del state["global_config"]
        np.testing.assert_equal(dict(flat(one)), dict(flat(two)))
    assert (folder / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    if (other / "scores.json").exists():
        assert json.loads((folder / "scores.json").read_text()) == json.loads((other / "scores.json").read_text())
