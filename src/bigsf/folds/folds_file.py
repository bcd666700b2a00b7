"""Folds -> folds file and back: JSON that a person can read and edit, checked when it is read."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from pydantic import Field, ValidationError

from bigsf.arrays import IntArray
from bigsf.config import Config
from bigsf.errors import ConfigError, DataError, UsageError, warn
from bigsf.figures import save_figure
from bigsf.files import make_folder
from bigsf.folds.areas import AreaGrid
from bigsf.folds.figure import folds_figure
from bigsf.folds.folds import Folds
from bigsf.folds.resolve import make_area_grid, resolve_split
from bigsf.folds.splits import Split, SplitConfig, default_folds_path
from bigsf.lock import lock_file
from bigsf.maps.fits_guard import open_fits
from bigsf.maps.wcs import binned_wcs
from bigsf.outputs import Outputs
from bigsf.patches.patch_file import PatchFile
from bigsf.version import __version__

FORMAT = "bigsf folds"
FORMAT_VERSION = 1

_BTYPE = "fold number"
"""BTYPE of an image of folds, by which it is recognised."""


class FoldsFile(Config):
    """The content of a folds file."""

    format: str = Field(pattern=FORMAT)
    format_version: int
    bigsf_version: str
    patch_file: str
    patch_file_identity: str
    parameters: dict[str, Any]
    edited: bool
    checksum: str
    y_edges: list[int]
    x_edges: list[int]
    grid: list[list[int]]
    splits: list[Split]
    counts: dict[str, dict[str, int]]
    pixels: dict[str, int]
    clear_px: int | None = None


def folds_outputs(path: Path) -> Outputs:
    """Return the files of folds: the folds file and, beside it, a FITS image with one pixel per area and a figure."""
    if path.suffix in (".fits", ".png"):
        raise UsageError(f"The output {path} is a folds file (JSON): name it *.json.")
    return Outputs(path, path.with_suffix(".fits"), path.with_suffix(".png"))


def write_folds(folds: Folds, path: Path) -> None:
    """Write the files of folds; see `folds_outputs`."""
    with folds_outputs(path).writing() as files:
        png = path.with_suffix(".png")
        save_figure(lambda: folds_figure(folds), files[png], png)
        with files[path.with_suffix(".fits")].open("wb") as file:
            _area_image(folds).writeto(file)
        files[path].write_text(folds_json(folds), encoding="utf-8")


def _area_image(folds: Folds) -> fits.PrimaryHDU:
    """Return the fold numbers as an image on the WCS of the map, binned to areas."""
    header = fits.Header()
    if folds.patch_file.wcs is not None:
        down, across = (max(1, edges[1] - edges[0]) for edges in (folds.areas.y_edges, folds.areas.x_edges))
        header = binned_wcs(folds.patch_file.wcs, down, across).to_header()
    header["BTYPE"] = (_BTYPE, "1 to k; a pixel is an area")
    return fits.PrimaryHDU(folds.grid.astype(np.uint8), header)


def folds_json(folds: Folds) -> str:
    """Return the content of the folds file, one row of areas per line."""
    leakage = folds.leakage
    content = FoldsFile(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        bigsf_version=__version__,
        patch_file=folds.patch_file.path.name,
        patch_file_identity=folds.patch_file.identity,
        parameters=_parameters(folds.config),
        edited=folds.edited,
        checksum=folds.identity,
        y_edges=list(folds.areas.y_edges),
        x_edges=list(folds.areas.x_edges),
        grid=folds.grid.tolist(),
        splits=folds.splits,
        counts={str(fold): count._asdict() for fold, count in folds.counts.items()},
        pixels={"shared": leakage.shared, "labelled_uncovered": leakage.labelled_uncovered},
        clear_px=leakage.clear_px,
    ).model_dump(mode="json")
    lines = ",\n".join(f'  "{key}": {_by_lines(key, value)}' for key, value in content.items())
    return f"{{\n{lines}\n}}\n"


def _by_lines(key: str, value: Any) -> str:
    """Return JSON text with one line per row of areas, per split, and per fold."""
    if key in ("grid", "splits"):
        return "[\n" + ",\n".join(f"    {json.dumps(row)}" for row in value) + "\n  ]"
    if key == "counts":
        return "{\n" + ",\n".join(f'    "{fold}": {json.dumps(count)}' for fold, count in value.items()) + "\n  }"
    return json.dumps(value)


def read_folds_file(path: Path) -> FoldsFile:
    """Return the content of a folds file.

    Raises
    ------
    DataError
        Where the file is not a folds file, or of a newer format.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe would wait for ever
        raise DataError(f"{path} is not a folds file of BigSF: it is no regular file.")
    try:
        content = path.read_bytes()
        _check_version(content, path)
        return FoldsFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(f"{path} is not a folds file of BigSF: {where}: {first['msg']}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def load_folds(path: Path, patch_file: PatchFile, config: SplitConfig | None = None, write: bool = True) -> Folds:
    """Read a folds file, and check that it belongs to the patch file and to the configuration.

    Parameters
    ----------
    path
        The folds file.
    patch_file
        The data.
    config
        The configuration to check. The keys that it leaves out are taken from the folds file.
    write
        Whether to rewrite a file that was edited by hand, with new counts and a new figure.

    Raises
    ------
    DataError
        Where the file is not a folds file, or was made for another patch file or with other parameters.
    UsageError
        Where the file was edited, and the FITS file beside it, which would be rewritten too, is no image of folds.
    """
    data = read_folds_file(path)
    remedy = "To make it anew, remove it, or overwrite it with bigsf split."
    if data.patch_file_identity != patch_file.identity:
        raise DataError(
            f"{path} was made for another patch file ({data.patch_file_identity[:8]}... there, "
            f"{patch_file.identity[:8]}... here). {remedy}"
        )
    resolved = resolve_split((config or SplitConfig()).filled_from(_loaded_config(data, path)), patch_file)
    here = _parameters(resolved)
    if data.parameters != here:
        differ = {key: (data.parameters.get(key), here[key]) for key in here if data.parameters.get(key) != here[key]}
        listing = ", ".join(f"{key}: {_plain(there)} there, {_plain(now)} here" for key, (there, now) in differ.items())
        raise DataError(
            f"{path} was made with other parameters ({listing}). To use it as it is, leave all of split "
            "but path and use out of the configuration. For other folds beside it, name their file with split.path. "
            f"{remedy}"
        )
    areas = make_area_grid(resolved, patch_file)
    if (tuple(data.y_edges), tuple(data.x_edges)) != (areas.y_edges, areas.x_edges):
        raise DataError(f"{path} holds other edges of areas than its parameters give. {remedy}")
    folds = Folds(patch_file, resolved, areas, _checked_grid(data, areas, path), data.splits, data.edited)
    if folds.identity != data.checksum and not _is_of_earlier_build(data, folds):
        folds.edited = True
        warn(f"{path} was edited by hand; its folds are counted anew.")
        if write:
            check_image(path)
            with lock_file(path):  # meanwhile the file is set aside, and other tasks would make folds of their own
                write_folds(folds, path)
    return folds


def _is_of_earlier_build(data: FoldsFile, folds: Folds) -> bool:
    """Tell whether a file has the checksum of earlier builds, without overlap and gap, and counts that agree."""
    kept = {fold: counts.get("patches") for fold, counts in data.counts.items()}
    return data.checksum == folds.checksum(overlap_and_gap=False) and kept == {
        str(fold): count.patches for fold, count in folds.counts.items()
    }


def check_image(path: Path) -> None:
    """Raise `UsageError` where the file that the image of folds of a folds file would replace is no such image."""
    image = path.with_suffix(".fits")
    if image.exists() and not _is_image_of_folds(image):
        raise UsageError(f"{image} is no image of folds, so it is not replaced. Give {path} another name.")


def _is_image_of_folds(path: Path) -> bool:
    try:
        with open_fits(path) as hdus:
            return bool(hdus[0].header.get("BTYPE") == _BTYPE)
    except DataError:
        return False


def load_or_make_folds(patch_file: PatchFile, config: SplitConfig, write: bool = True) -> Folds:
    """Read the folds file of a configuration; where it is absent, make the folds, and write them with `write`."""
    path = config.path or default_folds_path(patch_file.path)
    if path.exists():
        return load_folds(path, patch_file, config, write)
    if not write:
        _check_outputs(path, patch_file)
        return Folds.make(patch_file, config)
    make_folder(path.parent)
    with lock_file(path):  # the tasks of a job array begin together
        if not path.exists():
            _check_outputs(path, patch_file)
            folds = Folds.make(patch_file, config)
            write_folds(folds, path)
            return folds
    return load_folds(path, patch_file, config, write)


def _check_outputs(path: Path, patch_file: PatchFile) -> None:
    """Check that a folds file, its image and its figure can be written."""
    image = path.with_suffix(".fits")
    former = image.exists() and _is_image_of_folds(image)  # of a folds file that was removed, to make it anew
    folds_outputs(path).check([patch_file.path], former, "Name another folds file with split.path.", make_folders=True)


def _check_version(content: bytes, path: Path) -> None:
    """Refuse a newer format before its unknown keys are taken for mistakes."""
    with suppress(ValueError, AttributeError, TypeError, RecursionError):  # no JSON object: the validation says so
        version = json.loads(content).get("format_version", 0)
        if version > FORMAT_VERSION:
            raise DataError(f"{path} has format {version}, newer than {FORMAT_VERSION}. Update bigsf.")


def _parameters(config: SplitConfig) -> dict[str, Any]:
    """Return the keys of a configuration that decide the folds."""
    return config.model_dump(mode="json", exclude={"path", "use"})


def _loaded_config(data: FoldsFile, path: Path) -> SplitConfig:
    """Return the configuration with which the folds of a file were made."""
    try:
        return SplitConfig.from_dict(data.parameters)
    except ConfigError as error:
        raise DataError(f"{path} is not a folds file of BigSF: {error}") from None


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _checked_grid(data: FoldsFile, areas: AreaGrid, path: Path) -> IntArray:
    """Return the grid, once it and the splits are checked: a person may have edited them."""
    if {len(row) for row in data.grid} != {areas.shape[1]} or len(data.grid) != areas.shape[0]:
        raise DataError(
            f"{path}: the grid must have {areas.shape[0]} rows of {areas.shape[1]} areas, as its edges say."
        )
    numbers = {number for row in data.grid for number in row}
    if min(numbers) < 1 or max(numbers) > 255:
        raise DataError(f"{path}: fold numbers run from {min(numbers)} to {max(numbers)}; expected 1 to 255.")
    grid = np.array(data.grid, np.int64)
    for number, (train, valid, test) in enumerate(data.splits, 1):
        used = [*train, *valid, *test]
        if len(set(used)) != len(used) or not set(used) <= numbers or not all((train, valid, test)):
            raise DataError(
                f"{path}: split {number} is {[train, valid, test]}; expected three lists of folds of the grid, none "
                "empty, no fold twice."
            )
    return grid
