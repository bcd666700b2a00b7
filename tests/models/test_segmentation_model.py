import pytest
import torch
from torch import Tensor, nn

from bigsf.errors import ConfigError
from bigsf.models.normalizations import MinMaxConfig, Normalization
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.unet import UNet


class Recorder(nn.Module):
    """Remembers what it is given and returns the image as logits."""

    def forward(self, patches: Tensor, position: Tensor | None) -> Tensor:
        self.seen, self.position = patches, position
        return patches


def test_network_gets_normalised_patches_with_zero_where_missing() -> None:
    model = SegmentationModel(network := Recorder(), MinMaxConfig().build(1))
    image = torch.tensor([2e22, torch.nan, 4e22, 3e22]).view(1, 1, 2, 2)
    model(image)
    torch.testing.assert_close(network.seen.flatten(), torch.tensor([0, 0, 1, 0.5]))


def test_infinite_pixels_are_missing() -> None:
    model = SegmentationModel(network := Recorder(), MinMaxConfig().build(1))
    model(torch.tensor([1.0, torch.inf, -torch.inf, 2.0]).view(1, 1, 2, 2))
    assert network.seen.flatten().tolist() == [0, 0, 0, 1]


def test_position_reaches_the_network() -> None:
    model, position = SegmentationModel(network := Recorder(), Normalization()), torch.tensor([[3.0, 4.0]])
    model.probabilities(torch.zeros(1, 1, 2, 2), position)
    assert network.position is position


def test_probabilities_are_the_sigmoid_of_the_logits() -> None:
    model = SegmentationModel(Recorder(), Normalization())
    logits = torch.tensor([-200.0, 0.0, 1.0, 200.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(model.probabilities(logits).flatten(), torch.tensor([0, 0.5, 0.7310586, 1]))


def test_mixed_precision_touches_neither_normalization_nor_probabilities() -> None:
    model = SegmentationModel(network := Recorder(), MinMaxConfig().build(1))
    image = 1e23 + 1e20 * torch.rand(1, 1, 4, 4)
    model(image)
    expected = network.seen
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.probabilities(image).dtype == torch.float32
    assert torch.equal(network.seen, expected)


def test_patch_without_a_valid_pixel_is_finite() -> None:
    model = SegmentationModel(UNet(features=4, depth=1), MinMaxConfig().build(1)).eval()
    assert model.probabilities(torch.full((1, 1, 4, 4), torch.nan)).isfinite().all()


def test_a_network_of_several_planes_in_evaluation_is_refused() -> None:
    class TwoPlanes(nn.Module):
        def forward(self, image: Tensor, position: Tensor | None) -> Tensor:
            return torch.cat([image, image], dim=1)

    model = SegmentationModel(TwoPlanes(), MinMaxConfig().build(1)).eval()
    with pytest.raises(ConfigError, match=r"returns the shape \(3, 2, 8, 8\); expected logits of one plane, \(3, 1, 8"):
        model.probabilities(torch.rand(3, 1, 8, 8))
