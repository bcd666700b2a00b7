"""Quantities of each epoch -> a file, a figure, or an experiment tracker: the family of trackers."""

import csv
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field
from typing_extensions import override

from bigsf.config import Component, CustomConfig, ignore_tag_case
from bigsf.errors import needing
from bigsf.evaluation.report.learning_curves import learning_curves
from bigsf.figures import FigureFormat, figure_paths, write_figure
from bigsf.files import refuse_link, write_text

History = list[dict[str, Any]]
"""Logged quantities, one row per epoch."""

BestEpoch = Callable[[], int | None]
"""A function that returns the epoch whose model best.pt holds; None where it holds none yet."""


_PACKAGES = ("tensorboard", "mlflow", "wandb")
"""Optional packages; each is the name of the tracker that needs it, and of the extra that installs it."""


class Tracker(Protocol):
    """Writes the logged quantities of a run somewhere."""

    def write(self, history: History) -> None:
        """Write the history, with the newest row last. A resumed run first writes the rows of the epochs before it."""
        ...

    def close(self) -> None:
        """Finish, when the run ends or is stopped."""
        return


class TrackerComponent(Component[Tracker]):
    """The part common to the configurations of all trackers."""

    def check(self) -> None:
        """Raise `ConfigError` where its package is not installed: before a run begins."""
        kind = getattr(self, "type", "")
        if kind not in _PACKAGES:
            return
        with needing(f"The tracker {kind}", kind):
            importlib.import_module(kind)

    @override
    def build(
        self, folder: Path, run_name: str, run_config: dict[str, Any], best_epoch: BestEpoch = lambda: None
    ) -> Tracker:
        """Return the tracker of a run, given its folder, its name, its whole configuration and its best epoch."""
        self.check()
        return super().build(folder=folder, run_name=run_name, run_config=run_config, best_epoch=best_epoch)


class CSVTracker(Tracker):
    """Replaces a CSV file each epoch. The file is always complete and agrees with the snapshot."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @override
    def write(self, history: History) -> None:
        text = io.StringIO()
        if history:
            writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
        write_text(self.path, text.getvalue())


def csv_tracker(folder: Path) -> Tracker:
    """Return a tracker that writes metrics.csv in the run folder."""
    return CSVTracker(folder / "metrics.csv")


class CSVConfig(TrackerComponent, builds=csv_tracker):
    """metrics.csv in the run folder, with one row per epoch."""

    type: Literal["csv"] = "csv"


class CurvesTracker(Tracker):
    """Draws the learning curves once the run ends or is stopped.

    Parameters
    ----------
    path
        The PNG file.
    best_epoch
        A function that returns the epoch whose model best.pt holds. It is marked.
    figures
        The format of a further file beside the PNG.
    """

    def __init__(self, path: Path, best_epoch: BestEpoch, figures: FigureFormat = "png") -> None:
        self.paths, self.best_epoch = figure_paths(path, figures), best_epoch
        self._history: History = []

    def write(self, history: History) -> None:
        """Keep the history. To draw it each epoch would take longer than a short epoch."""
        self._history = list(history)

    def close(self) -> None:
        """Draw the figure. A figure that cannot be drawn is only a warning, so that the run keeps its results."""
        if not self._history:
            return
        best = self.best_epoch()
        for path in self.paths:
            write_figure(lambda: learning_curves(self._history, best), path)


def curves_tracker(folder: Path, best_epoch: BestEpoch, run_config: dict[str, Any]) -> Tracker:
    """Return a tracker that draws curves.png, and the format of the configuration, in the run folder."""
    return CurvesTracker(folder / "curves.png", best_epoch, run_config["trainer"]["figures"])


class CurvesConfig(TrackerComponent, builds=curves_tracker):
    """curves.png in the run folder: losses and validation scores against the epoch."""

    type: Literal["curves"]


class RowTracker(Tracker):
    """Hands each row on once. The tracker of a resumed run is new: it gets the earlier rows first.

    Parameters
    ----------
    log
        A function that takes an epoch and its numbers by name.
    close
        A function to call when the run ends or is stopped.
    """

    def __init__(self, log: Callable[[int, dict[str, float]], object], close: Callable[[], object]) -> None:
        self._log, self._close, self._written = log, close, 0

    @override
    def write(self, history: History) -> None:
        new, self._written = history[self._written :], len(history)
        for row in new:
            self._log(row["epoch"], {name: value for name, value in row.items() if name != "epoch"})

    @override
    def close(self) -> None:
        self._close()


def tensorboard_tracker(folder: Path) -> Tracker:
    """Return a tracker that writes event files of TensorBoard in the run folder."""
    refuse_link(events := folder / "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(events, purge_step=1)  # all rows are written again when a run is resumed

    def log(epoch: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return RowTracker(log, writer.close)


class TensorBoardConfig(TrackerComponent, builds=tensorboard_tracker):
    """TensorBoard event files in the run folder."""

    type: Literal["tensorboard"]


def mlflow_tracker(run_name: str, run_config: dict[str, Any], experiment: str, uri: str | None) -> Tracker:
    """Return a tracker with a new run of MLflow."""
    mlflow: Any = importlib.import_module("mlflow")
    if uri:
        mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    mlflow.start_run(run_name=run_name)
    mlflow.log_dict(run_config, "config.json")
    return RowTracker(lambda epoch, numbers: mlflow.log_metrics(numbers, step=epoch), mlflow.end_run)


class MLflowConfig(TrackerComponent, builds=mlflow_tracker):
    """A run of MLflow."""

    type: Literal["mlflow"]

    experiment: str = "bigsf"
    """Name of the experiment."""

    uri: str | None = None
    """Tracking URI; null: MLflow's own default."""

    @property
    @override
    def reach(self) -> str | None:
        return f"send results to {self.uri} (mlflow)" if self.uri else None


def wandb_tracker(folder: Path, run_name: str, run_config: dict[str, Any], project: str, mode: str) -> Tracker:
    """Return a tracker with a new run of Weights & Biases."""
    wandb: Any = importlib.import_module("wandb")
    refuse_link(folder / "wandb")
    run: Any = wandb.init(project=project, name=run_name, config=run_config, dir=str(folder), mode=mode)
    return RowTracker(lambda epoch, numbers: run.log(numbers, step=epoch), run.finish)


class WandBConfig(TrackerComponent, builds=wandb_tracker):
    """A run of Weights & Biases."""

    type: Literal["wandb"]

    project: str = "bigsf"
    """Name of the project."""

    mode: Literal["online", "offline"] = "offline"
    """offline: write to the run folder, for a later `wandb sync`."""

    @property
    @override
    def reach(self) -> str | None:
        return f"send results to the project {self.project} of Weights & Biases" if self.mode == "online" else None


class CustomTrackerConfig(TrackerComponent, CustomConfig[Tracker]):
    """A `Tracker` of your own: called with `folder`, `run_name`, `run_config` and `kwargs`."""

    methods: ClassVar[tuple[str, ...]] = ("write", "close")

    @override
    def build(
        self, folder: Path, run_name: str, run_config: dict[str, Any], best_epoch: BestEpoch = lambda: None
    ) -> Tracker:
        return CustomConfig.build(self, folder=folder, run_name=run_name, run_config=run_config)

    @override
    def check(self) -> None:
        self.call(folder=Path(), run_name="", run_config={})


TrackerConfig = Annotated[
    Annotated[
        CSVConfig | CurvesConfig | TensorBoardConfig | MLflowConfig | WandBConfig | CustomTrackerConfig,
        Field(discriminator="type"),
    ],
    ignore_tag_case,
]
