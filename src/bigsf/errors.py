"""Errors that a user can correct, one class and one exit code for each kind; and warnings."""

import errno
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class BigsfError(Exception):
    """An error that the user can correct; its message says what was found, what was expected, and what to do.

    Examples
    --------
    >>> try:
    ...     bigsf.segment("higal-small", "absent.fits")
    ... except bigsf.BigsfError as error:
    ...     print(error)
    absent.fits does not exist.
    """

    exit_code = 1


class UsageError(BigsfError):
    """The command cannot be carried out as it was given, e.g. because it would overwrite a file."""

    exit_code = 2


class InUseError(UsageError):
    """Another run uses the folder or the file."""


class ConfigError(BigsfError, ValueError):
    """A configuration cannot be read, or its values do not fit together."""

    exit_code = 3


class DataError(BigsfError):
    """A map, patch file or folds file cannot be used."""

    exit_code = 4


class SnapshotError(BigsfError):
    """A file is not a snapshot, or a snapshot cannot be used here."""

    exit_code = 5


class TrainingError(BigsfError):
    """Training failed numerically."""

    exit_code = 6


class InterruptedRunError(BigsfError):
    """A signal or a time limit stopped a run after its state was saved; the run can be resumed.

    Parameters
    ----------
    message
        What happened, and how to resume.
    exit_code
        128 plus the number of the signal, or 75 (try again) for a time limit.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)  # with both arguments the error can be sent to other processes
        self.message, self.exit_code = message, exit_code

    def __str__(self) -> str:
        return self.message


class LostProcessError(BigsfError):
    """One of the processes that train together has died, or another program takes its place."""

    exit_code = 8


OUT_OF_MEMORY = 7
"""Exit code of a command that needed more memory than the machine or its GPU has."""


_NO_MEMORY = re.compile(
    "can't allocate memory|Cannot allocate memory"  # torch on a CPU; the operating system
    "|failed to map segment(?!.*not permitted)"  # the loader of shared libraries, unless a right is missing
    "|std::bad_alloc|memory allocation failed|[Uu]nable to allocate"  # C++, HDF5, HDF5 and numpy
    "|could not create a primitive|can't start new thread"  # oneDNN, which gives no reason; Python
)


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Say how to install a package that is missing, as `ConfigError`.

    Parameters
    ----------
    what
        What needs the packages that are imported inside the context, e.g. "To write a MOC".
    extra
        The extra of bigsf that installs them.

    Raises
    ------
    ConfigError
        Where one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{what} takes {error.name or error}. pip install 'bigsf[{extra}]'") from None


def out_of_memory(error: Exception) -> bool:
    """Return whether an error is a lack of memory: by its type, or by its message where a library has no such type."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError | OSError | ImportError) and bool(_NO_MEMORY.search(str(error))))
    )


class BigsfWarning(UserWarning):
    """Something that the user should know, and that does not stop the command.

    Examples
    --------
    >>> warnings.simplefilter("error", bigsf.BigsfWarning)  # doctest: +SKIP
    """


def warn(message: str) -> None:
    """Issue a `BigsfWarning` whose place is the line outside of the package that led to it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "bigsf":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, BigsfWarning, stacklevel=level)
