"""A function that draws -> PNG, in the package's own style. A figure that cannot be drawn never costs a result."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bigsf.errors import BigsfWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150

PALETTE = {
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky blue": "#56b4e9",
    "black": "#000000",
}
"""The colours of curves and outlines: those that Okabe and Ito (2008) chose for the colour-blind."""


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, spared where nothing is drawn
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_of(draw: Callable[[], "Figure"], name: str) -> bytes | None:
    """Return the content of the PNG file of a figure; where it cannot be drawn, warn and return None.

    Parameters
    ----------
    draw
        Returns the figure. It is called with matplotlib's default style, whatever the user's own says: a style with
        LaTeX or with a missing font would end a run after its work.
    name
        The name of the figure for the warning.
    """
    content = io.BytesIO()
    try:
        with _default_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # matplotlib warns where a corner of the axes shows no sky
            draw().savefig(content, format="png", bbox_inches="tight", pad_inches=0.1)
    except Exception as error:  # matplotlib raises many kinds of errors
        _warn(name, error)
        return None
    return content.getvalue()


def save_figure(draw: Callable[[], "Figure"], path: Path, name: str) -> None:
    """Write a figure as a PNG file; where it cannot be drawn or written, warn and leave no file.

    Parameters
    ----------
    draw
        Returns the figure; see `png_of`.
    path
        The file.
    name
        The name of the figure for the warning.
    """
    content = png_of(draw, name)
    try:
        if content is not None:
            path.write_bytes(content)
            return
    except OSError as error:
        _warn(name, error)
    path.unlink(missing_ok=True)


def _warn(name: str, error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    warnings.warn(f"{name} could not be drawn, and is left out: {reason}", BigsfWarning, stacklevel=3)


@contextmanager
def _default_style() -> Iterator[None]:
    import matplotlib
    from matplotlib.rcsetup import cycler

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["axes.prop_cycle"] = cycler(color=PALETTE.values())
        matplotlib.rcParams["image.interpolation_stage"] = "data"  # of the colours would take three times the memory
        yield
