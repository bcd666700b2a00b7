"""Numbers, texts and figures -> the parts of a page in HTML. All that they are given as text is escaped."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import Score
from bigsf.evaluation.report.figures import METHOD_COLOURS
from bigsf.figures import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ABOUT_EQUAL = 0.01  # a smaller difference between two scores decides nothing


def table(columns: Iterable[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Return a table. Methods have a dot of their colour, and the row of the model stands out.

    Parameters
    ----------
    columns
        The head of each column.
    rows
        The cells of each row, the first one its name.
    foot
        A row that stays below the others, e.g. their mean.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr{' class=ours' if row[0] == MODEL else ''}>{_cells(row)}</tr>" for row in rows)
    below = f"<tfoot><tr>{_cells(foot)}</tr></tfoot>" if foot else ""
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{below}</table></div>"


def _cells(row: Sequence[str]) -> str:
    colour = METHOD_COLOURS.get(row[0])
    first = f' class=method style="--method: {colour}"' if colour else ""
    return "".join(f"<td{'' if place else first}>{escape(cell)}</td>" for place, cell in enumerate(row))


def note(text: str) -> str:
    """Return a paragraph that explains a table or a figure."""
    return f"<p class=note>{escape(text)}</p>"


def definitions(entries: Mapping[str, str], kind: str) -> str:
    """Return a list of names and what is said of each, in the style of a kind: "facts" or "glossary"."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items())
    return f"<dl class={kind}>{listed}</dl>"


def listing(entries: Iterable[str]) -> str:
    """Return a list of sentences."""
    return f"<ul>{''.join(f'<li>{escape(entry)}</li>' for entry in entries)}</ul>"


def folded(summary: str, text: str) -> str:
    """Return a text that a click unfolds, with its line breaks. It is not printed."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def number(value: Score) -> str:
    """Return a score as text; a dash where it is undefined."""
    return "-" if not np.isfinite(value) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def figure(draw: Callable[[], "Figure"], name: str, caption: str) -> str:
    """Return a figure with its caption, or a sentence where it cannot be drawn.

    Parameters
    ----------
    draw
        Returns the figure.
    name
        The name of the figure, for those who do not see it and for the warning.
    caption
        What the figure shows, in sentences.
    """
    content = drawn(draw, f"The figure of {name}")
    if content is None:
        return f"<p>The figure of {escape(name)} could not be drawn.</p>"
    image = f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def headline(score: str, where: str, model: Score, baselines: Mapping[str, Score]) -> str:
    """Return a score of the model in words, beside the best baseline, as an item of a list.

    Parameters
    ----------
    score, where
        The name of the score, and the pixels that are scored.
    model
        The score of the model.
    baselines
        The score of each baseline.
    """
    known = {name: value for name, value in baselines.items() if np.isfinite(value)}
    best = max(known, key=lambda name: known[name], default=None)
    text, verdict = f"{score} {_short(model)} on {where}", ""
    if best is not None:
        text += f"; the best baseline, {best}, has {_short(known[best])}"
        if not model > known[best] + _ABOUT_EQUAL:
            verdict = "about as good as" if model >= known[best] - _ABOUT_EQUAL else "worse than"
    warning = f" <em>So the model is {verdict} what needs no training.</em>" if verdict else ""
    return f"<li{' class=worse' if verdict else ''}><strong>{_short(model)}</strong>{escape(text)}.{warning}</li>"


def _short(value: Score) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"
