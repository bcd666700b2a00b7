from functools import partial

import pytest
import torch
from torch import nn

from bigsf.errors import ConfigError
from bigsf.models.batch_size import batch_size_on, batch_size_within
from bigsf.models.normalizations import MinMaxConfig
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.unet import UNet


def test_batch_size_comes_from_memory() -> None:
    model = SegmentationModel(UNet(features=4, depth=2), MinMaxConfig().build(1))
    one = model.output_bytes(torch.zeros(1, 1, 16, 16))
    band = 4 * 100 * 2 * 16 * 3
    for memory, expected in ((band + one, 1), (band + 3.5 * one, 3), (1e12, 64)):
        assert batch_size_within(memory, [model], 16, 1, (50, 100)) == expected
    views = 4 * 100 * 2 * 16 * 8  # a plane of the band for each
    assert batch_size_within(band + views + one, [model], 16, 1, (50, 100), views=8) == 1
    binned = 2 * 9 * 25 * 50  # and one of the binned map in half the bytes
    assert batch_size_within(2 * (band + views) + binned + one, [model], 16, 1, (50, 100), [1, 2], views=8) == 1
    with pytest.raises(ConfigError, match=r"'memory' \(38\.4 kB\) is too little: a band of the map takes 38\.4 kB, a"):
        batch_size_within(band, [model], 16, 1, (50, 100))


def test_a_gpu_predicts_in_batches_that_fill_half_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, gpu = SegmentationModel(UNet(features=4, depth=2), MinMaxConfig().build(1)), torch.device("cuda")
    one = model.output_bytes(torch.zeros(1, 1, 16, 16))
    free = {"bytes": 10.0 * one}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 1e12))
    within = partial(batch_size_within, models=[model], window=16, channels=1, shape=(50, 100), gpu=gpu)
    assert within(1e12) == 5
    assert within(1e12, gpu_bytes=3 * one) == 3
    band, window = 4 * 100 * 2 * 16 * 3, 4 * 16**2 * 5  # in the memory of the host
    assert within(band + 2 * window) == 2
    with pytest.raises(ConfigError, match=r"'memory' \(38\.4 kB\) is too little: a band of the map takes 38\.4 kB, a"):
        within(band)
    with pytest.raises(
        ConfigError, match=r" of cuda are too little: a window takes .* \(device='cpu'\), or raise 'memory'"
    ):
        within(1e12, gpu_bytes=one - 1)
    free["bytes"] = 1e12
    assert within(1e12) == 1024
    assert batch_size_on(gpu, [model], 16, 1) == 1024
    free["bytes"] = 1.0
    assert batch_size_on(gpu, [model], 16, 1) == 1


def test_a_cpu_predicts_64_windows_at_a_time() -> None:
    assert batch_size_on(torch.device("cpu"), [], 16, 1) == 64


class Passing(nn.Module):
    """A network with a part that returns what it gets."""

    def __init__(self, same: bool) -> None:
        super().__init__()
        self.same, self.convolution = nn.Identity() if same else None, nn.Conv2d(1, 1, 1)

    def forward(self, image: torch.Tensor, position: torch.Tensor | None) -> torch.Tensor:
        """Return logits."""
        return self.convolution(image if self.same is None else self.same(image))  # type: ignore[no-any-return]


def test_what_is_passed_on_takes_no_memory() -> None:
    image = torch.zeros(1, 1, 16, 16)
    same, without = (SegmentationModel(Passing(each), MinMaxConfig().build(1)) for each in (True, False))
    assert same.output_bytes(image) == without.output_bytes(image)


def test_the_same_bits_take_batches_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1.0, 1.0))
    assert batch_size_on(torch.device("cuda"), [], 16, 1, fixed=True) == 64
