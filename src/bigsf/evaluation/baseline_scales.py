"""Labels -> the scale of each baseline that is best on the validation folds of each split, and maps at these scales."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Protocol, Self

import numpy as np
from typing_extensions import override

from bigsf.arrays import BoolArray, FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps, first_scale, sampled_tiles
from bigsf.evaluation.mask_thresholds import MOST_PIXELS, sampled_areas
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.maps.planes import MapRows
from bigsf.maps.tiling import CHUNK_PIXELS, Tile, bands
from bigsf.metrics.threshold_curve import ThresholdCurve, quantile_edges
from bigsf.models.predicted_band import PixelMask

_LEAST_ROWS = 128  # rows per band, at least: with fewer, most of the work goes into the margins

BINNING_CONTRAST = "local contrast at 12 px"
"""Local contrast at sigma 12 px, by which pixels are binned. It does not depend on the chosen scale."""

_BINNING_SCALE = "sigma 12 px"

ScalesOfBaselines = Mapping[str, Sequence[str]]
"""For each baseline, the scale of each split."""


def first_scales(splits: int) -> ScalesOfBaselines:
    """Return the scales where there are no labels to choose by."""
    return {name: [first_scale(name)] * splits for name in BASELINES}


def choose_scales(folds: Folds, splits: Sequence[Split], most_pixels: int = MOST_PIXELS) -> ScalesOfBaselines:
    """Return the scale of each baseline that has the highest Dice on the validation folds of each split.

    The Dice is that of the best threshold. Pixels without a label count as background. A model's `whole` threshold is
    chosen on the same areas in the same way. Where these hold no target, the scale is the first.

    Parameters
    ----------
    folds
        Folds of a patch file with labels.
    splits
        The splits. Their test folds are not looked at.
    most_pixels
        Where the validation folds of a split hold more pixels, a sample of about this number of them is used, see
        `sampled_areas`.
    """
    file, target = folds.patch_file, folds.patch_file.labels()[0]
    areas, maps = sampled_areas(folds, splits, most_pixels), BaselineMaps(folds.patch_file)
    y_edges, x_edges = np.array(folds.areas.y_edges), np.array(folds.areas.x_edges)
    pixels = np.einsum("sij,i,j->s", areas, np.diff(y_edges), np.diff(x_edges))
    steps = np.maximum(1, pixels // max(1, most_pixels))
    several = {name: scales for name, scales in BASELINES.items() if len(scales) > 1}
    samples = {(name, scale): [_Sample() for _ in splits] for name, scales in several.items() for scale in scales}
    for row in np.flatnonzero(areas.any(axis=(0, 2))):
        across = np.flatnonzero(areas[:, row].any(axis=0))
        columns = list(zip(x_edges[across].tolist(), x_edges[across + 1].tolist(), strict=True))
        in_split = np.repeat(areas[:, row, across] > 0, np.diff(columns, axis=1)[:, 0], axis=1)
        for start, stop in bands(int(y_edges[row + 1] - y_edges[row]), max(_LEAST_ROWS, CHUNK_PIXELS // file.shape[1])):
            y0, y1 = int(y_edges[row]) + start, int(y_edges[row]) + stop
            image = np.concatenate([file.read_tile(Tile(y0, y1, x0, x1)) for x0, x1 in columns], axis=2)
            true = np.concatenate([target[y0:y1, x0:x1] for x0, x1 in columns], axis=1) > 0
            counted = np.isfinite(image).all(axis=0) & in_split[:, None]
            for (name, scale), of_splits in samples.items():
                values = maps.rows(name, scale, y0, y1, columns)
                for sample, where, step in zip(of_splits, counted, steps, strict=True):
                    sample.add(values[where][::step], true[where][::step])
    chosen = dict(first_scales(len(splits)))
    for name, scales in several.items():
        dice = np.array([[sample.best_dice() for sample in samples[name, scale]] for scale in scales])
        chosen[name] = [list(scales)[best] for best in np.nan_to_num(dice, nan=-1).argmax(axis=0)]
    return chosen


class _Sample:
    """Values of a baseline and whether they lie on the target, from several parts of the map."""

    def __init__(self) -> None:
        self._values: list[FloatArray] = []
        self._true: list[BoolArray] = []

    def add(self, values: FloatArray, true: BoolArray) -> None:
        self._values.append(values)
        self._true.append(true)

    def best_dice(self) -> float:
        """Return the best Dice over all thresholds, NaN where no pixel is true."""
        if not any(true.any() for true in self._true):
            return float("nan")
        values = np.concatenate(self._values)
        curve = ThresholdCurve(quantile_edges(values))
        curve.update(values, np.concatenate(self._true))
        return curve.best_dice().dice


class BaselineTiles(Protocol):
    """What gives the baselines of parts of a map."""

    scales: ScalesOfBaselines
    """The scale of each split."""

    def tile(self, name: str, tile: Tile) -> FloatArray:
        """Return a part of the baseline `name`, or of `BINNING_CONTRAST`, `(rows, columns)`; no pixel is NaN."""
        ...

    def on_map(self, planes: MapRows) -> "BaselineTiles":
        """Return the same baselines, with the same factors, of the map with injected filaments."""
        ...


class ScaledBaselines(BaselineTiles):
    """The baselines of a map, each pixel at the scale of the split that has it in its test folds.

    A coarser filter has larger values. So where splits have different scales, each scale is multiplied by a number that
    gives it the standard deviation of the scale of the first split: one threshold then fits all of them better.

    Parameters
    ----------
    planes
        The map.
    scales
        The scale of each split, see `choose_scales`.
    pixel_mask
        Which split tests which pixel. By default each split tests every pixel.
    chunk_pixels
        As for `BaselineMaps`.
    """

    def __init__(
        self,
        planes: MapRows,
        scales: ScalesOfBaselines,
        pixel_mask: PixelMask | None = None,
        chunk_pixels: int = CHUNK_PIXELS,
    ) -> None:
        self.planes, self.scales, self.pixel_mask = planes, scales, pixel_mask
        self._maps = BaselineMaps(planes, chunk_pixels=chunk_pixels)
        self._factors = {name: self._relative(name, list(dict.fromkeys(each))) for name, each in scales.items()}

    def _relative(self, name: str, scales: Sequence[str]) -> dict[str, float]:
        """Return the numbers that give some scales of a baseline the standard deviation of the first."""
        if len(scales) == 1:
            return {scales[0]: 1.0}
        values: dict[str, list[FloatArray]] = {scale: [] for scale in scales}
        for tile, valid in sampled_tiles(self.planes.shape, self._valid):
            for scale, samples in values.items():
                samples.append(self._at(name, scale, tile)[valid])
        spreads = {scale: float(np.std(np.concatenate(samples))) for scale, samples in values.items()}
        return {scale: spreads[scales[0]] / spread if spread > 0 else 1.0 for scale, spread in spreads.items()}

    @override
    def on_map(self, planes: MapRows) -> Self:
        other = copy(self)
        other.planes, other._maps = planes, self._maps.on_map(planes)
        return other

    def _valid(self, tile: Tile) -> BoolArray:
        return np.asarray(np.isfinite(self.planes.read_tile(tile)).all(axis=0))

    def _at(self, name: str, scale: str, tile: Tile) -> FloatArray:
        return self._maps.rows(name, scale, tile.y0, tile.y1, [(tile.x0, tile.x1)])

    @override
    def tile(self, name: str, tile: Tile) -> FloatArray:
        """Return a part of the baseline `name`, `(rows, columns)`.

        Where several splits test a pixel, it has the mean over these splits, as the models' probabilities have. Where
        none does, it has the mean over all splits.
        """
        if name == BINNING_CONTRAST:
            return self._at("local contrast", _BINNING_SCALE, tile)
        scale_of_split = self.scales[name]
        maps = {
            scale: np.float32(factor) * self._at(name, scale, tile) for scale, factor in self._factors[name].items()
        }
        if len(maps) == 1:
            return maps[scale_of_split[0]]
        shape = len(scale_of_split), *tile.shape
        tests = np.ones(shape, np.bool_) if self.pixel_mask is None else self.pixel_mask(tile)
        tests = tests | ~tests.any(axis=0)
        total = sum(np.where(mine, maps[scale], 0) for scale, mine in zip(scale_of_split, tests, strict=True))
        return np.asarray(total / tests.sum(axis=0), np.float32)
