"""Patch file + areas -> folds: spatial parts of a map that share no pixel."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from typing_extensions import override

from bigsf.arrays import BoolArray, Float64Array, IntArray, MaskArray
from bigsf.described import Described
from bigsf.errors import ConfigError, DataError
from bigsf.folds.areas import AreaGrid
from bigsf.folds.leakage import Leakage, measure_leakage
from bigsf.folds.resolve import ResolvedSplit, make_area_grid, occupied_areas, patches_per_area, resolve_split
from bigsf.folds.splits import Split, SplitConfig, make_splits
from bigsf.folds.strategies import AreaContents, NaiveStrategyConfig
from bigsf.maps.tiling import CHUNK_PIXELS, bands, count_in_windows, grid_points
from bigsf.maps.wcs import nearest_galactic_lb
from bigsf.patches.patch_file import PatchFile


class FoldCounts(NamedTuple):
    """What one fold holds."""

    areas: int
    """Areas."""
    patches: int
    """Patches that lie whole in its areas."""
    past_area: int
    """Patches that are dropped because they reach past their area."""
    in_gap: int
    """Patches that are dropped because they reach into the gap."""
    repeated_sky: int
    """Patches that are dropped because they show sky that the map shows elsewhere too."""
    labelled: int
    """Pixels with a label."""
    target: int
    """Pixels on known structures."""
    background: int
    """Pixels on sure background."""


class Folds(Described):
    """The folds of a patch file.

    Parameters
    ----------
    patch_file
        The file that is split.
    config
        The configuration, with its defaults filled in.
    areas
        The grid of areas.
    grid
        Fold number of each area, from 1, `(areas down, areas across)`.
    splits
        The splits.
    edited
        Whether a person has changed the grid or the splits.
    chunk_pixels
        Pixels that are held in memory at a time.

    Attributes
    ----------
    area, area_fold
        The area of each patch, and the fold of that area, `(n,)`.
    patch_fold
        The fold of each patch `(n,)`, 0 where it is dropped.

    Examples
    --------
    >>> folds = bigsf.Folds.make(bigsf.PatchFile("galaxy.h5"), bigsf.SplitConfig(k=4, k_train=2))
    >>> folds.splits[0]
    Split(train=[1, 2], validation=[3], test=[4])
    """

    def __init__(
        self,
        patch_file: PatchFile,
        config: ResolvedSplit,
        areas: AreaGrid,
        grid: IntArray,
        splits: list[Split],
        edited: bool = False,
        chunk_pixels: int = CHUNK_PIXELS,
    ) -> None:
        self.patch_file, self.config, self.areas, self.grid = patch_file, config, areas, grid
        self.splits, self.edited, self.chunk_pixels = splits, edited, chunk_pixels
        row, column = areas.area_of(patch_file.positions)
        inside, new_sky = areas.keeps(patch_file.positions, patch_file.patch_size, config.overlap, config.gap)
        ends_in_area, _ = areas.keeps(patch_file.positions, patch_file.patch_size, config.overlap, gap=0)
        self.area, self.area_fold = row * areas.shape[1] + column, grid[row, column]
        self._dropped = {
            "past_area": ~ends_in_area & new_sky,
            "in_gap": ends_in_area & ~inside & new_sky,
            "repeated_sky": ~new_sky,
        }
        self.patch_fold = np.where(inside & new_sky, self.area_fold, 0)

    @override
    def facts(self) -> Mapping[str, object]:
        down, across = self.grid.shape
        splits = {
            f"split {n}": " ".join(f"{k} {v}" for k, v in s._asdict().items()) for n, s in enumerate(self.splits, 1)
        }
        return {"file": self.patch_file.path.name, "areas": f"{across} x {down} (x, y)", **splits}

    @classmethod
    def make(cls, patch_file: PatchFile, config: SplitConfig | None = None, chunk_pixels: int = CHUNK_PIXELS) -> Self:
        """Assign the areas of a map to folds.

        Raises
        ------
        DataError
            Where the map has fewer areas with patches than folds.
        ConfigError
            Where a strategy leaves a fold without an area, or a custom one returns other numbers than those of the
            folds.
        """
        resolved = resolve_split(config or SplitConfig(), patch_file)
        areas, k = make_area_grid(resolved, patch_file), resolved.fold_count
        contents = _contents(patch_file, resolved, areas)
        _check_areas(patch_file, resolved, contents)
        grid = np.asarray(resolved.strategy.build()(contents, k), np.int64)
        if grid.shape != areas.shape or grid.min() < 1 or grid.max() > k:
            raise ConfigError(
                f"The split strategy {resolved.strategy.type} returned fold numbers {grid.min()} to {grid.max()} of "
                f"shape {grid.shape}; expected 1 to {k}, {areas.shape}."
            )
        if empty := set(range(1, k + 1)) - set(grid.ravel().tolist()):
            raise ConfigError(
                f"The split strategy {resolved.strategy.type} gives fold {min(empty)} of {k} no area. Use fewer folds, "
                "or another strategy."
            )
        splits = make_splits(resolved.k, resolved.k_train, resolved.step)
        return cls(patch_file, resolved, areas, grid, splits, chunk_pixels=chunk_pixels)

    def patches_in(self, folds: list[int]) -> IntArray:
        """Return the indices of the kept patches of some folds."""
        return np.flatnonzero(np.isin(self.patch_fold, folds))

    def training_patches(self, folds: list[int], straddle: bool = True) -> IntArray:
        """Return the indices of the patches of some folds; with `straddle`, also of those that straddle their areas."""
        kept = self.patches_in(folds)
        return np.sort(np.concatenate([kept, self.straddling(folds)])) if straddle else kept

    def straddling(self, folds: list[int]) -> IntArray:
        """Return the indices of patches that straddle areas and have their centre and a labelled pixel in some folds.

        A training on these folds must not use the pixels of such patches that lie elsewhere, see `visible_pixels`.
        """
        positions, size = self.patch_file.positions.astype(np.int64), self.patch_file.patch_size
        columns = np.arange(self.patch_file.shape[1])
        centre = positions[:, :, None] + size // 2
        straddling = self._inside(folds, centre[:, 0], centre[:, 1])[:, 0, 0] & ~np.isin(self.patch_fold, folds)
        labelled = self.patch_file.labels()[1]
        (ys, row), (xs, column) = (np.unique(positions[:, axis], return_inverse=True) for axis in (0, 1))
        for first, last in bands(len(ys), max(1, self.chunk_pixels // len(columns) // self.patch_file.stride)):
            y0, y1 = int(ys[first]), int(ys[last - 1]) + size
            seen = (labelled[y0:y1] > 0) & self._inside(folds, np.arange(y0, y1), columns)
            labels = count_in_windows(seen, size, ys[first:last] - y0, xs)
            here = (row >= first) & (row < last)
            straddling[here] &= labels[row[here] - first, column[here]] > 0
        return np.flatnonzero(straddling)

    def visible_pixels(self, indices: IntArray, folds: list[int]) -> BoolArray:
        """Return which pixels of patches a training on some folds may use, `(n, y, x)`.

        All pixels of the patches that these folds keep are visible; of other patches, those that
        lie in areas of these folds and outside of the gap.
        """
        side = np.arange(self.patch_file.patch_size)
        y, x = (self.patch_file.positions[indices, axis, None] + side for axis in (0, 1))
        return self._inside(folds, y, x) | np.isin(self.patch_fold[indices], folds)[:, None, None]

    def _inside(self, folds: list[int], y: IntArray, x: IntArray) -> BoolArray:
        return self.areas.inside(np.isin(self.grid, folds), y, x, self.config.gap)

    def rows(self, y0: int, y1: int, columns: slice = slice(None)) -> MaskArray:
        """Return the fold number of each pixel of rows y0 to y1, `(rows, columns)`."""
        return self.areas.rows(self.grid, y0, y1, columns)

    @cached_property
    def counts(self) -> dict[int, FoldCounts]:
        """What each fold holds, by its number."""
        target = labelled = np.zeros(self.areas.shape, np.int64)
        if self.patch_file.target is not None and self.patch_file.labelled is not None:
            target, labelled = (self.areas.sums(plane) for plane in self.patch_file.labels())

        def count(fold: int) -> FoldCounts:
            here = self.grid == fold
            dropped = {why: int((patches & (self.area_fold == fold)).sum()) for why, patches in self._dropped.items()}
            return FoldCounts(
                areas=int(here.sum()),
                patches=int((self.patch_fold == fold).sum()),
                labelled=int(labelled[here].sum()),
                target=int(target[here].sum()),
                background=int((labelled - target)[here].sum()),
                **dropped,
            )

        return {fold: count(fold) for fold in range(1, int(self.grid.max()) + 1)}

    @cached_property
    def leakage(self) -> Leakage:
        """What the folds share, and how far training and test patches stay apart."""
        return measure_leakage(self.patch_file, self.areas, self.area, self.patch_fold, self.splits)

    @property
    def poor_in_background(self) -> list[int]:
        """Folds with less than a tenth of their share of the background pixels, where there are any."""
        share = sum(count.background for count in self.counts.values()) / len(self.counts)
        return [fold for fold, count in self.counts.items() if count.background < share / 10]

    @property
    def identity(self) -> str:
        """A checksum of areas, fold numbers, splits, and overlap and gap, which ties a run to its folds."""
        return self.checksum(overlap_and_gap=True)

    def checksum(self, overlap_and_gap: bool) -> str:
        """Return the checksum of `identity`, or that of earlier builds, without overlap and gap."""
        content = [
            self.areas.y_edges,
            self.areas.x_edges,
            self.grid.tolist(),
            [list(split) for split in self.splits],
        ]
        if overlap_and_gap and (self.config.overlap or self.config.gap):  # they decide which patches are kept
            content.append([self.config.overlap, self.config.gap])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _contents(patch_file: PatchFile, config: ResolvedSplit, areas: AreaGrid) -> AreaContents:
    """Return what each area holds, for a strategy."""
    patches = patches_per_area(config, patch_file, areas)
    target = background = np.zeros(areas.shape, np.int64)
    if patch_file.target is not None and patch_file.labelled is not None:
        target = areas.sums(patch_file.target)
        background = areas.sums(patch_file.labelled) - target
    return AreaContents(patches, target, background, _galactic(areas, patch_file))


def _check_areas(patch_file: PatchFile, config: ResolvedSplit, contents: AreaContents) -> None:
    """Refuse areas that are too small for a patch, or too few for the folds."""
    if config.area_size < patch_file.patch_size and not isinstance(config.strategy, NaiveStrategyConfig):
        raise DataError(
            f"No patch of {patch_file.patch_size} pixels fits into an area of {config.area_size}. Use areas of "
            f"{2 * patch_file.patch_size} pixels or so."
        )
    if (occupied := int(contents.occupied.sum())) < config.fold_count:
        naive, name, k = isinstance(config.strategy, NaiveStrategyConfig), patch_file.path.name, config.fold_count
        width = "" if naive else f", each {config.area_size} pixels wide"
        found = f"{k} folds need at least {k} areas with patches; {name} has {occupied}{width}"
        if config.gap and occupied_areas(config.model_copy(update={"gap": 0}), patch_file) >= k:
            larger = "" if naive else ", or larger areas"
            raise DataError(f"{found}, with a gap of {config.gap} pixels. Use a smaller gap{larger}.")
        remedy = "" if naive else "smaller areas, "
        raise DataError(f"{found}. Use {remedy}fewer folds, or smaller patches.")


def _galactic(areas: AreaGrid, patch_file: PatchFile) -> Float64Array | None:
    """Return Galactic (l, b) of the centre of each area, or of the edge of the sky, in degrees `(2, down, across)`."""
    if patch_file.wcs is None:
        return None
    y, x = ((np.array(edges[:-1]) + edges[1:] - 1) / 2 for edges in (areas.y_edges, areas.x_edges))
    return nearest_galactic_lb(patch_file.wcs, grid_points(y, x)).T.reshape(2, *areas.shape)
