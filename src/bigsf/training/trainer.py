"""Batches -> snapshots: training, and going on with it."""

import math
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from bigsf import console
from bigsf.console import logger
from bigsf.errors import BigsfWarning, ConfigError, DataError, InterruptedRunError, SnapshotError, TrainingError
from bigsf.evaluation.map_scores import baseline_scores
from bigsf.files import atomic_path, make_folder, write_text
from bigsf.folds.folds import Folds
from bigsf.metrics import build_metrics
from bigsf.models.device import compile_network, deterministic, pick_device, resolve_precision
from bigsf.models.positions import PositionEncoder, border, locator
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.patches.patch_file import PatchFile
from bigsf.training.build import Parts
from bigsf.training.checks import check_model, check_monitored, warn_if_not_positive
from bigsf.training.components.trackers import CSVConfig, Tracker
from bigsf.training.dataset import PatchDataset
from bigsf.training.distributed import World
from bigsf.training.interrupts import StopRequest
from bigsf.training.resume import load_recorded_config, relocated, warn_if_elsewhere, with_epochs
from bigsf.training.run_config import RunConfig, TrainerConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.snapshot import Snapshot, build_model, refuse_custom
from bigsf.training.state import TrainingState
from bigsf.training.step import TrainingStep
from bigsf.training.validation import Evaluation, evaluate

_STATISTICS_SAMPLE = 1000  # patches from which global normalizations learn


_PATCHES_SEEN = 16000  # in all epochs together, by default; half as many find less of what no catalogue names


_TRY_AGAIN = 75  # exit code of a run that its time limit stopped (EX_TEMPFAIL of sysexits.h)


class Trainer:
    """Trains one model on one split.

    Parameters
    ----------
    config
        The whole configuration.
    device
        Name of the device; by default the GPU where there is one.
    overwrite
        Replace a run that lies in the run folder already.
    dry_run
        Write nothing, not even a folds file; such a trainer cannot train.
    parts
        Objects in place of what the config would build.
    world
        The processes that train together; by default this one alone.
    resumed
        The state comes from a snapshot, so that `trainer.start_from` plays no part.

    Raises
    ------
    ConfigError, DataError
        Where the data cannot be trained on as the configuration asks.
    """

    def __init__(
        self,
        config: RunConfig,
        device: str | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        parts: Parts | None = None,
        world: World | None = None,
        resumed: bool = False,
    ) -> None:
        self.parts, self.world, self.overwrite = parts or Parts(), world or World(), overwrite
        self.device = pick_device(device, self.world.local_rank if self.world.size > 1 else None)
        self.dtype = resolve_precision(config.trainer.precision, self.device)
        self.patch_file: PatchFile = config.data.build()
        self.patch_file.labels()
        check_model(config, self.patch_file)
        if self.world.size > 1:  # the first makes them, the others read what it wrote
            self.world.first(lambda: Folds.load_or_make(self.patch_file, config.split))
        self.folds = Folds.load_or_make(self.patch_file, config.split, write=not dry_run)
        self.config = config.model_copy(update={"split": self.folds.config})
        if config.split.use > len(self.folds.splits):
            raise ConfigError(
                f"split.use is {config.split.use}; {self.config.split.path} has {len(self.folds.splits)} splits."
            )
        self.split = self.folds.splits[config.split.use - 1]
        self.folder = RunFolder(config.trainer.output_dir / config.trainer.run_name)
        self.to_resume = self.folder.path  # what to go on with once stopped: of a k-fold the whole
        self.dataset = self._dataset()
        self.epochs = config.trainer.epochs or _epochs_of(self.dataset.samples)
        self.best_by = _best_by(config.trainer)
        known = config.trainer.model_copy(update={"epochs": self.epochs, "best_by": self.best_by})
        self.config = self.config.model_copy(update={"trainer": known})
        self._build(resumed)

    def _dataset(self) -> PatchDataset:
        """Return the batches of the training folds."""
        config, data, folds = self.config.trainer, self.config.data, self.split.train
        dataset = PatchDataset(
            self.patch_file,
            self.folds.training_patches(folds, data.straddle),
            config.batch_size,
            config.seed,
            data.samples_per_epoch,
            partial(self.folds.visible_pixels, folds=folds) if data.straddle else None,
            [augmentation.build() for augmentation in config.augmentations],
            locator(config.model.position.coordinates if config.model.position else None, self.patch_file.wcs),
            self.device,
            self.world.rank,
            self.world.size,
        )
        if not len(dataset.indices):
            raise DataError(f"No patch lies in the training folds {folds}. Use larger areas or smaller patches.")
        return dataset

    def _build(self, resumed: bool) -> None:
        config = self.config.trainer
        torch.manual_seed(config.seed)
        self.model = build_model(self.config, self.parts.network)
        self._fit_to_data()
        if config.start_from and not resumed:
            self._start_from(config.start_from)
        self.model.to(self.device)
        if config.compile:
            compile_network(self.model.network)
        self.loss = self.parts.loss or config.loss.build()
        self.metrics = dict(build_metrics(config.metrics) if self.parts.metrics is None else self.parts.metrics)
        check_monitored(config, self.metrics)
        optimizer = (self.parts.optimizer or config.optimizer.build)(self.model.parameters())
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.state = TrainingState(
            self.model,
            optimizer,
            config.scheduler.build(self.epochs) if config.scheduler else None,
            config.early_stopping.build() if config.early_stopping else None,
            torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16),
        )
        self.step = TrainingStep(config, self.dataset, self.loss, self.state, self.device, self.dtype, self.world)
        self.predictor = SlidingWindowPredictor(
            [self.model],
            self.patch_file.patch_size,
            batch_size=64,
            device=self.device,
            dtype=self.dtype,
            wcs=self.patch_file.wcs,
        )

    def _fit_to_data(self) -> None:
        """Let normalization and position encoder learn from the data, before the weights do."""
        sample = self._training_sample()
        warn_if_not_positive(self.config.trainer.model, sample)
        self.model.normalization.fit(sample)
        for module in self.model.modules():
            if isinstance(module, PositionEncoder) and self.dataset.locate:
                module.fit(self.dataset.locate(border(self.patch_file.shape)))

    def _training_sample(self) -> torch.Tensor:
        """Return valid pixels of some training patches, `(c, n)` float64, NaN where missing."""
        generator = np.random.default_rng(self.config.trainer.seed)
        some = generator.permutation(self.dataset.indices)[:_STATISTICS_SAMPLE]
        image = self.dataset.read(some).image
        return torch.from_numpy(image.swapaxes(0, 1).reshape(image.shape[1], -1).astype(np.float64))

    @property
    def machine(self) -> dict[str, Any]:
        """What the run is repeatable on bit for bit."""
        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "processes": self.world.size,
            "threads": torch.get_num_threads(),
            "precision": str(self.dtype).removeprefix("torch."),
            "torch": str(torch.__version__),
        }

    # --- where a trainer comes from -------------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls,
        config: RunConfig | str | Path | Mapping[str, Any],
        overrides: Sequence[str] = (),
        device: str | None = None,
        overwrite: bool = False,
        parts: Parts | None = None,
        world: World | None = None,
    ) -> Self:
        """Return a trainer for a config, a YAML file, or a dictionary."""
        if isinstance(config, str | Path):
            config = RunConfig.from_yaml(config, overrides)
        elif not isinstance(config, RunConfig):
            config = RunConfig.from_dict(config, overrides)
        return cls(config, device, overwrite, parts=parts, world=world)

    @classmethod
    def from_snapshot(
        cls,
        path: str | Path,
        epochs: int | None = None,
        device: str | None = None,
        dry_run: bool = False,
        parts: Parts | None = None,
        world: World | None = None,
        data: str | Path | None = None,
        trust: bool | RunConfig = False,
    ) -> Self:
        """Return a trainer that goes on where a snapshot (or the last one of a run folder) stands.

        Parameters
        ----------
        path
            A snapshot, or a run folder.
        epochs
            Another budget than the config's.
        device
            Another device than the default.
        dry_run
            Read and check everything, write nothing.
        parts
            Objects in place of what the config would build, as the run was started with.
        world
            The processes that train together.
        data
            Where the patch file lies now, if it was moved.
        trust
            Import and run the custom targets that the snapshot, or the config of the folder, names; or those of them
            that a config names too.
        """
        path = Path(path)
        if path.is_dir():
            folder = RunFolder(path)
            if (found := folder.newest_snapshot) is None:
                if not folder.config.exists():
                    raise SnapshotError(f"{path} is not a run folder: it holds neither last.pt nor config.yaml.")
                config = with_epochs(relocated(load_recorded_config(folder.config), path, data), epochs)
                refuse_custom(config, str(folder.config), trust)
                return cls(config, device, True, dry_run, parts, world)  # it was stopped before its first save
            path = found
        snapshot = Snapshot.load(path)
        config = with_epochs(relocated(snapshot.config, path.parent, data), epochs, snapshot.epochs_run)
        refuse_custom(config, str(path), trust)
        trainer = cls(config, device, dry_run=dry_run, parts=parts, world=world, resumed=True)
        if trainer.patch_file.identity != snapshot.data_identity:
            raise DataError(
                f"{path} was trained on another patch file ({snapshot.data_identity[:8]}... there, "
                f"{trainer.patch_file.identity[:8]}... in {trainer.patch_file.path})."
            )
        if trainer.folds.identity != snapshot.folds_identity:
            raise DataError(
                f"{path} was trained on other folds ({snapshot.folds_identity} there, {trainer.folds.identity} in "
                f"{trainer.config.split.path}): to go on would mix training and test areas. "
                "Restore that file, or start anew."
            )
        warn_if_elsewhere(snapshot.machine, trainer.machine)
        if snapshot.stopped_early and epochs is not None:
            warnings.warn(
                f"The run was stopped early after {snapshot.epochs_run} epochs, so that more make no difference. "
                "Start a new one with another trainer.early_stopping to train longer.",
                BigsfWarning,
                stacklevel=2,
            )
        trainer.state.restore(snapshot)
        trainer._find_newer()
        return trainer

    _newer: tuple[tuple[int, int], list[Path]] | None = None
    """Where the newest of the snapshots stands that a run will write over, and those snapshots."""

    def _find_newer(self) -> None:
        """Find snapshots in the run folder that are newer than the state; all processes do, before any writes."""
        here = (self.state.epochs_run, self.state.steps_run)
        stand = {}
        for path in (self.folder.last, self.folder.best):
            if path.exists():
                other = Snapshot.load(path)
                stand[path] = (other.epochs_run, other.steps_run)
        newer = [path for path, there in stand.items() if there > here]
        if newer:
            self._newer = max(stand.values()), newer
        if self.folder.best in newer:
            self.state.best = {}  # the file that it speaks of was written over; the next epoch is the best so far

    def _make_way(self) -> None:
        """Put aside what the run will write anew: snapshots and rows that are newer than where it goes on from."""
        folder, state = self.folder, self.state
        write_text(folder.config, self.config.to_yaml())
        if state.epochs_run < self.epochs and not state.stopped_early:
            folder.scores.unlink(missing_ok=True)
        if self._newer is None:
            return
        (epochs, _), files = self._newer
        folder.set_aside([*files, folder.metrics], epochs)
        self._save(folder.last)  # a run stopped from here on goes on from where it went back to
        logger.info(
            "Going back to epoch %d, step %d; newer snapshots and rows are kept in %s.",
            state.epochs_run,
            state.steps_run,
            folder.superseded,
        )

    # --- training ---------------------------------------------------------------------------------------------------

    def train(self, time_limit_s: float | None = None) -> dict[str, Any]:
        """Train to the end of the budget, or until early stopping; score best.pt on the test folds.

        Parameters
        ----------
        time_limit_s
            Stop in order, as after a signal, once this many seconds have passed.

        Returns
        -------
        dict
            What scores.json holds.

        Raises
        ------
        InterruptedRunError
            After a signal or the time limit, once last.pt is written.
        TrainingError
            Where the loss is no number.
        """
        self._deadline = time.monotonic() + (math.inf if time_limit_s is None else time_limit_s)
        self._trackers: list[Tracker] = []
        with ExitStack() as stack:
            self.world.first(lambda: self._open_folder(stack))
            stack.enter_context(deterministic(self.config.trainer.deterministic))
            self._stop = stack.enter_context(StopRequest())
            stack.enter_context(self.step)
            for tracker in self._trackers:
                stack.callback(tracker.close)
                tracker.write(self.state.history)
            self._epochs()
            scores = self._finish()
            if (number := self._stop.signal_number) is not None:
                raise InterruptedRunError(
                    f"Stopped by {signal.Signals(number).name}; {self.folder.path} is complete.", 128 + number
                )
            return scores

    def _open_folder(self, stack: ExitStack) -> None:
        """Make or take over the run folder, lock it, and start what writes into it."""
        config = self.config.trainer
        make_folder(self.folder.path)
        stack.enter_context(self.folder.lock())
        if self.state.is_new:
            self.folder.start(self.config, self.overwrite)
        else:
            self._make_way()
        stack.enter_context(self.folder.logging())
        self.folder.write_environment(self.machine)
        always = [] if any(isinstance(tracker, CSVConfig) for tracker in config.trackers) else [CSVConfig()]
        run_config = self.config.model_dump(mode="json")
        for tracker in [*always, *config.trackers]:
            self._trackers.append(tracker.build(self.folder.path, config.run_name, run_config))

    def _start_from(self, path: str | Path) -> None:
        """Take the weights, the statistics of the normalization and the origin of positions from a snapshot."""
        snapshot = Snapshot.load(path)
        if snapshot.image_sha256 == self.patch_file.image_sha256:
            warnings.warn(
                f"trainer.start_from {path} was trained on this very map: it may have seen the labels of the "
                "test folds, and test scores would flatter.",
                BigsfWarning,
                stacklevel=2,
            )
        snapshot.load_weights(self.model)

    def _epochs(self) -> None:
        self._last_save = time.monotonic()
        while self.state.epochs_run < self.epochs and not self.state.stopped_early:
            start, first_step = time.monotonic(), self.state.steps_run
            self._steps()
            seconds = max(time.monotonic() - start, 1e-9)  # a resumed epoch may have no step left
            self._end_epoch(seconds, self.dataset.samples * (1 - first_step / self.dataset.steps) / seconds)
            self._stop_in_order()

    def _steps(self) -> None:
        epoch, config = self.state.epochs_run, self.config.trainer
        what = f"epoch {epoch + 1} of {self.epochs}"
        with console.progress(what, self.dataset.samples, "patches") as advance:
            for step in range(self.state.steps_run, self.dataset.steps):
                advance(self.step(epoch, step))
                self.state.steps_run = step + 1
                self._stop_in_order()
                if time.monotonic() - self._last_save > config.save_every:
                    self._save(self.folder.last)

    def _stop_in_order(self) -> None:
        """After a signal to any process, or at the time limit, write last.pt and end."""
        late = time.monotonic() > self._deadline
        asked, out_of_time = self.world.sums([self._stop.signal_number is not None, late], self.device)
        if not asked and not out_of_time:
            return
        self.world.first(lambda: self._save(self.folder.last))
        number = max(self.world.gather(self._stop.signal_number or 0))
        state, steps = self.state, self.dataset.steps
        where = f"step {state.steps_run} of {steps} of epoch {state.epochs_run + 1}"
        where = where if state.steps_run else f"epoch {state.epochs_run}"
        by = signal.Signals(number).name if asked else "the time limit"
        raise InterruptedRunError(
            f"Stopped by {by} after {where}; last.pt is written. Go on with: bigsf resume {self.to_resume}",
            128 + number if asked else _TRY_AGAIN,
        )

    def _end_epoch(self, seconds: float, rate: float) -> None:
        config, state = self.config.trainer, self.state
        total, weight = state.partial_loss
        self.world.share_buffers(self.model)
        evaluation = self._evaluate(self.split.validation)
        quantities = {"train_loss": total / weight if weight else float("nan")}
        quantities |= {f"val_{name}": value for name, value in evaluation.quantities.items()}
        improved = state.end_epoch(quantities, evaluation.thresholds, self.best_by)
        if improved:
            self._save(self.folder.best)
        self._save(self.folder.last)
        for tracker in self._trackers:
            tracker.write(state.history)
        shown = "  ".join(f"{name} {number:.4f}" for name, number in quantities.items())
        best = "  best" if improved and self.best_by != "epoch" else ""
        taken = console.duration(seconds)
        if self.world.is_first:
            logger.info(
                "epoch %d/%d  %s  %s, %.0f patches/s%s", state.epochs_run, self.epochs, shown, taken, rate, best
            )
            if state.stopped_early:
                logger.info("Stopped early: %s has not become better.", getattr(config.early_stopping, "monitor", "it"))

    def _evaluate(self, folds: list[int]) -> Evaluation:
        weight = self.config.trainer.loss.unlabelled_weight
        return evaluate(self.predictor, self.folds, folds, self.metrics, self.loss, weight, self.world)

    def _save(self, path: Path) -> None:
        if self.world.is_first:
            self.state.snapshot(
                global_config=self.config.model_dump(mode="json"),
                patch_size=self.patch_file.patch_size,
                data_identity=self.patch_file.identity,
                folds_identity=self.folds.identity,
                image_sha256=self.patch_file.image_sha256,
                machine=self.machine,
                network_handed_in=self.parts.network is not None,
            ).save(path)
        self._last_save = time.monotonic()

    def _finish(self) -> dict[str, Any]:
        """Score best.pt on the test folds, and close the run."""
        state, config = self.state, self.config.trainer
        if not state.best:
            decisive = " or ".join(sorted({self.best_by, "val_loss"} - {"epoch"}))
            raise TrainingError(
                f"{decisive} was never a number, so no best.pt was chosen; {self.folder.last} stays. "
                f"The validation folds {self.split.validation} may hold no labelled pixel."
            )
        self.world.wait()
        best = Snapshot.load(self.folder.best)
        best.load_weights(self.model)
        evaluation = self._evaluate(self.split.test)
        scores = {
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "split": [list(part) for part in self.split],
            "model": config.model.type,
            "epochs_run": state.epochs_run,
            "best_epoch": int(state.best["epoch"]),
            "best_by": self.best_by,
            "best_value": state.best["value"],
            "thresholds": asdict(best.thresholds),
            "test": {
                **evaluation.quantities,
                "labelled_best_dice": evaluation.labelled.best_dice()[0],
                "marked_ratio_whole": evaluation.whole.at(best.thresholds.whole)["marked_ratio"],
                "marked_ratio_labelled": evaluation.whole.at(best.thresholds.labelled)["marked_ratio"],
            },
        }
        self.world.first(lambda: self._write_scores(scores))
        return scores

    def _write_scores(self, scores: dict[str, Any]) -> None:
        from bigsf.training.components.trackers import draw_curves

        scores["baselines"] = baseline_scores(self.folds, self.split.test)
        with atomic_path(self.folder.curves) as temporary:
            draw_curves(self.state.history, temporary, scores["best_epoch"])
        self.folder.write_json(self.folder.scores, scores)


def _best_by(config: TrainerConfig) -> str:
    """Return the logged quantity that chooses best.pt."""
    if config.best_by is None and config.early_stopping:
        return getattr(config.early_stopping, "monitor", "val_loss")
    return config.best_by or "epoch"


def _epochs_of(samples: int) -> int:
    """Return how many epochs a run takes by default whose epochs have so many patches."""
    return int(np.clip(math.ceil(_PATCHES_SEEN / samples), 4, 200))
