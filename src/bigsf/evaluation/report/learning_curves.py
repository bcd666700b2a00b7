"""Quantities of each epoch -> a figure of the learning curves."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bigsf.errors import DataError
from bigsf.figures import legend_beside, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Quantity = Literal["loss", "score"]
"""What a figure of learning curves shows: the losses, or the scores on the validation folds."""


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the logged quantities of each epoch from metrics.csv.

    Raises
    ------
    DataError
        Where the file is missing or damaged, or has no epoch.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}, the epochs of a run, could not be read: {error}.") from error
    if not rows or "epoch" not in rows[0]:
        raise DataError(f"{path} holds no epoch of a run.")
    return rows


def draw_learning_curves(
    axes: "Axes", history: Sequence[Mapping[str, Any]], quantity: Quantity, best: int | None = None
) -> None:
    """Draw the losses or the validation scores of a run against the epoch, the best one marked.

    Parameters
    ----------
    axes
        Where to draw.
    history
        The logged quantities of each epoch, by name.
    quantity
        "loss" or "score".
    best
        The epoch of best.pt.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    for name in history[0]:
        is_score = name.startswith("val_") and not name.endswith("loss")
        wanted = is_score if quantity == "score" else name.endswith("loss")
        if wanted:
            label = (name.removeprefix("val_") if is_score else name).replace("_", " ")
            axes.plot(epochs, [row[name] for row in history], ".-", label=label)
    if best is not None:
        axes.axvline(best, color="0.7", zorder=0, label="best.pt")
    axes.set(xlabel="epoch", ylabel=quantity, yscale="log" if quantity == "loss" else "linear")
    axes.set_title({"loss": "loss", "score": "validation folds"}[quantity], loc="left")
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_beside(axes)


def learning_curves(history: Sequence[Mapping[str, Any]], best: int | None) -> "Figure":
    """Return a figure of the losses and, beside them, of the validation scores; see `draw_learning_curves`."""
    figure = new_figure(12, 4)
    losses, scores = figure.subplots(1, 2)
    draw_learning_curves(losses, history, "loss", best)
    draw_learning_curves(scores, history, "score", best)
    return figure
