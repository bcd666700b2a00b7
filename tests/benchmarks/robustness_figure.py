"""Draw the table of `robustness.py` in tests/benchmarks/README.md as curves.

python tests/benchmarks/robustness_figure.py
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bigsf.figures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

README = Path(__file__).with_name("README.md")
FIRST_HEADING = "a map with"
STYLES = {
    "default": ("#999999", "-"),
    "`robust.yaml`": ("#56B4E9", "-"),
    "`higal-small`": ("#D55E00", "-"),
    "`filaments-small`": ("#0072B2", "-"),
    "best filter": ("black", "--"),
}
"""Colour (Okabe and Ito's) and line of each column."""

CURVES = {
    "Filaments of contrast 0.15": (r"contrast 0\.15, (\d+) px", "FWHM [pixel]", "part that is found"),
    "Filaments of contrast 0.5": (r"contrast 0\.5, (\d+) px", "FWHM [pixel]", "part that is found"),
    "White noise": (r"white noise, (\d+)%.*", "noise [% of the median]", "Dice with the undisturbed mask"),
    "Noise of the beam's size": (r"beam noise, (\d+)%.*", "noise [% of the median]", "Dice with the undisturbed mask"),
}
"""Title of a panel: the rows, with their number in the group, and the labels of both axes."""

Table = dict[str, dict[str, float]]
"""The numbers of each row, by column; a cell without a number is left out."""


def read_table(text: str) -> Table:
    """Return the rows of the table of the robustness benchmark."""
    lines = iter(text.splitlines())
    columns = next([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if FIRST_HEADING in line)
    next(lines)
    table: Table = {}
    for line in lines:
        if not line.startswith("|"):
            break
        cells = dict(zip(columns, (cell.strip() for cell in line.split("|")[1:-1]), strict=True))
        table[cells[FIRST_HEADING]] = {name: float(cells[name]) for name in STYLES if cells[name]}
    return table


def draw_curve(axes: "Axes", table: Table, pattern: str) -> None:
    """Draw one curve for each column: the numbers of the rows that match a pattern."""
    rows = {float(match[1]): row for name, row in table.items() if (match := re.fullmatch(pattern, name))}
    for method, (colour, line) in STYLES.items():
        axes.plot(list(rows), [row[method] for row in rows.values()], line, marker="o", ms=4, color=colour)


def draw_rows(axes: "Axes", table: Table) -> None:
    """Draw a line of points for each other row that compares masks."""
    rows = [
        name
        for name in table
        if re.match(r"5 to 32|beside|zero level|median sub|slope|log10|binned|oversampled|zeros.*else", name)
    ]
    for method, (colour, _) in STYLES.items():
        values = [table[name][method] for name in rows]
        axes.plot(values, range(len(rows)), "o", mfc="none" if method == "best filter" else colour, color=colour)
    axes.set_yticks(range(len(rows)), [name.replace(" for missing data", "") for name in rows], fontsize=8)
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="Dice with the undisturbed mask", title="Other disturbances")
    axes.grid(axis="y", alpha=0.3)


def draw(table: Table) -> "Figure":
    """Return the figure: four panels of curves, and one of points."""
    figure = new_figure(13, 6.2)
    grid = figure.add_gridspec(2, 3)
    places = [(0, 0), (1, 0), (0, 1), (1, 1)]
    for (title, (pattern, xlabel, ylabel)), place in zip(CURVES.items(), places, strict=True):
        axes = figure.add_subplot(grid[place])
        draw_curve(axes, table, pattern)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.03))
    draw_rows(figure.add_subplot(grid[:, 2], xlim=(0, 1.03)), table)
    handles = [figure.axes[0].lines[i] for i in range(len(STYLES))]
    figure.legend(handles, [name.strip("`") for name in STYLES], loc="outside lower center", ncols=len(STYLES))
    return figure


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=README.with_name("robustness.png"), help="(%(default)s)")
    options = parser.parse_args()
    save_figure(lambda: draw(read_table(README.read_text())), options.output, "the benchmark of robustness")


if __name__ == "__main__":
    main()
