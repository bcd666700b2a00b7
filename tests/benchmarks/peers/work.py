"""A split of a k-fold -> the training batches, and the map to predict, that every tool gets."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from bigsf.arrays import BoolArray, FloatArray
from bigsf.models.orientations import mean_and_views
from bigsf.training.build import build_run
from bigsf.training.run import TrainingRun
from bigsf.training.run_config import RunConfig

PEAK_RATE = 3e-3
"""The highest learning rate of the one cycle, as in BigSF's recipe with AdamW."""


@dataclass(frozen=True)
class SplitWork:
    """What a tool gets for one split: the batches that BigSF would train on, and the map."""

    run: TrainingRun

    @classmethod
    def of(cls, config: RunConfig, number: int) -> "SplitWork":
        """Return the work of a split, numbered from 1, of the k-fold of a configuration."""
        split = config.split.model_copy(update={"use": number})
        return cls(build_run(config.model_copy(update={"split": split}), device="cpu"))

    @cached_property
    def valid(self) -> BoolArray:
        """The pixels with data, `(ny, nx)`."""
        return np.asarray(np.isfinite(self.run.patch_file.image[0]))

    def folds(self, numbers: list[int]) -> BoolArray:
        """Return the valid pixels of some folds, `(ny, nx)`."""
        here = self.run.folds.rows(0, self.run.patch_file.shape[0])
        return np.asarray(np.isin(here, numbers)) & self.valid

    @property
    def tested(self) -> BoolArray:
        """The pixels that are scored, `(ny, nx)`."""
        return self.folds(self.run.split.test)

    @cached_property
    def _level(self) -> tuple[float, float]:
        values = np.log10(self.run.patch_file.image[0][self.folds(self.run.split.train)])
        return float(values.mean()), float(values.std())

    def standardised(self, image: Tensor) -> Tensor:
        """Return log10 of the map with mean 0 and deviation 1 on the training folds; 0 where there is no data."""
        mean, deviation = self._level
        return ((image.log10() - mean) / deviation).nan_to_num(0)

    @property
    def image(self) -> FloatArray:
        """The map `(ny, nx)`, standardised."""
        return np.asarray(self.standardised(torch.from_numpy(self.run.patch_file.image[0].copy())))

    @property
    def steps(self) -> int:
        """Steps of the training."""
        assert self.run.config.trainer.epochs is not None
        return self.run.dataset.steps * self.run.config.trainer.epochs

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield image, target and 1 where there is data, `(b, 1, y, x)` each: flipped and turned, of all epochs.

        Pixels of other folds have no data. Pixels without a label are background.
        """
        for step in range(self.steps):
            batch = self.run.dataset.batch(*divmod(step, self.run.dataset.steps))
            counted = batch.image.isfinite().float()
            yield self.standardised(batch.image), batch.target * counted, counted


Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits and target, `(b, 1, y, x)` each, to a scalar."""


def train(network: nn.Module, loss: Loss, work: SplitWork) -> None:
    """Train a network on all batches: AdamW with one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=work.steps)
    network.train()
    for image, target, counted in work.batches():
        optimizer.zero_grad()
        logits = torch.where(counted > 0, network(image), -20.0)  # no loss, and no gradient
        loss(logits, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def predict(network: nn.Module, work: SplitWork) -> FloatArray:
    """Return the probability `(ny, nx)`: eight orientations of each window, at a quarter of a window."""
    inferer = SlidingWindowInferer(work.run.patch_file.patch_size, sw_batch_size=64, overlap=0.75, mode="gaussian")
    network.eval()

    def mean(windows: Tensor) -> Tensor:
        return mean_and_views(lambda view: network(view).sigmoid(), windows)[:, :1]

    with torch.inference_mode():
        return np.asarray(inferer(torch.from_numpy(work.image)[None, None], mean)[0, 0])


def cpu_seconds() -> float:
    """Return the time that this process, and those that it has started, have used of all cores."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
