"""Work beside the training loop: saving snapshots, and writing quantities to trackers."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bigsf.training.components.trackers import CSVConfig, Tracker
from bigsf.training.run import TrainingRun
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.state import TrainingState


class Callback:
    """Something to do beside the training loop; by itself it does nothing.

    All processes of a run call it at the same steps; the first process writes for all.
    """

    def after_step(self, state: TrainingState) -> None:
        """Act after a step of an epoch."""

    def after_epoch(self, state: TrainingState) -> None:
        """Act after an epoch and its validation."""


class Checkpoints(Callback):
    """Saves last.pt and best.pt.

    Parameters
    ----------
    run
        The training whose state is saved.
    folder
        Where it is saved.
    """

    def __init__(self, run: TrainingRun, folder: RunFolder) -> None:
        self.run, self.folder = run, folder
        self._last_save = time.monotonic()

    def after_step(self, state: TrainingState) -> None:
        """Save last.pt when the time between two saves has passed."""
        if time.monotonic() - self._last_save > self.run.config.trainer.save_every:
            self.save_last()

    def after_epoch(self, state: TrainingState) -> None:
        """Save last.pt, and best.pt when the epoch is the best so far.

        last.pt comes first: from it a run that is killed before best.pt is written makes that up (`keep_best`).
        """
        self.save_last()
        if state.is_best:
            self._save(self.folder.best)

    def keep_best(self) -> None:
        """Write best.pt where the state that the run goes on from is the best so far, and the file holds another."""
        state, best = self.run.state, self.folder.best
        if state.is_at_best and not (best.exists() and Snapshot.load(best).epochs_run == state.epochs_run):
            self._save(best)

    def save_last(self) -> None:
        """Write last.pt; only the first process writes. The first one of a run replaces a former run."""
        if self.folder.replaces:
            self.folder.replace(self._save, self.run.config, self.run.environment)
        else:
            self._save(self.folder.last)
        self._last_save = time.monotonic()

    def _save(self, path: Path) -> None:
        run = self.run
        if run.world.is_first:
            run.state.snapshot(
                global_config=run.config.model_dump(mode="json"),
                patch_size=run.patch_file.patch_size,
                data_identity=run.patch_file.identity,
                folds_identity=run.folds.identity,
                machine=run.machine,
                handed_in=run.handed_in,
                window_ranges={name: tuple(found) for name, found in run.window_ranges.items()},
                beam_px=run.patch_file.beam_px,
            ).save(path)


class Tracking(Callback):
    """Gives the quantities of each epoch to trackers.

    Parameters
    ----------
    trackers
        The trackers of the first process; the others have none.
    state
        The state that the run starts from. Trackers get its history first, where it has one.
    """

    def __init__(self, trackers: Sequence[Tracker], state: TrainingState) -> None:
        self.trackers = trackers
        if state.history:
            self.after_epoch(state)

    def after_epoch(self, state: TrainingState) -> None:
        """Write the whole history, the newest row last."""
        for tracker in self.trackers:
            tracker.write(state.history)


def open_trackers(run: TrainingRun, folder: Path) -> list[Tracker]:
    """Return the trackers that write into the folder of a run: those of its configuration, and metrics.csv always.

    Where one cannot be opened, those before it are closed.
    """
    config = run.config.trainer
    always = [] if any(isinstance(tracker, CSVConfig) for tracker in config.trackers) else [CSVConfig()]
    run_config = run.config.model_dump(mode="json")
    opened: list[Tracker] = []
    with ExitStack() as stack:
        for tracker in [*always, *config.trackers]:
            opened.append(
                tracker.build(folder, config.run_name, run_config, lambda: run.state.best and run.state.best.epoch)
            )
            stack.callback(opened[-1].close)
        stack.pop_all()
    return opened
