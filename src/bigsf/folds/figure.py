"""Folds -> figure: the map with each area in the colour of its fold."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bigsf.figures import new_figure
from bigsf.folds.folds import Folds
from bigsf.maps.quicklook import drawing_step, label_axes, stretched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOLD_COLOURS = "tab10"


def folds_figure(folds: Folds) -> "Figure":
    """Return the figure of a map with each area in the colour of its fold, and the counts of each fold."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    file = folds.patch_file
    step = drawing_step(file.shape)
    image = np.asarray(file.image[0, ::step, ::step])
    number = np.concatenate([folds.rows(y, y + 1)[:, ::step] for y in range(0, file.shape[0], step)])
    scaled, _, low, high = stretched(image)
    grey = np.nan_to_num(np.clip((scaled - low) / max(high - low, 1e-30), 0, 1))
    colours: npt.NDArray[Any] = colormaps[_FOLD_COLOURS](np.arange(number.max()) % 10)[:, :3]
    shown = colours[number - 1] * (0.35 + 0.65 * np.sqrt(grey[..., None]))
    shown[~np.isfinite(image)] = 1.0  # white: grey is one of the colours
    wcs = file.wcs.slice((slice(None, None, step),) * 2) if file.wcs is not None else None
    ny, nx = image.shape
    width = 12.0 if nx > ny else 8.0
    figure = new_figure(width, min(12.0, max(2.5, width * ny / nx + 1.5)))
    axes = figure.add_subplot(projection=wcs)
    axes.imshow(shown, origin="lower", aspect="equal")
    label_axes(axes, wcs)
    axes.set_title(f"{file.path.name}: {number.max()} folds, strategy {folds.config.strategy.type}", parse_math=False)
    handles = [
        Patch(
            color=colours[fold - 1],
            label=f"fold {fold}: {count.patches:,} patches, {count.labelled:,} labelled px",
        )
        for fold, count in folds.counts.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize="small")
    return figure
