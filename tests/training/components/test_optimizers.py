import pytest
import torch
from torch import nn

from bigsf.training.components.optimizers import OptimizerConfig
from conftest import own_members

each_optimizer = pytest.mark.parametrize("config", own_members(OptimizerConfig), ids=lambda config: config.type)
OTHER_VALUES = {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.7, "nesterov": True}


def fields(config: OptimizerConfig) -> list[str]:
    return [name for name in type(config).model_fields if name != "type"]


@each_optimizer
def test_steps_lead_down_a_slope(config: OptimizerConfig) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = config.build([parameter])
    for _ in range(3):
        optimizer.zero_grad()
        parameter.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (parameter.abs() < torch.tensor([1.0, 2.0])).all()


@each_optimizer
def test_every_key_reaches_the_optimizer(config: OptimizerConfig) -> None:
    changes = {name: OTHER_VALUES[name] for name in fields(config)}
    (group,) = config.model_copy(update=changes).build([nn.Parameter(torch.ones(1))]).param_groups
    assert {name: group[name] for name in changes} == changes


@each_optimizer
def test_defaults_are_those_of_the_configuration(config: OptimizerConfig) -> None:
    (group,) = config.build([nn.Parameter(torch.ones(1))]).param_groups
    assert {name: group[name] for name in fields(config)} == config.model_dump(exclude={"type"})
