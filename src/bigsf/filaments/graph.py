"""Skeletons -> their graphs: branches, which are lines between nodes, and hubs, where three or more branches meet."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.filaments.spine import Pixels, Points, lengths_px, neighbours, pixels_inside, smooth, smooth_ring

_AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Steps (y, x) to the eight neighbours, in order around the pixel."""


class Branch(NamedTuple):
    """A line of a skeleton between two nodes: free ends or hubs."""

    pixels: npt.NDArray[np.intp]
    """Its pixels, as indices of the skeleton, in order, without those of its hubs, `(m,)`."""
    path: Points
    """Points (y, x) in pixels along a smooth line from node to node, about one per pixel, `(n, 2)`. A hub is at its
    middle. The last point is the first of a ring."""
    length_px: float
    """Length along the path; of a ring, its circumference."""
    apart_px: float
    """Distance between its nodes. The smooth path of a few pixels ends beside them, and may be shorter."""
    hubs: tuple[int, int]
    """The hubs at its first and last point; -1 is a free end."""
    is_ring: bool
    """Whether its last pixel is linked to its first one. A ring has no hubs and no ends."""

    @property
    def ends(self) -> int:
        """The number of its free ends."""
        return 0 if self.is_ring else self.hubs.count(-1)

    def is_within(self, length_px: float) -> bool:
        """Tell whether it is no longer than a length, and its nodes no farther apart."""
        return self.length_px <= length_px and self.apart_px <= length_px


class Graph(NamedTuple):
    """The branches of skeletons and the hubs where they meet."""

    branches: list[Branch]
    """All branches, in any order."""
    hubs: Points
    """The middle (y, x) of each hub in pixels, `(hubs, 2)`."""

    @property
    def degrees(self) -> IntArray:
        """How many ends of branches meet at each hub, `(hubs,)`."""
        return _degrees(self.branches, len(self.hubs))


class _Traced(NamedTuple):
    """The graph of skeletons with all branches."""

    branches: list[Branch]
    """All branches, in any order."""
    hubs: Points
    """The middle (y, x) of each hub in pixels, `(hubs, 2)`."""
    of_hub: npt.NDArray[np.intp]
    """The hub of each pixel, `(n,)`; -1 where it is on a branch."""
    of_skeleton: npt.NDArray[np.intp]
    """The number of the skeleton of each pixel, `(n,)`."""


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
    left, joined = np.arange(len(skeleton)), np.zeros(len(skeleton), np.bool_)
    branches: list[Branch] = []
    hubs: dict[int, Points] = {}  # by the first of their pixels
    while len(left):  # the skeletons that are not known to be without spurs and bridges
        traced = _trace(skeleton[left], joined[left])
        radius = np.zeros(len(traced.hubs))
        on_hub = np.flatnonzero(traced.of_hub >= 0)
        np.maximum.at(radius, traced.of_hub[on_hub], half_width[left[on_hub]])
        spurs = _pixels_of(_spurs(traced, radius))
        changed = np.isin(traced.of_skeleton, traced.of_skeleton[spurs])
        bridges = _pixels_of(_bridges(traced, radius))
        bridges = bridges[~changed[bridges]]
        joined[left[bridges]] = True
        changed |= np.isin(traced.of_skeleton, traced.of_skeleton[bridges])
        first = on_hub[np.unique(traced.of_hub[on_hub], return_index=True)[1]]
        names = [*left[first].tolist(), -1]
        hubs |= {
            name: hub for name, hub, pixel in zip(names[:-1], traced.hubs, first, strict=True) if not changed[pixel]
        }
        branches += [
            branch._replace(pixels=left[branch.pixels], hubs=(names[branch.hubs[0]], names[branch.hubs[1]]))
            for branch in traced.branches
            if not changed[branch.pixels[0]]
        ]
        changed[spurs] = False
        left = left[changed]
    number = {name: index for index, name in enumerate(sorted(hubs))} | {-1: -1}
    branches = [branch._replace(hubs=(number[branch.hubs[0]], number[branch.hubs[1]])) for branch in branches]
    return Graph(branches, np.array([hubs[name] for name in sorted(hubs)]).reshape(-1, 2))


def _pixels_of(branches: Sequence[Branch]) -> npt.NDArray[np.intp]:
    """Return the pixels of some branches, `(n,)`."""
    return np.concatenate([*(branch.pixels for branch in branches), np.empty(0, np.intp)])


def _spurs(graph: _Traced, radius: Float64Array) -> list[Branch]:
    """Return the branches that are spurs of hubs with a given radius; two branches remain at each hub."""
    left, spurs, radii = _degrees(graph.branches, len(radius)), [], radius.tolist()
    short = [
        (branch.length_px, hub, number)
        for number, branch in enumerate(graph.branches)
        if branch.ends == 1 and branch.is_within(radii[hub := max(branch.hubs)])
    ]
    for _, hub, number in sorted(short):
        if left[hub] > 2:
            left[hub] -= 1
            spurs.append(graph.branches[number])
    return spurs


def _bridges(graph: _Traced, radius: Float64Array) -> list[Branch]:
    """Return the branches that are bridges between hubs with a given radius, the shortest first, one for each hub."""
    radii = radius.tolist()
    short = [
        (branch.length_px, number)
        for number, branch in enumerate(graph.branches)
        if min(branch.hubs) >= 0
        and branch.hubs[0] != branch.hubs[1]
        and branch.is_within(radii[branch.hubs[0]] + radii[branch.hubs[1]])
    ]
    joined: set[int] = set()
    bridges = []
    for _, number in sorted(short):
        branch = graph.branches[number]
        if joined.isdisjoint(branch.hubs):  # a loop of bridges is never closed
            joined.update(branch.hubs)
            bridges.append(branch)
    return bridges


def _degrees(branches: Sequence[Branch], hubs: int) -> IntArray:
    """Return how many ends of branches meet at each hub, `(hubs,)`."""
    ends = np.array([branch.hubs for branch in branches], np.intp).reshape(-1)
    return np.bincount(ends[ends >= 0], minlength=hubs)


def _trace(skeleton: Pixels, joined: BoolArray) -> _Traced:
    """Return the graph of skeletons with all branches. Pixels that are `joined` belong to hubs."""
    links = neighbours(skeleton, _AROUND)
    diagonal = links[1::2]
    diagonal[(links[::2] >= 0) | (np.roll(links[::2], -1, axis=0) >= 0)] = -1
    of_hub = _clusters(links, joined | ((links >= 0).sum(axis=0) >= 3))
    number = int(of_hub.max(initial=-1)) + 1
    size = np.bincount(of_hub[of_hub >= 0], minlength=number)
    sums = [np.bincount(of_hub[of_hub >= 0], axis[of_hub >= 0], number) for axis in skeleton.T]
    hubs = np.stack(sums, axis=1) / size[:, None]
    lines = [
        line
        for first, chain, last in _chains(links, of_hub)
        if (line := _line(skeleton, of_hub, hubs, first, chain, last))
    ]
    open_paths = iter(smooth([line.corners for line in lines if not line.is_ring]))
    paths = [smooth_ring(line.corners) if line.is_ring else next(open_paths) for line in lines]
    branches = [
        Branch(line.pixels, path, length, math.dist(line.corners[0], line.corners[-1]), line.hubs, line.is_ring)
        for line, path, length in zip(lines, paths, lengths_px(paths).tolist(), strict=True)
    ]
    return _Traced(branches, hubs, of_hub, _clusters(links, np.ones(len(skeleton), np.bool_)))


class _Line(NamedTuple):
    """A branch that is not smoothed."""

    pixels: npt.NDArray[np.intp]
    corners: Points
    """The points (y, x) in pixels of the pixels, and of the middle of the hubs, if it has any, `(n, 2)`."""
    hubs: tuple[int, int]
    is_ring: bool


def _line(
    skeleton: Pixels, of_hub: npt.NDArray[np.intp], hubs: Points, first: int, chain: list[int], last: int
) -> _Line | None:
    """Return the line of a chain of pixels between two others, or none where it is but a corner of its hub."""
    ends = -1 if first < 0 else int(of_hub[first]), -1 if last < 0 else int(of_hub[last])
    if ends[0] == ends[1] >= 0 and _is_corner(skeleton, [*chain, last, *([first] if first != last else [])]):
        return None
    pixels = np.array(chain)
    corners = skeleton[pixels]
    is_ring = first >= 0 > ends[0] and pixels_inside(corners) > 0
    if is_ring:
        corners = np.concatenate([corners, corners[:1]])
    elif max(ends) >= 0:
        before, after = (hubs[hub : hub + 1] if hub >= 0 else hubs[:0] for hub in ends)
        corners = np.concatenate([before, corners, after])
    return _Line(pixels, corners, ends, is_ring)


def _is_corner(skeleton: Pixels, loop: list[int]) -> bool:
    """Tell whether a chain of pixels from a hub back to it encloses no pixel: it is the corner of a square of four."""
    apart = abs(skeleton[loop[-1]] - skeleton[loop[-2]]).max()  # hubs of several pixels may lie around a hole
    return bool(apart <= 1 and pixels_inside(skeleton[loop]) <= 0)


def _clusters(links: npt.NDArray[np.intp], chosen: BoolArray) -> npt.NDArray[np.intp]:
    """Return the number of the cluster of linked pixels that each chosen pixel lies in, `(n,)`; -1 for all others."""
    step, start = np.nonzero((links >= 0) & chosen)
    end = links[step, start]
    both = chosen[end]
    edges = coo_array((np.ones(both.sum(), np.bool_), (start[both], end[both])), shape=(len(chosen), len(chosen)))
    component = connected_components(edges, directed=False)[1]
    clusters = np.full(len(chosen), -1, np.intp)
    clusters[chosen] = np.unique(component[chosen], return_inverse=True)[1]
    return clusters


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
