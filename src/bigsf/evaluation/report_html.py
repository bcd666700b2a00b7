"""Numbers, texts and figures -> the parts of a report in HTML."""

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.records import Score
from bigsf.figures import png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def html_table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. The row that begins with the name of the model stands out."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=ours' if row[0] == MODEL else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def html_note(text: str) -> str:
    """Return a paragraph that explains a table or a figure."""
    return f"<p class=note>{escape(text)}</p>"


def html_number(value: Score) -> str:
    """Return a score as text; a dash where it is undefined."""
    return "-" if not np.isfinite(value) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def html_image(draw: Callable[[], "Figure"], name: str) -> str:
    """Return a figure as a part of the page, or a sentence where it cannot be drawn."""
    content = png_of(draw, f"The figure of {name}")
    if content is None:
        return f"<p>The figure of {escape(name)} could not be drawn.</p>"
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
