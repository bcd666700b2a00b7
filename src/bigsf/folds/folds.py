"""Patch file -> folds: spatial parts of a map that share no pixel, and the splits that rotate over them."""

import hashlib
import json
import warnings
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from pydantic import Field, ValidationError

from bigsf.arrays import IntArray
from bigsf.config import Config
from bigsf.errors import BigsfWarning, ConfigError, DataError
from bigsf.files import atomic_path, write_text
from bigsf.folds.areas import AreaGrid
from bigsf.folds.leakage import clear_pixels, covered, outermost
from bigsf.folds.splits import Split, SplitConfig, default_folds_path, make_splits
from bigsf.folds.strategies import AreaContents, NaiveStrategyConfig
from bigsf.maps.tiling import bands, count_in_windows
from bigsf.maps.wcs import galactic_lb
from bigsf.patches.patch_file import PatchFile
from bigsf.version import __version__

FORMAT = "bigsf folds"


FORMAT_VERSION = 1


_BAND_PIXELS = 4_000_000


class Folds:
    """The folds of a patch file.

    Parameters
    ----------
    patch_file
        The file that is split.
    config
        A resolved config.
    areas
        The grid of areas.
    grid
        Fold number of each area, from 1.
    splits
        The splits.
    edited
        Whether a person has changed the grid or the splits.
    """

    def __init__(
        self,
        patch_file: PatchFile,
        config: SplitConfig,
        areas: AreaGrid,
        grid: IntArray,
        splits: list[Split],
        edited: bool = False,
    ) -> None:
        self.patch_file, self.config, self.areas, self.grid = patch_file, config, areas, grid
        self.splits, self.edited = splits, edited
        row, column = areas.area_of(patch_file.positions)
        inside, new_sky = areas.keeps(patch_file.positions, patch_file.patch_size, config.overlap, config.gap)
        ends_in_area, _ = areas.keeps(patch_file.positions, patch_file.patch_size, config.overlap, gap=0)
        self.area, self.area_fold = row * areas.shape[1] + column, grid[row, column]
        self.dropped = {
            "past_area": ~ends_in_area & new_sky,
            "in_gap": ends_in_area & ~inside & new_sky,
            "repeated_sky": ~new_sky,
        }
        self.patch_fold = np.where(inside & new_sky, self.area_fold, 0)
        self.patches_per_area = np.zeros(areas.shape, np.int64)
        kept = self.patch_fold > 0
        np.add.at(self.patches_per_area, (row[kept], column[kept]), 1)

    @classmethod
    def make(cls, patch_file: PatchFile, config: SplitConfig | None = None) -> Self:
        """Deal the areas of a map to folds."""
        config = (config or SplitConfig()).resolved(patch_file)
        assert config.k is not None
        assert config.step is not None
        assert config.area_size is not None
        splits = make_splits(config.k, config.k_train, config.step)
        n = 10 if config.k == 1 else config.k
        areas = config.areas(patch_file)
        undealt = cls(patch_file, config, areas, np.ones(areas.shape, np.int64), splits)
        none = np.zeros(areas.shape, np.int64)
        target = background = none
        if patch_file.target is not None and patch_file.labelled is not None:
            target = areas.sums(patch_file.target)
            background = areas.sums(patch_file.labelled) - target
        contents = AreaContents(undealt.patches_per_area, target, background, _galactic(areas, patch_file))
        if config.area_size < patch_file.patch_size and not isinstance(config.strategy, NaiveStrategyConfig):
            raise DataError(
                f"No patch of {patch_file.patch_size} pixels fits into an area of {config.area_size}. Use --area-size "
                f"{2 * patch_file.patch_size} or so."
            )
        if (occupied := int(contents.occupied.sum())) < n:
            raise DataError(
                f"{n} folds need at least {n} areas with patches; {patch_file.path.name} has {occupied}, each "
                f"{config.area_size} pixels wide. Use a smaller --area-size, fewer folds, or smaller patches."
            )
        grid = np.asarray(config.strategy.build()(contents, n), np.int64)
        if grid.shape != areas.shape or grid.min() < 1 or grid.max() > n:
            raise ConfigError(
                f"The split strategy {config.strategy.type} returned fold numbers {grid.min()} to {grid.max()} of "
                f"shape {grid.shape}; expected 1 to {n}, {areas.shape}."
            )
        return cls(patch_file, config, areas, grid, splits)

    def patches_in(self, folds: list[int]) -> IntArray:
        """Return the indices of the kept patches of some folds."""
        return np.flatnonzero(np.isin(self.patch_fold, folds))

    def training_patches(self, folds: list[int], straddle: bool = True) -> IntArray:
        """Return the indices of the patches of some folds, with `straddle` those too that straddle their areas."""
        kept = self.patches_in(folds)
        return np.sort(np.concatenate([kept, self.straddling(folds)])) if straddle else kept

    def straddling(self, folds: list[int]) -> IntArray:
        """Return the indices of the patches that straddle areas, with their centre and a label in some folds.

        What of them lies elsewhere must not be seen: see `own`.
        """
        positions, size = self.patch_file.positions.astype(np.int64), self.patch_file.patch_size
        columns = np.arange(self.patch_file.shape[1])
        centre = positions[:, :, None] + size // 2
        straddling = self._inside(folds, centre[:, 0], centre[:, 1])[:, 0, 0] & ~np.isin(self.patch_fold, folds)
        labelled = self.patch_file.labels()[1]
        (ys, row), (xs, column) = (np.unique(positions[:, axis], return_inverse=True) for axis in (0, 1))
        for first, last in bands(len(ys), max(1, _BAND_PIXELS // len(columns) // self.patch_file.stride)):
            y0, y1 = int(ys[first]), int(ys[last - 1]) + size
            seen = (labelled[y0:y1] > 0) & self._inside(folds, np.arange(y0, y1), columns)
            labels = count_in_windows(seen, size, ys[first:last] - y0, xs)
            here = (row >= first) & (row < last)
            straddling[here] &= labels[row[here] - first, column[here]] > 0
        return np.flatnonzero(straddling)

    def visible_pixels(self, indices: IntArray, folds: list[int]) -> npt.NDArray[np.bool_]:
        """Return which pixels of patches belong to some folds, `(n, y, x)`: all of those that these folds keep."""
        side = np.arange(self.patch_file.patch_size)
        y, x = (self.patch_file.positions[indices, axis, None] + side for axis in (0, 1))
        return self._inside(folds, y, x) | np.isin(self.patch_fold[indices], folds)[:, None, None]

    def _inside(self, folds: list[int], y: IntArray, x: IntArray) -> npt.NDArray[np.bool_]:
        return self.areas.inside(np.isin(self.grid, folds), y, x, self.config.gap)

    def rows(self, y0: int, y1: int) -> npt.NDArray[np.uint8]:
        """Return the fold number of each pixel of rows y0 to y1, `(rows, nx)`."""
        return self.areas.rows(self.grid, y0, y1)

    @cached_property
    def counts(self) -> dict[int, dict[str, int]]:
        """Per fold: areas, patches kept, patches dropped by why, and pixels by label."""
        sums = {name: np.zeros(self.areas.shape, np.int64) for name in ("target", "labelled")}
        if self.patch_file.target is not None and self.patch_file.labelled is not None:
            target, labelled = self.patch_file.labels()
            sums = {"target": self.areas.sums(target), "labelled": self.areas.sums(labelled)}
        return {
            fold: {
                "areas": int((self.grid == fold).sum()),
                "patches": int((self.patch_fold == fold).sum()),
                **{why: int((patches & (self.area_fold == fold)).sum()) for why, patches in self.dropped.items()},
                "labelled": int(sums["labelled"][self.grid == fold].sum()),
                "target": int(sums["target"][self.grid == fold].sum()),
                "background": int((sums["labelled"] - sums["target"])[self.grid == fold].sum()),
            }
            for fold in range(1, int(self.grid.max()) + 1)
        }

    @cached_property
    def pixels(self) -> dict[str, int]:
        """Pixels that patches of several folds share, and labelled pixels that no kept patch covers."""
        shared = uncovered = 0
        ny, nx = self.patch_file.shape
        for y0, y1 in bands(ny, max(self.patch_file.patch_size, int(16e6 / nx))):
            number = np.zeros((y1 - y0, nx), np.uint8)
            for fold in range(1, int(self.grid.max()) + 1):
                positions = self.patch_file.positions[self.patch_fold == fold]
                number += covered(positions, self.patch_file.patch_size, y0, y1, nx)
            shared += int((number > 1).sum())
            if self.patch_file.labelled is not None:
                uncovered += int(((number == 0) & (self.patch_file.labelled[y0:y1] > 0)).sum())
        return {"shared": shared, "labelled_uncovered": uncovered}

    @cached_property
    def clear_px(self) -> int | None:
        """Least number of clear pixels, along y or x, between a training and a test patch of any split.

        It is of patches that lie whole in their areas. Those that straddle areas show their pixels up to the gap, and
        the out-of-fold map predicts all pixels.
        """
        kept = np.flatnonzero(self.patch_fold)
        near = kept[outermost(self.patch_file.positions[kept], self.area[kept])]
        position, fold = self.patch_file.positions[near], self.patch_fold[near]
        found = []
        for train, _, test in self.splits:
            sets = position[np.isin(fold, train)], position[np.isin(fold, test)]
            found.append(clear_pixels(*sets, self.patch_file.patch_size, self.areas.period_px))
        return min((pixels for pixels in found if pixels is not None), default=None)

    @property
    def poor_in_background(self) -> list[int]:
        """Folds with less than a tenth of their share of the background pixels, where there are any."""
        background = {fold: count["background"] for fold, count in self.counts.items()}
        share = sum(background.values()) / len(background)
        return [fold for fold, pixels in background.items() if pixels < share / 10]

    # --- the folds file ---------------------------------------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Write the folds file and, beside it, a FITS image with a pixel an area and a picture."""
        from bigsf.folds.figure import draw_folds

        with ExitStack() as files:  # they appear together, once the last is written
            draw_folds(self, files.enter_context(atomic_path(path.with_suffix(".png"))))
            image = files.enter_context(atomic_path(path.with_suffix(".fits")))
            self._area_image().writeto(image)
            self.save(path)

    def _area_image(self) -> fits.PrimaryHDU:
        """Return the fold numbers as an image on the WCS of the map, binned to areas."""
        header = fits.Header()
        if self.patch_file.wcs is not None:
            down, across = (max(1, edges[1] - edges[0]) for edges in (self.areas.y_edges, self.areas.x_edges))
            header = self.patch_file.wcs.slice((slice(None, None, down), slice(None, None, across))).to_header()
        header["BTYPE"] = ("fold number", "1 to k; a pixel is an area")
        return fits.PrimaryHDU(self.grid.astype(np.uint8), header)

    def save(self, path: Path) -> None:
        """Write the JSON file, readable and editable: a row of areas a line."""
        rows = ",\n".join("    " + json.dumps(row) for row in self.grid.tolist())
        splits = ",\n".join("    " + json.dumps(list(split)) for split in self.splits)
        counts = ",\n".join(f'    "{fold}": {json.dumps(count)}' for fold, count in self.counts.items())
        head = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "bigsf_version": __version__,
            "patch_file": self.patch_file.path.name,
            "patch_file_identity": self.patch_file.identity,
            "parameters": _parameters(self.config),
            "edited": self.edited,
            "checksum": self.identity,
            "y_edges": list(self.areas.y_edges),
            "x_edges": list(self.areas.x_edges),
        }
        lines = ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in head.items())
        text = (
            f'{{\n{lines},\n  "grid": [\n{rows}\n  ],\n  "splits": [\n{splits}\n  ],\n'
            f'  "counts": {{\n{counts}\n  }},\n  "pixels": {json.dumps(self.pixels)},\n'
            f'  "clear_px": {json.dumps(self.clear_px)}\n}}\n'
        )
        write_text(path, text)

    @property
    def identity(self) -> str:
        """What ties a run to its folds: a checksum of areas, fold numbers and splits."""
        content = [
            self.areas.y_edges,
            self.areas.x_edges,
            self.grid.tolist(),
            [list(split) for split in self.splits],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path, patch_file: PatchFile, config: SplitConfig | None = None, write: bool = True) -> Self:
        """Read a folds file and check that it belongs to the patch file and to what the config says.

        What the config leaves out is as in the file. With `write`, a file that was edited by hand is written anew, with
        its counts and picture.

        Raises
        ------
        DataError
            Where it is none, or was made for another patch file or with other parameters.
        """
        try:
            content = path.read_bytes()
            _check_version(content, path)
            data = _FoldsFile.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise DataError(f"{path} is not a folds file of BigSF: {where}: {first['msg']}.") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}.") from None
        remedy = "To make it anew, run bigsf split with --overwrite."
        if data.patch_file_identity != patch_file.identity:
            raise DataError(
                f"{path} was made for another patch file ({data.patch_file_identity[:8]}... there, "
                f"{patch_file.identity[:8]}... here). {remedy}"
            )
        resolved = (config or SplitConfig()).filled_from(_made_with(data, path)).resolved(patch_file)
        here = _parameters(resolved)
        if data.parameters != here:
            differ = {
                key: (data.parameters.get(key), here[key]) for key in here if data.parameters.get(key) != here[key]
            }
            listing = ", ".join(
                f"{key}: {_plain(there)} there, {_plain(now)} here" for key, (there, now) in differ.items()
            )
            raise DataError(
                f"{path} was made with other parameters ({listing}). To use it as it is, leave all of split "
                f"but path and use out of the configuration. {remedy}"
            )
        areas = resolved.areas(patch_file)
        if (tuple(data.y_edges), tuple(data.x_edges)) != (areas.y_edges, areas.x_edges):
            raise DataError(f"{path} holds other edges of areas than its parameters give. {remedy}")
        folds = cls(patch_file, resolved, areas, _checked_grid(data, areas, path), data.splits, data.edited)
        if folds.identity != data.checksum:
            folds.edited = True
            warnings.warn(f"{path} was edited by hand; its folds are counted anew.", BigsfWarning, stacklevel=2)
            if write:
                folds.write(path)
        return folds

    @classmethod
    def load_or_make(cls, patch_file: PatchFile, config: SplitConfig, write: bool = True) -> Self:
        """Read the folds file of a config, or make it (and write it) when absent."""
        path = config.path or default_folds_path(patch_file.path)
        if path.exists():
            return cls.load(path, patch_file, config, write)
        folds = cls.make(patch_file, config)
        if write:
            folds.write(path)
        return folds


class _FoldsFile(Config):
    """The JSON of a folds file."""

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


def _check_version(content: bytes, path: Path) -> None:
    """Refuse a newer format before its unknown keys are taken for mistakes."""
    with suppress(ValueError, AttributeError, TypeError):  # what is no JSON object fails in the validation
        version = json.loads(content).get("format_version", 0)
        if version > FORMAT_VERSION:
            raise DataError(f"{path} has format {version}, newer than {FORMAT_VERSION}. Update bigsf.")


def _galactic(areas: AreaGrid, patch_file: PatchFile) -> npt.NDArray[np.float64] | None:
    """Return Galactic (l, b) of the centre of each area in degrees, `(2, down, across)`."""
    if patch_file.wcs is None:
        return None
    y, x = ((np.array(edges[:-1]) + edges[1:] - 1) / 2 for edges in (areas.y_edges, areas.x_edges))
    centres = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return galactic_lb(patch_file.wcs, centres).T.reshape(2, *areas.shape)


def _parameters(config: SplitConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude={"path", "use"})


def _made_with(data: _FoldsFile, path: Path) -> SplitConfig:
    try:
        return SplitConfig.from_dict(data.parameters)
    except ConfigError as error:
        raise DataError(f"{path} is not a folds file of BigSF: {error}") from None


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _checked_grid(data: _FoldsFile, areas: AreaGrid, path: Path) -> IntArray:
    """Check what a person may have edited."""
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
