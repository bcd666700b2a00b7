"""Does the same command work again after it was killed, and does it write what an undisturbed one writes?

    python tests/benchmarks/kills.py --kills 200

preprocess, split, the mosaic of two tiles, and segment with all products are killed with SIGKILL just before one of
their calls to the file system, drawn at random: opening, renaming, removing. Half of them replace outputs that lie
there already. Then the same command runs again. All its files must be those of an undisturbed command byte for byte,
and no other file may be left. A command that was complete when it was killed says that its outputs exist.
`torture.py` kills trainings.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from torture import run_config, small_map, train

from bigsf import provenance
from bigsf.cli.app import run

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}
"""Audit events of Python that are calls to the file system."""


def make_inputs(folder: Path) -> dict[str, list[str]]:
    """Write a map, two tiles of it, a patch file and a model, and return the commands that read them."""
    small_map(folder)
    config = run_config(folder / "map.h5", folder, "run", epochs=1)
    train(config)
    header = fits.Header({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 30.0})
    header.update({"CRVAL2": 0.0, "CDELT1": -0.01, "CDELT2": 0.01})
    image = fits.getdata(folder / "image.fits").astype(np.float32)
    for name, columns, crpix in (("left", slice(0, 80), 1.0), ("right", slice(48, 128), -47.0)):
        header["CRPIX1"] = crpix
        fits.PrimaryHDU(image[:, columns], header).writeto(folder / f"{name}.fits")
    best = str(folder / "run" / "best.pt")
    return {
        "preprocess": ["preprocess", "../image.fits", "--target", "../target.fits", "--patch-size", "16"],
        "split": ["split", "../map.h5", "-k", "3", "--area-size", "32", "-o", "folds.json"],
        "mosaic": ["preprocess", "../left.fits", "../right.fits", "--patch-size", "16", "-o", "both.h5"],
        "segment": ["segment", best, "../image.fits", "--products", "prob,mask,skeleton,catalog,regions"],
    }


def call(arguments: Sequence[str], folder: Path, kill_at: int = 0) -> tuple[int, int]:
    """Run a command in a child process.

    Parameters
    ----------
    arguments
        Of `bigsf`.
    folder
        Where it works.
    kill_at
        The number of the call to the file system before which it is killed, from 1; 0: none.

    Returns
    -------
    code : int
        The exit code, negative where a signal ended it.
    calls : int
        Its calls to the file system in the folder.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (open until the process ends)
            _work(arguments, folder, kill_at, writing)
            os._exit(0)
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        finally:  # a child must never return into the code of its parent
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        calls = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), calls


def _work(arguments: Sequence[str], folder: Path, kill_at: int, pipe: int) -> None:
    os.chdir(folder)
    sys.argv = ["bigsf", *arguments, "--quiet"]
    provenance.now = lambda: "2026-01-01T00:00:00"  # outputs of all runs name one time
    provenance.command_line = lambda: "bigsf"
    calls = 0

    def count(event: str, details: tuple[object, ...]) -> None:
        nonlocal calls
        path = str(details[0]) if event in EVENTS and details else "/"
        if path.startswith("/") and not path.startswith(str(folder)):
            return
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(pipe, b".")

    sys.addaudithook(count)
    run()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def torment(kills: int, seed: int) -> dict[str, int]:
    """Kill commands, run them again and compare; return the number of kills of each, raise `SystemExit` on a fault."""
    random.seed(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        commands = make_inputs(root)
        expected, calls = {}, {}
        folder = root / "work"  # the same for all, as mosaics name it
        for what, arguments in commands.items():
            folder.mkdir()
            code, calls[what] = call(arguments, folder)
            expected[what] = contents(folder)
            shutil.rmtree(folder)
            if code:
                raise SystemExit(f"{what}: exit code {code} without a kill.")
        done = dict.fromkeys(commands, 0)
        while sum(done.values()) < kills:
            what = min(done, key=lambda each: done[each])
            _kill_once(what, commands[what], folder, calls[what], expected[what], replacing=bool(done[what] % 2))
            done[what] += 1
        return done


def _kill_once(
    what: str, arguments: Sequence[str], folder: Path, calls: int, expected: dict[str, bytes], replacing: bool
) -> None:
    """Kill a command at one call, run it again, and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    arguments = [*arguments, "--overwrite"] if replacing else arguments
    for name in expected if replacing else ():
        (folder / name).write_text("a former output")
    at = random.randint(1, calls)
    code, _ = call(arguments, folder, at)
    if code != -signal.SIGKILL:
        raise SystemExit(f"{what}: exit code {code} where it was to be killed at call {at} of {calls}.")
    complete = {name: content for name, content in contents(folder).items() if name[0] != "."} == expected
    code, _ = call(arguments, folder)
    if code == 2 and complete:  # it exists already; a hidden file may be left
        return
    if code:
        raise SystemExit(f"{what}: exit code {code} after a kill at call {at} of {calls}.")
    if found := {name for name in {*expected, *contents(folder)} if contents(folder).get(name) != expected.get(name)}:
        raise SystemExit(f"{what}: {', '.join(sorted(found))} differ after a kill at call {at} of {calls}.")


def main() -> None:
    """Print how often each command was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="total number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    started = time.monotonic()
    for what, kills in torment(options.kills, options.seed).items():
        print(f"{what}: {kills} kills; the same command then wrote the files of an undisturbed one, byte for byte")
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
