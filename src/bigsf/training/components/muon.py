"""Gradients -> weights by Muon: each matrix of weights moves in all its directions by the same length."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from bigsf.models.device import resolve_precision

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: the fifth-order step that is steepest at zero
_STEPS = 5
_AS_ADAM = 0.2  # root mean square of the steps of Adam, in units of the learning rate (Liu et al. 2025)


class Muon(torch.optim.AdamW):
    """Muon for matrices of weights, AdamW for the rest (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    The weights of a convolution are a matrix with a row for each of its outputs; those of a transposed one have a row
    for each of its inputs. A step is the mean gradient with all its singular values made equal, so that directions in
    which gradients are small are learned too. It is as long as a step of Adam, so that one learning rate serves for all
    weights (Liu et al. 2025, arXiv 2502.16982). Biases, norms, and layers from or to one feature map take the steps of
    AdamW.

    `torch.optim.Muon` takes no weights of convolutions. The singular values are made equal in bf16 where the device
    multiplies it in hardware, whatever `trainer.precision` is. Where gradients differ by rounding, e.g. between one
    process and several, steps therefore differ in their third digit. All processes should run on machines of one kind.

    Parameters
    ----------
    params
        Parameters of a network.
    lr
        Learning rate.
    weight_decay
        Fraction by which weights shrink per step, times the learning rate.
    momentum
        Memory of past gradients of the matrices.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.01,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.defaults["momentum"] = momentum
        for group in self.param_groups:
            group.setdefault("momentum", momentum)

    @override
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step. The gradients of the matrices are None after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and is_matrix(parameter):
                    self._step_of_matrix(parameter, parameter.grad, group)
                    parameter.grad = None  # AdamW leaves it out
        super().step()
        return loss

    @torch.no_grad()
    def _step_of_matrix(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # what torch's Adam expects of every state that it loads
            state["exp_avg"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean = state["exp_avg"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"]).movedim(1, -1)  # Nesterov's momentum, in the order of the memory
        matrix = ahead.flatten(1)
        length = _AS_ADAM * max(matrix.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonalized(matrix).view_as(ahead).movedim(-1, 1), alpha=-group["lr"] * length)


def is_matrix(parameter: Tensor) -> bool:
    """Return whether weights lead from several feature maps to several."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) > 1


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return a matrix with nearly equal singular values, by five Newton-Schulz steps.

    A singular value above a hundredth of the norm of the matrix becomes 0.6 to 1.3. A smaller one, as a part of the
    norm, is multiplied by at most 485. It is computed in bf16 where the device multiplies it in hardware.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide.to(resolve_precision("auto", matrix.device))
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(matrix.dtype)
    return x if wide is matrix else x.T
