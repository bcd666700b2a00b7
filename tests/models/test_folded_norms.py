import pytest
import torch
from torch import nn

from bigsf.models.segmentation_model import with_folded_norms
from bigsf.models.unet import Norm, UNet
from bigsf.models.unetpp import UNetPlusPlus


def trained(network: nn.Module) -> nn.Module:
    """Give batch norms statistics of their own."""
    torch.manual_seed(0)
    for _ in range(3):
        network.train()(2 * torch.randn(4, 1, 16, 16) + 1)
    return network.eval()


@pytest.mark.parametrize("kind", [UNet, UNetPlusPlus])
def test_answers_are_those_of_the_model(kind: type[UNet] | type[UNetPlusPlus]) -> None:
    network = trained(kind(features=4, depth=2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = with_folded_norms(network)
    image = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(image), network(image), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_other_norms_stay(norm: Norm) -> None:
    network = trained(UNet(features=4, depth=2, norm=norm))
    image = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(with_folded_norms(network)(image), network(image))


def test_what_is_not_followed_by_a_norm_stays() -> None:
    network = trained(nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)))
    folded = with_folded_norms(network)
    assert [type(module) for module in folded.children()] == [nn.BatchNorm2d, nn.Conv2d, nn.ReLU, nn.BatchNorm2d]


class Residual(nn.Sequential):
    """A block whose norm does not see what the convolution before it returns alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self[1](self[0](image) + image)  # type: ignore[no-any-return]


def test_a_block_with_a_forward_of_its_own_stays() -> None:
    network = trained(Residual(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)))
    image = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(with_folded_norms(network)(image), network(image))


def test_tensors_that_stay_are_shared_and_the_model_is_as_it_was() -> None:
    network = trained(UNet(features=4, depth=2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = with_folded_norms(network)
    assert folded.state_dict()["head.weight"].data_ptr() == network.state_dict()["head.weight"].data_ptr()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
