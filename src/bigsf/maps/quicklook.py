"""Planes of a map -> figures: the quicklook of a segmentation, contours, and what other figures of maps share."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import Float64Array, FloatArray
from bigsf.figures import PALETTE, new_figure
from bigsf.maps.outlines import draw_outlines
from bigsf.maps.wcs import celestial_wcs, lies_on_equator, recentred

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_PIXELS = 1500 * 1500
"""Pixels of a plane as it is drawn, at most: about as many as a figure shows."""

TARGET_COLOUR = PALETTE["sky blue"]
"""The colour of the outlines of the target; with that of the mask, the colour-blind tell them apart on grey."""

_MARKED_COLOUR = PALETTE["orange"]


def drawing_step(shape: tuple[int, int], most_pixels: int = _MOST_PIXELS) -> int:
    """Return n such that every n-th row and column of a plane (ny, nx) hold no more pixels than are drawn."""
    step = max(1, math.isqrt(math.prod(shape) // most_pixels))
    while math.prod(math.ceil(length / step) for length in shape) > most_pixels:
        step += 1
    return step


class SubsampledPlanes:
    """Every n-th row and column of planes, taken while the planes are read by rows.

    Parameters
    ----------
    shape
        (ny, nx) of the full planes.
    most_pixels
        Pixels of a subsampled plane, at most.

    Attributes
    ----------
    step
        Pixels of the full planes per pixel of the subsampled ones.
    """

    def __init__(self, shape: tuple[int, int], most_pixels: int = _MOST_PIXELS) -> None:
        self.shape = shape
        self.step = drawing_step(shape, most_pixels)
        self._rows: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, y0: int, **planes: npt.NDArray[Any]) -> None:
        """Subsample the next rows `(rows, nx)` of planes by name, from row y0 on."""
        first = -y0 % self.step
        for name, rows in planes.items():
            self._rows.setdefault(name, []).append(rows[first :: self.step, :: self.step].copy())

    def plane(self, name: str) -> npt.NDArray[Any]:
        """Return a subsampled plane."""
        return np.concatenate(self._rows[name])


def quicklook_figure(
    subsampled: SubsampledPlanes,
    header: fits.Header,
    title: str,
    threshold: float,
    label: str = "probability",
    outlines: Sequence[Float64Array] = (),
) -> "Figure":
    """Return a figure of a map and its probability, on WCS axes where there is a WCS.

    Where there are outlines, they are drawn over the map, and the longest are numbered.

    Parameters
    ----------
    subsampled
        The planes `image` and `probability`.
    header
        Header of the map. Its WCS labels the axes.
    title
        Title of the figure.
    threshold
        The probability threshold to name at the colour bar.
    label
        Label of the colour bar of the probability.
    outlines
        The outline of each filament, in the order of their numbers: points (y, x) in pixels of the full planes,
        `(n, 2)` each.
    """
    image, probability = subsampled.plane("image"), subsampled.plane("probability")
    strips = _Strips(subsampled, header)
    side_by_side = image.shape[1] < 2.5 * image.shape[0] and len(strips) == 1
    figure, new_axes = strips.figure(panels=2, side_by_side=side_by_side)
    scaled, name, low, high = stretched(image)
    panels: tuple[tuple[FloatArray, dict[str, Any], str], ...] = (
        (scaled, {"cmap": "magma", "vmin": low, "vmax": high}, name),
        (probability, {"cmap": "viridis", "vmin": 0, "vmax": 1}, f"{label}\n(threshold {threshold:.2f})"),
    )
    drawn_maps = []
    for strip, (x0, x1) in enumerate(strips):
        for panel, (plane, style, text) in enumerate(panels):
            axes = new_axes(strip, panel)
            shown = axes.imshow(plane[:, x0:x1], origin="lower", aspect="equal", **style)
            axes.set_facecolor("0.8")
            if strip == 0 and panel == 0:
                axes.set_title(title, loc="left", parse_math=False)  # a file name may hold dollar signs
            figure.colorbar(shown, ax=axes, label=text, fraction=0.05, pad=0.01)
            if panel == 0:
                drawn_maps.append((axes, x0))
    for axes, x0 in drawn_maps if outlines else ():
        draw_outlines(axes, outlines, subsampled.step, x0)
    return figure


def contours_figure(subsampled: SubsampledPlanes, header: fits.Header, label: str = "probability") -> "Figure":
    """Return a figure of a map in grey with the outlines of the target and of the predicted mask, and its probability.

    Parameters
    ----------
    subsampled
        The planes `image`, `target`, `marked` and `probability`.
    header
        Header of the map. Its WCS labels the axes.
    label
        Label of the colour bar of the probability.
    """
    from matplotlib.lines import Line2D

    strips = _Strips(subsampled, header)
    figure, new_axes = strips.figure(panels=2)
    scaled, name, low, high = stretched(subsampled.plane("image"))
    outlines = {"target": TARGET_COLOUR, "marked": _MARKED_COLOUR}
    for strip, (x0, x1) in enumerate(strips):
        axes = new_axes(strip, 0)
        shown = axes.imshow(scaled[:, x0:x1], origin="lower", aspect="equal", cmap="gray", vmin=low, vmax=high)
        for plane, colour in outlines.items():
            mask = subsampled.plane(plane)[:, x0:x1] > 0
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors=colour, linewidths=0.8)
        figure.colorbar(shown, ax=axes, label=name, fraction=0.05, pad=0.01)
        axes = new_axes(strip, 1)
        probability = subsampled.plane("probability")[:, x0:x1]
        shown = axes.imshow(probability, origin="lower", aspect="equal", cmap="viridis", vmin=0, vmax=1)
        axes.set_facecolor("0.8")
        figure.colorbar(shown, ax=axes, label=label, fraction=0.05, pad=0.01)
    figure.legend(
        handles=[Line2D([], [], color=colour, label=name) for name, colour in outlines.items()],
        loc="outside upper center",
        ncols=2,
    )
    return figure


class _Strips:
    """Strips of columns, drawn one below the other, so that a wide map fills a page.

    Parameters
    ----------
    subsampled
        Planes, among them `image`.
    header
        Header of the map.
    """

    def __init__(self, subsampled: SubsampledPlanes, header: fits.Header) -> None:
        self.ny, self.nx = subsampled.plane("image").shape
        wcs = celestial_wcs(header)
        step = (slice(None, None, subsampled.step),) * 2
        self.wcs = wcs.slice(step) if wcs is not None and subsampled.step > 1 else wcs
        strips = max(1, min(8, round(np.sqrt(self.nx / self.ny / 4))))
        self._edges = np.linspace(0, self.nx, strips + 1).astype(int).tolist()

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return pairwise(self._edges)

    def figure(self, panels: int, side_by_side: bool = False) -> tuple["Figure", Callable[[int, int], Any]]:
        """Return a figure for some panels per strip, and the function that adds the axes of (strip, panel) to it."""
        columns, rows = (panels, 1) if side_by_side else (1, panels * len(self))
        width = 12.0
        height = 0.82 * width / columns * self.ny / (self.nx / len(self))  # 18 % is for labels and colour bars
        figure = new_figure(width, min(40.0, rows * (height + 0.6) + 0.3))

        def new_axes(strip: int, panel: int) -> Any:
            x0, x1 = self._edges[strip : strip + 2]
            wcs = self.wcs.slice((slice(None), slice(x0, x1))) if self.wcs is not None else None
            if wcs is not None and lies_on_equator(wcs):  # else longitudes beyond half a turn have no labels
                wcs = recentred(wcs, ((x1 - x0 + 1) / 2 - wcs.wcs.crpix[0]) * wcs.pixel_scale_matrix[0, 0])
            axes = figure.add_subplot(rows, columns, strip * panels + panel + 1, projection=wcs)
            label_axes(axes, wcs, x0)
            return axes

        return figure, new_axes


def stretched(image: FloatArray) -> tuple[FloatArray, str, float, float]:
    """Return a map as it is drawn, its label, and the lower and upper limit of its colours.

    A map of positive values over more than a factor of 10 is drawn as its log10.
    """
    finite = image[np.isfinite(image)]
    name = "map"
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        image, finite, name = np.log10(image), np.log10(finite), "log10 of the map"
    low, high = np.percentile(finite, [0.5, 99.7]) if finite.size else (0.0, 1.0)
    return image, name, float(low), float(high)


def label_axes(axes: Any, wcs: WCS | None, x0: int = 0) -> None:
    """Label the axes of a map: sky coordinates, or pixels where there is no WCS, counted from column `x0`."""
    if wcs is None:
        axes.xaxis.set_major_formatter(lambda x, _: f"{x + x0:.0f}")
        axes.set_xlabel("x [pixel]")
        axes.set_ylabel("y [pixel]")
        return
    names = {"GLON": "Galactic longitude", "GLAT": "Galactic latitude", "RA--": "RA", "DEC-": "Dec"}
    for axis, kind in enumerate(wcs.wcs.ctype):
        coordinate = axes.coords[axis]
        coordinate.set_axislabel(names.get(kind[:4], kind[:4].strip("-")), minpad=0.4)
        if kind.startswith("GL"):
            coordinate.set_major_formatter("d.d")
