"""Skeletons -> their graphs: branches, which are lines between nodes, and hubs, where three or more branches meet."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.filaments.spine import Pixels, Points, along_path, neighbours, pixels_inside, smooth, smooth_ring

_AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Steps (y, x) to the eight neighbours, in order around the pixel."""


@dataclass(frozen=True)
class Branch:
    """A line of a skeleton between two nodes: free ends or hubs."""

    pixels: npt.NDArray[np.intp]
    """Its pixels, as indices of the skeleton, in order, without those of its hubs, `(m,)`."""
    corners: Points
    """The points (y, x) in pixels of these, and of the middle of its hubs, if it has any, `(n, 2)`."""
    hubs: tuple[int, int]
    """The hubs at its first and last point; -1 is a free end."""
    is_ring: bool
    """Whether its last pixel is linked to its first one. A ring has no hubs and no ends."""

    @cached_property
    def path(self) -> Points:
        """Points (y, x) in pixels along a smooth line, about one per pixel. The last is the first of a ring."""
        return smooth_ring(np.concatenate([self.corners, self.corners[:1]])) if self.is_ring else smooth(self.corners)

    @property
    def length_px(self) -> float:
        """Length along the path, from node to node; of a ring, its circumference."""
        return float(along_path(self.path)[-1])

    @property
    def ends(self) -> int:
        """The number of its free ends."""
        return 0 if self.is_ring else self.hubs.count(-1)

    def is_within(self, length_px: float) -> bool:
        """Tell whether it is no longer than a length, without a path for those whose ends are farther apart."""
        apart = math.dist(self.corners[0], self.corners[-1])
        return apart <= length_px and len(self.pixels) <= 2 * length_px and self.length_px <= length_px


class Graph(NamedTuple):
    """The branches of skeletons and the hubs where they meet."""

    branches: list[Branch]
    """All branches, in any order."""
    hubs: Points
    """The middle (y, x) of each hub in pixels, `(hubs, 2)`."""

    @property
    def degrees(self) -> IntArray:
        """How many ends of branches meet at each hub, `(hubs,)`."""
        ends = np.array([branch.hubs for branch in self.branches], np.intp).reshape(-1)
        return np.bincount(ends[ends >= 0], minlength=len(self.hubs))


def skeleton_graph(skeleton: Pixels, half_width: Float64Array) -> Graph:
    """Return the graph of skeletons without spurs.

    Two pixels are linked where they share a side, or a corner but no neighbour by sides (mixed adjacency, Rosenfeld
    1970). Pixels with three or more links belong to hubs, and hub pixels that are linked to the same hub. Between hubs,
    and from them to free ends, lie the branches.

    What lies in the largest discs around hubs that the mask holds stands for the thickness of the mask:

    - a spur, which is a branch from a hub to a free end that lies in the disc of the hub, is a bump of the border.
      Spurs are left out, the shortest first, as long as two branches remain at a hub, and then again in what remains;
    - a bridge, which is a branch between two hubs that lies in their discs, is the middle of a crossing: the hubs are
      one. Lines that cross at less than about 60 degrees share a longer part, and keep two hubs.

    Parameters
    ----------
    skeleton
        The pixels (y, x) of skeletons, `(n, 2)`. Those of different filaments do not touch.
    half_width
        The distance from each of them to the border of its mask in pixels, `(n,)`. With 0 there are no spurs and
        bridges.
    """
    kept, joined = np.arange(len(skeleton)), np.zeros(len(skeleton), np.bool_)
    while True:
        graph, of_hub = _trace(skeleton[kept], joined[kept])
        radius = np.zeros(len(graph.hubs))
        on_hub = of_hub >= 0
        np.maximum.at(radius, of_hub[on_hub], half_width[kept[on_hub]])
        if spurs := _spurs(graph, radius):
            kept = np.delete(kept, np.concatenate([branch.pixels for branch in spurs]))
        elif bridges := _bridges(graph, radius):
            joined[kept[np.concatenate([branch.pixels for branch in bridges])]] = True
        else:
            return Graph([replace(branch, pixels=kept[branch.pixels]) for branch in graph.branches], graph.hubs)


def _spurs(graph: Graph, radius: Float64Array) -> list[Branch]:
    """Return the branches that are spurs of hubs with a given radius; two branches remain at each hub."""
    left, spurs = graph.degrees, []
    short = [
        (branch.length_px, hub, number)
        for number, branch in enumerate(graph.branches)
        if branch.ends == 1 and branch.is_within(radius[hub := max(branch.hubs)])
    ]
    for _, hub, number in sorted(short):
        if left[hub] > 2:
            left[hub] -= 1
            spurs.append(graph.branches[number])
    return spurs


def _bridges(graph: Graph, radius: Float64Array) -> list[Branch]:
    """Return the branches that are bridges between hubs with a given radius, the shortest first, one for each hub."""
    short = [
        (branch.length_px, number)
        for number, branch in enumerate(graph.branches)
        if min(branch.hubs) >= 0
        and branch.hubs[0] != branch.hubs[1]
        and branch.is_within(radius[branch.hubs[0]] + radius[branch.hubs[1]])
    ]
    joined: set[int] = set()
    bridges = []
    for _, number in sorted(short):
        branch = graph.branches[number]
        if joined.isdisjoint(branch.hubs):  # a loop of bridges is never closed
            joined.update(branch.hubs)
            bridges.append(branch)
    return bridges


def _trace(skeleton: Pixels, joined: BoolArray) -> tuple[Graph, npt.NDArray[np.intp]]:
    """Return the graph of skeletons with all branches, and the hub of each pixel, `(n,)`, -1 where it is on a branch.

    Pixels that are `joined` belong to hubs.
    """
    links = neighbours(skeleton, _AROUND)
    diagonal = links[1::2]
    diagonal[(links[::2] >= 0) | (np.roll(links[::2], -1, axis=0) >= 0)] = -1
    of_hub = _clusters(links, joined | ((links >= 0).sum(axis=0) >= 3))
    number = int(of_hub.max(initial=-1)) + 1
    size = np.bincount(of_hub[of_hub >= 0], minlength=number)
    sums = [np.bincount(of_hub[of_hub >= 0], axis[of_hub >= 0], number) for axis in skeleton.T]
    hubs = np.stack(sums, axis=1) / size[:, None]
    branches = [
        branch
        for first, chain, last in _chains(links, of_hub)
        if (branch := _branch(skeleton, of_hub, hubs, first, chain, last))
    ]
    return Graph(branches, hubs), of_hub


def _branch(
    skeleton: Pixels, of_hub: npt.NDArray[np.intp], hubs: Points, first: int, chain: list[int], last: int
) -> Branch | None:
    """Return the branch of a chain of pixels between two others, or none where it is but a corner of its hub."""
    ends = -1 if first < 0 else int(of_hub[first]), -1 if last < 0 else int(of_hub[last])
    if ends[0] == ends[1] >= 0 and _is_corner(skeleton, [*chain, last, *([first] if first != last else [])]):
        return None
    before, after = (hubs[[hub]] if hub >= 0 else hubs[:0] for hub in ends)
    is_ring = first >= 0 > ends[0] and pixels_inside(skeleton[chain]) > 0
    return Branch(np.array(chain), np.concatenate([before, skeleton[chain], after]), ends, is_ring)


def _is_corner(skeleton: Pixels, loop: list[int]) -> bool:
    """Tell whether a chain of pixels from a hub back to it encloses no pixel: it is the corner of a square of four."""
    apart = abs(skeleton[loop[-1]] - skeleton[loop[-2]]).max()  # hubs of several pixels may lie around a hole
    return bool(apart <= 1 and pixels_inside(skeleton[loop]) <= 0)


def _clusters(links: npt.NDArray[np.intp], is_hub: BoolArray) -> npt.NDArray[np.intp]:
    """Return the number of the hub of each pixel, `(n,)`: linked pixels of hubs are one; -1 for all other pixels."""
    step, start = np.nonzero((links >= 0) & is_hub)
    end = links[step, start]
    both = is_hub[end]
    edges = coo_array((np.ones(both.sum(), np.bool_), (start[both], end[both])), shape=(len(is_hub), len(is_hub)))
    component = connected_components(edges, directed=False)[1] if len(is_hub) else np.empty(0, np.intp)
    of_hub = np.full(len(is_hub), -1, np.intp)
    of_hub[is_hub] = np.unique(component[is_hub], return_inverse=True)[1]
    return of_hub


def _chains(links: npt.NDArray[np.intp], of_hub: npt.NDArray[np.intp]) -> Iterator[tuple[int, list[int], int]]:
    """Yield each chain of pixels of a branch, and the pixels of hubs before and behind it, -1 at a free end.

    Before and behind a closed chain are its own last and first pixel.
    """
    two = np.sort(links, axis=0)[-2:]  # a pixel that is no hub has at most two links
    lower, higher = two.tolist()
    free = (of_hub < 0).tolist()

    def walk(previous: int, here: int) -> tuple[list[int], int]:
        """Return the free pixels from one on, away from the previous one, and the pixel behind them."""
        chain = []
        while here >= 0 and free[here]:
            free[here] = False
            chain.append(here)
            previous, here = here, higher[here] if lower[here] == previous else lower[here]
        return chain, here

    step, hub = np.nonzero((links >= 0) & (of_hub >= 0))
    from_hubs = zip(hub.tolist(), links[step, hub].tolist(), strict=True)
    from_ends = ((-1, end) for end in np.flatnonzero(two[0] < 0).tolist())
    for previous, start in itertools.chain(from_hubs, from_ends):
        if free[start]:
            chain, behind = walk(previous, start)
            yield previous, chain, behind
    for start in np.flatnonzero(of_hub < 0).tolist():
        if free[start]:
            chain, behind = walk(lower[start], start)
            yield chain[-1], chain, behind
