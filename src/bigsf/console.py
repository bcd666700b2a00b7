"""What the command says: results on stdout, progress and warnings on stderr, plain lines off a terminal.

As a library BigSF is silent: it returns values, raises errors, issues warnings and logs to the
logger "bigsf". `talk` turns the voice on; the command line calls it first.
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

_width = None if sys.stdout.isatty() else 160  # a file or a pipe has room for whole tables


out = Console(soft_wrap=True, highlight=False, emoji=False, width=_width)  # a name may hold :x:


err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


logger = logging.getLogger("bigsf")


_PLAIN_INTERVAL_S = 15.0


_silent = True


def configure_output(quiet: bool = False) -> None:
    """Show progress, warnings and log lines; with `quiet` only warnings and errors."""
    global _silent
    _silent = quiet
    warnings.simplefilter("always", BigsfWarning)
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # its further arguments are not shown
    logger.setLevel(logging.INFO)
    logger.handlers = [h for h in logger.handlers if not isinstance(h, _ConsoleHandler)]
    logger.addHandler(_ConsoleHandler(logging.WARNING if quiet else logging.INFO))


def print_line(message: str = "") -> None:
    """Print a line of result, unless quiet."""
    if not _silent:
        out.print(escape(message))


def print_table(renderable: object) -> None:
    """Print a table or another rich object, unless quiet."""
    if not _silent:
        out.print(renderable)


def print_error(message: str) -> None:
    """Print the one message of an error."""
    err.print(f"[bold red]Error:[/] {escape(message)}")


class _ConsoleHandler(logging.Handler):
    """Prints log lines on stderr, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(record.getMessage()))


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    err.print(f"[yellow]Warning:[/] {escape(str(message))}")


class _Rate(ProgressColumn):
    """Throughput in units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "")


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a long piece of work is.

    Parameters
    ----------
    what
        The work, as a user would call it.
    total
        Its size, in `unit`.
    unit
        The plural of what is counted, e.g. "patches".

    Yields
    ------
    callable
        To be called with the number of units done since the last call.
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


def size(number_of_bytes: float) -> str:
    """Return a size in words: `size(3.2e9)` is "3.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number_of_bytes < 999.5:  # which .3g rounds to 1e+03
            return f"{number_of_bytes:.3g} {unit}"
        number_of_bytes /= 1000
    return f"{number_of_bytes:.3g} TB"


def plural(number: int, noun: str) -> str:
    """Return a count and its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
