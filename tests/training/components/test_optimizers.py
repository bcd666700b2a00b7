import pytest
import torch
from torch import nn

from bigsf.training.components.muon import Muon, orthogonalized
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


@pytest.mark.parametrize("shape", [(16, 144), (64, 24), (32, 32)])
def test_muon_makes_singular_values_equal(shape: tuple[int, int]) -> None:
    rotations = torch.linalg.svd(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.logspace(0, -1, min(shape)) * 3e-5  # the smallest is above a hundredth of the norm
    steep = rotations.U @ torch.diag(values) @ rotations.Vh
    equal = rotations.U.T @ orthogonalized(steep) @ rotations.Vh.T
    assert equal.diagonal().min() > 0.6
    assert equal.diagonal().max() < 1.3
    assert (equal - torch.diag(equal.diagonal())).abs().max() < 0.05


def test_steps_of_muon_are_as_long_as_those_of_adam() -> None:
    """The root mean square of a step is 0.2 learning rates, so that both have the same learning rate."""
    convolution = nn.Conv2d(32, 64, 3)
    before = convolution.weight.detach().clone()
    optimizer = Muon(convolution.parameters(), lr=0.01, weight_decay=0.0)
    convolution(torch.randn(4, 32, 8, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimizer.step()
    step = (convolution.weight - before).square().mean().sqrt()
    assert 0.7 * 0.2 * 0.01 < step < 1.2 * 0.2 * 0.01


def test_muon_gives_adamw_what_is_no_matrix() -> None:
    """Biases, and convolutions from or to one feature map."""
    networks = [nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 1)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network, build in zip(networks, (Muon, torch.optim.AdamW), strict=True):
        optimizer = build(network.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.ones(2, 1, 8, 8)).square().sum().backward()
            optimizer.step()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_weight_decay_of_muon_shrinks_matrices() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.zeros(4, 4)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 1 - 0.1 * 0.5))


def test_muon_calls_a_closure() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([weight], lr=0.1)

    def closure() -> float:
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        return 3.0

    assert optimizer.step(closure) == 3
    assert (weight < 1).any()
