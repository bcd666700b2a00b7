"""Batches -> snapshots: the training loop."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from pydantic import ConfigDict, TypeAdapter

from bigsf import console
from bigsf.console import logger
from bigsf.errors import InterruptedRunError, TrainingError
from bigsf.evaluation.map_scores import baseline_scores
from bigsf.evaluation.records import RunScores
from bigsf.files import make_folder
from bigsf.interrupts import StopRequest, stopping
from bigsf.lock import lock_folder
from bigsf.models.device import deterministic
from bigsf.training.build import Parts, build_run
from bigsf.training.callbacks import Callback, Checkpoints, Tracking, open_trackers
from bigsf.training.components.trackers import Tracker
from bigsf.training.distributed import World
from bigsf.training.resume import NewerSnapshots, build_resumed_run, set_newer_aside
from bigsf.training.run import TrainingRun
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot
from bigsf.training.step import TrainingStep
from bigsf.training.validation import Validator, score_test_folds

_QUANTITIES = TypeAdapter(dict[str, float], config=ConfigDict(ser_json_inf_nan="constants"))
"""The quantities of an epoch, by name. They may be NaN."""


class Trainer:
    """Trains one model on one split.

    Parameters
    ----------
    run
        All that the training needs, see `build_run`.
    overwrite
        Replace a run that lies in the run folder already.
    callbacks
        Work to do after each step and each epoch, beside that of every training.
    newer
        Snapshots in the run folder that are newer than the state of the run: they are set aside when it starts.
    to_resume
        The folder to name when the run is stopped; by default the run folder.

    Examples
    --------
    >>> scores = Trainer.from_config("config.yaml").train()  # doctest: +SKIP
    >>> scores.test["whole_average_precision"]  # doctest: +SKIP
    """

    def __init__(
        self,
        run: TrainingRun,
        overwrite: bool = False,
        callbacks: Sequence[Callback] = (),
        newer: NewerSnapshots | None = None,
        to_resume: Path | None = None,
    ) -> None:
        self.run, self.overwrite, self.callbacks, self.newer = run, overwrite, callbacks, newer
        self.folder = RunFolder(run.config.trainer.output_dir / run.config.trainer.run_name)
        self.to_resume = to_resume or self.folder.path
        self.step = TrainingStep(run.config.trainer, run.dataset, run.loss, run.state, run.device, run.dtype, run.world)
        self.validator = Validator.of_run(run)
        self.checkpoints = Checkpoints(run, self.folder)

    @classmethod
    def from_config(
        cls,
        config: RunConfig | str | Path | Mapping[str, object],
        overrides: Sequence[str] = (),
        device: str | None = None,
        overwrite: bool = False,
        parts: Parts | None = None,
        world: World | None = None,
        dry_run: bool = False,
        callbacks: Sequence[Callback] = (),
        to_resume: Path | None = None,
    ) -> Self:
        """Return a trainer for a configuration.

        Parameters
        ----------
        config
            The whole configuration, a YAML file, or a dictionary.
        overrides
            Settings such as "trainer.epochs=20" that replace or add keys.
        device
            Name of the device; by default the GPU where there is one.
        overwrite
            Replace a run that lies in the run folder already.
        parts
            Objects in place of those that the configuration would build.
        world
            The processes that train together; by default this one alone.
        dry_run
            Read and check everything, write nothing.
        callbacks
            Work to do after each step and each epoch.
        to_resume
            The folder to name when the run is stopped; by default the run folder.

        Raises
        ------
        ConfigError, DataError
            Where the data cannot be trained on as the configuration asks.
        """
        run = build_run(RunConfig.of(config, overrides), device, parts, world, write_folds=not dry_run)
        return cls(run, overwrite, callbacks, to_resume=to_resume)

    @classmethod
    def from_snapshot(
        cls,
        path: str | Path,
        epochs: int | None = None,
        device: str | None = None,
        parts: Parts | None = None,
        world: World | None = None,
        data: str | Path | None = None,
        trust: bool | RunConfig = False,
        callbacks: Sequence[Callback] = (),
        to_resume: Path | None = None,
        beside: RunConfig | None = None,
    ) -> Self:
        """Return a trainer that goes on from a snapshot, or from the newest one of a run folder. It writes nothing yet.

        Parameters
        ----------
        path
            A snapshot, or a run folder.
        epochs
            Another number of epochs than that of the configuration.
        device, parts, world, callbacks, to_resume
            As for `from_config`; `parts` must be those that the run was started with.
        data
            Where the patch file lies now, if it was moved.
        trust
            Run the code and send results to the addresses that the snapshot, or the configuration of the folder, names.
            Where this is a configuration, only those that it names too.
        beside
            A configuration of which the keys are taken that change no training, see `KEYS_BESIDE_TRAINING`.

        Raises
        ------
        SnapshotError, ConfigError, DataError
            Where there is nothing to go on with, or the data and folds are others than those of the run.
        """
        run, newer = build_resumed_run(Path(path), epochs, device, parts, world, data, trust, beside)
        overwrite = run.state.is_new  # it was stopped before its first save
        return cls(run, overwrite, callbacks, newer, to_resume)

    def train(self, time_limit_s: float | None = None) -> RunScores:
        """Train to the last epoch, or until early stopping; then score best.pt on the test folds.

        Parameters
        ----------
        time_limit_s
            Stop in order, as after a signal, once this many seconds have passed.

        Returns
        -------
        RunScores
            What scores.json holds: `test`, the scores on the test folds by name, and `thresholds`, those of validation.

        Raises
        ------
        InterruptedRunError
            After a signal or the time limit, once last.pt is written.
        TrainingError
            Where the loss is not a number.
        """
        run = self.run
        stop_request = StopRequest(time_limit_s)
        trackers: list[Tracker] = []
        with ExitStack() as stack:
            run.world.first(lambda: trackers.extend(self._open_folder(stack)))
            stack.enter_context(deterministic(run.config.trainer.deterministic))
            stack.enter_context(self.step)
            with stop_request, ExitStack() as opened:
                for tracker in trackers:
                    opened.callback(tracker.close)
                callbacks = [self.checkpoints, Tracking(trackers, run.state), *self.callbacks]
                while not run.finished:
                    self._train_epoch(callbacks, stop_request)
            with stopping(stop_request.time_left_s, f"All epochs of {self.folder.path.name} are done. {self._go_on}"):
                return self._finish()

    def _open_folder(self, stack: ExitStack) -> list[Tracker]:
        """Make or take over the run folder, lock it, and return the trackers that write into it."""
        run, folder = self.run, self.folder
        make_folder(folder.path)
        stack.enter_context(lock_folder(folder.path))
        if run.state.is_new:
            folder.start(run.config, run.environment, self.overwrite)
        else:
            folder.take_over(run.config, run.environment, still_to_train=not run.finished)
            if self.newer:
                set_newer_aside(self.newer, folder, run.state)
                self.checkpoints.save_last()  # a run that is stopped from here on goes on from where it went back to
                self.newer = None
            self.checkpoints.keep_best()
        stack.enter_context(folder.logging())
        return open_trackers(run, folder.path)

    def _train_epoch(self, callbacks: Sequence[Callback], stop_request: StopRequest) -> None:
        """Take the steps that are left of an epoch, validate, and log."""
        run, state = self.run, self.run.state
        started, first_step, epoch = time.monotonic(), state.steps_run, state.epochs_run
        with console.progress(f"epoch {epoch + 1} of {run.epochs}", run.dataset.samples, "patches") as advance:
            for step in range(first_step, run.dataset.steps):
                advance(self.step(epoch, step))
                state.steps_run = step + 1
                for callback in callbacks:
                    callback.after_step(state)
                self._stop_if_asked(stop_request)
        seconds = max(time.monotonic() - started, 1e-9)  # a resumed epoch may have no step left
        quantities = self._validate(stop_request)
        for callback in callbacks:
            callback.after_epoch(state)
        if run.world.is_first:
            rate = run.dataset.samples * (1 - first_step / run.dataset.steps) / seconds
            self._log_epoch(quantities, seconds, rate)
        self._stop_if_asked(stop_request)

    def _validate(self, stop_request: StopRequest) -> dict[str, float]:
        """End an epoch: score the validation folds, and return the quantities of the epoch by name.

        A run that is stopped here validates anew when it goes on. Several processes have no common moment to stop at.
        """
        run = self.run
        total, weight = run.state.partial_loss
        run.world.share_buffers(run.model)

        def after_chunk() -> None:
            self.checkpoints.after_step(run.state)
            if run.world.size == 1:
                self._stop_if_asked(stop_request)

        evaluation = self.validator.evaluate(run.split.validation, after_chunk)
        quantities = {"train_loss": total / weight if weight else float("nan")}
        quantities |= {f"val_{name}": value for name, value in evaluation.quantities.items()}
        quantities = run.world.gather(quantities, _QUANTITIES)[0]  # the same bits for all, so that all decide alike
        run.state.end_epoch(quantities, evaluation.thresholds, run.best_by, run.directions)
        return quantities

    def _log_epoch(self, quantities: dict[str, float], seconds: float, rate: float) -> None:
        run, state = self.run, self.run.state
        parts = [f"epoch {state.epochs_run}/{run.epochs}"]
        parts += [f"{name} {number:.4f}" for name, number in quantities.items()]
        parts.append(f"{console.duration(seconds)}, {rate:.0f} patches/s")
        parts += ["best"] if state.is_best and run.best_by != "epoch" else []
        logger.info("%s", console.wrapped(parts))
        if state.stopped_early:
            monitor = getattr(run.config.trainer.early_stopping, "monitor", "it")
            logger.info("Stopped early: %s has not become better.", monitor)

    def _stop_if_asked(self, stop_request: StopRequest) -> None:
        """After a signal to any process, or at the time limit, write last.pt and end."""
        run, state = self.run, self.run.state
        if (stop := run.world.agree(stop_request.stop)) is None:
            return
        run.world.first(self.checkpoints.save_last)
        where = f"epoch {state.epochs_run}"
        if state.steps_run:
            where = f"step {state.steps_run} of {run.dataset.steps} of epoch {state.epochs_run + 1}"
        raise InterruptedRunError(
            f"Stopped by {stop.by} after {where}; last.pt is written. {self._go_on}", stop.exit_code
        )

    @property
    def _go_on(self) -> str:
        handed_in, path = self.run.handed_in, self.to_resume
        return f"Go on with: {Parts.go_on_with(handed_in, path) if handed_in else f'bigsf resume {path}'}"

    def _finish(self) -> RunScores:
        """Score best.pt on the test folds, and close the run."""
        run, folder = self.run, self.folder
        if run.state.best is None:
            decisive = " or ".join(sorted({run.best_by, "val_loss"} - {"epoch"}))
            raise TrainingError(
                f"{decisive} was never a number, so no best.pt was chosen; {folder.last} stays. "
                f"The validation folds {run.split.validation} may hold no labelled pixel."
            )
        run.world.wait()
        best = Snapshot.load(folder.best)
        best.load_weights(run.model)
        scores = score_test_folds(run, self.validator, best.thresholds)

        def add_baselines() -> RunScores:
            whole = scores.model_copy(update=baseline_scores(run.folds, run.split)._asdict())
            folder.finish(whole, run.folds, run.config)
            return whole

        return run.world.first(add_baselines) or scores
