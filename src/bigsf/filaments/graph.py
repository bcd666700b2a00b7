"""Skeletons -> their graphs: branches, which are lines between nodes, and hubs, where three or more branches meet."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bigsf.arrays import BoolArray, Float64Array, IntArray
from bigsf.filaments.spine import Pixels, Points, along_path, neighbours, pixels_inside, smooth, smooth_ring

_AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Steps (y, x) to the eight neighbours, in order around the pixel."""


class Branch(NamedTuple):
    """A line of a skeleton between two nodes: free ends or hubs."""

    pixels: npt.NDArray[np.intp]
    """Its pixels, as indices of the skeleton, in order, without those of its hubs, `(m,)`."""
    path: Points
    """Points (y, x) in pixels along a smooth line, `(n, 2)`, about one per pixel; it begins and ends in the middle of
    its hubs, if it has any. The last point is the first of a ring."""
    hubs: tuple[int, int]
    """The hubs at its first and last point; -1 is a free end. A ring without hubs has -1 twice, and no ends."""

    @property
    def length_px(self) -> float:
        """Length along the path, from node to node; of a ring, its circumference."""
        return float(along_path(self.path)[-1])

    @property
    def ends(self) -> int:
        """The number of its free ends."""
        closed = len(self.path) > 1 and bool((self.path[0] == self.path[-1]).all())
        return 0 if closed else self.hubs.count(-1)


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

    What lies within the largest disc around a hub that the mask holds stands for the thickness of the mask:

    - a spur, which is a branch from the hub to a free end no longer than the radius, is a bump of the border. Spurs are
      left out, the shortest first, as long as two branches remain at a hub, and then again in what remains;
    - a bridge, which is a branch between two hubs no longer than the radius of one of them, is the middle of a
      crossing: the hubs are one.

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
        elif bridges := [branch for branch in graph.branches if _is_bridge(branch, radius)]:
            joined[kept[np.concatenate([branch.pixels for branch in bridges])]] = True
        else:
            return Graph([branch._replace(pixels=kept[branch.pixels]) for branch in graph.branches], graph.hubs)


def _is_bridge(branch: Branch, radius: Float64Array) -> bool:
    """Tell whether a branch leads from a hub to another within the radius of one of them."""
    one, other = branch.hubs
    return one != other and min(one, other) >= 0 and branch.length_px <= max(radius[one], radius[other])


def _spurs(graph: Graph, radius: Float64Array) -> list[Branch]:
    """Return the branches that are spurs of hubs with a given radius; two branches remain at each hub."""
    left, spurs = graph.degrees, []
    short = [
        (branch.length_px, hub, number)
        for number, branch in enumerate(graph.branches)
        if branch.ends == 1 and branch.length_px <= radius[hub := max(branch.hubs)]
    ]
    for _, hub, number in sorted(short):
        if left[hub] > 2:
            left[hub] -= 1
            spurs.append(graph.branches[number])
    return spurs


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
    closed = first >= 0 and of_hub[first] < 0
    if closed and pixels_inside(skeleton[chain]) > 0:
        return Branch(np.array(chain), smooth_ring(skeleton[[*chain, chain[0]]]), (-1, -1))
    ends = -1 if first < 0 else int(of_hub[first]), -1 if last < 0 else int(of_hub[last])
    if ends[0] == ends[1] >= 0 and _is_corner(skeleton, [*chain, last, *([first] if first != last else [])]):
        return None
    before, after = (hubs[[hub]] if hub >= 0 else hubs[:0] for hub in ends)
    return Branch(np.array(chain), smooth(np.concatenate([before, skeleton[chain], after])), ends)


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
