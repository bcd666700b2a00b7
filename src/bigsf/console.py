"""Terminal output: results on stdout, progress, warnings and errors on stderr; without a terminal, plain lines.

Imported as a library, BigSF prints only the progress of long work, which `show_progress` turns off; it returns values,
raises errors, issues warnings and logs to the logger "bigsf". The command line calls `configure_output` first, which
turns printing on. Where a stream cannot be written to, the work goes on. Control characters from files do not reach
the terminal.
"""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
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
from bigsf.interrupts import check


class _Stream:
    """A standard stream that drops what cannot be written, e.g. on a full disk or into a closed pipe.

    Parameters
    ----------
    name
        `stdout` or `stderr`. The stream is looked up at each use, as it may be replaced.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(sys, self._name), attribute)

    def isatty(self) -> bool:
        """Tell whether it is a terminal; a stream that was closed before the start is None."""
        stream = getattr(sys, self._name)
        return stream is not None and bool(stream.isatty())

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        with suppress(OSError, ValueError, AttributeError):  # ValueError: it was closed; AttributeError: it is None
            stream = getattr(sys, self._name)
            stream.write(text.encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8"))
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        with suppress(OSError, ValueError, AttributeError):
            getattr(sys, self._name).flush()


_STREAMS = {name: _Stream(name) for name in ("stdout", "stderr")}

_width = None if _STREAMS["stdout"].isatty() else 160  # tables written to a file or a pipe are not broken

out = Console(file=_STREAMS["stdout"], soft_wrap=True, highlight=False, width=_width)  # type: ignore[arg-type]

err = Console(file=_STREAMS["stderr"], soft_wrap=True, highlight=False)  # type: ignore[arg-type]


logger = logging.getLogger("bigsf")


_PLAIN_INTERVAL_S = 15.0
"""Time between two lines of progress where there is no terminal."""


_silent = True

_progress = True

_shown: set[str] = set()
"""The warnings that were printed since the output was configured."""


def configure_output(quiet: bool = False) -> None:
    """Show progress, warnings (each once) and log lines; with `quiet` only warnings and errors."""
    global _silent
    _silent = quiet
    show_progress(not quiet)
    _shown.clear()
    warnings.simplefilter("always", BigsfWarning)
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # its further arguments are not shown
    logger.setLevel(logging.INFO)
    logger.handlers = [h for h in logger.handlers if not isinstance(h, _ConsoleHandler)]
    logger.addHandler(_ConsoleHandler(logging.WARNING if quiet else logging.INFO))


def show_progress(shown: bool) -> None:
    """Show the progress of long work on stderr, or not: a bar in a terminal, elsewhere a line every 15 seconds.

    Parameters
    ----------
    shown
        True, as it is at first, or False.

    Examples
    --------
    >>> bigsf.show_progress(False)
    """
    global _progress
    _progress = shown


def replace_bad_streams() -> None:
    """Give the program streams that can be used to its end.

    A stream that was closed before the start would be opened again as the first file of the program, and be printed
    into. One that can no longer be written would fail when the interpreter flushes it at the end.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
            if number:
                getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            empty = os.open(os.devnull, os.O_RDWR)
            if empty != number:
                os.dup2(empty, number)
                os.close(empty)


def plain(text: str) -> Text:
    """Return a text as it is to be printed: without markup, and with escapes for what is not printable."""
    return Text("".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text))


def print_line(message: str = "") -> None:
    """Print a line of a result, unless output is quiet."""
    if not _silent:
        out.print(plain(message))


def print_message(message: str) -> None:
    """Print a line that is not a result, on stderr."""
    err.print(plain(message))


def print_table(renderable: object) -> None:
    """Print a table or another rich object, unless output is quiet."""
    if not _silent:
        out.print(renderable)


def print_error(message: str) -> None:
    """Print the message of an error."""
    err.print(Text("Error: ", "bold red") + plain(message))


class _ConsoleHandler(logging.Handler):
    """Prints log lines on stderr, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(record.getMessage())


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if str(message) not in _shown:
        _shown.add(str(message))
        err.print(Text("Warning: ", "yellow") + plain(str(message)))


class _Rate(ProgressColumn):
    """Throughput in units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed, task.fields["unit"]) if speed else "")


def _rate(speed: float, unit: str) -> str:
    """Return a throughput in words; slow ones have a decimal."""
    return f"{speed:,.{1 if 0 < speed < 10 else 0}f} {unit}/s"


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
    check()
    if not _progress:
        yield lambda _: None
    elif err.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
            task = bar.add_task(plain(what).plain, total=total, unit=unit)
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
            print_message(f"{what}: {done:,} of {total:,} {unit}, {_rate(rate, unit)}{left}")

    return advance


def duration(seconds: float) -> str:
    """Return a duration in words: `duration(3725)` is "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def wrapped(parts: Sequence[str], width: int = 100) -> str:
    """Return parts with two spaces between them, in lines of at most `width` characters where no part is longer."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(f"  {part}")
    return "\n".join(lines)


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: `plural(2, "model")` is "2 models"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
