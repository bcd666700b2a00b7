"""A map, its probability and its masks -> figures of them, one strip below the other where the map is wide."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from bigsf.arrays import Float64Array, FloatArray
from bigsf.figures import PALETTE, legend_above, new_figure
from bigsf.maps.map_axes import add_colour_bar, add_scale, label_axes, show_image, show_outline, show_plane
from bigsf.maps.outline_figure import draw_outlines
from bigsf.maps.subsampled import SubsampledPlanes
from bigsf.maps.wcs import celestial_wcs, lies_on_equator, recentred

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TARGET_COLOUR = PALETTE["sky blue"]
"""The colour of the outlines of the target; with that of the mask, the colour-blind tell them apart on grey."""

MASK_COLOUR = PALETTE["orange"]
"""The colour of the outlines of MASK."""

_OUTLINES = {"target": TARGET_COLOUR, "MASK": MASK_COLOUR}


def draw_map(
    axes: "Axes",
    image: FloatArray,
    header: fits.Header,
    unit: str = "",
    masks: dict[str, npt.NDArray[Any]] | None = None,
    step: int = 1,
    x0: int = 0,
) -> None:
    """Draw a map in grey with the outlines of masks, a scale bar and the beam.

    Parameters
    ----------
    axes
        Where to draw.
    image
        The map `(ny, nx)`, NaN where missing.
    header, unit
        The header and the unit (BUNIT) of the map.
    masks
        From names for the legend, e.g. "target" and "MASK", to planes that are 1 there, `(ny, nx)` each.
    step, x0
        As for `show_plane`.
    """
    show_image(axes, image, header, unit, step, x0, cmap="gray")
    for name, mask in (masks or {}).items():
        show_outline(axes, mask, name, _OUTLINES.get(name, MASK_COLOUR), step, x0)
    add_scale(axes, header)
    label_axes(axes)


def draw_probability(
    axes: "Axes",
    probability: FloatArray,
    header: fits.Header,
    label: str = "probability",
    threshold: float | None = None,
    mask: npt.NDArray[Any] | None = None,
    step: int = 1,
    x0: int = 0,
    outline: str = "MASK",
) -> None:
    """Draw a probability from 0 to 1, grey where it is NaN, a scale bar and the beam.

    Parameters
    ----------
    axes
        Where to draw.
    probability
        `(ny, nx)`.
    header
        The header of the map.
    label
        Label of the colour bar.
    threshold
        The probability from which a pixel is marked, for a line on the colour bar.
    mask
        1 where a mask is to be outlined, `(ny, nx)`.
    step, x0
        As for `show_plane`.
    outline
        The name of the mask for the legend.
    """
    shown = show_plane(axes, probability, step, x0, cmap="viridis", vmin=0, vmax=1)
    add_colour_bar(axes, shown, label, () if threshold is None else [threshold])
    if mask is not None:
        show_outline(axes, mask, outline, PALETTE["vermilion"], step, x0)  # seen on all of viridis
    add_scale(axes, header)
    label_axes(axes)


def quicklook_figure(
    subsampled: SubsampledPlanes,
    header: fits.Header,
    unit: str,
    title: str,
    threshold: float | None,
    label: str = "probability",
    outlines: Sequence[Float64Array] = (),
) -> "Figure":
    """Return a figure of a map with the outlines of its masks, and of its probability.

    Parameters
    ----------
    subsampled
        The planes `image` and `probability` and, where there are such, `target` and `MASK`.
    header, unit
        The header and the unit (BUNIT) of the map. The WCS of the header labels the axes.
    title
        Title of the figure.
    threshold
        The probability from which a pixel is marked; None where it is not known.
    label
        What the probability is.
    outlines
        The outline of each filament, in the order of their numbers: points (y, x) in pixels of the full planes,
        `(n, 2)` each. The longest are numbered. They stand in the place of the outline of MASK.
    """
    image, probability, step = subsampled.plane("image"), subsampled.plane("probability"), subsampled.step
    names = [name for name in _OUTLINES if name in subsampled and not (outlines and name == "MASK")]
    masks = {name: subsampled.plane(name) for name in names}
    strips = Strips((image.shape[0], image.shape[1]), step, header)
    side_by_side = image.shape[1] < 2.5 * image.shape[0] and len(strips) == 1
    figure, new_axes = strips.figure(2, side_by_side)
    drawn_maps = []
    for strip, (first, end) in enumerate(strips):
        x0 = first * step
        part, pad = strips.name(strip), 20.0 if masks and strip == 0 else None  # in points, for the legend
        axes = new_axes(strip, 0)
        cut = {name: mask[:, first:end] for name, mask in masks.items()}
        draw_map(axes, image[:, first:end], header, unit, cut, step, x0)
        axes.set_title(f"{title}{part}", loc="left", pad=pad, parse_math=False)  # a file name may hold dollar signs
        drawn_maps.append(axes)
        axes = new_axes(strip, 1)
        draw_probability(axes, probability[:, first:end], header, "probability", threshold, None, step, x0)
        limit = "" if threshold is None else f", threshold {threshold:.2f}"
        axes.set_title(f"{label}{limit}{part}", loc="left", pad=pad if side_by_side else None)
    if masks:
        legend_above(drawn_maps[0])
    if outlines:
        draw_outlines(drawn_maps, outlines)
    return figure


class Strips:
    """Strips of columns, drawn one below the other, so that a wide map fills a page.

    Parameters
    ----------
    shape
        (ny, nx) of the plane as it is drawn.
    step
        Pixels of the full map per pixel of it.
    header
        The header of the map.
    """

    def __init__(self, shape: tuple[int, int], step: int, header: fits.Header) -> None:
        self.ny, self.nx = shape
        self._step, self._wcs = step, celestial_wcs(header)
        strips = max(1, min(8, round(np.sqrt(self.nx / self.ny / 4))))
        self._edges = np.linspace(0, self.nx, strips + 1).astype(int).tolist()

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the first column of each strip, and the column after its last."""
        return pairwise(self._edges)

    def name(self, strip: int) -> str:
        """Return what the title of a strip ends with."""
        return f", part {strip + 1} of {len(self)}" if len(self) > 1 else ""

    def figure(self, panels: int, side_by_side: bool = False) -> tuple["Figure", Callable[[int, int], Any]]:
        """Return a figure for some panels per strip, and the function that adds the axes of (strip, panel) to it."""
        columns, rows = (panels, 1) if side_by_side else (1, panels * len(self))
        width = 12.0
        height = 0.82 * width / columns * self.ny / (self.nx / len(self))  # 18 % is for labels and colour bars
        figure = new_figure(width, min(40.0, rows * (height + 0.8) + 0.4), compress=True)

        def new_axes(strip: int, panel: int) -> Any:
            wcs = self._wcs
            if wcs is not None and lies_on_equator(wcs):  # else longitudes beyond half a turn have no labels
                x0, x1 = (self._step * edge for edge in self._edges[strip : strip + 2])
                wcs = recentred(wcs, ((x0 + x1 + 1) / 2 - wcs.wcs.crpix[0]) * wcs.pixel_scale_matrix[0, 0])
            return figure.add_subplot(rows, columns, strip * panels + panel + 1, projection=wcs)

        return figure, new_axes
