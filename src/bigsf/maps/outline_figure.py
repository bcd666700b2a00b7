"""Outlines of filaments -> lines and numbers over the figure of a map."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bigsf.arrays import Float64Array, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERS = 30
"""Outlines that get their number: more would not be read."""

_COLOUR = "cyan"
_FONT_POINTS = 8.0
_GAP_PX = 3.0  # of the figure, between an outline and its number
_PLACES = 16  # points of an outline beside which its number may stand, at most
_DIRECTIONS = np.array([[np.cos(angle), np.sin(angle)] for angle in np.deg2rad(np.arange(90, 450, 45))])


def draw_outlines(strips: Sequence["Axes"], outlines: Sequence[Float64Array]) -> None:
    """Draw outlines over a map, and the numbers of the longest ones beside them, where no two numbers overlap.

    Parameters
    ----------
    strips
        The axes of a figure that show the map, or strips of its columns, with their limits set. It is laid out here.
    outlines
        Points (y, x) in pixels of the map, `(n, 2)` each; their numbers are 1, 2, ...
    """
    from matplotlib.collections import LineCollection

    lines = [outline[:, ::-1] for outline in outlines]  # (x, y)
    length = np.array([np.hypot(*np.diff(line, axis=0).T).sum() for line in lines])
    longest = np.argsort(-length, kind="stable")[:MOST_NUMBERS]
    widths = np.full(len(lines), 0.5)
    widths[longest] = 1.2
    for axes in strips:
        shown = on_axes(axes, lines)
        here = LineCollection([lines[number] for number in shown], colors=_COLOUR, linewidths=widths[shown])
        axes.add_collection(here, autolim=False)
    write_numbers(strips, lines, longest)


def on_axes(axes: "Axes", lines: Sequence[Float64Array]) -> IntArray:
    """Return which lines `(n, 2)` of points (x, y) reach into the range of x that axes show."""
    left, right = axes.get_xlim()
    reaching = [line[:, 0].max() >= left and line[:, 0].min() <= right for line in lines]
    return np.flatnonzero(np.array(reaching, np.bool_))


def write_numbers(strips: Sequence["Axes"], lines: Sequence[Float64Array], numbers: IntArray) -> None:
    """Write the numbers of some lines, from 1, beside them, where no two numbers overlap; else leave them out.

    Parameters
    ----------
    strips
        As for `draw_outlines`.
    lines
        Points (x, y) in the coordinates of the axes, `(n, 2)` each.
    numbers
        The lines that get their number, counted from 0, in the order in which they choose their places.
    """
    strips[0].get_figure().draw_without_rendering()  # type: ignore[union-attr]  # it has a figure, whose layout is due
    for axes in strips:
        left, right = axes.get_xlim()
        places = _Places(axes, [lines[number] for number in on_axes(axes, lines)])
        for number in numbers:
            if left <= lines[number][:, 0].mean() < right:  # else it belongs to another strip of the map
                places.write(str(number + 1), lines[number])


class _Places:
    """The places on axes that are free for numbers, in pixels of the figure.

    Parameters
    ----------
    axes
        The axes, of a figure that is laid out.
    lines
        Points (x, y) in the coordinates of the axes, `(n, 2)` each, that are better not covered.
    """

    def __init__(self, axes: Any, lines: Sequence[Float64Array]) -> None:
        self._axes, self._box = axes, axes.get_window_extent()
        self._taken: list[Float64Array] = []
        points = axes.transData.transform(np.concatenate([*lines, np.empty((0, 2))]))
        edges = [np.arange(size + 2) for size in (self._box.width, self._box.height)]
        x, y = (points - self._box.p0).T
        counts, _, _ = np.histogram2d(x, y, bins=edges)
        self._sums = np.pad(counts, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)

    def write(self, text: str, line: Float64Array) -> None:
        """Write a text beside a line where it covers the fewest points and no text; none where no place is free."""
        from matplotlib.patheffects import withStroke

        label = self._axes.text(
            0, 0, text, color="white", fontsize=_FONT_POINTS, weight="bold", ha="center", va="center", clip_on=True
        )
        label.set_in_layout(False)
        label.set_path_effects([withStroke(linewidth=2, foreground="black")])
        half = np.array(label.get_window_extent().size) / 2
        free = [(self._covered(box), box) for box in self._boxes(line, half) if self._is_free(box)]
        if not free:
            label.remove()
            return
        box = min(free, key=lambda each: each[0])[1]
        self._taken.append(box)
        label.set_position(self._axes.transData.inverted().transform(box.mean(axis=0)))

    def _boxes(self, line: Float64Array, half: Float64Array) -> Iterator[Float64Array]:
        """Yield boxes `[[left, bottom], [right, top]]` around a line, for texts of half a width and height."""
        points = self._axes.transData.transform(line[:: max(1, len(line) // _PLACES)])
        for point in points:
            for direction in _DIRECTIONS:
                middle = point + direction * (half + _GAP_PX)
                yield np.array([middle - half, middle + half])

    def _is_free(self, box: Float64Array) -> bool:
        """Tell whether a box lies within the axes and overlaps no text."""
        inside = (box[0] >= self._box.p0).all() and (box[1] <= self._box.p1).all()
        return bool(inside) and not any(((box[0] < other[1]) & (other[0] < box[1])).all() for other in self._taken)

    def _covered(self, box: Float64Array) -> float:
        """Return the number of points of lines in a box."""
        (left, bottom), (right, top) = (box - self._box.p0).astype(int)
        sums = self._sums
        return float(sums[right, top] - sums[left, top] - sums[right, bottom] + sums[left, bottom])
