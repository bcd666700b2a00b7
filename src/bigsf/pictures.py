"""Pictures: learning curves, the fold map, and the quicklook of a segmentation."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from bigsf.atomic import atomic_path
from bigsf.fits_image import FloatArray, celestial_wcs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bigsf.folds import Folds

_LONGEST_PX = 3000
_DPI = 150
_FOLD_COLOURS = "tab10"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # half a second to import: not for commands that draw nothing

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the WCS of a map may not reach the corners of its frame
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.1)


class Thumbnails:
    """Small versions of planes, gathered while their rows go by: every n-th row and column.

    Parameters
    ----------
    shape
        (ny, nx) of the full planes.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.step = max(1, -(-max(shape) // _LONGEST_PX))
        self._rows: dict[str, list[FloatArray]] = {}

    def add(self, y0: int, **planes: FloatArray) -> None:
        """Take rows from y0 on of each plane `(rows, nx)`."""
        first = -y0 % self.step
        for name, rows in planes.items():
            self._rows.setdefault(name, []).append(rows[first :: self.step, :: self.step].copy())

    def plane(self, name: str) -> FloatArray:
        """Return the small version of a plane."""
        return np.concatenate(self._rows[name])


def draw_quicklook(
    thumbnails: Thumbnails,
    path: Path,
    header: fits.Header,
    title: str,
    threshold: float,
    label: str = "probability",
) -> None:
    """Draw a map and its probabilities, on WCS axes where there is a WCS; wide maps are broken into strips."""
    image, probability = thumbnails.plane("image"), thumbnails.plane("probability")
    wcs = celestial_wcs(header)
    if wcs is not None and thumbnails.step > 1:
        wcs = wcs.slice((slice(None, None, thumbnails.step),) * 2)
    ny, nx = image.shape
    strips = max(1, min(8, round(np.sqrt(nx / ny / 4))))
    side_by_side = nx < 2.5 * ny and strips == 1
    columns, rows = (2, 1) if side_by_side else (1, 2 * strips)
    width = 12.0
    panel = 0.82 * width / columns * ny / (nx / strips)  # the rest of the width goes to labels and colour bars
    figure = _figure(width, min(40.0, rows * (panel + 0.6) + 0.3))
    scaled, name = _stretched(image)
    low, high = np.nanpercentile(scaled, [0.5, 99.7]) if np.isfinite(scaled).any() else (0, 1)
    edges = np.linspace(0, nx, strips + 1).astype(int)
    for strip, (x0, x1) in enumerate(pairwise(edges)):
        here = wcs.slice((slice(None), slice(int(x0), int(x1)))) if wcs is not None else None
        panels: tuple[tuple[FloatArray, dict[str, Any], str], ...] = (
            (scaled, {"cmap": "magma", "vmin": low, "vmax": high}, name),
            (probability, {"cmap": "viridis", "vmin": 0, "vmax": 1}, f"{label}\n(threshold {threshold:.2f})"),
        )
        for kind, (plane, style, text) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, strip * 2 + kind + 1, projection=here)
            shown = axes.imshow(plane[:, x0:x1], origin="lower", aspect="equal", **style)
            axes.set_facecolor("0.8")
            if strip == 0 and kind == 0:
                axes.set_title(title, loc="left")
            _label_axes(axes, here, x0)
            figure.colorbar(shown, ax=axes, label=text, fraction=0.05, pad=0.01)
    _save(figure, path)


def _stretched(image: FloatArray) -> tuple[FloatArray, str]:
    """Return the map as shown: its log10 where it is positive over a wide range."""
    finite = image[np.isfinite(image)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        return np.log10(image), "log10 of the map"
    return image, "map"


def _label_axes(axes: Any, wcs: WCS | None, x0: int = 0) -> None:
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


def draw_curves(history: Sequence[dict[str, Any]], path: Path, best_epoch: int) -> None:
    """Draw the losses and the validation metrics of a run against the epoch."""
    epochs = [row["epoch"] for row in history]
    figure = _figure(10, 4)
    losses, metrics = figure.subplots(1, 2)
    for name in history[0]:
        values = [row[name] for row in history]
        if name.endswith("loss"):
            losses.plot(epochs, values, ".-", label=name.replace("_", " "))
        elif name.startswith("val_"):
            metrics.plot(epochs, values, ".-", label=name.removeprefix("val_").replace("_", " "))
    losses.set(xlabel="epoch", ylabel="loss", yscale="log", title="loss")
    metrics.set(xlabel="epoch", ylabel="score", title="validation folds")
    for axes in (losses, metrics):
        axes.axvline(best_epoch, color="0.7", zorder=0, label="best.pt")
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def draw_folds(folds: "Folds", path: Path) -> None:
    """Draw the map with each area in the colour of its fold, and what each fold holds."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    file = folds.patch_file
    step = max(1, -(-max(file.shape) // _LONGEST_PX))
    image = np.asarray(file.image[0, ::step, ::step])
    number = np.concatenate([folds.rows(y, y + 1)[:, ::step] for y in range(0, file.shape[0], step)])
    scaled, _ = _stretched(image)
    low, high = np.nanpercentile(scaled, [1, 99.5])
    grey = np.nan_to_num(np.clip((scaled - low) / max(high - low, 1e-30), 0, 1))
    colours: npt.NDArray[Any] = colormaps[_FOLD_COLOURS](np.arange(number.max()) % 10)[:, :3]
    shown = colours[number - 1] * (0.35 + 0.65 * np.sqrt(grey[..., None]))
    shown[~np.isfinite(image)] = 0.8
    wcs = file.wcs.slice((slice(None, None, step),) * 2) if file.wcs is not None else None
    ny, nx = image.shape
    width = 12.0 if nx > ny else 8.0
    figure = _figure(width, min(12.0, max(2.5, width * ny / nx + 1.5)))
    axes = figure.add_subplot(projection=wcs)
    axes.imshow(shown, origin="lower", aspect="equal")
    _label_axes(axes, wcs)
    axes.set_title(f"{file.path.name}: {number.max()} folds, strategy {folds.config.strategy.type}")
    handles = [
        Patch(
            color=colours[fold - 1],
            label=f"fold {fold}: {count['patches']:,} patches, {count['labelled']:,} labelled px",
        )
        for fold, count in folds.counts.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize="small")
    _save(figure, path)
