"""Options that several commands share, and how options become a configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, TypeVar

import typer

from bigsf.config import Config
from bigsf.errors import UsageError
from bigsf.figures import FigureFormat
from bigsf.files import with_home

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]

Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1. [default: the GPU where there is one]")]

Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code (type: custom), and use the addresses, that a snapshot names.")
]

RunFile = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The configuration.")]

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. trainer.optimizer.lr=1e-4."),
]

TimeLimit = Annotated[
    str | None, typer.Option(help="Stop after, e.g., 30min or 4h, ready to be resumed; exit code 75.")
]

OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML of the settings, e.g. area_size: 64 for --area-size; a few differ. The command line overrides it.",
    ),
]

Hdu = Annotated[
    str | None, typer.Option(help="Index, name, or NAME,VERSION of the image's HDU. [default: first plane]")
]

Blank = Annotated[float | None, typer.Option(help="A value that marks missing data, besides NaN and BLANK.")]

Missing = Annotated[
    Path | None,
    typer.Option(help="FITS mask: 1 where data are VALID, 0 where they are missing (the sense of the Hi-GAL masks)."),
]

Valid = Annotated[Path | None, typer.Option(help="The same as --missing under a clearer name.")]

Channel = Annotated[
    list[Path] | None, typer.Option(metavar="PLANE.fits", help="A further image plane of the same grid; repeatable.")
]


def _region(text: str) -> Any:
    """Return four numbers as they are, and anything else as a path."""
    return text if len(text.split()) == 4 else Path(text)


def number_or_path(text: str) -> float | Path:
    """Return a number as it is, and anything else as a path."""
    try:
        return float(text)
    except ValueError:
        return Path(text)


def with_figures(settings: Sequence[str] | None, figures: str | None) -> list[str]:
    """Return the values of --set, with that of --figures as the last of them."""
    return [*(settings or ()), *([f"trainer.figures={figures}"] if figures else [])]


def named_paths(option: str, texts: Sequence[str]) -> dict[str, Path]:
    """Return the paths of an option NAME=PATH, which may be given several times, by name.

    Raises
    ------
    UsageError
        Where a text is none such, or a name is given twice.
    """
    paths: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (equals and path):
            raise UsageError(f"--{option}: found {text!r}, expected a name and a file, e.g. T=dust.fits.")
        if name in paths:
            raise UsageError(f"--{option}: the name {name!r} is given twice: {paths[name]} and {path}. Rename one.")
        paths[name] = with_homes(Path(path))
    return paths


Figures = Annotated[
    FigureFormat | None,
    typer.Option(help="Write figures in this format too, beside the PNG: for papers. [default: png]"),
]

Region = Annotated[
    Any,
    typer.Option(
        parser=_region,
        metavar='"L0 L1 B0 B1"',
        help="Read only the rectangle of pixels, in steps of 64, that holds a part of the map: Galactic degrees, e.g. "
        "359 1 -0.5 0.5, or a file of regions or a MOC.",
    ),
]

AnyConfig = TypeVar("AnyConfig", bound=Config)


def config_from(kind: type[AnyConfig], options: Mapping[str, Any], file: Path | None) -> AnyConfig:
    """Return a configuration from options of the command line, over those of a YAML file.

    Parameters
    ----------
    kind
        The class of the configuration.
    options
        From a key of the configuration to its option. Relative paths are relative to the current folder. None, False
        and an empty list or dictionary mean that the option is not given.
    file
        The YAML file, if there is one.
    """
    given = {key: _absolute(value) for key, value in options.items() if not _is_missing(value)}
    return kind.from_options(given, file)


def as_argument(path: Path) -> str:
    """Return a path as an argument of a command, so that it is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def typed(path: Path) -> str:
    """Return a path as one types it after a command."""
    return quote(as_argument(path))


def with_homes(value: Any) -> Any:
    """Return the value of an option, where it is a path or a list of paths with the home of a user for `~`.

    The shell replaces `~` only at the beginning of a word, not in `--output=~/map.fits`.

    Raises
    ------
    UsageError
        Where a path begins with `~` and is no home of a user.
    """
    if isinstance(value, list):
        return [with_homes(item) for item in value]
    try:
        return with_home(value) if isinstance(value, Path) else value
    except ValueError as error:
        raise UsageError(str(error)) from None


def _is_missing(value: Any) -> bool:
    return value is None or value is False or value in ([], {})  # 0 is a value: --blank 0


def _absolute(value: Any) -> Any:
    """Return a path, or each of a list or dictionary, relative to the current folder and not to that of the YAML."""
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if isinstance(value, dict):
        return {key: _absolute(item) for key, item in value.items()}
    return value.absolute() if isinstance(value, Path) else value


def seconds(duration: str | None) -> float | None:
    """Return a duration such as 4h in seconds.

    Raises
    ------
    UsageError
        Where it is not a duration.
    """
    from pydantic import TypeAdapter, ValidationError

    from bigsf.config.duration import Seconds

    try:
        return TypeAdapter(Seconds | None).validate_python(duration)
    except ValidationError:
        raise UsageError(f"--time-limit {duration}: expected a duration such as 30min, 4h or 3:50:00.") from None
