"""`bigsf resume`: a snapshot or folder of an interrupted run -> the run is continued to its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigsf.cli.display import print_scores
from bigsf.cli.kfold import run_kfold
from bigsf.cli.options import Device, DryRun, Quiet, TimeLimit, Trust, seconds, typed
from bigsf.console import plural, print_line
from bigsf.errors import ConfigError

if TYPE_CHECKING:
    from bigsf.training.trainer import Trainer


def resume(
    path: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT|FOLDER", help="A snapshot, or the folder of a run or k-fold.")
    ],
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the config's.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the patch file lies now, if it was moved.")] = None,
    device: Device = None,
    time_limit: TimeLimit = None,
    trust: Trust = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Continue an interrupted run; the result is as if it had not been interrupted."""
    if (path / "kfold.yaml").exists():
        if epochs is not None:
            raise ConfigError("--epochs is for one run; resume the folders split_1, split_2, ... one by one.")
        _resume_kfold(path, data, device, seconds(time_limit), trust, dry_run)
    else:
        _resume_run(path, epochs, data, device, seconds(time_limit), trust, dry_run)


def _resume_kfold(
    path: Path, data: Path | None, device: str | None, time_limit_s: float | None, trust: bool, dry_run: bool
) -> None:
    from bigsf.training.kfold import KFold
    from bigsf.training.launcher import join_world

    if dry_run:
        from bigsf.cli.dry_run import describe_kfold, trainer_of_split

        runs = KFold.from_folder(path, device, trust=trust, data=data)
        runs.check()
        describe_kfold(trainer_of_split(runs.config, 1, device))
        return
    with join_world(device) as world:
        run_kfold(KFold.from_folder(path, device, world, time_limit_s, trust, data))


def _resume_run(
    path: Path,
    epochs: int | None,
    data: Path | None,
    device: str | None,
    time_limit_s: float | None,
    trust: bool,
    dry_run: bool,
) -> None:
    from bigsf.training.launcher import join_world
    from bigsf.training.trainer import Trainer

    with join_world(device) as world:
        trainer = Trainer.from_snapshot(path, epochs, device, world=world, data=data, trust=trust)
        _print_progress(trainer, dry_run)
        if dry_run:
            return
        print_scores(trainer.train(time_limit_s))
    print_line(f"Wrote {trainer.folder.path}.")
    print_line(f"Next: bigsf segment {typed(trainer.folder.best)} MAP.fits")


def _print_progress(trainer: "Trainer", dry_run: bool) -> None:
    """Print how far a run has come, and whether anything is left to train."""
    state, epochs, folder = trainer.run.state, trainer.run.epochs, trainer.folder.path
    where = f"epoch {state.epochs_run} of {epochs}"
    where += f" and {plural(state.steps_run, 'step')} of the next" if state.steps_run else ""
    print_line(f"{folder} stands after {where}.")
    if state.stopped_early:
        print_line("Nothing is left to train: it stopped early.")
    elif trainer.run.finished:
        print_line(f"Nothing is left to train; --epochs {2 * epochs} would go on.")
    elif dry_run:
        print_line(f"Would go on in {folder}.")
