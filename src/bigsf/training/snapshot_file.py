"""A snapshot file -> plain data: read safely, checked, and brought to the newest format."""

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bigsf.errors import ConfigError, SnapshotError, out_of_memory
from bigsf.files import atomic_path
from bigsf.maps.fits_image import is_fits
from bigsf.training.snapshot_guard import check_archive, check_values, odd_kind
from bigsf.training.training_maps import known_by_file
from bigsf.version import __version__

FORMAT = "bigsf snapshot"
FORMAT_VERSION = 5

_EXACT = ConfigDict(arbitrary_types_allowed=True, strict=True)


def _without_straddling_patches(data: dict[str, Any]) -> dict[str, Any]:
    """Note in a snapshot of format 1 that it learnt from no patch that straddles areas."""
    config = data.get("GLOBAL_CONFIG")
    if isinstance(config, dict) and isinstance(config.get("data"), dict):
        config["data"].setdefault("straddle", False)
    return data


def _with_training_maps(data: dict[str, Any]) -> dict[str, Any]:
    """Put what a snapshot of format 2 knows of its map, the SHA-256 of the file, where format 3 has fingerprints."""
    if isinstance(name := data.get("IMAGE_SHA256"), str):
        data["TRAINING_MAPS"] = [known_by_file(name)]
    return data


def _without_windows(data: dict[str, Any]) -> dict[str, Any]:
    """Say in a snapshot of format 3 that the windows and the beam of its map are not known."""
    return {**data, "WINDOW_RANGES": {}, "BEAM_PX": None}


def _with_parts(data: dict[str, Any]) -> dict[str, Any]:
    """Name the parts that were handed in for a snapshot of format 4, which knows of the network alone."""
    return {**data, "HANDED_IN": ["network"] if data.get("NETWORK_HANDED_IN") else []}


_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _without_straddling_patches,
    2: _with_training_maps,
    3: _without_windows,
    4: _with_parts,
}
"""From a format version to the function that makes its dictionary one of the next version."""


def write_fields(path: Path, values: dict[str, Any], kind: type) -> None:
    """Write the fields of a snapshot, plain data and tensors, under upper-case names; whole or not at all.

    Raises
    ------
    ConfigError
        Where a value is not what `read_fields` accepts for the fields of this kind.
    """
    for name, field_kind in get_type_hints(kind).items():
        try:
            _checked(values[name], field_kind)
            odd = odd_kind(values[name])
        except ValidationError as error:
            odd = error.errors()[0]["msg"]
        if odd:
            raise ConfigError(
                f"{path.name} cannot hold {name.replace('_', ' ')}: {odd}. A part of your own must keep its state as "
                "numbers, text, and tensors: write float(value) for a number of NumPy."
            )
    data = {name.upper(): value for name, value in values.items()}
    data |= {"FORMAT": FORMAT, "FORMAT_VERSION": FORMAT_VERSION, "BIGSF_VERSION": __version__}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(data, file)  # Python's own file raises an OSError when the disk is full
        except RuntimeError as error:  # torch raises it when it closes its archive after such an error
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_fields(path: Path, kind: type) -> dict[str, Any]:
    """Read the fields of a snapshot; nothing in the file is executed.

    Parameters
    ----------
    path
        The file.
    kind
        A dataclass, whose fields say what the file must hold.

    Raises
    ------
    SnapshotError
        Where the file is no snapshot, is cut short, holds more than plain data, or has a newer format.
    """
    data = _read(path)
    _check_format(path, data)
    for version in range(data["FORMAT_VERSION"], FORMAT_VERSION):
        data = _UPGRADES[version](data)
    values = {}
    for name, field_kind in get_type_hints(kind).items():
        try:
            values[name] = _checked(data[name.upper()], field_kind)
        except KeyError:
            raise SnapshotError(f"{path} is damaged: it has no {name.upper()!r}.") from None
        except ValidationError as error:
            raise SnapshotError(f"{path} is damaged: {name.upper()}: {error.errors()[0]['msg']}.") from None
    return values


def _checked(value: Any, kind: Any) -> Any:
    """Return a value that has exactly the type of its field; a dictionary becomes the dataclass of the field."""
    if not is_dataclass(kind):
        return TypeAdapter(kind, config=_EXACT).validate_python(value)
    TypeAdapter(dict[str, float], config=_EXACT).validate_python(value)
    return TypeAdapter(kind).validate_python(value)


def _read(path: Path) -> Any:
    """Load a file with torch, without running anything that it holds."""
    if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe would wait for ever
        raise SnapshotError(f"{path} is not a snapshot: it is no regular file.")
    if is_fits(path):
        raise SnapshotError(f"{path} is a FITS file; expected a snapshot. Models come first, the map last.")
    try:
        if path.exists() and not zipfile.is_zipfile(path):
            raise SnapshotError(
                f"{path} is not a snapshot: it is no PyTorch file, or it was cut short. "
                "Expected e.g. best.pt of a run folder."
            )
        if path.exists():
            check_archive(path)
        data = torch.load(path, map_location="cpu", weights_only=True)
        check_values(path, data)
        return data
    except SnapshotError:
        raise
    except FileNotFoundError:
        raise SnapshotError(f"{path} does not exist.") from None
    except pickle.UnpicklingError:
        raise SnapshotError(
            f"{path} holds more than plain data (a pickle that could run code), or is damaged. It was not loaded."
        ) from None
    except Exception as error:  # torch raises many kinds for a file of another format
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SnapshotError(f"{path} is not a snapshot that can be read: {reason}") from error


def _check_format(path: Path, data: Any) -> None:
    if not isinstance(data, dict) or data.get("FORMAT") != FORMAT:
        raise SnapshotError(f"{path} is a PyTorch file but no snapshot of BigSF.")
    version = data.get("FORMAT_VERSION")
    if not isinstance(version, int) or version < 1:
        raise SnapshotError(f"{path} is damaged: its format version is {version!r}.")
    if version > FORMAT_VERSION:
        raise SnapshotError(
            f"{path} has format {version}, written by bigsf {data.get('BIGSF_VERSION')}; this is {__version__}, which "
            f"reads up to {FORMAT_VERSION}. Update bigsf."
        )
