"""Quantities of each epoch -> a figure of the learning curves."""

from typing import TYPE_CHECKING, Any

from bigsf.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(history: list[dict[str, Any]], best: int | None) -> "Figure":
    """Return a figure of the losses and the validation scores of a run against the epoch, the best one marked."""
    epochs = [row["epoch"] for row in history]
    figure = new_figure(10, 4)
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
        if best is not None:
            axes.axvline(best, color="0.7", zorder=0, label="best.pt")
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure
