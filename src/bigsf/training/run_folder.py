"""The folder of a run: its files, and what is written into it besides snapshots."""

import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from io import TextIOWrapper
from itertools import chain, count
from pathlib import Path
from typing import Any

from bigsf.console import logger
from bigsf.errors import DataError, UsageError
from bigsf.evaluation.records import RunScores
from bigsf.evaluation.report.learning_curves import read_history
from bigsf.evaluation.report.run_report import RunRecord, write_run_report
from bigsf.figures import FORMATS
from bigsf.files import atomic_path, check_folder, refuse_link, remove, write_text
from bigsf.folds.folds import Folds
from bigsf.option_names import option
from bigsf.provenance import command_line, now
from bigsf.training.run_config import RunConfig

SUPERSEDED = "superseded"
"""The folder in that of a run to which snapshots are set aside when it goes back."""


class RunFolder:
    """The folder `output_dir/run_name/` of one training.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.best = path / "best.pt"
        self.last = path / "last.pt"
        self.metrics = path / "metrics.csv"
        self.scores = path / "scores.json"
        self.curves = [path / f"curves{ending}" for ending in FORMATS]
        self.report = path / "report.html"
        self.log = path / "train.log"
        self.environment = path / "environment.json"
        self.superseded = path / SUPERSEDED
        self.replaces = False
        """Whether a former run lies there, which is kept until the new one has its first snapshot."""

    @property
    def newest_snapshot(self) -> Path | None:
        """last.pt, or best.pt where there is no last.pt; None before the first save."""
        return next((path for path in (self.last, self.best) if path.exists()), None)

    @property
    def complete(self) -> bool:
        """Whether the run has ended, so that its test scores are there."""
        return self.scores.exists()

    @property
    def _outputs(self) -> tuple[Path, ...]:
        """What a run has made, in the order in which it is to be removed."""
        return (self.scores, self.last, self.best, self.metrics, *self.curves, self.report)

    def clear(self) -> None:
        """Remove the files of a run, and nothing else. What is left after a kill is not taken for a complete run."""
        for file in (*self._outputs, self.log, self.environment):
            file.unlink(missing_ok=True)
        self._remove_superseded()
        self.config.unlink(missing_ok=True)

    def _remove_superseded(self) -> None:
        refuse_link(self.superseded)
        remove(self.superseded)

    def check(self, overwrite: bool) -> None:
        """Check that a new run may be written here.

        Raises
        ------
        UsageError
            Where a k-fold lies there, or a run that may not be replaced, or nothing can be written.
        """
        check_folder(self.path)
        if (self.path / "kfold.yaml").exists():
            raise UsageError(f"{self.path} holds a k-fold. Choose another trainer.run_name.")
        if self.config.exists() and not overwrite:
            raise UsageError(
                f"{self.path} holds a run already. Continue it with bigsf resume {self.path}, choose another "
                f"trainer.run_name, or pass {option('overwrite', True)} to replace it."
            )
        found = [path.name for path in (*self._outputs, self.superseded) if path.exists()]
        if found and not self.config.exists() and not overwrite:
            raise UsageError(
                f"{self.path} holds {', '.join(found)} and no run, and a run would replace that. Choose another "
                f"trainer.run_name, or pass {option('overwrite', True)}."
            )

    def start(self, config: RunConfig, environment: dict[str, Any], overwrite: bool) -> None:
        """Make the folder of a new run; a run that lies there is kept until `replace`. Raises what `check` raises."""
        self.check(overwrite)
        self.replaces = self.newest_snapshot is not None
        if not self.replaces:
            self.clear()
            self._record(config, environment)

    def replace(self, save: Callable[[Path], None], config: RunConfig, environment: dict[str, Any]) -> None:
        """Put the first snapshot of a new run into the place of a former run.

        Parameters
        ----------
        save
            Writes the snapshot.
        config, environment
            The new run, as for `start`.
        """
        self.scores.unlink(missing_ok=True)  # first, so that no other snapshot is taken for the one of these scores
        save(self.last)
        for file in (self.best, self.metrics, *self.curves, self.report):
            file.unlink(missing_ok=True)
        self._remove_superseded()
        self._record(config, environment)
        self.replaces = False

    def _record(self, config: RunConfig, environment: dict[str, Any]) -> None:
        write_text(self.config, config.to_yaml())
        self._write_environment(environment)

    def take_over(self, config: RunConfig, environment: dict[str, Any], still_to_train: bool) -> None:
        """Record the configuration of a run that goes on; where it trains further, here, its old scores go."""
        write_text(self.config, config.to_yaml())
        if still_to_train:
            self._write_environment(environment)
            self.scores.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)

    def finish(self, scores: RunScores, folds: Folds, config: RunConfig) -> None:
        """Write the report of the run, and then its scores, which say that the run is complete."""
        write_run_report(self.report, scores, folds, self.record(), config.to_yaml())
        scores.save(self.scores)

    def record(self) -> RunRecord:
        """Return what the run recorded beside its scores, for its report.

        Raises
        ------
        DataError
            Where metrics.csv or environment.json is missing or damaged.
        """
        history = read_history(self.metrics)
        try:
            return RunRecord(history, json.loads(self.environment.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.environment}, which the report of a run needs, could not be read: {error}. Train this run anew."
            ) from error

    def set_aside(self, files: Iterable[Path], epochs: int) -> None:
        """Copy files that will be written anew to superseded/NAME_N_epochs."""
        refuse_link(self.superseded)
        for file in filter(Path.exists, files):
            refuse_link(file)
            names = (
                f"{file.stem}_{epochs}_epochs{again}{file.suffix}" for again in chain([""], (f"_{n}" for n in count(2)))
            )
            kept = next(path for name in names if not (path := self.superseded / name).exists())
            with atomic_path(kept) as temporary:
                shutil.copyfile(file, temporary)

    def handed_in(self) -> list[str]:
        """Return the names of the parts that were handed in to a run, which may have no snapshot yet."""
        try:
            return list(json.loads(self.environment.read_text(encoding="utf-8"))["handed_in"])
        except (OSError, ValueError, KeyError):  # of a run that was killed while it began, or of an older version
            return []

    def _write_environment(self, environment: dict[str, Any]) -> None:
        """Record what is needed to repeat the run: versions, device, command."""
        packages = ("bigsf", "torch", "numpy", "h5py", "astropy", "pydantic", "scikit-image", "scipy")
        environment = {
            "time": now(),
            "command": command_line(),
            "host": platform.node(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in packages},
            **environment,
            "cpus": os.cpu_count(),
        }
        write_text(self.environment, json.dumps(environment, indent=2) + "\n")

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Copy the log to train.log."""
        handler = _RunLog(self.log, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            with suppress(OSError):  # each line is flushed as it is written, and raised an error there if it failed
                handler.close()


class _RunLog(logging.FileHandler):
    """Ends the run where a line cannot be written."""

    def _open(self) -> TextIOWrapper:
        """Open the file to append to it; a link in its place is refused, as the folder may come from somebody else."""
        try:
            file = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise UsageError(f"{self.baseFilename} could not be written: {error.strerror}.") from error
        return os.fdopen(file, "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        raise UsageError(f"{self.baseFilename} could not be written: {error.strerror}.") from error
