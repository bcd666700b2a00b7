"""Scores of what maps mark at one threshold each: lines, and where on the map they are good."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bigsf.arrays import FloatArray
from bigsf.evaluation.baselines import BASELINES, BaselineMaps
from bigsf.evaluation.map_scores import MODEL, Table
from bigsf.filaments.spine import skeleton_of
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.wcs import galactic_lb
from bigsf.metrics import MSSIM
from bigsf.metrics.skeleton_score import SkeletonScore

_MARGIN_PX = 64  # around a piece of the map, so that lines end where the map has them end


_CHUNK_PX = 4096  # columns that are scored at a time, or an area where that is wider, to bound memory


_BINS = 8


_SAMPLE = 1_000_000


BoolArray = npt.NDArray[np.bool_]


Counts = npt.NDArray[np.int64]
"""Pixels (true and marked, marked, true) in the last axis."""


@dataclass
class _Marked:
    """What is counted for one map against one truth."""

    name: str
    against: str
    threshold: float
    areas: Counts
    bins: dict[str, Counts]
    skeletons: SkeletonScore = field(default_factory=SkeletonScore)


class MaskScores:
    """Scores the maps at their own thresholds of best Dice.

    Parameters
    ----------
    folds
        Of a patch file with labels.
    table
        The scores at every threshold, see `MapScores`.
    """

    def __init__(self, folds: Folds, table: Table) -> None:
        self.folds = folds
        self._baselines = BaselineMaps(folds.patch_file)
        self._true = {"whole": folds.patch_file.labels()[0]}
        if folds.patch_file.truth is not None:
            self._true["truth"] = folds.patch_file.truth
        self.edges = {
            "column density": self._quantiles("column density", of_true=False),
            "local contrast": self._quantiles("local contrast", of_true=True),
        }
        self._marked = [
            _Marked(
                name,
                against,
                table[name][against]["threshold"],
                np.zeros((*folds.areas.shape, 3), np.int64),
                {kind: np.zeros((len(edges) + 1, 3), np.int64) for kind, edges in self.edges.items()},
            )
            for name in table
            for against in self._true
        ]
        self._mssim = {against: MSSIM() for against in self._true}

    def _quantiles(self, name: str, of_true: bool) -> npt.NDArray[np.float64]:
        """Return bounds between bins that hold equally many valid, or true, pixels of a sample of the map."""
        file, true = self.folds.patch_file, self._true[list(self._true)[-1]]
        ny, nx = file.shape
        step = max(1, ny * nx // _SAMPLE)
        values = []
        for y0, y1 in pairwise(self.folds.areas.y_edges):
            where = np.isfinite(file.read_rows(y0, y1)).all(axis=0)
            where = where & (true[y0:y1] > 0) if of_true else where
            values.append(self._baselines.rows(name, y0, y1)[where][::step])
        return np.unique(np.quantile(np.concatenate(values), np.arange(1, _BINS) / _BINS))

    def add(self, out_of_fold: FitsImage) -> None:
        """Score a whole map of probabilities, by rows of areas and pieces of them."""
        file, areas = self.folds.patch_file, self.folds.areas
        ny, nx = file.shape
        for row, (y0, y1) in enumerate(pairwise(areas.y_edges)):
            top, bottom = max(0, y0 - _MARGIN_PX), min(ny, y1 + _MARGIN_PX)
            maps = {MODEL: out_of_fold.read(top, bottom)}
            maps |= {name: self._baselines.rows(name, top, bottom) for name in BASELINES}
            number = min(areas.shape[1], -(-nx // _CHUNK_PX))
            for columns in np.array_split(np.arange(areas.shape[1]), number):
                x_edges = areas.x_edges[columns[0] : columns[-1] + 2]
                left, right = max(0, x_edges[0] - _MARGIN_PX), min(nx, x_edges[-1] + _MARGIN_PX)
                pieces = {name: score[:, left:right] for name, score in maps.items()}
                predicted = np.zeros(pieces[MODEL].shape, np.bool_)
                core = np.s_[y0 - top : y1 - top, x_edges[0] - left : x_edges[-1] - left]
                predicted[core] = np.isfinite(pieces[MODEL][core]) & areas.first_sky[x_edges[0] : x_edges[-1]]
                truths = {against: mask[top:bottom, left:right] > 0 for against, mask in self._true.items()}
                self._add_chunk(pieces, truths, predicted, np.s_[row, columns], np.array(x_edges) - left)

    def _add_chunk(
        self,
        maps: dict[str, FloatArray],
        truths: dict[str, BoolArray],
        predicted: BoolArray,
        place: tuple[int, npt.NDArray[np.int64]],
        x_edges: npt.NDArray[np.int64],
    ) -> None:
        """Score a piece of a row of areas: those at `place` of the grid, between columns `x_edges` of the piece."""
        bins = {kind: np.searchsorted(edges, maps[kind]) for kind, edges in self.edges.items()}
        lines = {against: skeleton_of(true) for against, true in truths.items()}
        for counts in self._marked:
            true = truths[counts.against]
            marked = np.nan_to_num(maps[counts.name], nan=-np.inf) >= counts.threshold
            counts.skeletons.update(marked, true, predicted, lines[counts.against])
            for number, pixels in enumerate([marked & true & predicted, marked & predicted, true & predicted]):
                across = pixels.sum(axis=0)[: x_edges[-1]]
                counts.areas[(*place, number)] += np.add.reduceat(across, x_edges[:-1])
                for kind, index in bins.items():
                    counts.bins[kind][:, number] += np.bincount(index[pixels], minlength=len(counts.bins[kind]))
        for against, metric in self._mssim.items():
            metric.update(maps[MODEL], truths[against], predicted)

    def skeletons(self) -> Table:
        """Return clDice, completeness and purity of lines, and MSSIM of probabilities, for each map and truth."""
        table: Table = {}
        for marked in self._marked:
            scores = marked.skeletons.table()
            scores["mssim"] = self._mssim[marked.against].compute() if marked.name == MODEL else float("nan")
            table.setdefault(marked.name, {})[marked.against] = scores
        return table

    def by_bin(self) -> dict[str, Any]:
        """Return completeness and purity by longitude (or x), column density and local contrast.

        Returns
        -------
        dict
            From what is binned to `centre` (degrees, pixels, or the unit of the baseline) and, for each truth and map,
            lists of completeness, purity and true pixels.
        """
        place, where = self._along()
        binned: dict[str, Any] = {}
        centres = {place: [float(value) for value in where]}
        centres |= {kind: _centres(edges) for kind, edges in self.edges.items()}
        for kind, centre in centres.items():
            binned[kind] = {"centre": centre}
            for marked in self._marked:
                counts = self._by_place(marked.areas, len(centre)) if kind == place else marked.bins[kind]
                binned[kind].setdefault(marked.against, {})[marked.name] = _shares(counts)
        return binned

    def _along(self) -> tuple[str, npt.NDArray[np.float64]]:
        """Return what runs along x, and its values at the centres of up to 12 groups of columns of areas."""
        edges = np.array(self.folds.areas.x_edges)
        columns = np.array_split(np.arange(len(edges) - 1), min(12, len(edges) - 1))
        x = np.array([(edges[group[0]] + edges[group[-1] + 1] - 1) / 2 for group in columns])
        wcs = self.folds.patch_file.wcs
        if wcs is None:
            return "x", x
        y = np.full_like(x, (self.folds.patch_file.shape[0] - 1) / 2)
        longitude = galactic_lb(wcs, np.stack([y, x], axis=1))[:, 0]
        return "longitude", np.rad2deg(np.unwrap(np.deg2rad(longitude)))

    def _by_place(self, areas: Counts, groups: int) -> Counts:
        columns = np.array_split(areas.sum(axis=0), groups)
        return np.stack([group.sum(axis=0) for group in columns])

    def worst_areas(self, number: int = 10) -> list[dict[str, Any]]:
        """Return the areas in which the model's map and the target differ most: missed plus falsely marked pixels."""
        counts = next(m.areas for m in self._marked if m.name == MODEL and m.against == "whole")
        both, marked, true = np.moveaxis(counts, -1, 0)
        wrong = marked + true - 2 * both
        order = np.argsort(-wrong, axis=None, kind="stable")[:number]
        y_edges, x_edges = self.folds.areas.y_edges, self.folds.areas.x_edges
        return [
            {
                "y": [y_edges[y], y_edges[y + 1]],
                "x": [x_edges[x], x_edges[x + 1]],
                "fold": int(self.folds.grid[y, x]),
                "missed": int(true[y, x] - both[y, x]),
                "false": int(marked[y, x] - both[y, x]),
                "dice": float(2 * both[y, x] / max(marked[y, x] + true[y, x], 1)),
            }
            for y, x in zip(*np.unravel_index(order, wrong.shape), strict=True)
            if wrong[y, x]
        ]


def _centres(edges: npt.NDArray[np.float64]) -> list[float]:
    """Return the middle of each bin; the open ones at the ends are taken as wide as their neighbours."""
    if len(edges) < 2:
        return [float(edge) for edge in (*edges, *edges)] or [0.0]
    ends = 2 * edges[0] - edges[1], 2 * edges[-1] - edges[-2]
    bounds = np.array([ends[0], *edges, ends[1]])
    return [float(value) for value in (bounds[1:] + bounds[:-1]) / 2]


def _shares(counts: Counts) -> dict[str, list[float]]:
    both, marked, true = counts.T.astype(float)
    with np.errstate(invalid="ignore"):
        return {"completeness": (both / true).tolist(), "purity": (both / marked).tolist(), "true": true.tolist()}
