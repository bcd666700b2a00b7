"""Name of a device and of a precision -> where, in which number format and by which algorithms a network runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from bigsf.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def pick_device(name: str | None = None, local_rank: int | None = None) -> torch.device:
    """Return a device.

    Parameters
    ----------
    name
        "cpu", "cuda", "cuda:1", ...; by default the GPU, where there is one.
    local_rank
        The number of this process on its node, where several processes train together. Each of them takes the GPU
        with its number.

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
        return torch.bfloat16 if _multiplies_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # not in every torch from 2.10 on; these private names are
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_tile") or capabilities.get("avx512_bf16"))


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use only algorithms that give the same bits each time, where wanted. CPUs always do; GPUs become slower."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compile_network(network: nn.Module) -> None:
    """Compile a network with `torch.compile`, in place.

    The network is compiled at its first call, and again for each new batch size. Code that was compiled earlier in this
    process is dropped, so that a resumed run computes with the same code as a run that was never stopped. The keys of
    the state dictionary do not change. Copies of the network are not compiled.

    Raises
    ------
    ConfigError
        Where there is no C++ compiler. Networks on a GPU need one too, for the code that starts the GPU's work.
    """
    # torch has no public check for a compiler, and its own error comes minutes later and names none of our settings.
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
