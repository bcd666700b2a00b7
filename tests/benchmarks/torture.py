"""Is the result of a run that was killed at random moments and resumed the same as that of an undisturbed run?

    python tests/benchmarks/torture.py --kills 100

A training and a k-fold are tested. Each process is killed with SIGKILL, without warning, after a random time. Snapshots
are written after almost every step, so that many processes are killed while they write one. The run is then resumed,
killed again, and so on, until it is complete. Weights, states and rows of metrics.csv must be those of the undisturbed
run bit for bit, and no temporary file may be left.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits

from bigsf.patches.preprocess import PreprocessConfig, preprocess
from bigsf.training.kfold import KFold
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer


@dataclass
class Tally:
    """Counts of kills and of runs."""

    kills: int = 0
    in_saves: int = 0
    restarts: int = 0


def small_map(folder: Path) -> Path:
    """Write the patch file of a map of 96 x 128 pixels with ridges, and return its path."""
    generator = np.random.default_rng(1)
    y = np.arange(96)[:, None] + 5 * np.sin(np.arange(128) / 15)
    ridges = np.exp(-0.5 * (((y % 32) - 16) / 2) ** 2)
    image = 1e22 * (1 + 2 * ridges) * generator.lognormal(0, 0.05, ridges.shape)
    fits.PrimaryHDU(image).writeto(folder / "image.fits")
    fits.PrimaryHDU((ridges > 0.5).astype(np.uint8)).writeto(folder / "target.fits")
    config = PreprocessConfig(image=folder / "image.fits", target=folder / "target.fits", patch_size=16, stride=8)
    preprocess(config, folder / "map.h5")
    return folder / "map.h5"


def run_config(patch_file: Path, output: Path, name: str, epochs: int) -> RunConfig:
    """Return a run with all parts whose state must survive: dropout, schedule, early stopping, augmentations."""
    return RunConfig.from_dict(
        {
            "data": {"path": str(patch_file)},
            "split": {"k": 3, "area_size": 32},
            "trainer": {
                "output_dir": str(output),
                "run_name": name,
                "epochs": epochs,
                "batch_size": 8,
                "save_every": 0.02,
                "precision": "fp32",
                "model": {"type": "unet", "features": 4, "depth": 2, "dropout": 0.2, "normalization": {"type": "log"}},
                "scheduler": {"type": "plateau", "patience": 1, "gamma": 0.7},
                "augmentations": [{"type": "flip"}, {"type": "rotate90"}, {"type": "noise"}],
            },
        }
    )


def train(config: RunConfig) -> None:
    """Start a training, or resume it."""
    folder = config.trainer.output_dir / config.trainer.run_name
    if RunFolder(folder).newest_snapshot or RunFolder(folder).config.exists():
        Trainer.from_snapshot(folder).train()
    else:
        Trainer.from_config(config).train()


def kfold(config: RunConfig) -> None:
    """Run a k-fold, or go on."""
    KFold.from_config(config).run()


def tortured(work: Callable[[RunConfig], None], config: RunConfig, kills: int, longest_s: float, tally: Tally) -> None:
    """Work in child processes, and kill all of them but the last."""
    folder = config.trainer.output_dir / config.trainer.run_name
    while True:
        child = os.fork()
        if child == 0:
            try:
                sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (open until the process ends)
                work(config)
                os._exit(0)
            finally:  # a child must never return into the code of its parent
                os._exit(1)
        try:
            if tally.kills < kills:
                time.sleep(random.uniform(0, longest_s))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        if os.WIFSIGNALED(status):
            tally.kills += 1
            tally.in_saves += bool(list(folder.rglob(".*.tmp")))
        elif os.waitstatus_to_exitcode(status) == 0:
            return
        else:
            raise SystemExit(
                f"A resumed run failed with {os.waitstatus_to_exitcode(status)} after {tally.kills} kills."
            )


def difference(one: Any, two: Any, where: str = "") -> str:
    """Return where two nested structures differ, or an empty string where they are the same bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        if set(one) != set(two):
            return f"{where}: keys {set(one) ^ set(two)}"
        return next((d for key in one if (d := difference(one[key], two[key], f"{where}.{key}"))), "")
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return f"{where}: lengths {len(one)} and {len(two)}"
        pairs = enumerate(zip(one, two, strict=True))
        return next((d for i, (a, b) in pairs if (d := difference(a, b, f"{where}.{i}"))), "")
    if isinstance(one, torch.Tensor):
        return "" if torch.equal(one, two) else f"{where}: tensors differ"
    return "" if one == two or (one != one and two != two) else f"{where}: {one} and {two}"


def compare(one: Path, two: Path) -> str:
    """Return how two run folders differ, or an empty string where they do not."""
    for name in ("best.pt", "last.pt"):
        first, second = (vars(Snapshot.load(folder / name)) for folder in (one, two))
        del first["global_config"], second["global_config"]  # they name the folders
        if found := difference(first, second, name):
            return found
    if (one / "metrics.csv").read_text() != (two / "metrics.csv").read_text():
        return "metrics.csv differs"
    left = [str(path) for path in two.rglob(".*.tmp")]
    return f"temporary files are left: {left}" if left else ""


def torture(kills: int, seed: int, epochs: int = 6) -> dict[str, Tally]:
    """Kill and resume a training and a k-fold, half of the kills each; raise `SystemExit` where a result differs."""
    random.seed(seed)
    torch.set_num_threads(1)
    tallies = {"train": Tally(), "kfold": Tally()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patch_file = small_map(folder)
        for work, what in ((train, "train"), (kfold, "kfold")):
            undisturbed = run_config(patch_file, folder, f"{what}_undisturbed", epochs)
            started = time.monotonic()
            work(undisturbed)
            longest_s = 0.2 + (time.monotonic() - started) / 4
            tally, round_number = tallies[what], 0
            while tally.kills < kills // 2:
                round_number += 1
                config = run_config(patch_file, folder, f"{what}_{round_number}", epochs)
                tortured(work, config, kills // 2, longest_s, tally)
                one, two = (c.trainer.output_dir / c.trainer.run_name for c in (undisturbed, config))
                parts = [path.name for path in one.glob("split_*")] or ["."]
                for part in parts:
                    if found := compare(one / part, two / part):
                        raise SystemExit(f"{what}, round {round_number}: {found}")
            tally.restarts = round_number
    return tallies


def main() -> None:
    """Print how many runs were killed, and that they ended as the undisturbed run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=100, help="total number of kills, half of them for each kind of run"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    started = time.monotonic()
    for what, tally in torture(options.kills, options.seed).items():
        print(
            f"{what}: {tally.kills} kills, {tally.in_saves} of them during a save; {tally.restarts} resumed runs, "
            "each equal to the undisturbed run bit for bit"
        )
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
