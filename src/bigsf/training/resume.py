"""Snapshot or run folder -> a training that goes on where it stands."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bigsf.console import logger
from bigsf.errors import ConfigError, DataError, SnapshotError, UsageError, warn
from bigsf.folds.splits import default_folds_path
from bigsf.models.pretrained import NAMES
from bigsf.option_names import option
from bigsf.training.build import Parts, build_run
from bigsf.training.dataset import PatchesConfig
from bigsf.training.distributed import World
from bigsf.training.kfold_plan import with_keys_beside
from bigsf.training.run import TrainingRun
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import SUPERSEDED, RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState
from bigsf.training.trust import refuse_untrusted


class NewerSnapshots(NamedTuple):
    """Snapshots of a run folder that are newer than the state from which the run goes on, so that it replaces them."""

    epochs_run: int
    """Completed epochs of the newest snapshot in the folder."""
    files: list[Path]
    """The newer files, of last.pt and best.pt."""


def build_resumed_run(
    path: Path,
    epochs: int | None = None,
    device: str | None = None,
    parts: Parts | None = None,
    world: World | None = None,
    data: str | Path | None = None,
    trust: bool | RunConfig = False,
    beside: RunConfig | None = None,
) -> tuple[TrainingRun, NewerSnapshots | None]:
    """Build a training in the state of a snapshot, or of the newest snapshot of a run folder.

    Parameters
    ----------
    path, epochs, device, parts, world, data, trust, beside
        As for `Trainer.from_snapshot`.

    Returns
    -------
    run : TrainingRun
        The training. It is new where a run was stopped before its first save.
    newer : NewerSnapshots or None
        The snapshots in its folder that are newer than its state.
    """
    if str(path) in NAMES and not path.exists():
        raise SnapshotError(
            f"{path} is a finished model of the package. To train it further, set trainer.start_from: {path}; to use "
            f"it: bigsf segment {path} MAP.fits"
        )
    if path.is_dir():
        folder = RunFolder(path)
        if folder.newest_snapshot is None:
            config = with_epochs(with_keys_beside(_config_of_unsaved_run(folder, data), beside), epochs)
            refuse_untrusted(config, str(folder.config), trust)
            _check_parts(path, folder.handed_in(), parts)
            return build_run(config, device, parts, world, write_folds=False), None
        path = folder.newest_snapshot
    if path.absolute().parent.name == SUPERSEDED and RunFolder(path.absolute().parents[1]).config.exists():
        raise SnapshotError(
            f"{path} was set aside when its run went back. To go on from it, copy it as last.pt into a new folder, and "
            "resume that."
        )
    snapshot = Snapshot.load(path)
    config = with_keys_beside(relocated(snapshot.config, path.parent, data), beside)
    config = with_epochs(config, epochs, snapshot.epochs_run)
    refuse_untrusted(config, str(path), trust)
    _check_parts(path, snapshot.handed_in, parts)
    if parts is None or parts.network is None:
        snapshot.check_network()
    run = build_run(config, device, parts, world, write_folds=False, resumed=True)
    _check_same_data(run, snapshot, path)
    if snapshot.stopped_early and epochs is not None:
        warn(
            f"The run was stopped early after {snapshot.epochs_run} epochs, so that more make no difference. "
            "Start a new one with another trainer.early_stopping to train longer."
        )
    run.state.restore(snapshot)
    if not run.finished:
        warn_if_other_machine(snapshot.machine, run.machine)
    return run, _find_newer(RunFolder(path.parent), run)


def _config_of_unsaved_run(folder: RunFolder, data: str | Path | None) -> RunConfig:
    """Return the configuration of a run that was stopped before its first save."""
    if not folder.config.exists():
        raise SnapshotError(f"{folder.path} is not a run folder: it holds neither last.pt nor config.yaml.")
    return relocated(load_recorded_config(folder.config), folder.path, data)


def _check_parts(path: Path, needed: Sequence[str], parts: Parts | None) -> None:
    handed_in = (parts or Parts()).names
    if missing := [name for name in needed if name not in handed_in]:
        raise SnapshotError(
            f"{path} is of a run with parts of its own, which no snapshot holds. Go on in Python: "
            f"{Parts.go_on_with(missing, path)}"
        )


def _check_same_data(run: TrainingRun, snapshot: Snapshot, path: Path) -> None:
    if run.patch_file.identity != snapshot.data_identity:
        raise DataError(
            f"{path} was trained on another patch file ({snapshot.data_identity[:8]}... there, "
            f"{run.patch_file.identity[:8]}... in {run.patch_file.path})."
        )
    if run.folds.identity != snapshot.folds_identity:
        raise DataError(
            f"{path} was trained on other folds ({snapshot.folds_identity} there, {run.folds.identity} in "
            f"{run.config.split.path}): to go on would mix training and test areas. "
            "Restore that file, or start anew."
        )


def _find_newer(folder: RunFolder, run: TrainingRun) -> NewerSnapshots | None:
    """Find the snapshots in the run folder that are newer than the state of a run.

    Where best.pt does not hold the best model of the state, and the state itself is not that model either, the state
    forgets it, with a warning.

    A last.pt that is damaged counts as newer, with a warning: the run goes on from the snapshot that was given.

    Raises
    ------
    SnapshotError
        Where the run would end without a best.pt, as no epoch is left to train, or best.pt is damaged.
    """
    state = run.state
    progress: dict[Path, tuple[int, float]] = {}
    for path in (folder.last, folder.best):
        if path.exists():
            try:
                other = Snapshot.load(path)
            except SnapshotError as error:
                if path == folder.best:
                    raise
                warn(f"{error} It will be set aside.")
                progress[path] = state.epochs_run, math.inf
            else:
                progress[path] = other.epochs_run, other.steps_run
    newer = [path for path, there in progress.items() if there > (state.epochs_run, state.steps_run)]
    held = progress.get(folder.best, (0, 0))[0]
    if state.best is not None and held != state.best.epoch and not state.is_at_best:
        there = f"was replaced: {folder.best} holds epoch {held}." if held else f"is gone: there is no {folder.best}."
        lost = f"The best model of the {state.epochs_run} epochs so far, that of epoch {state.best.epoch}, {there}"
        if run.finished:
            raise SnapshotError(
                f"{lost} Train further with a larger {option('epochs')}, so that another one can be chosen."
            )
        if run.best_by != "epoch":
            warn(f"{lost} best.pt is chosen among the epochs from here on.")
        state.best = None
    return NewerSnapshots(max(progress.values())[0], newer) if newer else None


def set_newer_aside(newer: NewerSnapshots, folder: RunFolder, state: TrainingState) -> None:
    """Keep copies of the newer snapshots, and of metrics.csv with their rows, in superseded/."""
    folder.set_aside([*newer.files, folder.metrics], newer.epochs_run)
    logger.info(
        "Going back to epoch %d, step %d; newer snapshots and rows are kept in %s.",
        state.epochs_run,
        state.steps_run,
        folder.superseded,
    )


def relocated(config: RunConfig, folder: Path, data: str | Path | None = None) -> RunConfig:
    """Return the configuration of a run for the folder in which it lies now, and for a patch file that was moved."""
    folder = folder.absolute()
    trainer = config.trainer.model_copy(update={"output_dir": folder.parent, "run_name": folder.name})
    update: dict[str, Any] = {"trainer": trainer}
    if data is not None:
        if not isinstance(config.data, PatchesConfig):
            raise ConfigError(
                f"{option('data', data)} would do nothing: the data of this run are your own (data.type is "
                f"{config.data.type}), and it says itself where they lie."
            )
        path = Path(data).absolute()
        update["data"] = config.data.model_copy(update={"path": path})
        if config.split.path == default_folds_path(config.data.path):  # the folds file beside the patch file
            update["split"] = config.split.model_copy(update={"path": default_folds_path(path)})
    return config.model_copy(update=update)


_RECORDED = {"output_dir", "run_name", "seed", "save_every", "model", "loss", "optimizer", "metrics", "trackers"}
"""Keys below `trainer` that every recorded configuration has; one written by hand hardly has them all."""


def load_recorded_config(path: Path) -> RunConfig:
    """Return the configuration that a run recorded.

    A record without the key `data.straddle` is of an older run, which trained without straddling patches.

    Raises
    ------
    SnapshotError
        Where a user wrote the file: to go on there would write over it, and train beside what else lies there. And
        where it is no regular file, since to open a pipe would wait for ever.
    """
    if path.exists() and not path.is_file():
        raise SnapshotError(f"{path} is no regular file, so it is not read.")
    config = RunConfig.from_yaml(path)
    recorded = yaml.safe_load(path.read_bytes())
    if _RECORDED - (recorded.get("trainer") or {}).keys():
        raise SnapshotError(f"No run recorded {path}: there is nothing to resume. Start one with bigsf train {path}")
    if "straddle" in recorded["data"]:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"straddle": False})})


def recorded_kfold(folder: Path, data: Path | None = None) -> RunConfig:
    """Return the configuration that a k-fold was started with, for where its folder, and its patch file, lie now."""
    return relocated(load_recorded_config(folder / "kfold.yaml"), folder, data)


def with_epochs(config: RunConfig, epochs: int | None, epochs_run: int = 0) -> RunConfig:
    """Return the configuration with another number of epochs, with a warning where that changes the learning rate."""
    if epochs is None or epochs == config.trainer.epochs:
        return config
    if epochs < 1:
        raise UsageError(f"{option('epochs', epochs)} trains nothing: expected 1 or more.")
    if epochs < epochs_run:
        raise UsageError(f"{option('epochs', epochs)} is less than the {epochs_run} epochs that the run has completed.")
    scheduler = config.trainer.scheduler
    if scheduler and scheduler.depends_on_total:
        warn(
            f"The {scheduler.type} schedule depends on the number of epochs: with {epochs} instead of "
            f"{config.trainer.epochs} the learning rate differs from that of a run planned so."
        )
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"epochs": epochs})})


def warn_if_other_machine(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Warn when a run goes on under conditions in which it cannot equal the undisturbed run bit for bit."""
    changed = [f"{key} {there.get(key)} there, {value} here" for key, value in here.items() if there.get(key) != value]
    if changed:
        warn(
            f"The run was made elsewhere ({'; '.join(changed)}): it goes on, but no longer bit for bit as if "
            "undisturbed."
        )
