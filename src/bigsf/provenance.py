"""How a file was made: the program, the time, the command and the inputs."""

import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from astropy.io import fits

from bigsf.version import __version__

_NAMES = ["NAME", "VALUE"]
"""Columns of the table PROVENANCE."""


def provenance(
    header: fits.Header, what: str, entries: Mapping[str, str], kind: str | None = "probability"
) -> tuple[fits.Header, fits.BinTableHDU]:
    """Return the header of an image with HISTORY cards, and a table PROVENANCE, that say how the image was made.

    Parameters
    ----------
    header
        The header of the input's image without its array cards.
    what
        What the image shows.
    entries
        Names and values for the table, e.g. the SHA-256 of each model. Configurations, whose names end with "config",
        are too long for HISTORY and stand in the table alone.
    kind
        BTYPE of the image; None: no such card.
    """
    header = header.copy()
    header["DATE"] = (now()[:19], "UTC date of this HDU")
    if kind is not None:
        header["BTYPE"] = (kind, what)
    entries = {"bigsf": __version__, "time": now(), "command": command_line(), **entries}
    entries = {name: value.encode("ascii", "replace").decode() for name, value in entries.items()}
    header.add_history(f"{what}, by bigsf {__version__}")
    for name, value in entries.items():
        if name != "bigsf" and not name.endswith("config"):
            header.add_history(printable(f"{name}: {value}"))
    columns = [
        fits.Column(name, f"{max(map(len, texts))}A", array=list(texts))
        for name, texts in zip(_NAMES, (entries, entries.values()), strict=True)
    ]
    return header, fits.BinTableHDU.from_columns(columns, name="PROVENANCE")


def read_provenance(hdus: fits.HDUList) -> dict[str, str]:
    """Return the names and values of the table PROVENANCE of a file; empty where it has no such table."""
    columns = getattr(hdus["PROVENANCE"], "columns", None) if "PROVENANCE" in hdus else None
    if columns is None or columns.names != _NAMES:
        return {}
    return {str(name): str(value) for name, value in hdus["PROVENANCE"].data}


def printable(text: str) -> str:
    """Return a text with a question mark for each character that no card may hold, e.g. a line break in a file name."""
    return "".join(character if character.isprintable() else "?" for character in text)


def command_line() -> str:
    """Return the command that is running, as one would type it."""
    program = Path(sys.argv[0]).name
    return shlex.join([*(["python", "-m", "bigsf"] if program == "__main__.py" else [program]), *sys.argv[1:]])


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
