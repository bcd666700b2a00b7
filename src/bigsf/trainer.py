"""Batches -> snapshots: training, and going on with it."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from bigsf import console
from bigsf.console import logger
from bigsf.coordinates import border, locator
from bigsf.dataset import PatchDataset
from bigsf.distributed import World
from bigsf.errors import BigsfWarning, ConfigError, DataError, InterruptedRunError, SnapshotError, TrainingError
from bigsf.evaluation import Evaluation, evaluate
from bigsf.folds import Folds
from bigsf.inference import Judge
from bigsf.losses import Loss
from bigsf.metrics import Metric, build_metrics
from bigsf.models.positions import PositionEncoder
from bigsf.optimizers import Parameters
from bigsf.patches import PatchFile
from bigsf.precision import pick_device, resolve_precision
from bigsf.resumption import placed, warn_if_elsewhere, with_epochs
from bigsf.run_config import RunConfig
from bigsf.run_folder import RunFolder
from bigsf.signals import StopRequest
from bigsf.snapshot import Snapshot, build_model
from bigsf.training_state import TrainingState
from bigsf.training_step import TrainingStep

_STATISTICS_SAMPLE = 1000  # patches from which global normalizations learn
_TRY_AGAIN = 75  # exit code of a run that its time limit stopped (EX_TEMPFAIL of sysexits.h)


@dataclass(frozen=True)
class Parts:
    """Objects handed to a trainer in place of what the config would build."""

    network: nn.Module | None = None
    """A network, as `trainer.model` describes; a snapshot keeps its weights only."""
    loss: Loss | None = None
    """A loss; `trainer.loss.unlabelled_weight` still holds."""
    optimizer: Callable[[Parameters], Optimizer] | None = None
    """From the parameters to an optimizer."""
    metrics: Mapping[str, Metric] | None = None
    """Metrics by name."""


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
    ) -> None:
        self.parts, self.world, self.overwrite = parts or Parts(), world or World(), overwrite
        self.device = pick_device(device, self.world.local_rank if self.world.size > 1 else None)
        self.dtype = resolve_precision(config.trainer.precision, self.device)
        torch.use_deterministic_algorithms(config.trainer.deterministic)
        self.patch_file: PatchFile = config.data.build()
        self.patch_file.labels()
        _check_model(config, self.patch_file)
        self.config = config.model_copy(update={"split": config.split.resolved(self.patch_file)})
        self.folds = self._load_folds(write=not dry_run)
        if config.split.use > len(self.folds.splits):
            raise ConfigError(
                f"split.use is {config.split.use}; {self.config.split.path} has {len(self.folds.splits)} splits."
            )
        self.split = self.folds.splits[config.split.use - 1]
        self.folder = RunFolder(config.trainer.output_dir / config.trainer.run_name)
        self._build()

    def _load_folds(self, write: bool) -> Folds:
        """Read or make the folds; the first process makes them, and the others read what it wrote."""
        if not self.world.is_first:
            self.world.wait()
        folds = Folds.load_or_make(self.patch_file, self.config.split, write)
        if self.world.is_first:
            self.world.wait()
        return folds

    def _build(self) -> None:
        config = self.config.trainer
        torch.manual_seed(config.seed)
        self.dataset = PatchDataset(
            self.patch_file,
            self.folds.patches_in(self.split[0]),
            config.batch_size,
            config.seed,
            self.config.data.samples_per_epoch,
            [augmentation.build() for augmentation in config.augmentations],
            locator(config.model.position.of if config.model.position else None, self.patch_file.wcs),
            self.device,
            self.world.rank,
            self.world.size,
        )
        if not len(self.dataset.indices):
            raise DataError(
                f"No patch lies in the training folds {self.split[0]}. Use larger areas or smaller patches."
            )
        self.model = build_model(self.config, self.parts.network)
        self._fit_to_data()
        self.model.to(self.device)
        self.loss = self.parts.loss or config.loss.build()
        self.metrics = dict(build_metrics(config.metrics) if self.parts.metrics is None else self.parts.metrics)
        optimizer = (self.parts.optimizer or config.optimizer.build)(self.model.parameters())
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.state = TrainingState(
            self.model,
            optimizer,
            config.scheduler.build(config.epochs) if config.scheduler else None,
            config.early_stopping.build() if config.early_stopping else None,
            torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16),
        )
        self.step = TrainingStep(config, self.dataset, self.loss, self.state, self.device, self.dtype, self.world)
        self.judge = Judge(
            [self.model],
            self.patch_file.patch_size,
            batch_size=64,
            device=self.device,
            dtype=self.dtype,
            wcs=self.patch_file.wcs,
        )

    def _fit_to_data(self) -> None:
        """Let normalization and position encoder learn from the data, before the weights do."""
        self.model.normalization.fit(self._training_sample())
        for module in self.model.modules():
            if isinstance(module, PositionEncoder) and self.dataset.locate:
                module.fit(self.dataset.locate(border(self.patch_file.shape)))

    def _training_sample(self) -> torch.Tensor:
        """Return valid pixels of some training patches, `(c, n)` float64, NaN where missing."""
        generator = np.random.default_rng(self.config.trainer.seed)
        some = generator.permutation(self.dataset.indices)[:_STATISTICS_SAMPLE]
        image = self.patch_file.read(some).image
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
        """
        path = Path(path)
        if path.is_dir():
            folder = RunFolder(path)
            if (found := folder.newest_snapshot) is None:
                if not folder.config.exists():
                    raise SnapshotError(f"{path} is not a run folder: it holds neither last.pt nor config.yaml.")
                config = placed(RunConfig.from_yaml(folder.config), path, data)
                return cls(config, device, True, dry_run, parts, world)  # it was stopped before its first save
            path = found
        snapshot = Snapshot.load(path)
        config = with_epochs(placed(snapshot.config, path.parent, data), epochs, snapshot, path)
        trainer = cls(config, device, dry_run=dry_run, parts=parts, world=world)
        if trainer.patch_file.identity != snapshot.data_identity:
            raise DataError(
                f"{path} was trained on another patch file ({snapshot.data_identity[:8]}... there, "
                f"{trainer.patch_file.identity[:8]}... in {trainer.patch_file.path})."
            )
        warn_if_elsewhere(snapshot.machine, trainer.machine)
        trainer.state.restore(snapshot)
        trainer._origin = path
        return trainer

    _origin: Path | None = None  # the snapshot that a run goes on from

    def _make_way(self) -> None:
        """Put aside what the run will write anew: snapshots and rows that are newer than where it goes on from."""
        folder, state = self.folder, self.state
        here = (state.epochs_run, state.steps_run)
        if state.epochs_run < self.config.trainer.epochs and not state.stopped_early:
            folder.scores.unlink(missing_ok=True)
        newer = {}
        for path in (folder.last, folder.best):
            if path.exists() and path != self._origin:
                other = Snapshot.load(path)
                newer[path] = (other.epochs_run, other.steps_run)
        newer = {path: there for path, there in newer.items() if there > here}
        if not newer:
            return
        folder.set_aside([*newer, folder.metrics], max(newer.values())[0])
        if folder.best in newer:
            state.best = {}  # the file that it speaks of was written over; the next epoch is the best so far
        self._save(folder.last)  # a run stopped from here on goes on from where it went back to
        logger.info(
            "Going back to epoch %d, step %d; newer snapshots and rows are kept in %s.", *here, folder.superseded
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
        with ExitStack() as stack:
            self._trackers = self._open_folder(stack) if self.world.is_first else []
            self.world.wait()
            stop = stack.enter_context(StopRequest())
            for tracker in self._trackers:
                stack.callback(tracker.close)
                tracker.write(self.state.history)
            self._epochs(stop)
            return self._finish()

    def _open_folder(self, stack: ExitStack) -> list[Any]:
        """Make or take over the run folder, lock it, and start what writes into it."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(self.folder.lock())
        if self.state.is_new:
            if self.config.trainer.start_from:
                self._start_from(self.config.trainer.start_from)
            self.folder.start(self.config, self.overwrite)
        else:
            self._make_way()
        stack.enter_context(self.folder.logging())
        self.folder.write_environment(self.machine)
        run_config = self.config.model_dump(mode="json")
        run_name = self.config.trainer.run_name
        return [tracker.build(self.folder.path, run_name, run_config) for tracker in self.config.trainer.trackers]

    def _start_from(self, path: Path) -> None:
        """Take the weights, the statistics of the normalization and the origin of positions from a snapshot."""
        snapshot = Snapshot.load(path)
        if snapshot.data_identity == self.patch_file.identity:
            warnings.warn(
                f"trainer.start_from {path} was trained on this very patch file: it may have seen the labels of the "
                "test folds, and test scores would flatter.",
                BigsfWarning,
                stacklevel=2,
            )
        snapshot.load_weights(self.model)

    def _epochs(self, stop: StopRequest) -> None:
        self._last_save = time.monotonic()
        while self.state.epochs_run < self.config.trainer.epochs and not self.state.stopped_early:
            start, first_step = time.monotonic(), self.state.steps_run
            self._steps(stop)
            seconds = time.monotonic() - start
            self._end_epoch(seconds, self.dataset.samples * (1 - first_step / self.dataset.steps) / seconds)

    def _steps(self, stop: StopRequest) -> None:
        epoch, config = self.state.epochs_run, self.config.trainer
        what = f"epoch {epoch + 1} of {config.epochs}"
        with console.progress(what, self.dataset.samples, "patches") as advance:
            for step in range(self.state.steps_run, self.dataset.steps):
                advance(self.step(epoch, step))
                self.state.steps_run = step + 1
                self._stop_in_order(stop, epoch, step)
                if time.monotonic() - self._last_save > config.save_every:
                    self._save(self.folder.last)

    def _stop_in_order(self, stop: StopRequest, epoch: int, step: int) -> None:
        """After a signal to any process, or at the time limit, write last.pt and end."""
        late = time.monotonic() > self._deadline
        flags = [stop.signal_number is not None, stop.signal_number or 0, late]
        caught, number, out_of_time = self.world.sums(flags, self.device)
        if not caught and not out_of_time:
            return
        self._save(self.folder.last)
        self.world.wait()
        signal_number = round(number / caught) if caught else 0
        why = f"signal {signal_number}" if caught else "the time limit"
        raise InterruptedRunError(
            f"Stopped by {why} after step {step + 1} of {self.dataset.steps} of epoch {epoch + 1}; last.pt is written. "
            f"Go on with: bigsf resume {self.folder.path}",
            128 + signal_number if caught else _TRY_AGAIN,
        )

    def _end_epoch(self, seconds: float, rate: float) -> None:
        config, state = self.config.trainer, self.state
        total, weight = state.partial_loss
        self.world.share_buffers(self.model)
        evaluation = self._evaluate(self.split[1])
        quantities = {"train_loss": total / weight if weight else float("nan")}
        quantities |= {f"val_{name}": value for name, value in evaluation.quantities.items()}
        self._check_monitored(quantities)
        improved = state.end_epoch(quantities, evaluation.thresholds, config.best_by)
        if improved:
            self._save(self.folder.best)
        self._save(self.folder.last)
        for tracker in self._trackers:
            tracker.write(state.history)
        shown = "  ".join(f"{name} {number:.4f}" for name, number in quantities.items())
        best = "  best" if improved else ""
        taken = console.duration(seconds)
        if self.world.is_first:
            logger.info(
                "epoch %d/%d  %s  %s, %.0f patches/s%s", state.epochs_run, config.epochs, shown, taken, rate, best
            )
            if state.stopped_early:
                logger.info("Stopped early: %s has not become better.", getattr(config.early_stopping, "monitor", "it"))

    def _check_monitored(self, quantities: dict[str, float]) -> None:
        config = self.config.trainer
        monitored = {"trainer.best_by": config.best_by}
        for name in ("early_stopping", "scheduler"):
            if monitor := getattr(getattr(config, name), "monitor", None):
                monitored[f"trainer.{name}.monitor"] = monitor
        for key, name in monitored.items():
            if name not in quantities:
                raise ConfigError(f"{key} is {name!r}, which is not logged. Logged are {', '.join(quantities)}.")

    def _evaluate(self, folds: list[int]) -> Evaluation:
        weight = self.config.trainer.loss.unlabelled_weight
        return evaluate(self.judge, self.folds, folds, self.metrics, self.loss, weight, self.world)

    def _save(self, path: Path) -> None:
        if self.world.is_first:
            self.state.snapshot(
                global_config=self.config.model_dump(mode="json"),
                patch_size=self.patch_file.patch_size,
                data_identity=self.patch_file.identity,
                image_sha256=self.patch_file.image_sha256,
                machine=self.machine,
                network_handed_in=self.parts.network is not None,
            ).save(path)
        self._last_save = time.monotonic()

    def _finish(self) -> dict[str, Any]:
        from bigsf.pictures import draw_curves

        state, config = self.state, self.config.trainer
        if not state.best:
            raise TrainingError(
                f"{config.best_by} was never a number, so no best.pt was chosen; {self.folder.last} stays. "
                f"The validation folds {self.split[1]} may hold no labelled pixel."
            )
        self.world.wait()
        best = Snapshot.load(self.folder.best)
        best.load_weights(self.model)
        evaluation = self._evaluate(self.split[2])
        thresholds = best.thresholds
        scores = {
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "split": [list(part) for part in self.split],
            "model": config.model.type,
            "epochs_run": state.epochs_run,
            "best_epoch": int(state.best["epoch"]),
            "best_by": config.best_by,
            "best_value": state.best["value"],
            "thresholds": thresholds,
            "test": {
                **evaluation.quantities,
                "labelled_best_dice": evaluation.labelled.best_dice()[0],
                "marked_ratio_whole": evaluation.whole.marked_ratio(thresholds["whole"]),
                "marked_ratio_labelled": evaluation.whole.marked_ratio(thresholds["labelled"]),
            },
        }
        if self.world.is_first:
            draw_curves(state.history, self.folder.curves, int(state.best["epoch"]))
            self.folder.write_json(self.folder.scores, scores)
        self.world.wait()
        return scores


def _check_model(config: RunConfig, patch_file: PatchFile) -> None:
    """Raise `ConfigError` when a network does not fit a patch file."""
    model = config.trainer.model
    if model.in_channels != patch_file.channels:
        raise ConfigError(
            f"trainer.model.in_channels is {model.in_channels} but {patch_file.path.name} has {patch_file.channels} "
            "image planes."
        )
    check_patch_size(patch_file.patch_size, model.patch_multiple, model.type)


def check_patch_size(patch_size: int, multiple: int, name: str) -> None:
    """Raise `ConfigError` when patches do not go through a network, with the nearest sizes that do."""
    if patch_size % multiple:
        below, above = patch_size // multiple * multiple, -(-patch_size // multiple) * multiple
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"Patches of {patch_size} pixels do not go through this {name}: use a multiple of {multiple}, for example "
            f"{sizes}, in bigsf preprocess --patch-size, or lower trainer.model.depth."
        )
