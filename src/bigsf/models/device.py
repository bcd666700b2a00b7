"""Device, number format and compilation of a network."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import nn

from bigsf.errors import ConfigError, UsageError
from bigsf.option_names import option

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DEVICES = ("cpu", "cuda")
"""Kinds of device that are tested."""


def pick_device(name: str | None = None, gpu: int | None = None) -> torch.device:
    """Return the device of a name such as "cpu", "cuda" or "cuda:1"; by default the GPU where there is one.

    Of several processes on a node, each takes the GPU of number `gpu`.

    Raises
    ------
    UsageError
        Where there is no such device.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in _DEVICES:
        reason = "the GPUs of Macs are not supported yet" if name == "mps" else "expected cpu, cuda, or e.g. cuda:1"
        raise UsageError(f"{option('device', name)}: {reason}. {_what_there_is()}")
    try:
        device = torch.device(name)
        if device.type == "cuda" and gpu is not None:
            device = torch.device("cuda", gpu)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"{option('device', name)}: {str(error).splitlines()[0].rstrip('.')}. {_what_there_is()}"
        ) from None
    return device


def _what_there_is() -> str:
    """Return which devices this machine has, as a sentence."""
    gpus = [f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(torch.cuda.device_count())]
    if gpus:
        return f"Here are cpu and {', '.join(gpus)}."
    return f"Here is cpu alone{'' if torch.version.cuda else ': this torch was built without CUDA'}."


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of a precision: `auto` is bf16 where the device multiplies it in hardware."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            fast = device.type == "cpu" and _cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _cpu_multiplies_bf16() -> bool:
    """Say whether the CPU has instructions for bf16; versions of torch that cannot tell count as no."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_tile") or capabilities.get("avx512_bf16"))


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Where wanted, use only algorithms that give the same bits each time, on GPUs too."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to be deterministic
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_network(network: nn.Module) -> None:
    """Compile a network with `torch.compile`, at its first call for each size of batch.

    Sizes are fixed and all code compiled earlier is forgotten, so that a resumed run computes with the same code as one
    that was never stopped. The keys of its state stay as they are, and its copies are not compiled.

    Raises
    ------
    ConfigError
        Where there is no C++ compiler. It compiles the code for a CPU, and the code that calls a GPU.
    """
    if not shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")):
        raise ConfigError(
            "trainer.compile: true needs a C++ compiler, and none was found. Install g++ (on a Mac clang++), name "
            "another in the environment variable CXX, or set trainer.compile: false."
        )
    torch.compiler.reset()
    network.compile(dynamic=False)


def on_device(values: npt.NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return an array, or a tensor of the CPU, as a tensor on a device. It is copied to a GPU while the CPU goes on."""
    tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def fetched(values: torch.Tensor) -> Callable[[], npt.NDArray[Any]]:
    """Begin to copy a tensor from its device, and return a function that waits for the copy and returns the array."""
    copy = values.to("cpu", non_blocking=True)
    if values.device.type != "cuda":
        return copy.numpy
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record(torch.cuda.current_stream(values.device))

    def array() -> npt.NDArray[Any]:
        done.synchronize()
        return copy.numpy()

    return array


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a network runs in a number format."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
