"""Batch -> updated weights: one step of training, shared by all processes."""

import gc
import math
from contextlib import ExitStack
from typing import NoReturn, Self

import torch
from numpy.random import SeedSequence
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bigsf.errors import ConfigError, TrainingError
from bigsf.models.device import autocast
from bigsf.training.components.batch import Batch
from bigsf.training.components.losses import Loss, checked
from bigsf.training.dataset import PatchDataset, Prefetcher
from bigsf.training.distributed import World
from bigsf.training.run_config import TrainerConfig
from bigsf.training.state import TrainingState


class TrainingStep:
    """Takes steps.

    Losses are sums over the pixels of the whole batch divided by the sum of their weights, so that it does not matter
    how a batch is divided among processes or into parts, for networks without batch statistics and losses that are
    sums over pixels; for others the result is only close.

    Parameters
    ----------
    config
        How a model is trained.
    dataset
        The batches; this process gets its part of each.
    loss
        The loss.
    state
        The state that steps update.
    device, dtype
        Where and in which number format the network runs.
    world
        The processes that share a batch.
    """

    def __init__(
        self,
        config: TrainerConfig,
        dataset: PatchDataset,
        loss: Loss,
        state: TrainingState,
        device: torch.device,
        dtype: torch.dtype,
        world: World,
    ) -> None:
        self.config, self.dataset, self.loss, self.state = config, dataset, loss, state
        self.device, self.dtype, self.world = device, dtype, world
        self.model = state.model
        self._prefetched = Prefetcher(dataset)
        self._parallel: DistributedDataParallel | None = None

    def __enter__(self) -> Self:
        """Join the processes of the world; without that, each process takes steps of its own."""
        if self.world.size > 1:
            self._parallel = DistributedDataParallel(self.model)
        return self

    def __exit__(self, *raised: object) -> None:
        """Release the process group; its threads must end before the interpreter does."""
        self._parallel = None
        self._prefetched.close()
        self._prefetched = Prefetcher(self.dataset)  # the training may go on
        gc.collect()  # DistributedDataParallel refers to itself

    def __call__(self, epoch: int, step: int) -> int:
        """Take a step and return the number of patches in it.

        Raises
        ------
        TrainingError
            Where the loss or its gradient is not finite; the weights are left as they were.
        """
        state = self.state
        seed = SeedSequence([self.config.seed, epoch, step, self.world.rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))  # dropout
        state.set_learning_rate(epoch + step / self.dataset.steps)
        batch = self._prefetched.batch(epoch, step)
        weight = self._weight(batch)
        (whole_weight,) = self.world.sums([float(weight.sum())])
        state.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        parts = max(1, min(self.config.accumulate, len(batch.image)))
        totals = [self._backward(batch, weight, slice(n, None, parts), whole_weight, parts - n) for n in range(parts)]
        (total,) = self.world.sums([sum(totals)])
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if not math.isfinite(total) or not (norm.isfinite() or state.scaler.is_enabled()):
            self._fail(epoch, step)
        if self.config.clip_gradient is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.clip_gradient, norm)
        if whole_weight:  # else momentum and weight decay would move the weights
            state.scaler.step(state.optimizer)
        state.scaler.update()
        state.partial_loss = (state.partial_loss[0] + total, state.partial_loss[1] + whole_weight)
        return len(self.dataset.batch_indices(epoch, step))

    def _weight(self, batch: Batch) -> torch.Tensor:
        """Return the weight of each pixel in the loss, `(b, 1, y, x)`."""
        valid = batch.image.isfinite().all(dim=1, keepdim=True)
        unlabelled = valid.float() * self.config.loss.unlabelled_weight
        return torch.where(batch.labelled & valid, 1.0, unlabelled)

    def _backward(self, batch: Batch, weight: torch.Tensor, part: slice, whole_weight: float, left: int) -> float:
        """Add the gradient of one part of a batch; `left` parts are still to come, this one included.

        Returns
        -------
        float
            The loss sum of the part.
        """
        image, target, weight = batch.image[part], batch.target[part], weight[part]
        position = None if batch.position is None else batch.position[part]
        if not len(image):  # this process has no patch; it takes one without weight, since all must exchange gradients
            image, target, weight = (plane.new_zeros((1, *plane.shape[1:])) for plane in (image, target, weight))
            position = None if position is None else position.new_zeros((1, 2))
        with ExitStack() as stack:
            if self._parallel is not None and left > 1:
                stack.enter_context(self._parallel.no_sync())
            with autocast(self.device, self.dtype):
                logits = (self._parallel or self.model)(image, position)
            _check_logits(logits, target)
            answers = [checked(self.loss(answer[:, None], target, weight)) for answer in logits.unbind(dim=1)]
            total = torch.stack([answer.total for answer in answers]).mean()
            scale = self.world.size / max(whole_weight, 1e-12)  # gradients are averaged over processes
            self.state.scaler.scale(total * scale).backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    def _fail(self, epoch: int, step: int) -> NoReturn:
        positions = self.dataset.patch_file.positions[self.dataset.batch_indices(epoch, step)]
        some = ", ".join(f"({y}, {x})" for y, x in positions[:4])
        bad_weights = any(not p.isfinite().all() for p in self.model.parameters())
        cause = (
            "the weights are no longer finite: lower trainer.optimizer.lr"
            if bad_weights
            else "the values of these patches, or a learning rate that is too high"
        )
        raise TrainingError(
            f"The loss or its gradient is not a number in epoch {epoch + 1}, step {step + 1}, patches at (y, x) = "
            f"{some}, ... Likely cause: {cause}. Where an epoch had ended, its snapshot stays in the run folder."
        )


def _check_logits(logits: torch.Tensor, target: torch.Tensor) -> None:
    """Raise `ConfigError` where a network, which may be the user's own, returns another shape than it takes."""
    if logits.ndim != 4 or (logits.shape[0], *logits.shape[2:]) != (target.shape[0], *target.shape[2:]):
        raise ConfigError(
            f"The network returns the shape {tuple(logits.shape)} for patches of {tuple(target.shape)}; expected "
            "logits (b, outputs, y, x) of the same pixels."
        )
