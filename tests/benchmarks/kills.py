"""Does a command work again after it was killed, and does it end with what an undisturbed one writes?

    python tests/benchmarks/kills.py --kills 200

Every command is killed with SIGKILL just before one of its system calls. The kind of the call is drawn first, so that
rare ones (renaming, removing) are hit as often as reading. Trainings, k-folds and segmentations run in one process, and
in two that exchange data over gloo, of which one is killed. The other must then end by itself, with exit code 8 and its
message; where the two have not met yet, it is killed too, as by torchrun and srun. Commands also replace outputs that
are there.

Then the same command runs again, or `bigsf resume` where a training has begun, and may be killed again. In the end its
files must be those of an undisturbed command byte for byte, and no other file may be left; snapshots must hold the same
values, bit for bit. All runs name one time and one command line. Only train.log is not compared: it says how often a
run was continued. A command that was complete when it was killed may say that its outputs exist.
"""

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from killed_commands import Case, make_cases
from system_calls import Call, be_followed, follow
from torch import distributed
from torch._C._distributed_c10d import TCPStore

from bigsf import provenance
from bigsf.cli import main as bigsf
from bigsf.evaluation.report import page
from bigsf.models import stored_prediction
from bigsf.training import run_folder

PATIENCE_S = 600
"""How long a process may outlive the other; it takes less than a second on an idle machine."""

KILLED_AGAIN = 0.4
"""The part of the commands after a kill that are killed too."""


LOADED = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "skimage.morphology",
    "bigsf.cli.app",
    "bigsf.cli.display",
    "bigsf.maps.mosaic.mosaic",
    "bigsf.segmentation.segment",
    "bigsf.training.kfold",
)
"""What commands import when they need it: loaded before the first one is forked, to save time."""


class Fault(SystemExit):
    """A command that did not work again, or wrote something else."""


@dataclass(frozen=True)
class Ended:
    """How the processes of a command ended."""

    codes: list[int]
    """The exit code of each, negative where a signal ended it."""
    calls: Counter[int]
    """System calls of the process that was followed, by kind."""
    printed: str
    """What they printed."""

    @property
    def killed(self) -> bool:
        """Whether a process was killed."""
        return -signal.SIGKILL in self.codes


# --- one command ------------------------------------------------------------------------------------------------------


def run(case: Case, folder: Path, followed: int | None = None, kill_at: Call | None = None) -> Ended:
    """Run a command in child processes.

    Parameters
    ----------
    case
        The command.
    folder
        Where it works.
    followed
        The number of the process whose system calls are counted; None: none.
    kill_at
        The system call before which that process is killed; None: none.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if case.processes > 1 else None
    printed, met = ([folder.parent / f"{what}_{rank}" for rank in range(case.processes)] for what in ("printed", "met"))
    children = []
    for rank in range(case.processes):
        met[rank].unlink(missing_ok=True)
        children.append(os.fork())
        if children[-1] == 0:
            try:
                for standard in (1, 2):
                    os.dup2(os.open(printed[rank], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), standard)
                if store is not None:
                    _join(rank, case.processes, store.port, met[rank])
                _work(case.arguments, folder, rank == followed)
                os._exit(0)
            except SystemExit as stop:
                os._exit(int(stop.code or 0))
            finally:  # a child must never return into the code of its parent
                os._exit(1)
    codes: dict[int, int] = {}
    calls: Counter[int] = Counter()
    if followed is not None:
        codes[followed], calls = follow(children[followed], kill_at)
    if -signal.SIGKILL in codes.values() and not all(path.exists() for path in met):
        for rank in set(range(case.processes)) - {followed}:
            os.kill(children[rank], signal.SIGKILL)
    for rank in set(range(case.processes)) - codes.keys():
        codes[rank] = _wait(children[rank])
    return Ended([codes[rank] for rank in range(case.processes)], calls, "".join(p.read_text() for p in printed))


def _wait(child: int) -> int:
    """Return the exit code of a child; a child that does not end is a fault."""
    started = time.monotonic()
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - started > PATIENCE_S:
            os.kill(child, signal.SIGKILL)
            raise Fault("A process did not end after the death of the other.")
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1])


def _join(rank: int, processes: int, port: int, met: Path) -> None:
    """Let a child be one of several processes, as torchrun does, and make a file once they have met."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    init_process_group = distributed.init_process_group

    def meet(*arguments: Any, **options: Any) -> None:
        init_process_group(*arguments, **options)
        met.touch()

    distributed.init_process_group = meet


def _work(arguments: Sequence[str], folder: Path, followed: bool) -> None:
    os.chdir(folder)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.argv = ["bigsf", *arguments, "--quiet"]
    for module in (provenance, run_folder, page):  # all runs name one time and one command
        module.now, module.command_line = lambda: "2026-01-01T00:00:00", lambda: "bigsf"  # type: ignore[attr-defined]
    stored_prediction.TILE_ROWS = stored_prediction.TILE_COLUMNS = 32  # several parts of a small map
    if followed:
        be_followed()
    bigsf()


# --- comparison -------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, Any]:
    """Return the files of a folder by their path: their bytes, or the values of a snapshot."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "train.log":
            name = str(path.relative_to(folder))
            found[name] = torch.load(path, weights_only=True) if path.suffix == ".pt" else path.read_bytes()
    return found


def difference(one: Any, two: Any, where: str = "") -> str:
    """Return where two nested structures differ, or an empty string where they are the same bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        if set(one) != set(two):
            return f"{where}: {', '.join(sorted(map(str, set(one) ^ set(two))))} in one alone"
        return next((d for key in one if (d := difference(one[key], two[key], f"{where} {key}"))), "")
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        if len(one) != len(two):
            return f"{where}: lengths {len(one)} and {len(two)}"
        pairs = enumerate(zip(one, two, strict=True))
        return next((d for i, (a, b) in pairs if (d := difference(a, b, f"{where} {i}"))), "")
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return "" if torch.equal(one, two) else f"{where}: tensors differ"
    if isinstance(one, bytes):
        return "" if one == two else f"{where}: bytes differ"
    return "" if one == two or (one != one and two != two) else f"{where}: {one} and {two}"


# --- many kills -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undisturbed:
    """What a command does that nobody kills."""

    files: dict[str, Any]
    """The files in its folder, as of `contents`."""
    calls: list[Counter[int]]
    """The system calls of each process, by kind."""
    former: Path
    """A folder with what lay there before."""


def watch(name: str, case: Case, folder: Path) -> Undisturbed:
    """Run a command undisturbed once per process, and follow each of them."""
    former = Path(tempfile.mkdtemp(dir=folder.parent)) / "former"
    folder.mkdir()
    if case.former and any(code not in (0, 75) for code in run(replace(case, arguments=case.former), folder).codes):
        raise Fault(f"{name}: the former command failed.")
    folder.rename(former)
    calls: list[Counter[int]] = []
    files: dict[str, Any] = {}
    for rank in range(case.processes):
        shutil.copytree(former, folder)
        ended = run(case, folder, followed=rank)
        if any(ended.codes):
            raise Fault(f"{name}: exit codes {ended.codes} without a kill:\n{ended.printed}")
        if rank and (found := difference(files, contents(folder))):
            raise Fault(f"{name} is not the same twice without a kill:{found}")
        files = contents(folder)
        calls.append(ended.calls)
        shutil.rmtree(folder)
    return Undisturbed(files, calls, former)


def torment(name: str, case: Case, folder: Path, undisturbed: Undisturbed) -> int:
    """Kill a command, run it again, and so on to its end; compare, and return the number of kills.

    Raises
    ------
    Fault
        Where it does not work again, or ends with other files.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(undisturbed.former, folder)
    kills, story = 0, name
    while True:
        command = case.after_a_kill(folder) if kills else case
        rank = random.randrange(case.processes)
        kind = random.choice(sorted(undisturbed.calls[rank]))
        kill_at = Call(kind, random.randint(1, undisturbed.calls[rank][kind]))
        if kills and random.random() > KILLED_AGAIN:
            ended = run(command, folder)
        else:
            ended = run(command, folder, rank, kill_at)
        if not ended.killed:
            break
        kills += 1
        story += f", process {rank} killed at call {kill_at.nth} of kind {kind}"
        left = [code for code in ended.codes if code != -signal.SIGKILL]
        told = {0: "", 2: "exists already", 8: "lost its connection"}  # 2: a former command was complete when killed
        if any(code not in told or told[code] not in ended.printed for code in left):
            raise Fault(f"{story}: the other process ended with {left}:\n{ended.printed}")
    found = contents(folder)
    refused = 2 in ended.codes and "exists already" in ended.printed
    if refused:  # it was complete when it was killed; a hidden file may be left
        found = {path: content for path, content in found.items() if not path.startswith(".")}
    elif any(ended.codes):
        raise Fault(f"{story}: exit codes {ended.codes}:\n{ended.printed}")
    if what := difference(undisturbed.files, found):
        raise Fault(f"{story}: not the files of an undisturbed command:{what}\n{ended.printed}")
    return kills


def kill_commands(kills: int, seed: int, names: Sequence[str] = ()) -> dict[str, int]:
    """Kill commands, run them again and compare; return the number of kills of each.

    Parameters
    ----------
    kills
        Number of kills, in all.
    seed
        Seed of the moments of the kills.
    names
        The commands, of `make_cases`; by default all.

    Raises
    ------
    Fault
        Where a command does not work again, or ends with other files.
    """
    random.seed(seed)
    torch.set_num_threads(1)
    for module in LOADED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        folder = root / "work"  # the same for all, as outputs name it
        cases = make_cases(root)
        cases = {what: cases[what] for what in names or cases}
        undisturbed = {what: watch(what, case, folder) for what, case in cases.items()}
        done = dict.fromkeys(cases, 0)
        while sum(done.values()) < kills:
            what = min(done, key=lambda each: done[each])
            done[what] += torment(what, cases[what], folder, undisturbed[what])
        return done


def main() -> None:
    """Print how often each command was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="commands, e.g. 'train, 2 processes'; by default all")
    parser.add_argument("--kills", type=int, default=200, help="total number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    options = parser.parse_args()
    started = time.monotonic()
    for what, kills in kill_commands(options.kills, options.seed, options.names).items():
        print(f"{what}: {kills} kills; it then ended with the files of an undisturbed command")
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
