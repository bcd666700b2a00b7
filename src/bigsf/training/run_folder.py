"""The folder of a run: what lies in it and where."""

import fcntl
import json
import logging
import math
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from itertools import chain, count
from pathlib import Path
from typing import Any

from bigsf.console import logger
from bigsf.errors import BigsfWarning, UsageError
from bigsf.files import atomic_path, write_text
from bigsf.provenance import command_line, now
from bigsf.training.run_config import RunConfig


class RunFolder:
    """`output_dir/run_name/` of one training.

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
        self.curves = path / "curves.png"
        self.log = path / "train.log"
        self.environment = path / "environment.json"
        self.superseded = path / "superseded"

    @property
    def newest_snapshot(self) -> Path | None:
        """last.pt; before its first save best.pt; None before that."""
        return next((path for path in (self.last, self.best) if path.exists()), None)

    @property
    def complete(self) -> bool:
        """Whether the run has ended: its test scores are there."""
        return self.scores.exists()

    def clear(self) -> None:
        """Remove a run, and nothing else; killed halfway, what is left is not taken for a complete run."""
        for file in (self.scores, self.last, self.best, self.metrics, self.curves, self.log, self.environment):
            file.unlink(missing_ok=True)
        if self.superseded.exists():
            shutil.rmtree(self.superseded)
        self.config.unlink(missing_ok=True)

    def start(self, config: RunConfig, overwrite: bool) -> None:
        """Make the folder of a new run.

        Raises
        ------
        UsageError
            Where a run lies there already and may not be replaced.
        """
        if (self.path / "kfold.yaml").exists():
            raise UsageError(f"{self.path} holds a k-fold. Choose another trainer.run_name.")
        if self.config.exists():
            if not overwrite:
                raise UsageError(
                    f"{self.path} holds a run already. Continue it with bigsf resume {self.path}, choose another "
                    "trainer.run_name, or pass --overwrite to replace it."
                )
            self.clear()
        write_text(self.config, config.to_yaml())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder; the death of the process, however it comes, lets them in again.

        Raises
        ------
        UsageError
            Where another run is at work there, with its name.
        """
        path = self.path / ".lock"
        while True:
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise UsageError(f"{self.path} cannot be written: {error.strerror}.") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another holds it
                holder = os.read(file, 200).decode(errors="replace") or "another run"  # that has not signed yet
                os.close(file)
                raise UsageError(f"{self.path} is in use by {holder}. Wait for it, or stop it first.") from None
            except OSError as error:
                os.close(file)
                path.unlink(missing_ok=True)
                warnings.warn(
                    f"{self.path} cannot be locked ({error}); see to it that no other run uses it.",
                    BigsfWarning,
                    stacklevel=3,
                )
                yield
                return
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                break
            os.close(file)  # its holder has removed it in between
        try:
            _sign(file, path)
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(file)

    def set_aside(self, files: Iterable[Path], epochs: int) -> None:
        """Copy files that will be written anew to superseded/NAME_N_epochs."""
        for file in filter(Path.exists, files):
            names = (
                f"{file.stem}_{epochs}_epochs{again}{file.suffix}" for again in chain([""], (f"_{n}" for n in count(2)))
            )
            kept = next(path for name in names if not (path := self.superseded / name).exists())
            with atomic_path(kept) as temporary:
                shutil.copyfile(file, temporary)

    def write_environment(self, machine: dict[str, Any]) -> None:
        """Record what a later reader needs to repeat the run."""
        packages = ("bigsf", "torch", "numpy", "h5py", "astropy", "pydantic", "scikit-image", "scipy")
        environment = {
            "time": now(),
            "command": command_line(),
            "host": platform.node(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in packages},
            **machine,
            "cpus": os.cpu_count(),
        }
        write_text(self.environment, json.dumps(environment, indent=2) + "\n")

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Write a JSON file; NaN becomes null."""
        write_text(path, to_json(content))

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
            with suppress(OSError):  # each line is flushed as it is written, and what went wrong then has been said
                handler.close()


class _RunLog(logging.FileHandler):
    """Ends the run where a line cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        raise UsageError(f"{self.baseFilename} could not be written: {error.strerror}.") from error


def _sign(file: int, path: Path) -> None:
    """Write into a lock who holds it."""
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()} since {now()}".encode())
    except OSError as error:
        raise UsageError(f"{path} could not be written: {error.strerror}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that this package wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def to_json(content: Any) -> str:
    """Return JSON text in which NaN and infinities are null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
