from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from bigsf.errors import BigsfWarning
from bigsf.figures import drawn, figure_paths, new_figure, save_figure, write_figure


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
    expected = drawn(drawing, "curves.png")
    (tmp_path / "matplotlibrc").write_text(style)
    with mpl.rc_context(fname=tmp_path / "matplotlibrc"):
        before = {**mpl.rcParams, "backend": None}
        assert drawn(drawing, "curves.png") == expected
        assert {**mpl.rcParams, "backend": None} == before


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Figure:
        raise RuntimeError("no\n fonts")

    path = tmp_path / "temporary"
    path.touch()
    with pytest.warns(BigsfWarning, match=r"^map.png could not be drawn, and is left out: no fonts$"):
        save_figure(broken, path, "map.png")
    assert not path.exists()


@pytest.mark.parametrize(("ending", "beginning"), [("png", b"\x89PNG"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_the_ending_is_the_format_and_equal_figures_are_equal_files(
    ending: str, beginning: bytes, tmp_path: Path
) -> None:
    one, other = tmp_path / f"one.{ending}", tmp_path / f"other.{ending}"
    for path in (one, other):
        write_figure(drawing, path)
    assert one.read_bytes().startswith(beginning)
    assert one.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [one, other]


def test_the_png_is_always_written() -> None:
    assert figure_paths(Path("map.png"), "png") == [Path("map.png")]
    assert figure_paths(Path("map.png"), "svg") == [Path("map.png"), Path("map.svg")]


def test_where_a_figure_cannot_be_drawn_the_one_of_a_former_run_goes(tmp_path: Path) -> None:
    def broken() -> Figure:
        raise RuntimeError("no fonts")

    write_figure(drawing, tmp_path / "curves.png")
    with pytest.warns(BigsfWarning, match=r"^curves.png could not be drawn"):
        write_figure(broken, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_a_figure_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(BigsfWarning, match=r"map.png could not be drawn, and is left out: .*No such file"):
        save_figure(drawing, tmp_path / "gone" / "map.png", "map.png")
