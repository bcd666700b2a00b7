"""How messages name an option: `overwrite=True` to users of Python, `--overwrite` to those of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

_OTHER_NAMES = {"channels": "channel", "overrides": "set"}
"""From the name in Python to that on the command line, where they differ by more than `_` and `-`."""

_is_command = False


@contextmanager
def on_command_line() -> Iterator[None]:
    """Name options as the command line does, while a command runs."""
    global _is_command
    before, _is_command = _is_command, True
    try:
        yield
    finally:
        _is_command = before


def option(name: str, value: object = None) -> str:
    """Return how a message names an option.

    Parameters
    ----------
    name
        The name of the argument or key in Python.
    value
        What is passed, True for a flag; None names the option alone.

    Examples
    --------
    >>> option("overwrite", True), option("scales", [1, 2]), option("patch_size")
    ('overwrite=True', 'scales=[1, 2]', "'patch_size'")
    >>> with on_command_line():
    ...     option("overwrite", True), option("scales", [1, 2]), option("patch_size")
    ('--overwrite', '--scales 1,2', '--patch-size')
    """
    text = ",".join(map(str, value)) if _is_command and isinstance(value, list | tuple) else repr(value)
    if isinstance(value, float):
        text = text.removesuffix(".0")  # as it was typed
    if not _is_command:
        return repr(name) if value is None else f"{name}={text}"
    dashed = f"-{name}" if len(name) == 1 else f"--{_OTHER_NAMES.get(name, name).replace('_', '-')}"
    if value is None or value is True:
        return dashed
    return f"{dashed} {value if isinstance(value, str) else text}"
