"""Filaments on their map -> a figure for talks: spines, ids of the longest, hubs, scale bar and beam."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from bigsf.arrays import FloatArray, IntArray
from bigsf.figures import PALETTE, legend_above
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.spine import Points
from bigsf.maps.map_axes import add_scale, label_axes, show_image
from bigsf.maps.outline_figure import on_axes, write_numbers
from bigsf.maps.quicklook import Strips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_IDS = 15
"""Filaments that get their id by default: the longest."""

_MOST_LARGE_HUBS = 100  # more are drawn smaller, so that they do not hide the map

_COLOURS = np.array([PALETTE[name] for name in ("sky blue", "orange", "green", "purple", "vermilion")])
"""Colours of filaments, in turn: neighbours can be told apart on grey."""

_HUB: dict[str, Any] = {
    "marker": "o",
    "markersize": 4,
    "markeredgewidth": 1,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "linestyle": "",
}


class DrawnFilaments:
    """Filaments as lines of a figure: outlines, spines in a colour for each filament, ids and hubs.

    Parameters
    ----------
    filaments
        The filaments of a map.
    ids
        How many of the longest filaments get their id.
    """

    def __init__(self, filaments: Filaments, ids: int = MOST_IDS) -> None:
        branches, hubs = filaments.branches, filaments.branches.hubs()
        length = np.bincount(branches.owners, np.asarray(branches.table()["length_px"]), len(filaments))
        self._with_id: IntArray = np.argsort(-length, kind="stable")[:ids]
        self._outlines = [_xy(outline) for outline in filaments.outlines()]
        self._spines, self._owners = [_xy(path) for path in branches.paths], branches.owners
        self._hubs = np.stack([np.asarray(hubs["x"]), np.asarray(hubs["y"])])
        smaller = min(1.0, math.sqrt(_MOST_LARGE_HUBS / max(1, len(hubs))))
        self._hub = {**_HUB, **{size: smaller * _HUB[size] for size in ("markersize", "markeredgewidth")}}

    def draw(self, axes: "Axes") -> None:
        """Draw the lines and hubs on the axes of the map."""
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        everyone = np.arange(len(self._outlines))
        for lines, owners, width in ((self._outlines, everyone, 0.5), (self._spines, self._owners, 1.4)):
            shown = on_axes(axes, lines)
            colours = _COLOURS[owners[shown] % len(_COLOURS)].tolist()
            here = LineCollection([lines[number] for number in shown], colors=colours, linewidths=width)
            axes.add_collection(here, autolim=False)
        axes.add_line(Line2D(*self._hubs, **self._hub))

    def write_ids(self, strips: Sequence["Axes"]) -> None:
        """Write the ids beside the filaments; the figure must be complete but for them, as it is laid out here."""
        write_numbers(strips, self._outlines, self._with_id)

    def handles(self) -> Sequence[Any]:
        """Return what a legend shows."""
        from matplotlib.lines import Line2D

        return [
            Line2D([], [], color=_COLOURS[0], linewidth=1.4, label=f"spine ({len(self._outlines):,} filaments)"),
            Line2D([], [], color=_COLOURS[0], linewidth=0.5, label="outline"),
            Line2D([], [], **_HUB, label=f"hub ({self._hubs.shape[1]:,})"),
        ]


def _xy(points: Points) -> Points:
    """Return points (y, x) as (x, y)."""
    return points[:, ::-1]


def draw_filaments(
    axes: "Axes",
    lines: DrawnFilaments,
    image: FloatArray,
    header: fits.Header,
    unit: str = "",
    step: int = 1,
) -> None:
    """Draw a map in grey with the outlines and spines of its filaments, the ids of the longest, and the hubs.

    Parameters
    ----------
    axes
        Where to draw.
    lines
        The filaments of the map.
    image
        Every `step`-th row and column of the map, NaN where missing.
    header, unit
        The header and the unit (BUNIT) of the map.
    step
        Pixels of the map per pixel of `image`.
    """
    _draw(axes, lines, image, header, unit, step)
    legend_above(axes, lines.handles())
    lines.write_ids([axes])


def _draw(
    axes: "Axes", lines: DrawnFilaments, image: FloatArray, header: fits.Header, unit: str, step: int, x0: int = 0
) -> None:
    """Draw a map or a strip of it, and the lines on it."""
    show_image(axes, image, header, unit, step, x0, cmap="gray")
    lines.draw(axes)
    add_scale(axes, header)
    label_axes(axes)


def filaments_figure(
    lines: DrawnFilaments, image: FloatArray, header: fits.Header, unit: str, title: str, step: int = 1
) -> "Figure":
    """Return a figure of filaments on their map, in strips where it is wide; see `draw_filaments`.

    Parameters
    ----------
    lines
        The filaments.
    image, header, unit, step
        As for `draw_filaments`.
    title
        Title of the figure.
    """
    strips = Strips((image.shape[0], image.shape[1]), step, header)
    figure, new_axes = strips.figure(1)
    all_axes = []
    for strip, (first, end) in enumerate(strips):
        axes = new_axes(strip, 0)
        _draw(axes, lines, image[:, first:end], header, unit, step, first * step)
        axes.set_title(f"{title}{strips.name(strip)}", loc="left", pad=None if strip else 20.0, parse_math=False)
        all_axes.append(axes)
    legend_above(all_axes[0], lines.handles())
    lines.write_ids(all_axes)
    return figure
