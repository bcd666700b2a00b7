"""Maps and one threshold each -> scores of skeletons, scores in bins of sky and brightness, the worst areas."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bigsf import console
from bigsf.arrays import Float64Array, IntArray
from bigsf.evaluation.baseline_scales import BINNING_CONTRAST, BaselineTiles
from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import AreaScores, Bins, BinScores, ScoreTable
from bigsf.filaments.spine import skeleton_of
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.tiling import Tile, row_chunks
from bigsf.maps.wcs import nearest_galactic_lb
from bigsf.metrics import MSSIM
from bigsf.metrics.metric import Counts, SentState, State
from bigsf.metrics.skeleton_score import SkeletonScore

_MARGIN_PX = 64  # added around a chunk, so that its skeletons are those of the whole map
_BINS = 8  # of column density and of local contrast
_COLUMNS = 12  # bins along x, or fewer where there are fewer areas
_SAMPLE = 1_000_000  # pixels from which the edges of bins are computed

_QUANTITIES = {"column density": "column density", "local contrast": BINNING_CONTRAST}
"""Baselines by whose values pixels are binned."""

PixelCounts = IntArray
"""Numbers of pixels (true and marked, marked, true) along the last axis."""


@dataclass
class _MaskCounts:
    """What is counted of one map, against the target ("whole") or the ground truth ("truth")."""

    name: str
    against: str
    threshold: float
    areas: PixelCounts
    """By area, `(down, across, 3)`."""
    bins: dict[str, PixelCounts]
    """By bin of each quantity, `(bins, 3)`."""
    skeletons: SkeletonScore = field(default_factory=SkeletonScore)

    def state(self) -> State:
        return {"areas": self.areas, **self.bins, **self.skeletons.state()}

    def merge(self, state: SentState) -> None:
        self.areas += state["areas"]
        for quantity, pixels in self.bins.items():
            pixels += state[quantity]
        self.skeletons.merge(state)


class MaskScores:
    """Scores of masks: each map is marked at its own threshold of best Dice.

    Parameters
    ----------
    folds
        Folds of a patch file with labels.
    thresholds
        The threshold of each map, by its name and by "whole" or "truth", see `MapScores.best_thresholds`.
    baselines
        The baselines of the map, at the scales that are scored.

    Attributes
    ----------
    edges
        The edges between the bins of column density and of local contrast.
    """

    def __init__(self, folds: Folds, thresholds: Mapping[str, Mapping[str, float]], baselines: BaselineTiles) -> None:
        self.folds, self._baselines = folds, baselines
        self._true = {"whole": folds.patch_file.labels()[0]}
        if folds.patch_file.truth is not None:
            self._true["truth"] = folds.patch_file.truth
        self.edges = {
            "column density": self._quantiles("column density", of_true_pixels=False),
            "local contrast": self._quantiles("local contrast", of_true_pixels=True),
        }
        self._counts = [
            _MaskCounts(
                name,
                against,
                thresholds[name][against],
                np.zeros((*folds.areas.shape, 3), np.int64),
                {quantity: np.zeros((len(edges) + 1, 3), np.int64) for quantity, edges in self.edges.items()},
            )
            for name in thresholds
            for against in self._true
        ]
        self._mssim = {against: MSSIM() for against in self._true}

    def _quantiles(self, name: str, of_true_pixels: bool) -> Float64Array:
        """Return the edges between bins that hold equally many pixels of a sample: valid ones, or true ones."""
        file, true = self.folds.patch_file, self._true[list(self._true)[-1]]
        step = max(1, file.shape[0] * file.shape[1] // _SAMPLE)
        values = []
        for y0, y1 in row_chunks(file.shape):
            where = np.isfinite(file.read_rows(y0, y1)).all(axis=0)
            where = where & (true[y0:y1] > 0) if of_true_pixels else where
            tile = Tile(y0, y1, 0, file.shape[1])
            values.append(self._baselines.tile(_QUANTITIES[name], tile)[where][::step])
        sample = np.concatenate(values)
        return np.unique(np.quantile(sample, np.arange(1, _BINS) / _BINS)) if sample.size else np.empty(0)

    @property
    def counts(self) -> dict[str, Counts]:
        """What is counted, by name. Once those of other processes are merged into it, the scores are those of all."""
        masks = {f"{counts.name} {counts.against}": counts for counts in self._counts}
        return masks | {f"MSSIM {against}": metric for against, metric in self._mssim.items()}

    def add(self, out_of_fold: FitsImage, rank: int = 0, size: int = 1, chunk_px: int = 1024) -> None:
        """Score the out-of-fold map and the baselines, or the share of one of several processes.

        Parameters
        ----------
        out_of_fold
            The probabilities of the whole map, NaN where none was predicted.
        rank, size
            Number of this process, and of all.
        chunk_px
            Larger maps are divided into chunks of whole areas with sides of about this length. It bounds memory. Counts
            of pixels do not depend on it, but scores of skeletons and MSSIM may do so in their last digits.
        """
        y_edges, x_edges = self.folds.areas.y_edges, self.folds.areas.x_edges
        chunks = [(rows, columns) for rows in _groups(y_edges, chunk_px) for columns in _groups(x_edges, chunk_px)]
        with console.progress("skeletons", len(chunks[rank::size]), "parts") as advance:
            for rows, columns in chunks[rank::size]:
                self._add_chunk(out_of_fold, rows, columns)
                advance(1)

    def _add_chunk(self, out_of_fold: FitsImage, rows: slice, columns: slice) -> None:
        """Score the areas in some rows and columns of the grid of areas."""
        areas = self.folds.areas
        y, x = (
            np.array(areas.y_edges[rows.start : rows.stop + 1]),
            np.array(areas.x_edges[columns.start : columns.stop + 1]),
        )
        core = Tile(int(y[0]), int(y[-1]), int(x[0]), int(x[-1]))
        seen = core.grown(_MARGIN_PX, Tile.whole(self.folds.patch_file.shape))
        place = core.within(seen)
        maps = {MODEL: out_of_fold.read(seen.y0, seen.y1, seen.columns)}
        maps |= {name: self._baselines.tile(name, seen) for name in BASELINES}
        binned = {name: self._baselines.tile(each, seen) for name, each in _QUANTITIES.items()}
        bins = {quantity: np.searchsorted(edges, binned[quantity]) for quantity, edges in self.edges.items()}
        predicted = np.zeros(seen.shape, np.bool_)
        predicted[place] = np.isfinite(maps[MODEL][place]) & areas.first_sky[core.columns]
        true_masks = {against: mask[seen.rows, seen.columns] > 0 for against, mask in self._true.items()}
        lines = {against: skeleton_of(true) for against, true in true_masks.items()}
        for counts in self._counts:
            true = true_masks[counts.against]
            marked = np.nan_to_num(maps[counts.name], nan=-np.inf) >= counts.threshold
            counts.skeletons.update(marked, true, predicted, lines[counts.against])
            for number, pixels in enumerate([marked & true & predicted, marked & predicted, true & predicted]):
                down = np.add.reduceat(pixels[place], y[:-1] - y[0], axis=0, dtype=np.int64)
                counts.areas[rows, columns, number] += np.add.reduceat(down, x[:-1] - x[0], axis=1)
                for quantity, index in bins.items():
                    by_bin = counts.bins[quantity]
                    by_bin[:, number] += np.bincount(index[pixels], minlength=len(by_bin))
        for against, metric in self._mssim.items():
            metric.update(maps[MODEL], true_masks[against], predicted)

    def skeletons(self) -> ScoreTable:
        """Return clDice, and completeness and purity of skeletons, of each map; MSSIM of the model's probabilities."""
        table: ScoreTable = {}
        for counts in self._counts:
            mssim = self._mssim[counts.against].compute() if counts.name == MODEL else float("nan")
            table.setdefault(counts.name, {})[counts.against] = {**counts.skeletons.table(), "mssim": mssim}
        return table

    def by_bin(self) -> dict[str, Bins]:
        """Return completeness and purity in bins of longitude (or x), column density and local contrast.

        Bins of longitude are in degrees, those of x in pixels, and the others in the unit of the baseline.
        """
        along, where = self._along_x()
        centres = {along: where.tolist()} | {quantity: _centres(edges) for quantity, edges in self.edges.items()}
        binned = {}
        for quantity, centre in centres.items():
            scores: dict[str, dict[str, BinScores]] = {against: {} for against in self._true}
            for counts in self._counts:
                pixels = _by_column(counts.areas, len(centre)) if quantity == along else counts.bins[quantity]
                scores[counts.against][counts.name] = _bin_scores(pixels)
            binned[quantity] = Bins(centre=centre, **scores)
        return binned

    def _along_x(self) -> tuple[str, Float64Array]:
        """Return what runs along x, longitude or x, and its value at the centre of each bin of columns of areas.

        It is longitude where that changes by less along a column of the map than from bin to bin.
        """
        edges = np.array(self.folds.areas.x_edges)
        columns = np.array_split(np.arange(len(edges) - 1), min(_COLUMNS, len(edges) - 1))
        x = np.array([(edges[group[0]] + edges[group[-1] + 1] - 1) / 2 for group in columns])
        wcs = self.folds.patch_file.wcs
        if wcs is None:
            return "x", x
        ny, nx = self.folds.patch_file.shape
        middle = (ny - 1) / 2

        def longitude(y: npt.ArrayLike, x: Float64Array) -> Float64Array:
            """Return Galactic longitudes in radians."""
            pixels = np.stack(np.broadcast_arrays(y, x), axis=-1)
            return np.deg2rad(nearest_galactic_lb(wcs, pixels.reshape(-1, 2))[:, 0]).reshape(pixels.shape[:-1])

        centre = longitude(middle, x)
        per_bin = _turned(longitude(middle, x + 0.5) - longitude(middle, x - 0.5)).mean() * nx / len(x)
        along_column = _turned(longitude([[0], [ny - 1]], x) - centre).max()
        return ("longitude", np.rad2deg(np.unwrap(centre))) if along_column < per_bin else ("x", x)

    def worst_areas(self, number: int = 10) -> list[AreaScores]:
        """Return the areas in which the model's map and the target differ most: missed plus falsely marked pixels."""
        counts = next(c.areas for c in self._counts if c.name == MODEL and c.against == "whole")
        both, marked, true = np.moveaxis(counts, -1, 0)
        wrong = marked + true - 2 * both
        order = np.argsort(-wrong, axis=None, kind="stable")[:number]
        y_edges, x_edges = self.folds.areas.y_edges, self.folds.areas.x_edges
        return [
            AreaScores(
                y=(y_edges[y], y_edges[y + 1]),
                x=(x_edges[x], x_edges[x + 1]),
                fold=int(self.folds.grid[y, x]),
                missed=int(true[y, x] - both[y, x]),
                false=int(marked[y, x] - both[y, x]),
                dice=float(2 * both[y, x] / max(marked[y, x] + true[y, x], 1)),
            )
            for y, x in zip(*np.unravel_index(order, wrong.shape), strict=True)
            if wrong[y, x]
        ]


def _groups(edges: Sequence[int], px: int) -> Iterator[slice]:
    """Yield consecutive areas along an axis that are together about so many pixels long, or one longer area."""
    number = min(len(edges) - 1, -(-(edges[-1] - edges[0]) // px))
    for group in np.array_split(np.arange(len(edges) - 1), number):
        yield slice(int(group[0]), int(group[-1]) + 1)


def _by_column(areas: PixelCounts, bins: int) -> PixelCounts:
    """Return the sums over bins of columns of areas, `(bins, 3)`."""
    columns = np.array_split(areas.sum(axis=0), bins)
    return np.stack([group.sum(axis=0) for group in columns])


def _centres(edges: Float64Array) -> list[float]:
    """Return the middle of each bin. The open bins at the ends are taken to be as wide as their neighbours."""
    if len(edges) < 2:
        return [float(edge) for edge in (*edges, *edges)] or [0.0]
    ends = 2 * edges[0] - edges[1], 2 * edges[-1] - edges[-2]
    bounds = np.array([ends[0], *edges, ends[1]])
    return [float(value) for value in (bounds[1:] + bounds[:-1]) / 2]


def _bin_scores(counts: PixelCounts) -> BinScores:
    both, marked, true = counts.T.astype(float)
    with np.errstate(invalid="ignore"):
        return BinScores(completeness=(both / true).tolist(), purity=(both / marked).tolist(), true=true.tolist())


def _turned(angle: Float64Array) -> Float64Array:
    """Return by how much directions differ whose angles differ by `angle`, from 0 to pi."""
    return np.asarray(np.abs(np.angle(np.exp(1j * angle))))
