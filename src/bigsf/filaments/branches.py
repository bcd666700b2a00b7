"""The skeletons of filaments -> tables of their branches, of the hubs where these meet, and of points along them."""

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.filaments.columns import BRANCH_COLUMNS, HUB_COLUMNS, SPINE_COLUMNS, make_table
from bigsf.filaments.graph import skeleton_graph
from bigsf.filaments.sky_geometry import arcmin_per_pixel, positions
from bigsf.filaments.spine import Pixels, Points, Spine


class Branches:
    """The branches and hubs of the skeletons of all filaments, without spurs, see `skeleton_graph`.

    Parameters
    ----------
    skeletons
        The pixels (y, x) of the skeleton of each filament, `(n, 2)`.
    half_widths
        The distance from each of them to the border of the mask in pixels, `(n,)`.
    spines
        The longest path through each skeleton.

    Attributes
    ----------
    paths
        Points (y, x) in pixels along each branch, `(n, 2)`: by filaments, and in each the longest first.
    owners
        The filament of each branch, from 0, `(branches,)`.
    hub_owners
        The filament of each hub, from 0, `(hubs,)`.
    """

    def __init__(
        self, skeletons: Sequence[Pixels], half_widths: Sequence[Float64Array], spines: Sequence[Spine]
    ) -> None:
        owner = np.repeat(np.arange(len(skeletons)), [len(pixels) for pixels in skeletons])
        none = np.empty((0, 2), np.int64)
        graph = skeleton_graph(np.concatenate([*skeletons, none]), np.concatenate([*half_widths, none[:, 0]]))
        lengths = np.array([branch.length_px for branch in graph.branches])
        owners = np.array([owner[branch.pixels[0]] for branch in graph.branches], np.int64)
        order = np.lexsort((-lengths, owners))
        self._branches = [graph.branches[number] for number in order]
        self._lengths, self.owners = lengths[order], owners[order]
        self._main = self._on_longest_path(skeletons, spines)
        self.paths: list[Points] = [branch.path for branch in self._branches]
        self._hubs, self._degrees = graph.hubs, graph.degrees
        self.hub_owners: IntArray = np.zeros(len(self._hubs), np.int64)
        for branch, filament in zip(self._branches, self.owners, strict=True):
            self.hub_owners[[hub for hub in branch.hubs if hub >= 0]] = filament

    def _on_longest_path(self, skeletons: Sequence[Pixels], spines: Sequence[Spine]) -> BoolArray:
        """Return which branches have at least half of their pixels on the longest path, `(branches,)`."""
        on_path = [np.zeros(len(pixels), np.bool_) for pixels in skeletons]
        for marked, spine in zip(on_path, spines, strict=True):
            marked[spine.chain] = True
        on_any = np.concatenate([*on_path, np.empty(0, np.bool_)])
        return np.array([on_any[branch.pixels].mean() >= 0.5 for branch in self._branches], np.bool_)

    def table(self, wcs: WCS | None = None) -> Table:
        """Return a table with one row per branch, and the columns of `BRANCH_COLUMNS`."""
        values = {
            "id": np.arange(1, len(self.paths) + 1),
            "filament": self.owners + 1,
            "length_px": self._lengths,
            "ends": np.array([branch.ends for branch in self._branches], np.int64),
            "main": self._main,
        }
        if wcs is not None:
            values["length_arcmin"] = self._lengths * arcmin_per_pixel(wcs, self.paths)
        return make_table(values, BRANCH_COLUMNS)

    def hubs(self, wcs: WCS | None = None) -> Table:
        """Return a table with one row per hub, and the columns of `HUB_COLUMNS`."""
        values = {
            "id": np.arange(1, len(self._hubs) + 1),
            "filament": self.hub_owners + 1,
            **positions(self._hubs, wcs),
            "branches": self._degrees,
        }
        return make_table(values, HUB_COLUMNS)

    def points(self, wcs: WCS | None = None) -> Table:
        """Return a table with one row per point along the branches, in order, and the columns of `SPINE_COLUMNS`.

        Without a WCS it has no columns `l` and `b`, so that a reader takes `x` and `y`.
        """
        number = np.repeat(np.arange(len(self.paths)), [len(path) for path in self.paths])
        values = {
            "filament": self.owners[number] + 1,
            "branch": number + 1,
            **positions(np.concatenate([*self.paths, np.empty((0, 2))]), wcs),
        }
        fields = {name: field for name, field in SPINE_COLUMNS.items() if wcs is not None or name not in ("l", "b")}
        return make_table(values, fields)
