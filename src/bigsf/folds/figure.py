"""Folds -> figure: the map with each area in the colour of its fold, and with its number."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bigsf.figures import new_figure
from bigsf.folds.folds import Folds
from bigsf.maps.map_axes import add_scale, label_axes, show_plane, stretched
from bigsf.maps.subsampled import drawing_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (
    "#88ccee",
    "#cc6677",
    "#ddcc77",
    "#117733",
    "#aa4499",
    "#44aa99",
    "#332288",
    "#999933",
    "#882255",
    "#dddddd",
)
"""The colours of folds: "muted" of Paul Tol (SRON/EPS/TN/09-002), which the colour-blind can tell apart."""

_LARGEST_POINTS, _SMALLEST_POINTS = 16.0, 5.0
"""Sizes of the numbers on areas; where they would be smaller, the areas have none."""


def draw_folds(axes: "Axes", folds: Folds) -> None:
    """Draw a map with each area in the colour and with the number of its fold, a legend with counts, and a scale bar.

    Parameters
    ----------
    axes
        Where to draw.
    folds
        The folds of a patch file.
    """
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    file = folds.patch_file
    step = drawing_step(file.shape)
    image = np.asarray(file.image[0, ::step, ::step])
    number = np.concatenate([folds.rows(y, y + 1)[:, ::step] for y in range(0, file.shape[0], step)])
    scaled, _, low, high = stretched(image)
    grey = np.nan_to_num(np.clip((scaled - low) / max(high - low, 1e-30), 0, 1))
    colours = _colours(int(number.max()))
    shown = colours[number - 1] * (0.35 + 0.65 * np.sqrt(grey[..., None]))
    shown[~np.isfinite(image)] = 1.0  # white: grey is one of the colours
    show_plane(axes, shown, step)
    label_axes(axes)
    add_scale(axes, file.header)
    _write_numbers(axes, folds)
    axes.set_title(
        f"{file.path.name}: {number.max()} folds, strategy {folds.config.strategy.type}", loc="left", parse_math=False
    )
    handles = [
        Patch(
            color=tuple(colours[fold - 1]),
            label=f"fold {fold}: {count.patches:,} patches, {count.labelled:,} labelled px",
        )
        for fold, count in folds.counts.items()
    ]
    figure = axes.get_figure(root=True)
    assert figure is not None
    below = axes.transAxes + ScaledTranslation(0, -0.5, figure.dpi_scale_trans)  # the labels of the axis lie between
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        borderaxespad=0,
        ncols=2,
        fontsize="small",
        frameon=False,
    )


def _colours(number: int) -> npt.NDArray[Any]:
    """Return the colours of so many folds, `(number, 3)`."""
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(_COLOURS[fold % len(_COLOURS)]) for fold in range(number)])


def _write_numbers(axes: "Axes", folds: Folds) -> None:
    """Write the number of its fold on each area that is large enough to be read."""
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # sizes are known once the figure is laid out
    points = axes.get_window_extent().width / folds.patch_file.shape[1] * 72 / figure.dpi  # per pixel of the map
    for row, (y0, y1) in enumerate(pairwise(folds.areas.y_edges)):
        for column, (x0, x1) in enumerate(pairwise(folds.areas.x_edges)):
            size = min(_LARGEST_POINTS, 0.4 * points * min(y1 - y0, x1 - x0))
            if size < _SMALLEST_POINTS:
                continue
            x, y = x0 + 0.25 * (x1 - x0), y0 + 0.75 * (y1 - y0)  # above the scale bar
            text = axes.text(x, y, str(folds.grid[row, column]), color="white", fontsize=size, ha="center", va="center")
            text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def folds_figure(folds: Folds) -> "Figure":
    """Return the figure of folds; see `draw_folds`."""
    ny, nx = folds.patch_file.shape
    width = 12.0 if nx > ny else 8.0
    figure = new_figure(width, min(12.0, max(2.5, width * ny / nx + 1.5)))
    draw_folds(figure.add_subplot(projection=folds.patch_file.wcs), folds)
    return figure
