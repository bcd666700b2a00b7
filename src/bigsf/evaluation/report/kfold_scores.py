"""The summary of a k-fold -> the sections of its report on scores, thresholds, injected filaments and the catalogue."""

from collections.abc import Sequence

import numpy as np

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import KFoldSummary
from bigsf.evaluation.report.elements import figure, note, number, table
from bigsf.evaluation.report.figures import (
    bins_figure,
    calibration_figure,
    completeness_figure,
    curves_figure,
    family_name,
    reliability_figure,
)
from bigsf.evaluation.report.scores import pixel_scores, score_table
from bigsf.evaluation.report.words import KINDS, SKELETON_SCORES


def scores_section(summary: KFoldSummary, kind: str) -> str:
    """Return the tables of scores on "labelled" pixels, on the "whole" map, or against the ground "truth"."""
    pixels = pixel_scores(summary.out_of_fold, kind)
    if kind == "labelled":
        return pixels
    text = (
        "Skeletons at the same thresholds. Completeness and purity count the pixels of one skeleton within the given "
        "distance from the other."
    )
    return pixels + note(text) + score_table(SKELETON_SCORES, summary.skeletons, kind)


def figures_of_scores(summary: KFoldSummary, against: str) -> dict[str, str]:
    """Return the sections whose figures show scores against threshold, probability, place and contrast."""
    return {
        "Scores against threshold": figure(
            lambda: curves_figure(summary),
            "precision, recall and Dice",
            "Left: precision against recall of all maps, at all thresholds; the point is that of best Dice. Right: "
            f"scores of {MODEL} against the threshold on its probability; the dotted lines are the thresholds that "
            "validation chose, one for each model.",
        ),
        "Calibration": figure(
            lambda: calibration_figure(summary.curves.calibration),
            "calibration",
            "Left: the fraction of true pixels in each range of probability; on the grey line, probabilities are "
            "right. Right: the number of pixels of each probability.",
        ),
        "Where the map is good": figure(
            lambda: bins_figure(summary.by, against),
            "completeness and purity",
            f"{KINDS[against]}; each map at its own threshold of best Dice. Bins of column density hold equal numbers "
            "of valid pixels, and bins of local contrast equal numbers of true pixels.",
        ),
    }


def thresholds_section(summary: KFoldSummary) -> str:
    """Return what the thresholds that validation chose cost, and the thresholds of each model."""
    rows = [
        [KINDS[kind], *map(number, (cost.dice, cost.best_dice, cost.cost, cost.best_threshold))]
        for kind, cost in summary.thresholds.items()
    ]
    text = (
        "The thresholds of each model were chosen on its validation folds, which were predicted as this map was. The "
        "best threshold in this table is the single one that is best for the scored pixels themselves. The difference "
        "is the Dice that is lost because thresholds are chosen on other pixels than those that are scored. It is "
        "negative where the thresholds of the models do better together than any single one."
    )
    columns = ["", "Dice at the thresholds of validation", "best Dice", "difference", "best threshold"]
    models = [
        [name, *map(number, (used.whole, used.labelled, snapshot.whole, snapshot.labelled))]
        for name, used in summary.mask_thresholds.items()
        for snapshot in [summary.runs[name].thresholds]
    ]
    note_on_models = (
        "The thresholds of each model: those that this map is marked with, and those of its snapshot, which bigsf "
        "segment uses. The latter were found with one prediction of each window at half overlap, as bigsf segment "
        "predicts by default."
    )
    kinds = [f"{kind}, {where}" for where in ("this map", "snapshot") for kind in ("whole", "labelled")]
    return note(text) + table(columns, rows) + note(note_on_models) + table(["run", *kinds], models)


def injected_section(summary: KFoldSummary) -> str:
    """Return the completeness of injected filaments, and which of their families the training knew, as HTML."""
    both = (summary.injected, summary.injected_plummer)
    families = [injected for injected in both if injected is not None and injected.filaments]
    if not families:
        return (
            "<p>No filaments were injected: there was no room for them, or a contrast relative to the local mean makes "
            "no sense on the map, as on a logarithm, on values of both signs, or where they hardly vary.</p>"
        )
    numbers = " and ".join(f"{sum(injected.filaments)} of {family_name(injected)}" for injected in families)
    text = (
        f"Filaments were injected into the map ({numbers}), away from known structures, and predicted by models for "
        "which their place was a test area. The baselines have thresholds at which they mark the same fraction of the "
        f"map as the model, {families[0].marked:.1%}."
    )
    caption = (
        "The fraction of each injected filament that is marked at the thresholds of validation, averaged over "
        "filaments, against their peak excess over the local background. Dotted lines show the same pixels before the "
        "injection."
    )
    return (
        note(text)
        + note(_training_with_filaments(summary))
        + figure(lambda: completeness_figure(*families), "completeness against contrast", caption)
    )


def _training_with_filaments(summary: KFoldSummary) -> str:
    """Say which family of injected filaments the training used."""
    if summary.added_widths_px:
        widths = " and ".join(f"{low:g} to {high:g}" for low, high in summary.added_widths_px)
        said = (
            f"The augmentation filaments added arcs of Gaussian or steeper Plummer profile (p = 4), {widths} pixels "
            "wide, to the training patches. So the training used the family of Gaussian profile, and the models find "
            "such filaments more easily than real ones of the same contrast. It did not use the family of Plummer-like "
            "profile with p = 2."
        )
    elif summary.added_widths_px is None:
        said = "Whether the training used one of the families was not recorded."
    else:
        said = "The training used neither family: its configuration has no augmentation filaments."
    if summary.start_from is None:
        return said
    return f"{said} What trainer.start_from ({summary.start_from}) was trained with before is not counted here."


def catalogue_section(summary: KFoldSummary) -> str:
    """Return how well the expected purity of the catalogue's rows agrees with the measured one."""
    if not summary.reliability:
        return "<p>The catalogue has too few rows to learn their purity from.</p>"
    means = [
        f"{KINDS[kind]}: expected {_mean(each.expected, each.expected_error, each.rows)}, measured "
        f"{_mean(each.measured, each.measured_error, each.rows)} (mean of {sum(each.rows)} rows)."
        for kind, each in summary.reliability.items()
    ]
    caption = (
        "The fraction of true pixels that catalog.ecsv expects in each row, learnt from rows of other folds, and the "
        "fraction that is true, in bins of their probability."
    )
    return note(" ".join(means)) + figure(
        lambda: reliability_figure(summary.reliability), "reliability of the catalogue", caption
    )


def _mean(values: Sequence[float], errors: Sequence[float], rows: Sequence[int]) -> str:
    """Return the mean over all rows of what is known in bins, and the standard error of independent bins."""
    weights = np.array(rows) / sum(rows)
    return f"{weights @ values:.3f} ± {np.sqrt((weights**2) @ np.square(errors)):.3f}"
