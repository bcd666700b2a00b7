"""Split configuration + patch file -> the configuration with its defaults filled in, and the areas of the map."""

from pathlib import Path

import numpy as np

from bigsf.arrays import IntArray
from bigsf.folds.areas import AreaGrid
from bigsf.folds.splits import SplitConfig, default_folds_path, make_splits
from bigsf.folds.strategies import BalancedStrategyConfig, NaiveStrategyConfig, RandomStrategyConfig
from bigsf.maps.wcs import sky_period_px
from bigsf.patches.patch_file import PatchFile

_AREAS_FOR_TEN = 15  # areas with patches from which on ten folds are the default


class ResolvedSplit(SplitConfig):
    """A split configuration in which the defaults that depend on the patch file are filled in."""

    k: int
    k_train: float
    step: int
    area_size: int
    path: Path

    @property
    def fold_count(self) -> int:
        """The number of folds: ten for the standard training (k = 1), else k."""
        return 10 if self.k == 1 else self.k


def resolve_split(config: SplitConfig, patch_file: PatchFile) -> ResolvedSplit:
    """Fill in the defaults that depend on the patch file: folds, size of the areas, path of the folds file."""
    k, k_train, step = config.k or 4, config.k_train, config.step or 1
    resolved = _resolved(config, patch_file, k, k_train, step)
    free = (config.k, config.k_train, config.step) == (None, None, None)
    by_areas = isinstance(config.strategy, RandomStrategyConfig | BalancedStrategyConfig)
    if free and by_areas and occupied_areas(resolved, patch_file) >= _AREAS_FOR_TEN:
        return _resolved(config, patch_file, k=10, k_train=7, step=2)
    return resolved


def _resolved(config: SplitConfig, patch_file: PatchFile, k: int, k_train: float | None, step: int) -> ResolvedSplit:
    given = {name: getattr(config, name) for name in SplitConfig.model_fields}
    filled = {
        "k": k,
        "k_train": float(len(make_splits(k, k_train)[0].train)),
        "step": step,
        "area_size": config.area_size or max(64, 2 * patch_file.patch_size),
        "path": config.path or default_folds_path(patch_file.path),
    }
    return ResolvedSplit.model_construct(**(given | filled))  # all of it is validated already


def make_area_grid(config: ResolvedSplit, patch_file: PatchFile) -> AreaGrid:
    """Return the areas of the map of a patch file."""
    period = sky_period_px(patch_file.wcs, patch_file.shape)
    if isinstance(config.strategy, NaiveStrategyConfig):
        return AreaGrid.strips(patch_file.shape, config.fold_count, period)
    return AreaGrid.regular(patch_file.shape, config.area_size, patch_file.patch_size, period)


def occupied_areas(config: ResolvedSplit, patch_file: PatchFile) -> int:
    """Return the number of areas that hold a patch."""
    return int(np.count_nonzero(patches_per_area(config, patch_file, make_area_grid(config, patch_file))))


def patches_per_area(config: ResolvedSplit, patch_file: PatchFile, areas: AreaGrid) -> IntArray:
    """Return the number of patches that each area holds, `(areas down, areas across)`."""
    positions, number = patch_file.positions, np.zeros(areas.shape, np.int64)
    inside, new_sky = areas.keeps(positions, patch_file.patch_size, config.overlap, config.gap)
    np.add.at(number, areas.area_of(positions[inside & new_sky]), 1)
    return number
