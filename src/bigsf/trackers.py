"""Where the quantities of each epoch are written: the family of trackers."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast

from pydantic import Field

from bigsf.atomic import write_text
from bigsf.config import Config, CustomConfig, ignore_tag_case

History = list[dict[str, Any]]
"""One row of logged quantities an epoch."""


class Tracker(Protocol):
    """Follows a run."""

    def write(self, history: History) -> None:
        """Take the whole history, the newest row last; a resumed run calls it first with the rows it starts from."""
        ...

    def close(self) -> None:
        """End the run."""
        return


class CSVConfig(Config):
    """metrics.csv in the run folder: a row an epoch."""

    type: Literal["csv"] = "csv"

    def build(self, folder: Path, run_name: str, run_config: dict[str, Any]) -> Tracker:
        """Return the tracker."""
        return CSVTracker(folder / "metrics.csv")


class CSVTracker(Tracker):
    """Rewrites a CSV file whole each epoch, so that it is never cut short and always agrees with the snapshot."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, history: History) -> None:  # noqa: D102
        text = io.StringIO()
        if history:
            writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
        write_text(self.path, text.getvalue())


class CustomTrackerConfig(CustomConfig):
    """A `Tracker` of your own: called with `folder`, `run_name`, `run_config` and `kwargs`."""

    def build(self, folder: Path, run_name: str, run_config: dict[str, Any]) -> Tracker:
        """Import and call the target."""
        return cast(Tracker, self.load()(folder=folder, run_name=run_name, run_config=run_config, **self.kwargs))


TrackerConfig = Annotated[
    Annotated[CSVConfig | CustomTrackerConfig, Field(discriminator="type")],
    ignore_tag_case,
]
