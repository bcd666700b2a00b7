"""A function that draws -> image files, in the package's own style. A figure that cannot be drawn costs no result."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bigsf.errors import warn
from bigsf.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FigureFormat = Literal["png", "pdf", "svg"]
"""A format of figures: pixels, or lines and text for papers."""

FORMATS: dict[str, FigureFormat] = {".png": "png", ".pdf": "pdf", ".svg": "svg"}
"""From the ending of the file of a figure to its format."""

_DPI = 150

_UNDATED: dict[FigureFormat, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Metadata of a file of each format, without the time: equal figures are equal files."""

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


def new_figure(width: float, height: float, compress: bool = False) -> "Figure":
    """Return an empty figure of a width and height in inches, without gaps between axes of fixed aspect if asked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, spared where nothing is drawn
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.08, compress=compress)  # inches: no title touches the label above it
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def axes_or_new(axes: Any, projection: Any = None) -> Any:
    """Return the axes that a user gives, or those of a new figure of pyplot, on a WCS where there is one."""
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    return plt.figure(layout="constrained").add_subplot(projection=projection)


def legend_beside(axes: "Axes") -> None:
    """Add the legend to the right of the axes, where it covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize="small")


def legend_above(axes: "Axes", handles: Sequence[Any] | None = None) -> None:
    """Add the legend above the axes, below their title, where it covers nothing."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.1,
        borderpad=0.2,
        frameon=False,
        fontsize="small",
        ncols=len(handles),
        columnspacing=1.0,
    )


def figure_paths(png: Path, figures: FigureFormat) -> list[Path]:
    """Return the files of a figure: the PNG and, beside it, the one of another format that is asked for."""
    return list(dict.fromkeys([png, png.with_suffix(f".{figures}")]))


def drawn(draw: Callable[[], "Figure"], name: str | Path) -> bytes | None:
    """Return the content of the file of a figure; where it cannot be drawn, warn and return None.

    Parameters
    ----------
    draw
        Returns the figure. It is called with matplotlib's default style, whatever the user's own says: a style with
        LaTeX or with a missing font would end a run after its work.
    name
        The file, whose ending is the format, or the name of a figure in the format PNG.
    """
    name = Path(name)
    figures = FORMATS.get(name.suffix, "png")
    content = io.BytesIO()
    try:
        with _default_style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # matplotlib warns where a corner of the axes shows no sky
            metadata = _UNDATED[figures]
            draw().savefig(content, format=figures, metadata=metadata, bbox_inches="tight", pad_inches=0.1)
    except Exception as error:  # matplotlib raises many kinds of errors
        _warn(name.name, error)
        return None
    return content.getvalue()


def save_figure(draw: Callable[[], "Figure"], path: Path, name: str | Path) -> None:
    """Write the file of a figure; where it cannot be drawn or written, warn and leave no file.

    Parameters
    ----------
    draw
        Returns the figure; see `drawn`.
    path
        The file to write, which may be a temporary one.
    name
        The file that it will be; see `drawn`.
    """
    content = drawn(draw, name)
    try:
        if content is not None:
            path.write_bytes(content)
            return
    except OSError as error:
        _warn(Path(name).name, error)
    path.unlink(missing_ok=True)


def write_figure(draw: Callable[[], "Figure"], path: Path) -> None:
    """Write the file of a figure, whole, in the format of its ending; where it cannot be drawn, no file is left.

    A link in the place of the file is replaced.
    """
    content = drawn(draw, path)
    if content is None:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _warn(name: str, error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    warn(f"{name} could not be drawn, and is left out: {reason}")


@contextmanager
def _default_style() -> Iterator[None]:
    import matplotlib
    from matplotlib.rcsetup import cycler

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["axes.prop_cycle"] = cycler(color=PALETTE.values())
        matplotlib.rcParams["pdf.fonttype"] = 42  # text stays text in programs that draw
        matplotlib.rcParams["svg.hashsalt"] = "bigsf"  # else each file has other identifiers
        matplotlib.rcParams["image.interpolation_stage"] = "data"  # to interpolate colours takes three times the memory
        yield
