from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from bigsf.training.components import trackers
from bigsf.training.components.trackers import draw_curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect figures instead of writing them."""
    figures: list[Any] = []
    monkeypatch.setattr(trackers, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_curves_show_losses_beside_validation_scores(drawn: list[Any]) -> None:
    history = [
        {"epoch": n, "lr": 0.1, "train_loss": 1 / n, "val_loss": 2 / n, "val_dice": n / 4, "val_roc_auc": float("nan")}
        for n in (1, 2, 3)
    ]
    draw_curves(history, Path("curves.png"), best_epoch=2)
    losses, scores = drawn[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for axes in (losses, scores) for line in axes.lines}
    assert lines["train loss"] == [1, 1 / 2, 1 / 3]
    assert lines["val loss"] == [2, 1, 2 / 3]
    assert lines["dice"] == [1 / 4, 1 / 2, 3 / 4]
    assert "lr" not in lines
    assert [list(axes.lines[-1].get_xdata()) for axes in (losses, scores)] == [[2, 2], [2, 2]]


def test_curves_of_a_run_are_an_image(trained: Path) -> None:
    assert imread(trained / "curves.png").shape[1] > 1000
