"""Helpers of the benchmarks: a simulated map, time, memory, and the arithmetic limit of the machine."""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from bigsf.maps.fits_writer import FitsWriter

TILE_PX = 512
_MEASURED = """
import atexit
from bigsf.cli import main
atexit.register(lambda: print([line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line][0]))
main()
"""


def parser(description: str | None, size: tuple[int, int]) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks; `size` is the default size (nx, ny) of the map."""
    options = argparse.ArgumentParser(
        description=(description or "").split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--size", nargs=2, type=int, default=size, metavar=("NX", "NY"), help="pixels of the map")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the network")
    return options


def write_map(path: Path, nx: int, ny: int) -> None:
    """Write a column density map of ridges with TARGET, BACKGROUND and MISSING (1 = valid), by rows of tiles."""
    generator = np.random.default_rng(0)
    noise = gaussian_filter(generator.normal(size=(TILE_PX, TILE_PX)), 6, mode="wrap")
    tile = np.float32(1e22) * np.exp(0.6 * noise / noise.std()).astype(np.float32)
    target = tile > np.quantile(tile, 0.91)
    background = tile < np.quantile(tile, 0.08)
    valid = np.ones_like(target)
    valid[:40, :40] = False
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "GLON-CAR", "GLAT-CAR"
    header["CRPIX1"], header["CRPIX2"] = (nx + 1) / 2, (ny + 1) / 2
    header["CDELT1"], header["CDELT2"], header["CUNIT1"], header["CUNIT2"] = -11.5 / 3600, 11.5 / 3600, "deg", "deg"
    header["BUNIT"] = "cm-2"
    masks = {"TARGET": target, "BACKGROUND": background, "MISSING": valid}
    kinds = {"PRIMARY": np.float32, **dict.fromkeys(masks, np.uint8)}
    repeats = (1, -(-nx // TILE_PX))
    with FitsWriter(path, (ny, nx), header, kinds) as writer:
        for y in range(0, ny, TILE_PX):
            for name, plane in {"PRIMARY": tile, **masks}.items():
                writer.write(name, y, np.tile(plane[: ny - y], repeats)[:, :nx])


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest of several times in seconds. One more call before them warms up and does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def alternating(functions: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the shortest time in seconds of each of several functions.

    They are called in turn, so that other work on the machine slows all of them down alike.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in times.items()}


def command(*words: object) -> tuple[float, float]:
    """Run a bigsf command and return its wall time in seconds and its peak memory in bytes.

    Raises
    ------
    SystemExit
        Where the command fails.
    """
    started = time.perf_counter()
    full = [sys.executable, "-c", _MEASURED, *map(str, words), "--quiet"]
    done = subprocess.run(full, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bigsf {words[0]} failed")
    return time.perf_counter() - started, 1024.0 * int(done.stdout.split()[-1])


def peak_bytes() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def matrix_flops(dtype: torch.dtype, n: int = 2048) -> float:
    """Return the floating-point operations per second of a large matrix product: the limit of the machine."""
    a = torch.randn(n, n).to(dtype)
    return 2 * n**3 / best(lambda: a @ a)


def machine() -> str:
    """Return the machine and the versions with which the numbers were measured."""
    cpu = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def show(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
