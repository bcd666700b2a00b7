import pytest
import torch

from bigsf.errors import ConfigError
from bigsf.models.unet import Norm, UNet, UNetConfig
from bigsf.training.run_config import TrainerConfig


@pytest.mark.parametrize(("depth", "shape"), [(1, (2, 6)), (2, (8, 20)), (3, (16, 8))])
def test_logits_have_the_shape_of_the_patches(depth: int, shape: tuple[int, int]) -> None:
    network = UNet(in_channels=2, features=4, depth=depth).eval()
    assert network(torch.rand(3, 2, *shape)).shape == (3, 1, *shape)


def test_multiple_is_the_smallest_patch_that_goes_through() -> None:
    config = UNetConfig(features=4, depth=3)
    network = config.build().eval()
    assert network(torch.rand(1, 1, config.patch_multiple, 2 * config.patch_multiple)).isfinite().all()
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        network(torch.rand(1, 1, 2 * config.patch_multiple - 1, config.patch_multiple))


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_only_batch_norm_lets_patches_influence_each_other_in_training(norm: Norm) -> None:
    network, patches = UNet(features=4, depth=1, norm=norm).train(), torch.rand(4, 1, 8, 8)
    alone = torch.allclose(network(patches)[:2], network(patches[:2]), atol=1e-5)
    assert alone == (norm != "batch")


def test_patches_do_not_influence_each_other_in_use() -> None:
    network, patches = UNet(features=4, depth=1).eval(), torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(network(patches)[:2], network(patches[:2]))


def test_dropout_works_in_training_only() -> None:
    network, patches = UNet(features=4, depth=1, norm="group", dropout=0.5), torch.rand(2, 1, 8, 8)
    assert not torch.equal(network(patches), network(patches))
    network.eval()
    assert torch.equal(network(patches), network(patches))


def test_every_parameter_learns() -> None:
    network = UNet(features=4, depth=2)
    network(torch.rand(2, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_last_layer_stays_in_float32_under_mixed_precision() -> None:
    network = UNet(features=4, depth=1).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.rand(2, 1, 8, 8))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_features_double_at_each_step_down() -> None:
    widths = [block[0].out_channels for block in UNetConfig(features=6, depth=3).build().down]  # type: ignore[union-attr]
    assert widths == [6, 12, 24, 48]


def test_depth_may_be_called_num_blocks() -> None:
    model = TrainerConfig.from_dict({"model": {"type": "UNet", "num_blocks": 3}}).model
    assert model == UNetConfig(depth=3)


WRONG = [("depth", 0), ("depth", 8), ("features", 0), ("norm", "layer"), ("dropout", 1.0)]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_impossible_networks_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}: found {value!r}, expected"):
        TrainerConfig.from_dict({"model": {"type": "unet", key: value}})
