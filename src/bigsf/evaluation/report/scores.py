"""Tables of scores -> the parts of a page that compare the model with the baselines."""

from collections.abc import Mapping, Sequence

from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import ScoreTable
from bigsf.evaluation.report.elements import headline, note, number, table
from bigsf.evaluation.report.words import KIND_NOTES, SCORES


def headlines(*scores: tuple[str, str, ScoreTable, str, str]) -> str:
    """Return scores of the model in words, each beside the best baseline.

    Parameters
    ----------
    scores
        For each: what it is called and what is scored; the table, and in it "labelled", "whole" or "truth" and the name
        of the score.
    """
    items = ""
    for name, where, scored, kind, key in scores:
        values = {method: kinds[kind][key] for method, kinds in scored.items()}
        items += headline(name, where, values.pop(MODEL), values)
    return f"<ul class=headlines>{items}</ul>"


def score_table(columns: Mapping[str, str], scores: ScoreTable, kind: str) -> str:
    """Return the scores of all maps against "labelled", "whole" or "truth".

    Parameters
    ----------
    columns
        The heads of the columns, by the names of the scores.
    scores
        The scores of all maps.
    kind
        What the maps are scored against.
    """
    rows = [[name, *(number(kinds[kind][column]) for column in columns)] for name, kinds in scores.items()]
    return table(["map", *columns.values()], rows)


def pixel_scores(scores: ScoreTable, kind: str) -> str:
    """Return the scores of pixels of all maps against one kind of truth, and what they are worth."""
    return note(KIND_NOTES[kind]) + score_table(SCORES, scores, kind)


def scales_table(scales: Mapping[str, Sequence[str]]) -> str:
    """Return which scale of each baseline was chosen, and for how many splits.

    Parameters
    ----------
    scales
        For each baseline, the scale that is best on the validation folds of each split.
    """
    text = (
        "Each baseline has several scales. For each split, the one that has the highest Dice on the validation folds, "
        "whole map, is applied to the test folds; the pixels that are scored have no say. Where splits have different "
        "scales, these are brought to the same standard deviation."
    )
    rows = [
        [name, scale, f"{of_split.count(scale)} of {len(of_split)}"]
        for name, of_split in scales.items()
        for scale in dict.fromkeys(sorted(of_split, key=of_split.count, reverse=True))
        if len(BASELINES[name]) > 1
    ]
    splits = max(map(len, scales.values()), default=0)
    return note(text) + table(
        ["map", "scale", "splits"], [[MODEL, "learnt from the training folds", f"{splits} of {splits}"], *rows]
    )
