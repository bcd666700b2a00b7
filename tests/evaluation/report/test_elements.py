import numpy as np
import pytest
from matplotlib.figure import Figure

from bigsf.errors import BigsfWarning
from bigsf.evaluation.baselines import BASELINES
from bigsf.evaluation.map_scores import MODEL
from bigsf.evaluation.report.elements import definitions, figure, folded, headline, listing, note, number, table
from bigsf.evaluation.report.figures import METHOD_COLOURS
from bigsf.figures import PALETTE, new_figure

ODD, ESCAPED = '<i>"a" & b</i>', "&lt;i&gt;&quot;a&quot; &amp; b&lt;/i&gt;"


def broken() -> Figure:
    raise RuntimeError("no fonts")


def test_all_text_is_escaped() -> None:
    with pytest.warns(BigsfWarning, match="could not be drawn"):
        undrawn = figure(broken, ODD, ODD)
    parts = [
        table([ODD], [[ODD]], [ODD]),
        note(ODD),
        definitions({ODD: ODD}, "facts"),
        listing([ODD]),
        folded(ODD, ODD),
        headline(ODD, ODD, 0.5, {ODD: 0.4}),
        figure(lambda: new_figure(1, 1), ODD, ODD),
        undrawn,
    ]
    assert [part.count(ESCAPED) for part in parts] == [3, 1, 2, 1, 2, 3, 2, 1]
    assert not [part for part in parts if "<i>" in part]


def test_a_table_marks_the_model_and_keeps_its_foot_below() -> None:
    text = table(["map", "AP"], [["BigSF", "0.7"], ["other", "0.5"]], ["mean", "0.6"])
    assert "<thead><tr><th>map</th><th>AP</th></tr></thead>" in text
    assert f'<tr class=ours><td class=method style="--method: {METHOD_COLOURS[MODEL]}">BigSF</td><td>0.7</td>' in text
    assert "<tr><td>other</td><td>0.5</td></tr></tbody>" in text
    assert text.endswith("<tfoot><tr><td>mean</td><td>0.6</td></tr></tfoot></table></div>")


def test_every_method_has_a_colour_of_its_own_that_the_colour_blind_tell_apart() -> None:
    assert list(METHOD_COLOURS) == [MODEL, *BASELINES]
    assert len(set(METHOD_COLOURS.values())) == len(METHOD_COLOURS)
    assert set(METHOD_COLOURS.values()) <= set(PALETTE.values())


def test_a_headline_names_the_best_baseline() -> None:
    text = headline("Average precision", "the whole map", 0.79, {"local contrast": 0.5, "Sato filter": 0.4})
    assert "Average precision 0.79 on the whole map; the best baseline, local contrast, has 0.50." in text
    assert "So the model" not in text


@pytest.mark.parametrize(
    ("model", "verdict"),
    [(0.509, "about as good as"), (0.491, "about as good as"), (0.3, "worse than"), (np.nan, "worse than")],
)
def test_a_headline_says_where_a_model_is_no_better_than_a_baseline(model: float, verdict: str) -> None:
    text = headline("AP", "the map", model, {"local contrast": 0.5, "Sato filter": float("nan")})
    assert text.startswith("<li class=worse>")
    assert f"So the model is {verdict} what needs no training" in text


def test_a_headline_without_a_known_baseline_compares_nothing() -> None:
    text = headline("AP", "the map", 0.5, {"Sato filter": float("nan")})
    assert text == "<li><strong>0.50</strong>AP 0.50 on the map.</li>"


def test_numbers_have_four_digits_and_a_dash_where_they_are_undefined() -> None:
    assert [number(value) for value in (0.5, 22.2222, float("nan"))] == ["0.5000", "22.22", "-"]


def test_a_figure_has_a_caption() -> None:
    text = figure(lambda: new_figure(1, 1), "the map", "What it shows.")
    assert text.startswith('<figure><img alt="the map" src="data:image/png;base64,')
    assert text.endswith("<figcaption>What it shows.</figcaption></figure>")
