import math
from typing import Any

import pytest

from bigsf.training.components.early_stopping import EarlyStopping
from bigsf.training.run_config import TrainerConfig

DIRECTIONS = {"val_loss": False, "val_dice": True, "val_distance": False}


def build(**config: Any) -> EarlyStopping:
    early_stopping = TrainerConfig.from_dict({"early_stopping": {"type": "patience", **config}}).early_stopping
    assert early_stopping is not None
    return early_stopping.build(DIRECTIONS)


def stops(early_stopping: EarlyStopping, monitor: str, values: list[float]) -> list[bool]:
    return [early_stopping.should_stop({monitor: value, "other": 0.0}) for value in values]


@pytest.mark.parametrize(
    ("config", "monitor", "values", "stop"),
    [
        ({"patience": 2}, "val_loss", [3, 2, 2, 1, 1, 1], 5),
        ({"patience": 1}, "val_loss", [3, 2, 1, 0.5], None),
        ({"patience": 2, "monitor": "val_dice"}, "val_dice", [0.1, 0.3, 0.2, 0.3], 3),
        ({"patience": 2, "min_delta": 0.5}, "val_loss", [3, 2.6, 2.5, 2.4], 2),
        ({"patience": 2, "min_delta": 0.5}, "val_loss", [3, 2.8, 2.4, 2.2, 1.8], None),
        ({"patience": 1, "monitor": "val_dice"}, "val_dice", [1, 2, 3, 2], 3),
        ({"patience": 1, "monitor": "val_distance"}, "val_distance", [1, 2], 1),
        ({"patience": 2}, "val_loss", [1, math.nan, math.nan], 2),
        ({"patience": 2}, "val_loss", [math.nan, 1, 1], None),
    ],
)
def test_stops_once_patience_is_spent(
    config: dict[str, Any], monitor: str, values: list[float], stop: int | None
) -> None:
    expected = [i == stop for i in range(len(values))]
    assert stops(build(**config), monitor, values) == expected


def test_restored_state_goes_on_counting() -> None:
    old, new = build(patience=3), build(patience=3)
    assert stops(old, "val_loss", [1, 2, 2]) == [False, False, False]
    new.load_state(old.state())
    assert stops(new, "val_loss", [2]) == [True]


def test_state_is_a_copy() -> None:
    early_stopping = build(patience=2)
    stops(early_stopping, "val_loss", [1, 2])
    state = early_stopping.state()
    stops(early_stopping, "val_loss", [0.5])
    assert state["waited"] == 1
