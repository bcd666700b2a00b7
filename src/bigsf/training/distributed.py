"""Several processes that train one model, under torchrun or srun.

What they exchange is data and never code: tensors of numbers, and JSON text that travels as a tensor of bytes. Whoever
joins the run can end or spoil it, but runs nothing in the other processes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Self, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import distributed, nn

from bigsf import errors
from bigsf.errors import BigsfError, InterruptedRunError, LostProcessError
from bigsf.interrupts import Stop

Result = TypeVar("Result")
Item = TypeVar("Item")


_PATIENCE = timedelta(days=365)
"""How long processes wait for the work of each other. Elsewhere they meet within seconds, and 10 or 30 minutes, the
default, are enough. The death of a process ends the waiting of the others at once."""

_POLL_S = 0.02  # between two checks whether all are here


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


_ERRORS: dict[str, type[BigsfError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BigsfError)
}
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
    gpu
        Number of the GPU of this process on its node, if there are any.
    device
        Where tensors lie that processes exchange: that GPU, or the memory of the CPU.
    meeting
        The processes as a group of their own in which they wait for each other; None: there is one process.
    """

    rank: int = 0
    size: int = 1
    gpu: int = 0
    device: str = "cpu"
    meeting: distributed.ProcessGroup | None = None

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
        """Let the first process work while the others wait; the work may take any time.

        Returns
        -------
        object
            The result of the work in the first process, None in the others.

        Raises
        ------
        BigsfError
            An error of the work, in all processes.
        """
        return self.each(lambda: work() if self.is_first else None)

    def shared(self, work: Callable[[], Item], kind: TypeAdapter[Item | None]) -> Item:
        """Let the first process work while the others wait, and return its result in all of them.

        Parameters
        ----------
        work
            What the first process does.
        kind
            The type of its result or None: the other processes have None.

        Returns
        -------
        object
            The result of the work, in all processes.

        Raises
        ------
        BigsfError
            An error of the work, in all processes.
        """
        result = self.gather(self.first(work), kind)[0]
        assert result is not None
        return result

    def each(self, work: Callable[[], Result]) -> Result:
        """Let all processes work, and wait until the last has ended; the work may take any time.

        Returns
        -------
        object
            The result of the work in this process.

        Raises
        ------
        BigsfError
            An error of the work of any of them, in all processes.
        """
        outcome: Result | BigsfError
        try:
            outcome = work()
        except BigsfError as error:
            outcome = error
        self._meet()
        failures = self.gather(_Failure.of(outcome) if isinstance(outcome, BigsfError) else None, _FAILURE)
        if isinstance(outcome, BigsfError):
            raise outcome
        for failure in filter(None, failures):
            raise failure.error()
        return outcome

    def _meet(self) -> None:
        """Wait until all processes are here; signals are handled meanwhile."""
        if self.meeting is not None:
            options = distributed.BarrierOptions()
            options.timeout = _PATIENCE
            met = self.meeting.barrier(options)
            while not met.is_completed():
                time.sleep(_POLL_S)
            met.wait()

    def agree(self, stop: Stop | None) -> Stop | None:
        """Return why all processes stop now, or None; a signal to any of them stops all, and so does a time limit."""
        (asked,) = self.sums([stop is not None])
        if not asked:
            return None
        return max(filter(None, self.gather(stop, _STOP)), key=lambda each: each.exit_code)

    def wait(self) -> None:
        """Wait for all processes."""
        self.each(lambda: None)

    def share_buffers(self, module: nn.Module) -> None:
        """Copy the buffers of the first process, e.g. the running statistics of batch norm, to all others."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)
