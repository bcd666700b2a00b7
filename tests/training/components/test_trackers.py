import csv
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bigsf.errors import BigsfWarning, ConfigError, UsageError
from bigsf.evaluation.report.learning_curves import learning_curves
from bigsf.figures import new_figure
from bigsf.training.components.trackers import (
    CSVConfig,
    CurvesConfig,
    CurvesTracker,
    History,
    MLflowConfig,
    TensorBoardConfig,
    Tracker,
    TrackerConfig,
    WandBConfig,
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
        def remember(*arguments: Any, **keywords: Any) -> "Recorder":
            self.calls.append((name, *arguments, *keywords.values()))
            return self

        return remember


@pytest.mark.parametrize(
    ("config", "calls"),
    [
        (
            TensorBoardConfig(type="tensorboard"),
            [("add_scalar", "lr", 0.5, 7), ("add_scalar", "val_loss", 0.1, 7), ("flush",), ("close",)],
        ),
        (MLflowConfig(type="mlflow"), [("log_metrics", {"lr": 0.5, "val_loss": 0.1}, 7), ("end_run",)]),
        (WandBConfig(type="wandb"), [("log", {"lr": 0.5, "val_loss": 0.1}, 7), ("finish",)]),
    ],
)
def test_other_trackers_log_each_row_once(
    config: TrackerConfig, calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    for name in ("tensorboard", "torch.utils.tensorboard", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, recorder)
    tracker = config.build(tmp_path, "run", {})
    tracker.write([])
    tracker.write(ROWS)
    steps = [call[-1] for call in recorder.calls if call[0] in ("add_scalar", "log_metrics", "log")]
    assert list(dict.fromkeys(steps)) == [1, 2]  # of the epochs before a run was resumed
    recorder.calls.clear()
    tracker.write([*ROWS, {"epoch": 7, "lr": 0.5, "val_loss": 0.1}])
    tracker.close()
    assert recorder.calls == calls


OPTIONAL = [config for config in own_members(TrackerConfig) if config.type not in ("csv", "curves")]


@pytest.mark.parametrize("config", OPTIONAL, ids=lambda config: config.type)
def test_package_that_is_not_installed_is_named(
    config: TrackerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, config.type, None)
    with pytest.raises(ConfigError, match=rf"pip install 'bigsf\[{config.type}\]'"):
        config.build(tmp_path, "run", {})


def test_curves_show_losses_beside_validation_scores() -> None:
    history = [
        {"epoch": n, "lr": 0.1, "train_loss": 1 / n, "val_loss": 2 / n, "val_dice": n / 4, "val_roc_auc": float("nan")}
        for n in (1, 2, 3)
    ]
    losses, scores = learning_curves(history, best=2).axes
    lines: dict[Any, Any] = {line.get_label(): line.get_ydata() for axes in (losses, scores) for line in axes.lines}
    assert list(lines["train loss"]) == [1, 1 / 2, 1 / 3]
    assert list(lines["val loss"]) == [2, 1, 2 / 3]
    assert list(lines["dice"]) == [1 / 4, 1 / 2, 3 / 4]
    assert "lr" not in lines
    assert [np.asarray(axes.lines[-1].get_xdata()).tolist() for axes in (losses, scores)] == [[2, 2], [2, 2]]


def test_curves_are_drawn_in_another_format_too(tmp_path: Path) -> None:
    tracker = CurvesConfig(type="curves").build(tmp_path, "run", {"trainer": {"figures": "pdf"}})
    tracker.write([{"epoch": n, "val_loss": 1 / n} for n in (1, 2)])
    tracker.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.pdf", "curves.png"]
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF-")


def test_curves_of_a_run_are_a_figure(trained: Path) -> None:
    assert imread(trained / "curves.png").shape[1] > 1000


@pytest.mark.parametrize("epoch", [2, None])
def test_the_epoch_of_best_pt_is_marked(epoch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[int | None] = []

    def curves(_: History, best: int | None) -> Figure:
        marked.append(best)
        return new_figure(1, 1)

    monkeypatch.setattr("bigsf.training.components.trackers.learning_curves", curves)
    tracker = CurvesConfig(type="curves").build(tmp_path, "run", {"trainer": {"figures": "png"}}, lambda: epoch)
    tracker.write([{"epoch": n, "val_loss": loss} for n, loss in enumerate([0.1, 0.5, 0.3], 1)])
    tracker.close()
    assert marked == [epoch]


def test_a_figure_that_cannot_be_drawn_costs_no_result(tmp_path: Path) -> None:
    tracker = CurvesTracker(tmp_path / "curves.png", lambda: None)
    tracker.write([{"epoch": 1, "val_loss": 0.5, "val_dice": object()}])
    with pytest.warns(BigsfWarning, match=r"curves\.png could not be drawn"):
        tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_an_epoch_has_no_curves(tmp_path: Path) -> None:
    CurvesTracker(tmp_path / "curves.png", lambda: None).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [TensorBoardConfig(type="tensorboard"), WandBConfig(type="wandb")])
def test_a_folder_of_a_tracker_that_is_a_link_is_not_written(
    config: TensorBoardConfig | WandBConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, config.type, ModuleType(config.type))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / config.type).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=rf"{config.type} is a link, which is not followed"):
        config.build(tmp_path / "run", "run", {})
    assert list((tmp_path / "elsewhere").iterdir()) == []
