from typing import Any

import numpy as np
from astropy.io import fits
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from bigsf.arrays import BoolArray, FloatArray
from bigsf.figures import new_figure
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.figure import DrawnFilaments, draw_filaments, filaments_figure
from conftest import galactic_header


def cross_and_line() -> BoolArray:
    """Return a mask of a cross, whose arms meet in one hub, and of a shorter line."""
    mask = np.zeros((60, 80), np.bool_)
    mask[29:32, 10:50] = mask[10:50, 29:32] = True
    mask[52:55, 60:75] = True
    return mask


def image_of(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(0).lognormal(np.log(2e22), 1, shape).astype(np.float32)


def axes_of(mask: BoolArray, ids: int) -> Any:
    axes = new_figure(6, 5).add_subplot()
    draw_filaments(axes, DrawnFilaments(Filaments(mask), ids), image_of(mask.shape), fits.Header())
    return axes


def test_spines_run_inside_the_filaments_in_a_colour_for_each() -> None:
    mask = cross_and_line()
    axes = axes_of(mask, 5)
    outlines, spines = (each for each in axes.collections if isinstance(each, LineCollection))
    assert len(outlines.get_paths()) == 2
    points = np.concatenate([np.asarray(path.vertices) for path in spines.get_paths()])
    x, y = np.rint(points).astype(int).T
    assert mask[y, x].all()
    assert len({to_hex(colour) for colour in np.asarray(spines.get_color())}) == 2


def test_the_longest_get_their_ids_and_hubs_are_marked() -> None:
    mask = cross_and_line()
    labels = Filaments(mask).labels
    assert [text.get_text() for text in axes_of(mask, 1).texts] == [str(labels[30, 30])]
    axes = axes_of(mask, 2)
    assert {text.get_text() for text in axes.texts} == {"1", "2"}
    (hubs,) = (line for line in axes.lines if len(line.get_xdata()))
    np.testing.assert_allclose(np.ravel(hubs.get_xydata()), [30, 30], atol=1.5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["spine (2 filaments)", "outline", "hub (1)"]


def test_a_map_without_filaments_is_drawn() -> None:
    axes = axes_of(np.zeros((20, 30), np.bool_), 5)
    assert not axes.texts
    assert len(axes.images) == 1


def test_a_wide_map_is_drawn_in_strips_that_share_the_ids() -> None:
    mask = np.zeros((20, 1000), np.bool_)
    mask[9:12, 20:80] = mask[9:12, 900:960] = True
    lines = DrawnFilaments(Filaments(mask))
    figure = filaments_figure(lines, image_of(mask.shape), galactic_header(1000, 20), "cm-2", "plane")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert len(texts) > 2
    assert texts[0] == ["1"]
    assert texts[-1] == ["2"]
    assert not any(texts[1:-1])
