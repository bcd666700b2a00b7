from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from bigsf.errors import BigsfWarning
from bigsf.figures import new_figure, png_of, save_figure


def drawing() -> Figure:
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1], label="rising")
    return figure


@pytest.mark.parametrize(
    "style",
    ["text.usetex: True", "font.family: No Such Font", "lines.linewidth: 9"],
    ids=lambda line: line.split(":")[0],
)
def test_the_style_of_the_user_changes_nothing(style: str, tmp_path: Path) -> None:
    expected = png_of(drawing, "curves.png")
    (tmp_path / "matplotlibrc").write_text(style)
    with mpl.rc_context(fname=tmp_path / "matplotlibrc"):
        before = {**mpl.rcParams, "backend": None}
        assert png_of(drawing, "curves.png") == expected
        assert {**mpl.rcParams, "backend": None} == before


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Figure:
        raise RuntimeError("no\n fonts")

    path = tmp_path / "temporary"
    path.touch()
    with pytest.warns(BigsfWarning, match=r"^map.png could not be drawn, and is left out: no fonts$"):
        save_figure(broken, path, "map.png")
    assert not path.exists()


def test_a_figure_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(BigsfWarning, match=r"map.png could not be drawn, and is left out: .*No such file"):
        save_figure(drawing, tmp_path / "gone" / "map.png", "map.png")
