from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

import bigsf
from bigsf.errors import DataError, UsageError
from bigsf.evaluation.records import Completeness, KFoldSummary, Reliability, RunScores

COMPLETENESS = Completeness(
    marked=0.1,
    contrast=[0.1, 1.0],
    filaments=[16, 25],
    completeness={"BigSF": [0.5, 0.8]},
    before={"BigSF": [0.1, 0.1]},
)
RELIABILITY = Reliability(
    rows=[20, 30],
    expected=[0.4, 0.8],
    expected_error=[0.06, 0.08],
    measured=[0.5, 0.6],
    measured_error=[0.08, 0.06],
)


@pytest.fixture(autouse=True)
def _close() -> Any:
    yield
    plt.close("all")


def half_lengths(axes: Any, direction: int) -> list[float]:
    """Return half of the lengths of the error bars along x (0) or y (1)."""
    (container,) = (each for each in axes.containers if isinstance(each, ErrorbarContainer))
    bars = container.lines[2][direction if len(container.lines[2]) > 1 else 0]
    return [float(np.ptp(np.asarray(path.vertices)[:, direction]) / 2) for path in bars.get_paths()]


@pytest.mark.parametrize("named", ["folder", "metrics.csv"])
@pytest.mark.parametrize(("quantity", "label"), [("loss", "val loss"), ("score", "whole dice")])
def test_curves_of_a_run(named: str, quantity: Any, label: str, trained: Path) -> None:
    axes = bigsf.plot.curves(trained if named == "folder" else trained / named, quantity)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[label].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["best.pt"].get_xdata()) == [RunScores.load(trained / "scores.json").best_epoch] * 2
    assert axes.get_ylabel() == quantity


@pytest.mark.parametrize("text", ["", "epoch\n", "loss\n1\n", "epoch,loss\n1,x\n"])
def test_a_damaged_record_of_epochs_is_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=r"metrics\.csv"):
        bigsf.plot.curves(tmp_path)
    assert not plt.get_fignums()


def test_completeness_has_binomial_errors_and_counts() -> None:
    axes = bigsf.plot.completeness(COMPLETENESS)
    np.testing.assert_allclose(half_lengths(axes, 1), [(1 / 4 / 19) ** 0.5, (21 / 27 * 6 / 27 / 28) ** 0.5])
    (above,) = axes.child_axes
    assert [label.get_text() for label in above.get_xticklabels()] == ["16", "25"]


def test_reliability_has_errors_and_counts() -> None:
    axes = bigsf.plot.reliability({"whole": RELIABILITY})
    np.testing.assert_allclose(half_lengths(axes, 0), [0.06, 0.08])
    np.testing.assert_allclose(half_lengths(axes, 1), [0.08, 0.06])
    assert [text.get_text() for text in axes.texts] == ["20", "30"]


def test_figures_of_a_kfold_are_read_from_its_folder(trained_kfold: Path, tmp_path: Path) -> None:
    summary = KFoldSummary.load(trained_kfold / "summary.json")
    known = summary.model_copy(update={"injected": COMPLETENESS, "reliability": {"truth": RELIABILITY}})
    known.save(tmp_path / "summary.json")
    for source in (tmp_path, tmp_path / "summary.json", known):
        assert bigsf.plot.completeness(source).get_ylabel() == "completeness"
        assert bigsf.plot.reliability(source).get_ylabel() == "measured purity"
    unknown = known.model_copy(update={"injected_plummer": None, "reliability": {}})
    with pytest.raises(DataError, match="No filaments of this profile were injected"):
        bigsf.plot.completeness(unknown, "plummer")
    with pytest.raises(DataError, match="too few rows"):
        bigsf.plot.reliability(unknown)


def test_legends_cover_no_data() -> None:
    history = [{"epoch": n, "train_loss": 1 / n, "val_loss": 2 / n, "val_dice": n / 9} for n in range(1, 9)]
    drawn = [
        bigsf.plot.curves(history),
        bigsf.plot.curves(history, "score"),
        bigsf.plot.completeness(COMPLETENESS),
        bigsf.plot.reliability({"whole": RELIABILITY}),
    ]
    for axes in drawn:
        axes.figure.draw_without_rendering()
        assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())


def test_a_profile_beside_what_was_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="profile would do nothing"):
        bigsf.plot.completeness(COMPLETENESS, "plummer")


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UsageError, match=r"There is no profile 'Plummer'; expected gaussian or plummer\."):
        bigsf.plot.completeness(COMPLETENESS, "Plummer")  # type: ignore[arg-type]


def test_an_unknown_quantity_is_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no quantity 'foo'; expected loss or score\."):
        bigsf.plot.curves(trained, "foo")  # type: ignore[arg-type]


def test_error_bars_end_where_the_values_do() -> None:
    certain = RELIABILITY.model_copy(update={"measured": [0.02, 0.99]})
    axes = bigsf.plot.reliability({"whole": certain})
    np.testing.assert_allclose(half_lengths(axes, 1), [(0.02 + 0.08) / 2, (0.06 + 0.01) / 2])
