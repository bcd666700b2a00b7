import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from bigsf.errors import ConfigError
from bigsf.training.components.trackers import (
    CSVConfig,
    History,
    MLflowTracker,
    TensorBoardTracker,
    Tracker,
    TrackerConfig,
    WandBTracker,
)
from conftest import own_members

ROWS: History = [{"epoch": 1, "lr": 0.01, "val_loss": 0.5}, {"epoch": 2, "lr": 0.01, "val_loss": float("nan")}]


def tracker_in(folder: Path) -> Tracker:
    return CSVConfig().build(folder, "run", {})


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_an_epoch(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    for n in (1, 2):
        tracker.write(ROWS[:n])
    tracker.close()
    assert read(tmp_path) == [{name: str(value) for name, value in row.items()} for row in ROWS]


def test_numbers_are_written_in_full(tmp_path: Path) -> None:
    tracker_in(tmp_path).write([{"epoch": 1, "val_loss": 1 / 3}])
    assert float(read(tmp_path)[0]["val_loss"]) == 1 / 3


def test_a_resumed_run_keeps_the_rows_it_starts_from_and_no_later_ones(tmp_path: Path) -> None:
    tracker_in(tmp_path).write(ROWS)
    tracker_in(tmp_path).write(ROWS[:1])
    assert [row["epoch"] for row in read(tmp_path)] == ["1"]


def test_no_rows_yet_is_an_empty_file(tmp_path: Path) -> None:
    tracker_in(tmp_path).write([])
    assert read(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


class Recorder:
    """Stands for the clients of other packages: remembers every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **keywords: self.calls.append((name, *arguments, *keywords.values()))


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (
            TensorBoardTracker,
            [("add_scalar", "lr", 0.5, 7), ("add_scalar", "val_loss", 0.1, 7), ("flush",), ("close",)],
        ),
        (MLflowTracker, [("log_metrics", {"lr": 0.5, "val_loss": 0.1}, 7), ("end_run",)]),
        (WandBTracker, [("log", {"lr": 0.5, "val_loss": 0.1}, 7), ("finish",)]),
    ],
)
def test_other_trackers_log_the_newest_row(kind: Any, calls: list[tuple[Any, ...]]) -> None:
    tracker = kind(recorder := Recorder())
    tracker.write([])
    recorder.calls.clear()
    tracker.write([*ROWS, {"epoch": 7, "lr": 0.5, "val_loss": 0.1}])
    tracker.close()
    assert recorder.calls == calls


@pytest.mark.parametrize("config", own_members(TrackerConfig)[1:], ids=lambda config: config.type)
def test_package_that_is_not_installed_is_named(
    config: TrackerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, config.type, None)
    with pytest.raises(ConfigError, match=rf"pip install 'bigsf\[{config.type}\]'"):
        config.build(tmp_path, "run", {})
