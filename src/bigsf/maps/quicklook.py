"""Pictures: learning curves, the fold map, and the quicklook of a segmentation."""

import io
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.arrays import FloatArray
from bigsf.maps.wcs import celestial_wcs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LONGEST_PX = 3000


_DPI = 150


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # half a second to import: not for commands that draw nothing

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: "Figure") -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the WCS of a map may not reach the corners of its frame
        figure.savefig(content, format="png", bbox_inches="tight", pad_inches=0.1)
    return content.getvalue()


def save_figure(figure: "Figure", path: Path) -> None:
    path.write_bytes(png_of(figure))


class SubsampledPlanes:
    """Small versions of planes, gathered while their rows go by: every n-th row and column.

    Parameters
    ----------
    shape
        (ny, nx) of the full planes.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.step = max(1, -(-max(shape) // LONGEST_PX))
        self._rows: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, y0: int, **planes: npt.NDArray[Any]) -> None:
        """Take rows from y0 on of each plane `(rows, nx)`."""
        first = -y0 % self.step
        for name, rows in planes.items():
            self._rows.setdefault(name, []).append(rows[first :: self.step, :: self.step].copy())

    def plane(self, name: str) -> npt.NDArray[Any]:
        """Return the small version of a plane."""
        return np.concatenate(self._rows[name])


def draw_quicklook(
    subsampled: SubsampledPlanes,
    path: Path,
    header: fits.Header,
    title: str,
    threshold: float,
    label: str = "probability",
) -> None:
    """Draw a map and its probabilities, on WCS axes where there is a WCS; wide maps are broken into strips."""
    image, probability = subsampled.plane("image"), subsampled.plane("probability")
    parts = _Strips(subsampled, header)
    side_by_side = image.shape[1] < 2.5 * image.shape[0] and len(parts) == 1
    figure, axes_of = parts.figure(panels=2, side_by_side=side_by_side)
    scaled, name, low, high = stretched(image)
    panels: tuple[tuple[FloatArray, dict[str, Any], str], ...] = (
        (scaled, {"cmap": "magma", "vmin": low, "vmax": high}, name),
        (probability, {"cmap": "viridis", "vmin": 0, "vmax": 1}, f"{label}\n(threshold {threshold:.2f})"),
    )
    for strip, (x0, x1) in enumerate(parts):
        for kind, (plane, style, text) in enumerate(panels):
            axes = axes_of(strip, kind)
            shown = axes.imshow(plane[:, x0:x1], origin="lower", aspect="equal", **style)
            axes.set_facecolor("0.8")
            if strip == 0 and kind == 0:
                axes.set_title(title, loc="left")
            figure.colorbar(shown, ax=axes, label=text, fraction=0.05, pad=0.01)
    save_figure(figure, path)


def contours_figure(subsampled: SubsampledPlanes, header: fits.Header) -> "Figure":
    """Return the map in grey with the outlines of the target and of what is marked; wide maps in strips.

    Parameters
    ----------
    subsampled
        With the planes image, target and marked.
    header
        Of the map.
    """
    from matplotlib.lines import Line2D

    parts = _Strips(subsampled, header)
    figure, axes_of = parts.figure(panels=1)
    scaled, name, low, high = stretched(subsampled.plane("image"))
    outlines = {"target": "tab:cyan", "marked": "tab:orange"}
    for strip, (x0, x1) in enumerate(parts):
        axes = axes_of(strip, 0)
        shown = axes.imshow(scaled[:, x0:x1], origin="lower", aspect="equal", cmap="gray", vmin=low, vmax=high)
        for plane, colour in outlines.items():
            mask = subsampled.plane(plane)[:, x0:x1] > 0
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors=colour, linewidths=0.6)
        figure.colorbar(shown, ax=axes, label=name, fraction=0.05, pad=0.01)
    figure.legend(
        handles=[Line2D([], [], color=colour, label=label) for label, colour in outlines.items()],
        loc="outside lower center",
        ncols=2,
    )
    return figure


class _Strips:
    """The strips of columns, of a small version of a map, into which a wide one is broken to be drawn."""

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
        """Return a figure, and what makes the axes of (strip, panel) in it."""
        columns, rows = (panels, 1) if side_by_side else (1, panels * len(self))
        width = 12.0
        panel = 0.82 * width / columns * self.ny / (self.nx / len(self))  # the rest goes to labels and colour bars
        figure = new_figure(width, min(40.0, rows * (panel + 0.6) + 0.3))

        def axes_of(strip: int, kind: int) -> Any:
            x0, x1 = self._edges[strip : strip + 2]
            here = self.wcs.slice((slice(None), slice(x0, x1))) if self.wcs is not None else None
            axes = figure.add_subplot(rows, columns, strip * panels + kind + 1, projection=here)
            label_axes(axes, here, x0)
            return axes

        return figure, axes_of


def stretched(image: FloatArray) -> tuple[FloatArray, str, float, float]:
    """Return the map as shown, its log10 where it is positive over a wide range; its name, and limits for colours."""
    finite = image[np.isfinite(image)]
    name = "map"
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        image, finite, name = np.log10(image), np.log10(finite), "log10 of the map"
    low, high = np.percentile(finite, [0.5, 99.7]) if finite.size else (0.0, 1.0)
    return image, name, float(low), float(high)


def label_axes(axes: Any, wcs: WCS | None, x0: int = 0) -> None:
    """Name the axes; `x0` is the first column shown."""
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
