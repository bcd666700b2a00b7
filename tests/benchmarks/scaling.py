"""How does time grow with the map, the window, the stride, threads and processes?

python tests/benchmarks/scaling.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from measuring import best, machine, parser, show, write_map
from segment import InMemory

from bigsf.models.device import resolve_precision
from bigsf.models.normalizations import Log
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.models.unet import UNet
from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.simulation.galaxy import simulate_galaxy

PRODUCTS = "mask,skeleton,labels,regions,catalog,spines,moc"


def segmenting(nx: int, ny: int, window: int, stride: int, threads: int) -> float:
    """Return the seconds in which a map is predicted."""
    torch.set_num_threads(threads)
    planes = InMemory(np.random.default_rng(0).lognormal(50, 1, (1, ny, nx)).astype(np.float32))
    model = SegmentationModel(UNet(features=16), Log()).eval()
    dtype = resolve_precision("auto", torch.device("cpu"))

    def predict() -> None:
        for _ in SlidingWindowPredictor([model], window, stride, batch_size=64, dtype=dtype).predict_bands(planes):
            pass

    return best(predict, repeats=2)


def training(folder: Path, processes: int, threads: int) -> float:
    """Return the seconds of an epoch, the median of three, with a number of processes and of threads in each."""
    name = f"run_{processes}_{threads}"
    trainer = {
        "output_dir": str(folder),
        "run_name": name,
        "epochs": 3,
        "early_stopping": None,
        "model": {"features": 16, "norm": "group", "normalization": {"type": "log"}},
    }
    data = {"path": str(folder / "map.h5"), "samples_per_epoch": 640}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, "trainer": trainer}))
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, "-m", "bigsf", "train", str(folder / "config.yaml"), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    lines = (folder / name / "train.log").read_text().splitlines()
    rates = [float(line.split(" patches/s")[0].split()[-1].replace(",", "")) for line in lines if "patches/s" in line]
    return 640 / sorted(rates)[1]


def segment_command(folder: Path, processes: int, threads: int, *options: str) -> float:
    """Return the seconds of `bigsf segment` with options, with its start and its outputs."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    paths = ["higal-small", str(folder / "map.fits"), "-o", str(folder / "found.fits")]
    command = [sys.executable, *launch, "-m", "bigsf", "segment", *paths, *options, "--device", "cpu", "--overwrite"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__, (1024, 512))
    arguments = options.parse_args()
    (nx, ny), threads = arguments.size, arguments.threads
    print(machine())
    base = (nx, ny, 64, 32, threads)
    variants = {
        "map twice as high": (nx, 2 * ny, 64, 32, threads),
        "map twice as wide": (2 * nx, ny, 64, 32, threads),
        "window 32, stride 16": (nx, ny, 32, 16, threads),
        "window 128, stride 64": (nx, ny, 128, 64, threads),
        "stride 16": (nx, ny, 64, 16, threads),
        "stride 64": (nx, ny, 64, 64, threads),
        "1 thread": (nx, ny, 64, 32, 1),
    }
    first = segmenting(*base)
    rows = [[f"segment {nx} x {ny}, window 64, stride 32, {threads} threads", f"{first:.2f}", "1"]]
    for name, variant in variants.items():
        seconds = segmenting(*variant)
        rows.append([f"... {name}", f"{seconds:.2f}", f"{seconds / first:.2f}"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_map(folder / "map.fits", nx, ny)
        preprocess(PreprocessConfig(image=folder / "map.fits", stride=16), folder / "map.h5")
        first = training(folder, 1, threads)
        rows.append([f"train for an epoch of 640 patches, 1 process of {threads} threads", f"{first:.2f}", "1"])
        for processes in sorted({1, threads} if threads > 1 else ()):
            seconds = training(folder, processes, 1)
            rows.append([f"... processes of 1 thread: {processes}", f"{seconds:.2f}", f"{seconds / first:.2f}"])
        size = f"{4 * nx} x {2 * ny}"
        simulate_galaxy(folder / "map.fits", 4 * nx, 2 * ny, seed=3, overwrite=True)
        for words in (("--tta",), ("--products", PRODUCTS)):
            what, first = f"bigsf segment {' '.join(words)}, {size}", segment_command(folder, 1, threads, *words)
            rows.append([f"{what}, 1 process of {threads} threads", f"{first:.2f}", "1"])
            for processes in sorted({1, threads} if threads > 1 else ()):
                seconds = segment_command(folder, processes, 1, *words)
                rows.append([f"... processes of 1 thread: {processes}", f"{seconds:.2f}", f"{seconds / first:.2f}"])
    show(["task", "s", "relative to the first of its kind"], rows)


if __name__ == "__main__":
    main()
