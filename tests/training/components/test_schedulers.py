from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigsf.training.components.schedulers import AnySchedulerConfig
from bigsf.training.components.schedules import Scheduler
from bigsf.training.run_config import TrainerConfig
from conftest import own_members

DIRECTIONS = {"val_loss": False, "val_dice": True, "val_distance": False}

each_scheduler = pytest.mark.parametrize("config", own_members(AnySchedulerConfig), ids=lambda config: config.type)


def build(epochs: int = 10, **config: Any) -> Scheduler:
    scheduler = TrainerConfig.from_dict({"scheduler": config}).scheduler
    assert scheduler is not None
    return scheduler.build(epochs, DIRECTIONS)


@pytest.mark.parametrize(
    ("config", "factors"),
    [
        ({"type": "step", "every": 2, "gamma": 0.5}, {0: 1, 1.9: 1, 2: 0.5, 3.5: 0.5, 4: 0.25}),
        ({"type": "multistep", "milestones": [1, 3], "gamma": 0.1}, {0: 1, 0.99: 1, 1: 0.1, 2.5: 0.1, 3: 0.01}),
        ({"type": "exponential", "gamma": 0.5}, {0: 1, 0.5: 1, 1: 0.5, 3.9: 0.125}),
        ({"type": "cosine", "final": 0.2}, {0: 1, 5: 0.6, 10: 0.2, 12: 0.2}),
        ({"type": "onecycle", "rise": 0.5, "initial": 0.2, "final": 0.4}, {0: 0.2, 2.5: 0.6, 5: 1, 7.5: 0.7, 10: 0.4}),
        ({"type": "step", "every": 2, "gamma": 0.5, "warmup": 4}, {0: 0, 1: 0.25, 2: 0.25, 3: 0.375, 4: 0.25}),
    ],
)
def test_factors_by_hand(config: dict[str, Any], factors: dict[float, float]) -> None:
    scheduler = build(10, **config)
    assert {epoch: scheduler.factor(epoch) for epoch in factors} == pytest.approx(factors)


@each_scheduler
@given(epoch=st.floats(0, 10))
def test_factor_lies_between_zero_and_one(config: AnySchedulerConfig, epoch: float) -> None:
    assert 0 <= config.build(10, DIRECTIONS).factor(epoch) <= 1


@each_scheduler
def test_schedule_says_whether_it_depends_on_the_number_of_epochs(config: AnySchedulerConfig) -> None:
    short, long = (config.build(epochs, DIRECTIONS) for epochs in (10, 20))
    differs = any(short.factor(epoch / 4) != long.factor(epoch / 4) for epoch in range(40))
    assert config.depends_on_total == differs


@each_scheduler
def test_warm_up_grows_linearly_from_zero(config: AnySchedulerConfig) -> None:
    plain = config.build(10, DIRECTIONS)
    warm = config.model_copy(update={"warmup": 2.0}).build(10, DIRECTIONS)
    for epoch, share in {0: 0, 0.5: 0.25, 1: 0.5, 2: 1, 7: 1}.items():
        assert warm.factor(epoch) == pytest.approx(share * plain.factor(epoch))


@each_scheduler
def test_restored_scheduler_goes_on_as_the_old_one(config: AnySchedulerConfig) -> None:
    old, new = (config.build(20, DIRECTIONS) for _ in range(2))
    for _ in range(7):
        old.end_of_epoch({"val_loss": 1.0})
    new.load_state(old.state())
    for epoch in range(7, 20):
        assert new.factor(epoch) == old.factor(epoch)
        for scheduler in (old, new):
            scheduler.end_of_epoch({"val_loss": 1.0})


@pytest.mark.parametrize(("monitor", "sign"), [("val_loss", 1), ("val_dice", -1), ("val_distance", 1)])
def test_plateau_falls_after_epochs_without_a_better_value(monitor: str, sign: int) -> None:
    plateau = build(type="plateau", monitor=monitor, patience=2, gamma=0.5)
    factors = []
    for value in [5, 4, 4, 6, 3, 3, float("nan"), 2]:
        plateau.end_of_epoch({monitor: sign * value})
        factors.append(plateau.factor(0))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
