"""Which number format the network runs in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from bigsf.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def pick_device(name: str | None = None, local_rank: int | None = None) -> torch.device:
    """Return the device of a name such as "cpu", "cuda" or "cuda:1"; by default the GPU where there is one.

    One of several processes on a node, `local_rank`, takes the GPU of its number.

    Raises
    ------
    ConfigError
        Where there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and local_rank is not None:
            device = torch.device("cuda", local_rank)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: {str(error).splitlines()[0]}. Use cpu, or cuda on a GPU.") from None
    return device


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of a precision: `auto` is bf16 where the device multiplies it in hardware."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            fast = device.type == "cpu" and (
                torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
            )
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use only algorithms that give the same bits each time, on GPUs too, where wanted."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_network(network: nn.Module) -> None:
    """Let `torch.compile` make faster code of a network, at its first call for each size of batch.

    Sizes are fixed and all earlier code is forgotten, so that a resumed run computes with the same code as one that was
    never stopped. Keys of the state stay as they are, and copies are not compiled.

    Raises
    ------
    ConfigError
        Where there is no C++ compiler. Code for a CPU is made with it, and so is the code that calls a GPU.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ConfigError(
            "trainer.compile: true needs a C++ compiler, and none was found. Install g++ or clang++, name one in the "
            "environment variable CXX, or set trainer.compile: false."
        ) from None
    torch.compiler.reset()
    network.compile(dynamic=False)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a network runs in a number format."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
