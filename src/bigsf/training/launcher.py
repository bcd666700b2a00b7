"""The environment of torchrun or srun -> the world of this process."""

import ctypes
import hashlib
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
from torch import distributed

from bigsf import console
from bigsf.errors import ConfigError, InterruptedRunError, LostProcessError
from bigsf.option_names import option
from bigsf.training.distributed import World

_LOST = re.compile(r"gloo/transport|[Cc]onnection (closed|reset) by (remote )?peer|remote process exited")

_HANDSHAKE = timedelta(seconds=30)
"""The timeout of one attempt to form a group; gloo makes up to five. Only it tells of a process that dies meanwhile."""

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>

_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
"""The environment variables of each launcher: rank, number of processes, and rank on the node."""


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
    lost = distributed.DistNetworkError, distributed.DistStoreError
    return isinstance(error, lost) or bool(_LOST.search(str(error)))


def _tell_of_other_gpus(device: str | None) -> None:
    """Say how to use all GPUs of this machine, where one of several is used and none was asked for by its number."""
    number = torch.cuda.device_count()
    if number > 1 and device in (None, "cuda"):
        launch = ["torchrun", f"--nproc-per-node={number}", "-m", "bigsf", *sys.argv[1:]]
        console.logger.info("One of the %d GPUs here is used. To use all: %s", number, shlex.join(launch))


def _gpu_of(local_rank: int, device: str | None) -> int:
    """Return the GPU of one of several processes on a node: that of its rank, or the only one that it sees.

    Raises
    ------
    ConfigError
        Where there are too few GPUs, or the device names one for all.
    """
    if device and ":" in device:
        raise ConfigError(
            f"{option('device', device)} names one GPU, and several processes take one each: pass "
            f"{option('device', 'cuda')}, and choose GPUs by CUDA_VISIBLE_DEVICES."
        )
    gpus = torch.cuda.device_count()
    if gpus == 1:
        return 0  # srun --gpus-per-task=1 shows each process its own
    if local_rank >= gpus:
        raise ConfigError(f"Process {local_rank + 1} of this node has no GPU: there are {gpus}. {_remedy()}")
    return local_rank


def _check_own_gpu(gpu: int, size: int, meeting: distributed.ProcessGroup | None) -> None:
    """Raise `ConfigError` where two processes have one GPU."""
    name = f"{platform.node()} {torch.cuda.get_device_properties(gpu).uuid}"
    mine = torch.tensor([int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])])
    all_of_them = [torch.zeros_like(mine) for _ in range(size)]
    distributed.all_gather(all_of_them, mine, group=meeting)
    if len({int(each) for each in all_of_them}) < size:
        raise ConfigError(f"Several processes have one GPU. {_remedy()}")


def _remedy() -> str:
    return f"Start as many processes as GPUs, or pass {option('device', 'cpu')}."


def _meet(rank: int, size: int, backend: str) -> None:
    """Meet the other processes, or raise `ConfigError`."""
    try:
        distributed.init_process_group(backend, rank=rank, world_size=size)
    except RuntimeError as error:
        if not _connection_lost(error):
            raise
        raise ConfigError(
            f"Process {rank} of {size} did not meet the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}). Not all of them were started, or "
            "another job has this port: set MASTER_PORT to the number of another one."
        ) from None


@contextmanager
def join_world(device: str | None = None) -> Iterator[World]:
    """Join the processes that torchrun or srun started, over nccl on GPUs and gloo on CPUs; leave at the end.

    Raises
    ------
    ConfigError
        Where several processes do not meet, or one of them has no GPU of its own.
    LostProcessError
        Where another process has died.
    """
    rank, size, local_rank = _ranks()
    if size == 1:
        _tell_of_other_gpus(device)
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
    gpu, exchange = 0, "cpu"
    if on_gpu:
        gpu = _gpu_of(local_rank, device)
        exchange = f"cuda:{gpu}"
        torch.cuda.set_device(exchange)
    if rank:
        console.configure_output(quiet=True)
    _meet(rank, size, "nccl" if on_gpu else "gloo")
    try:
        meeting = distributed.new_group(backend="gloo", timeout=_HANDSHAKE)
        if on_gpu:
            _check_own_gpu(gpu, size, meeting)
        yield World(rank, size, gpu, exchange, meeting)
    except RuntimeError as error:
        if not _connection_lost(error):
            raise
        raise LostProcessError(
            f"Process {rank} of {size} lost its connection to another, which has likely died: see what that one said, "
            "and which is the first that torchrun or srun names as failed (a process killed with signal 9 often had no "
            "memory). Go on with bigsf resume and the folder of the run."
        ) from error
    finally:
        if not on_gpu or sys.exception() is None or isinstance(sys.exception(), InterruptedRunError):
            distributed.destroy_process_group()  # over nccl it waits for the others, and one that fails may be alone
