"""Terminal output: results on stdout, progress, warnings and errors on stderr; without a terminal, plain lines.

As a library BigSF prints nothing: it returns values, raises errors, issues warnings and logs to the logger "bigsf".
The command line calls `configure_output` first, which turns printing on.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bigsf.errors import BigsfWarning

_width = None if sys.stdout.isatty() else 160  # tables written to a file or a pipe are not broken


out = Console(soft_wrap=True, highlight=False, emoji=False, width=_width)  # no emoji: a file name may hold :x:


err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


logger = logging.getLogger("bigsf")


_PLAIN_INTERVAL_S = 15.0
"""Time between two lines of progress where there is no terminal."""


_silent = True

_shown: set[str] = set()
"""The warnings that were printed since the output was configured."""


def configure_output(quiet: bool = False) -> None:
    """Show progress, warnings (each once) and log lines; with `quiet` only warnings and errors."""
    global _silent
    _silent = quiet
    _shown.clear()
    warnings.simplefilter("always", BigsfWarning)
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # its further arguments are not shown
    logger.setLevel(logging.INFO)
    logger.handlers = [h for h in logger.handlers if not isinstance(h, _ConsoleHandler)]
    logger.addHandler(_ConsoleHandler(logging.WARNING if quiet else logging.INFO))


def print_line(message: str = "") -> None:
    """Print a line of a result, unless output is quiet."""
    if not _silent:
        out.print(escape(message))


def print_table(renderable: object) -> None:
    """Print a table or another rich object, unless output is quiet."""
    if not _silent:
        out.print(renderable)


def print_error(message: str) -> None:
    """Print the message of an error."""
    err.print(f"[bold red]Error:[/] {escape(message)}")


class _ConsoleHandler(logging.Handler):
    """Prints log lines on stderr, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(record.getMessage()))


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if str(message) not in _shown:
        _shown.add(str(message))
        err.print(f"[yellow]Warning:[/] {escape(str(message))}")


class _Rate(ProgressColumn):
    """Throughput in units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "")


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of a long task.

    Parameters
    ----------
    what
        The name of the task.
    total
        Its size, in `unit`.
    unit
        What is counted, in the plural, e.g. "patches".

    Yields
    ------
    callable
        Call it with the number of units done since the last call.
    """
    if _silent:
        yield lambda _: None
    elif err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(what, total=total, unit=unit)
            yield lambda n: bar.advance(task, n)
    else:
        yield _plain_progress(what, total, unit)


def _plain_progress(what: str, total: int, unit: str) -> Callable[[int], None]:
    """Return a callable that prints a line of progress every 15 seconds."""
    start = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL_S:
            last, rate = now, done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            err.print(f"{what}: {done:,} of {total:,} {unit}, {rate:,.0f} {unit}/s{left}")

    return advance


def duration(seconds: float) -> str:
    """Return a duration in words: `duration(3725)` is "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: `plural(2, "model")` is "2 models"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
