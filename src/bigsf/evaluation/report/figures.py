"""Scores and maps -> the figures of a report. A method has one colour in all of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import AreaScores, Bins, Calibration, Completeness, KFoldSummary, Reliability
from bigsf.evaluation.reliability import binomial_error
from bigsf.evaluation.report.words import KINDS
from bigsf.figures import PALETTE, legend_beside, new_figure
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.maps.map_axes import stretched
from bigsf.maps.quicklook import TARGET_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHOD_COLOURS = {
    MODEL: PALETTE["blue"],
    "column density": PALETTE["black"],
    "local contrast": PALETTE["orange"],
    "Sato filter": PALETTE["green"],
    "Frangi filter": PALETTE["purple"],
}
"""The colour of each method in figures and tables."""

_STYLES = ("-", "--", "-.", ":")  # of several curves of the model

_PROFILE_STYLES = {"gaussian": "-", "plummer": "--"}

_QUANTITIES = {
    "longitude": "Galactic longitude [deg]",
    "x": "x [pixel]",
    "column density": "map (log10 if positive)",
    "local contrast": "local contrast, 12 px (of log10 if positive)",
}


def curves_figure(summary: KFoldSummary) -> "Figure":
    """Return precision against recall of all maps, and the model's scores against threshold.

    There is one row of axes for each kind of score: "labelled", "whole", "truth". A point is at the threshold of best
    Dice, a dotted line at that of one model.
    """
    curves = summary.curves
    kinds = list(curves.by_threshold)
    figure = new_figure(12, 3.6 * len(kinds))
    all_axes = figure.subplots(len(kinds), 2, squeeze=False)
    for (left, right), kind in zip(all_axes, kinds, strict=True):
        for name, by_kind in curves.precision_recall.items():
            colour, best = METHOD_COLOURS[name], summary.out_of_fold[name][kind]
            left.plot(by_kind[kind]["recall"], by_kind[kind]["precision"], color=colour, label=name)
            left.plot(best["recall"], best["precision"], "o", color=colour)
        left.set(xlabel="recall (completeness)", ylabel="precision (purity)", xlim=(0, 1), ylim=(0, 1.02))
        left.set_title(KINDS[kind], loc="left", fontsize="medium")
        scores = curves.by_threshold[kind]
        for name, style in zip(("dice", "iou", "precision", "recall"), _STYLES, strict=True):
            right.plot(scores["threshold"], scores[name], style, color=METHOD_COLOURS[MODEL], label=name)
        for chosen in summary.mask_thresholds.values():
            right.axvline(chosen.labelled if kind == "labelled" else chosen.whole, ls=":", color="0.6", zorder=0)
        right.set(xlabel=f"threshold on the probability of {MODEL}", xlim=(0, 1), ylim=(0, 1.02))
        for axes in (left, right):
            axes.grid(alpha=0.3)
            legend_beside(axes)
    return figure


def calibration_figure(calibration: Mapping[str, Calibration]) -> "Figure":
    """Return the fraction of true pixels against the probability, and the number of pixels of each probability."""
    figure = new_figure(11, 3.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", label="perfect")
    for (kind, values), style in zip(calibration.items(), _STYLES, strict=False):
        line = {"color": METHOD_COLOURS[MODEL], "linestyle": style, "label": KINDS[kind]}
        left.plot(values.probability, values.frequency, marker="o", **line)
        right.stairs(values.pixels, np.linspace(0, 1, len(values.pixels) + 1), **line)
    left.set(xlabel="mean probability", ylabel="fraction of true pixels", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    right.set(xlabel="probability", ylabel="pixels", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    legend_beside(right)
    return figure


def _bars(values: npt.ArrayLike, errors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return how far error bars reach below and above values from 0 to 1, `(2, n)`, without what is impossible."""
    centre, error = np.asarray(values, np.float64), np.asarray(errors, np.float64)
    return np.stack([np.minimum(error, centre), np.minimum(error, 1 - centre)])


def draw_reliability(axes: "Axes", reliability: Mapping[str, Reliability]) -> None:
    """Draw the measured purity of rows of the catalogue against the expected one, with standard errors and counts.

    Parameters
    ----------
    axes
        Where to draw.
    reliability
        From "whole" and "truth" to the purity in bins.
    """
    from matplotlib.patheffects import withStroke

    axes.plot([0, 1], [0, 1], color="0.7", label="perfect")
    for (kind, each), marker in zip(reliability.items(), "os", strict=False):
        axes.errorbar(
            each.expected,
            each.measured,
            _bars(each.measured, each.measured_error),
            _bars(each.expected, each.expected_error),
            marker,
            color=METHOD_COLOURS[MODEL],
            capsize=2,
            fillstyle="full" if marker == "o" else "none",
            label=KINDS[kind],
        )
        for x, y, rows in zip(each.expected, each.measured, each.rows, strict=True):
            offset = (5, -11) if y > 0.5 else (5, 5)
            text = axes.annotate(f"{rows:,}", (x, y), offset, textcoords="offset points", fontsize="x-small")
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    axes.set(xlabel="expected purity", ylabel="measured purity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title("purity of rows of the catalogue; numbers: rows", loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    legend_beside(axes)


def reliability_figure(reliability: Mapping[str, Reliability]) -> "Figure":
    """Return the figure of `draw_reliability`."""
    figure = new_figure(8, 4.2)
    draw_reliability(figure.subplots(), reliability)
    return figure


def bins_figure(by: Mapping[str, Bins], against: str) -> "Figure":
    """Return completeness and purity of all maps by longitude, column density and contrast.

    Parameters
    ----------
    by
        The scores in bins of each quantity.
    against
        "whole" for scores against the target, "truth" for those against the ground truth.
    """
    figure = new_figure(12, 5.6)
    all_axes = figure.subplots(2, len(by), sharey=True)
    for column, (quantity, bins) in enumerate(by.items()):
        above, below = all_axes[:, column]
        for name, scores in bins.against(against).items():
            for axes, values in ((above, scores.completeness), (below, scores.purity)):
                axes.plot(bins.centre, values, "o-", ms=3, color=METHOD_COLOURS[name], label=name)
        for axes, score in ((above, "completeness"), (below, "purity")):
            axes.set(ylim=(0, 1.02), ylabel=score if column == 0 else "")
            axes.grid(alpha=0.3)
            if quantity == "longitude":
                axes.invert_xaxis()
        below.set_xlabel(_QUANTITIES[quantity])
    legend_beside(all_axes[0, -1])
    return figure


def draw_completeness(axes: "Axes", injected: Completeness) -> None:
    """Draw the completeness of a family of injected filaments against contrast, with the filaments of each bin above.

    Error bars are those of `binomial_error`. That is an upper bound, because a filament may be marked in part.
    Dotted: the same pixels without filaments.

    Parameters
    ----------
    axes
        Where to draw.
    injected
        The completeness in bins of contrast.
    """
    style, number = _PROFILE_STYLES[injected.profile], np.array(injected.filaments)
    for name, completeness in injected.completeness.items():
        found = np.array(completeness)
        error = _bars(found, binomial_error(found, number))
        colour = METHOD_COLOURS[name]
        axes.errorbar(
            injected.contrast, found, error, linestyle=style, marker="o", ms=4, capsize=2, color=colour, label=name
        )
        axes.plot(injected.contrast, injected.before[name], ":", color=colour)
    axes.plot([], [], ":", color="0.5", label="before the injection")
    axes.set(xscale="log", xlabel="peak excess over the local background", ylabel="completeness", ylim=(0, 1.02))
    axes.set_title(family_name(injected), loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    above = axes.secondary_xaxis("top")
    above.set_xticks(injected.contrast, [f"{count:,}" for count in number], fontsize="x-small", minor=False)
    above.set_xticks([], minor=True)
    above.set_xlabel("filaments", fontsize="x-small")
    legend_beside(axes)


def completeness_figure(*families: Completeness) -> "Figure":
    """Return the figure of `draw_completeness` for one or more families of injected filaments."""
    figure = new_figure(6.5 * len(families), 3.8)
    for axes, injected in zip(figure.subplots(1, len(families), squeeze=False)[0], families, strict=True):
        draw_completeness(axes, injected)
    return figure


def family_name(injected: Completeness) -> str:
    """Return what the injected filaments of a family have in common."""
    low, high = injected.width_px
    profile = {"gaussian": "Gaussian profile", "plummer": "Plummer-like profile (p = 2)"}[injected.profile]
    return f"{profile}, {low:g} to {high:g} pixels wide"


def areas_figure(areas: Sequence[AreaScores], folds: Folds, out_of_fold: FitsImage) -> "Figure":
    """Return, for each area, the map and below it the probabilities, both with the outline of the target."""
    columns = min(5, len(areas))
    rows = -(-len(areas) // columns)
    figure = new_figure(2.4 * columns, 5.2 * rows)
    all_axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in all_axes.flat:
        axes.set_axis_off()
    target = folds.patch_file.labels()[0]
    for number, area in enumerate(areas):
        (y0, y1), (x0, x1) = area.y, area.x
        image, _, low, high = stretched(folds.patch_file.read_rows(y0, y1)[0, :, x0:x1])
        probability = out_of_fold.read(y0, y1)[:, x0:x1]
        row, column = divmod(number, columns)
        above, below = all_axes[2 * row : 2 * row + 2, column]
        above.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high)
        below.imshow(probability, origin="lower", cmap="viridis", vmin=0, vmax=1)
        true = target[y0:y1, x0:x1] > 0
        for axes in (above, below):
            if true.any() and not true.all():
                axes.contour(true, levels=[0.5], colors=TARGET_COLOUR, linewidths=0.8)
        above.set_title(f"{number + 1}: x {x0}, y {y0}", fontsize="small")
    return figure
