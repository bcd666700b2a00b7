"""Several processes that train one model, under torchrun or srun.

What they exchange is data and never code: tensors of numbers, and JSON text that travels as a tensor of bytes. Whoever
joins the run can end or spoil it, but runs nothing in the other processes.
"""

import ctypes
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import distributed, nn

from bigsf import console
from bigsf.errors import BigsfError, ConfigError, InterruptedRunError, LostProcessError
from bigsf.interrupts import Stop

Result = TypeVar("Result")
Item = TypeVar("Item")

_LOST = re.compile(r"gloo/transport|[Cc]onnection (closed|reset) by (remote )?peer|remote process exited")

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>

_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
"""The environment variables of each launcher: rank, number of processes, and rank on the node."""


class _Failure(NamedTuple):
    """An error of one process on its way to the others."""

    kind: str
    """The name of its class in `bigsf.errors`."""
    message: str
    exit_code: int

    @classmethod
    def of(cls, error: BigsfError) -> Self:
        """Return an error as plain data."""
        kind = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
        return cls(kind, str(error), error.exit_code)

    def error(self) -> BigsfError:
        """Return the error. What has the name of no known class is a `BigsfError`."""
        kind = _ERRORS.get(self.kind, BigsfError)
        if kind is InterruptedRunError:
            return InterruptedRunError(self.message, self.exit_code)
        return kind(self.message)


_KINDS: list[type[BigsfError]] = [BigsfError, *BigsfError.__subclasses__()]
_ERRORS = {kind.__name__: kind for kind in _KINDS}
_FAILURE: TypeAdapter[_Failure | None] = TypeAdapter(_Failure | None)
_STOP: TypeAdapter[Stop | None] = TypeAdapter(Stop | None)


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Parameters
    ----------
    rank
        Number of this process, from 0; the first one writes.
    size
        Number of processes.
    local_rank
        Number of this process on its node, and of its GPU.
    device
        Where tensors lie that processes exchange: that GPU, or the memory of the CPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sum over all processes of each value."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def gather(self, item: Item, kind: TypeAdapter[Item]) -> list[Item]:
        """Return what each process gives, in the order of the processes; it travels as JSON text.

        Parameters
        ----------
        item
            What this process gives.
        kind
            Its type. What the others send must be of this type too.

        Raises
        ------
        LostProcessError
            Where another process sends something else.
        """
        if self.size == 1:
            return [item]
        items = []
        for rank, text in enumerate(self._gather_bytes(kind.dump_json(item))):
            try:
                items.append(kind.validate_json(text))
            except ValidationError as error:
                raise LostProcessError(
                    f"Process {rank} of {self.size} sent what no process of this run sends: "
                    f"{error.errors()[0]['msg']}. Is it of the same version of BigSF, and yours?"
                ) from None
        return items

    def _gather_bytes(self, content: bytes) -> list[bytes]:
        """Return the bytes that each process gives; first their numbers, as all must send tensors of one length."""
        own = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        length = torch.tensor([len(own)], device=self.device)
        lengths = [torch.empty_like(length) for _ in range(self.size)]
        distributed.all_gather(lengths, length)
        longest = max(int(each) for each in lengths)
        received = [own.new_empty(longest) for _ in range(self.size)]
        distributed.all_gather(received, nn.functional.pad(own, (0, longest - len(own))))
        return [each[: int(n)].cpu().numpy().tobytes() for each, n in zip(received, lengths, strict=True)]

    def first(self, work: Callable[[], Result]) -> Result | None:
        """Let the first process work while the others wait.

        Returns
        -------
        object
            The result of the work in the first process, None in the others.

        Raises
        ------
        BigsfError
            An error of the work, in all processes.
        """
        error: BigsfError | None = None
        result: Result | None = None
        if self.is_first:
            try:
                result = work()
            except BigsfError as raised:
                error = raised
        failure = self.gather(_Failure.of(error) if error else None, _FAILURE)[0]
        if failure is not None:
            raise error or failure.error()
        return result

    def agree(self, stop: Stop | None) -> Stop | None:
        """Return why all processes stop now, or None; a signal to any of them stops all, and so does a time limit."""
        (asked,) = self.sums([stop is not None])
        if not asked:
            return None
        return max(filter(None, self.gather(stop, _STOP)), key=lambda each: each.exit_code)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def share_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of the first process, e.g. the running statistics of batch norm, to all others."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


def _ranks() -> tuple[int, int, int]:
    """Return (rank, size, local rank) from the environment of torchrun or srun; (0, 1, 0) for one process alone.

    Raises
    ------
    ConfigError
        Where variables are missing, are no numbers, or do not fit together.
    """
    if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        names = _LAUNCHERS["torchrun"]
    elif "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        names = _LAUNCHERS["srun"]
    else:
        return 0, 1, 0
    remedy = (
        f"{', '.join(names)} must be set together, each to a number, as torchrun and srun do; for one process "
        f"alone, unset {names[0]} and {names[1]}."
    )
    rank, size, local_rank = (_number(name, remedy) for name in names)
    if rank >= size:
        raise ConfigError(
            f"{names[0]}={rank} and {names[1]}={size}: processes are numbered from 0, so {names[0]} must be below "
            f"{names[1]}."
        )
    return rank, size, local_rank


def _number(name: str, remedy: str) -> int:
    """Return an environment variable as a number from 0 on; a launcher need not set LOCAL_RANK."""
    text = os.environ.get(name, "0" if name == "LOCAL_RANK" else "")
    if not re.fullmatch("[0-9]{1,9}", text):
        found = f"{name}={text!r}" if text else f"no {name}"
        raise ConfigError(f"The environment has {found}. {remedy}")
    return int(text)


def _end_with_parent() -> None:
    """Let the end of the launcher, however it comes, stop this process in order. Only Linux knows how."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _connection_lost(error: RuntimeError) -> bool:
    """Say whether an error means that another process is gone; gloo and nccl have no class of their own for it."""
    return isinstance(error, distributed.DistNetworkError) or bool(_LOST.search(str(error)))


@contextmanager
def join_world(device: str | None = None) -> Iterator[World]:
    """Join the processes that torchrun or srun started, over nccl on GPUs and gloo on CPUs; leave at the end.

    Raises
    ------
    ConfigError
        Where several processes do not know where to meet.
    LostProcessError
        Where another process has died.
    """
    rank, size, local_rank = _ranks()
    if size == 1:
        yield World()
        return
    if "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"This is process {rank} of {size} but MASTER_ADDR is not set, so they cannot meet. Under srun: export "
            "MASTER_ADDR=$(scontrol show hostnames | head -n 1) MASTER_PORT=29500."
        )
    os.environ.setdefault("MASTER_PORT", "29500")
    _number("MASTER_PORT", "Set it to the number of a free port, e.g. 29500.")
    _end_with_parent()
    on_gpu = torch.cuda.is_available() and not (device or "").startswith("cpu")
    exchange = f"cuda:{local_rank}" if on_gpu else "cpu"
    if on_gpu:
        torch.cuda.set_device(exchange)
    if rank:
        console.configure_output(quiet=True)
    distributed.init_process_group("nccl" if on_gpu else "gloo", rank=rank, world_size=size)
    try:
        yield World(rank, size, local_rank, exchange)
    except RuntimeError as error:
        if not _connection_lost(error):
            raise
        raise LostProcessError(
            f"Process {rank} of {size} lost its connection to another, which has likely died: see what that one said, "
            "and which is the first that torchrun or srun names as failed (a process killed with signal 9 often had no "
            "memory). Go on with bigsf resume and the folder of the run."
        ) from error
    finally:
        distributed.destroy_process_group()
