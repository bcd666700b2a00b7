"""The skeletons of filaments -> tables of their branches, of the hubs where these meet, and of points along them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.filaments.columns import BRANCH_COLUMNS, HUB_COLUMNS, SPINE_COLUMNS, make_table
from bigsf.filaments.graph import skeleton_graph
from bigsf.filaments.sky_geometry import arcmin_per_pixel, positions
from bigsf.filaments.spine import Pixels, Points, Spine


class BranchGroup(NamedTuple):
    """The branches of some filaments, `(branches,)` each, and their hubs, `(hubs,)`."""

    paths: list[Points]
    """Points (y, x) along each branch: by filaments, and in each the longest first."""
    owners: IntArray
    """The filament of each branch, from 0."""
    lengths: Float64Array
    """Its length in pixels."""
    ends: IntArray
    """Its free ends."""
    main: BoolArray
    """Whether at least half of its pixels lie on the longest path."""
    hubs: Points
    """The middle (y, x) of each hub."""
    degrees: IntArray
    """The branches that meet there."""
    hub_owners: IntArray
    """The filament of each hub, from 0."""


class Branches:
    """The branches and hubs of the skeletons of all filaments, without spurs, see `skeleton_graph`.

    Parameters
    ----------
    groups
        The branches of all filaments, in their order.

    Attributes
    ----------
    paths
        Points (y, x) in pixels along each branch, `(n, 2)`: by filaments, and in each the longest first.
    owners
        The filament of each branch, from 0, `(branches,)`.
    hub_owners
        The filament of each hub, from 0, `(hubs,)`.
    """

    def __init__(self, groups: Sequence[BranchGroup]) -> None:
        parts = [branch_group([], [], [], 0), *groups]  # an empty one gives the arrays their dtypes
        self.paths: list[Points] = [path for part in parts for path in part.paths]
        self.owners: IntArray = np.concatenate([part.owners for part in parts])
        self.hub_owners: IntArray = np.concatenate([part.hub_owners for part in parts])
        self._lengths = np.concatenate([part.lengths for part in parts])
        self._ends = np.concatenate([part.ends for part in parts])
        self._main = np.concatenate([part.main for part in parts])
        self._hubs = np.concatenate([part.hubs for part in parts])
        self._degrees = np.concatenate([part.degrees for part in parts])

    def lengths_beside(self, filaments: int) -> Float64Array:
        """Return the length in pixels of the branches of each filament that do not lie on its longest path, `(n,)`."""
        return np.asarray(np.bincount(self.owners, self._lengths * ~self._main, filaments), np.float64)

    def table(self, wcs: WCS | None = None) -> Table:
        """Return a table with one row per branch, and the columns of `BRANCH_COLUMNS`."""
        values = {
            "id": np.arange(1, len(self.paths) + 1),
            "filament": self.owners + 1,
            "length_px": self._lengths,
            "ends": self._ends,
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


def branch_group(
    skeletons: Sequence[Pixels], half_widths: Sequence[Float64Array], spines: Sequence[Spine], first: int
) -> BranchGroup:
    """Return the branches and hubs of some filaments.

    Parameters
    ----------
    skeletons
        The pixels (y, x) of the skeleton of each filament, `(n, 2)`.
    half_widths
        The distance from each of them to the border of the mask in pixels, `(n,)`.
    spines
        The longest path through each skeleton.
    first
        The number of the first of these filaments.
    """
    owner = np.repeat(np.arange(len(skeletons)), [len(pixels) for pixels in skeletons])
    none = np.empty((0, 2), np.int64)
    graph = skeleton_graph(np.concatenate([*skeletons, none]), np.concatenate([*half_widths, none[:, 0]]))
    owners = np.array([owner[branch.pixels[0]] for branch in graph.branches], np.int64)
    lengths = np.array([branch.length_px for branch in graph.branches], np.float64)
    order = np.lexsort((-lengths, owners))
    on_path = [np.zeros(len(pixels), np.bool_) for pixels in skeletons]
    for marked, spine in zip(on_path, spines, strict=True):
        marked[spine.chain] = True
    on_any = np.concatenate([*on_path, np.empty(0, np.bool_)])
    main = np.array([on_any[branch.pixels].mean() >= 0.5 for branch in graph.branches], np.bool_)
    ends = np.array([branch.ends for branch in graph.branches], np.int64)
    hub_owners = np.zeros(len(graph.hubs), np.int64)
    for branch, filament in zip(graph.branches, owners, strict=True):
        hub_owners[[hub for hub in branch.hubs if hub >= 0]] = filament
    paths = [graph.branches[number].path for number in order]
    of_branch = owners[order] + first, lengths[order], ends[order], main[order]
    return BranchGroup(paths, *of_branch, graph.hubs, graph.degrees, hub_owners + first)
