"""Batches -> snapshots: training, and going on with it."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import nn
from torch.optim import Optimizer

from bigsf import console
from bigsf.console import logger
from bigsf.coordinates import border, locator
from bigsf.dataset import PatchDataset
from bigsf.early_stopping import higher_is_better
from bigsf.errors import BigsfWarning, ConfigError, DataError, InterruptedRunError, SnapshotError, TrainingError
from bigsf.evaluation import Evaluation, evaluate
from bigsf.folds import Folds
from bigsf.inference import Judge
from bigsf.losses import Loss, LossSum
from bigsf.metrics import Metric, build_metrics
from bigsf.models.positions import PositionEncoder
from bigsf.optimizers import Parameters
from bigsf.patches import PatchFile
from bigsf.precision import autocast, pick_device, resolve_precision
from bigsf.run_config import RunConfig
from bigsf.run_folder import RunFolder
from bigsf.signals import StopRequest
from bigsf.snapshot import Snapshot, build_model

_STATISTICS_SAMPLE = 1000  # patches from which global normalizations learn


@dataclass
class Progress:
    """Where a run stands; with the states of model, optimizer, scheduler and early stopping it is the whole run."""

    epochs_run: int = 0
    steps_run: int = 0
    partial_loss: tuple[float, float] = (0.0, 0.0)
    stopped_early: bool = False


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
    ) -> None:
        self.parts = parts or Parts()
        self.device = pick_device(device)
        self.patch_file: PatchFile = config.data.build()
        self.patch_file.labels()
        model = config.trainer.model
        if model.in_channels != self.patch_file.channels:
            raise ConfigError(
                f"trainer.model.in_channels is {model.in_channels} but {self.patch_file.path.name} has "
                f"{self.patch_file.channels} image planes."
            )
        check_patch_size(self.patch_file.patch_size, model.patch_multiple, model.type)
        self.config = config.model_copy(update={"split": config.split.resolved(self.patch_file)})
        self.folds = Folds.load_or_make(self.patch_file, self.config.split, write=not dry_run)
        if config.split.use > len(self.folds.splits):
            raise ConfigError(
                f"split.use is {config.split.use}; {self.config.split.path} has {len(self.folds.splits)}."
            )
        self.split = self.folds.splits[config.split.use - 1]
        self.folder = RunFolder(config.trainer.output_dir / config.trainer.run_name)
        self.overwrite = overwrite
        self.dtype = resolve_precision(config.trainer.precision, self.device)
        self._build()

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
            device=self.device,
        )
        if not len(self.dataset.indices):
            raise DataError(
                f"No patch lies in the training folds {self.split[0]}. Use larger areas or smaller patches."
            )
        self.model = build_model(self.config, self.parts.network)
        if config.start_from:
            self._start_from(config.start_from)
        else:
            self._fit_to_data()
        self.model.to(self.device)
        self.loss = self.parts.loss or config.loss.build()
        self.optimizer = (self.parts.optimizer or config.optimizer.build)(self.model.parameters())
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.scheduler = config.scheduler.build(config.epochs) if config.scheduler else None
        self.early_stopping = config.early_stopping.build() if config.early_stopping else None
        self.metrics = dict(build_metrics(config.metrics) if self.parts.metrics is None else self.parts.metrics)
        self.judge = Judge(
            [self.model],
            self.patch_file.patch_size,
            batch_size=64,
            device=self.device,
            dtype=self.dtype,
            wcs=self.patch_file.wcs,
        )
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, float] = {}
        self.thresholds: dict[str, float] = {"whole": 0.5, "labelled": 0.5}

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
        try:
            self.model.load_state_dict(snapshot.model_state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise SnapshotError(f"{path} has another architecture than trainer.model: {reason}") from None

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

    @classmethod
    def from_config(
        cls,
        config: RunConfig | str | Path | Mapping[str, Any],
        overrides: Sequence[str] = (),
        device: str | None = None,
        overwrite: bool = False,
        parts: Parts | None = None,
    ) -> Self:
        """Return a trainer for a config, a YAML file, or a dictionary."""
        if isinstance(config, str | Path):
            config = RunConfig.from_yaml(config, overrides)
        elif not isinstance(config, RunConfig):
            config = RunConfig.from_dict(config, overrides)
        return cls(config, device, overwrite, parts=parts)

    @classmethod
    def from_snapshot(
        cls,
        path: str | Path,
        epochs: int | None = None,
        device: str | None = None,
        dry_run: bool = False,
        parts: Parts | None = None,
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
        """
        path = Path(path)
        if path.is_dir():
            folder = RunFolder(path)
            if not folder.last.exists():
                if not folder.config.exists():
                    raise SnapshotError(f"{path} is not a run folder: it holds neither last.pt nor config.yaml.")
                config = _placed(RunConfig.from_yaml(folder.config), path)
                return cls(config, device, overwrite=True, dry_run=dry_run, parts=parts)  # nothing was saved yet
            path = folder.last
        snapshot = Snapshot.load(path)
        config = _placed(snapshot.config, path.parent)
        if epochs is not None:
            if epochs < snapshot.epochs_run:
                raise ConfigError(
                    f"--epochs {epochs} is less than the {snapshot.epochs_run} epochs that {path} has run."
                )
            scheduler = config.trainer.scheduler
            if epochs != config.trainer.epochs and scheduler and scheduler.depends_on_total:
                warnings.warn(
                    f"The {scheduler.type} schedule depends on the number of epochs: with {epochs} instead of "
                    f"{config.trainer.epochs} the learning rate differs from that of a run planned so.",
                    BigsfWarning,
                    stacklevel=2,
                )
            config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"epochs": epochs})})
        trainer = cls(config, device, dry_run=dry_run, parts=parts)
        if trainer.patch_file.identity != snapshot.data_identity:
            raise DataError(
                f"{path} was trained on another patch file ({snapshot.data_identity[:8]}... there, "
                f"{trainer.patch_file.identity[:8]}... in {trainer.patch_file.path})."
            )
        trainer._restore(snapshot)
        if not dry_run:
            trainer._make_way(snapshot, path)
        return trainer

    def _restore(self, snapshot: Snapshot) -> None:
        self.model.load_state_dict(snapshot.build_model(self.parts.network).state_dict())
        self.optimizer.load_state_dict(snapshot.optimizer_state)
        if self.scheduler:
            self.scheduler.load_state(snapshot.scheduler_state)
        if self.early_stopping:
            self.early_stopping.load_state(snapshot.early_stopping_state)
        self.progress = Progress(snapshot.epochs_run, snapshot.steps_run, snapshot.partial_loss, snapshot.stopped_early)
        self.history, self.best, self.thresholds = (
            list(snapshot.history),
            dict(snapshot.best),
            snapshot.thresholds,
        )

    def _make_way(self, snapshot: Snapshot, path: Path) -> None:
        """Put aside what the run will write anew."""
        if snapshot.epochs_run < self.config.trainer.epochs and not snapshot.stopped_early:
            self.folder.scores.unlink(missing_ok=True)
        last = self.folder.last
        if path.name != last.name and last.exists():
            newer = Snapshot.load(last)
            if (newer.epochs_run, newer.steps_run) > (snapshot.epochs_run, snapshot.steps_run):
                self._supersede(newer)
                self._save(last)  # a run stopped from here on goes on from where it went back to

    def _supersede(self, newer: Snapshot) -> None:
        """Keep what an older snapshot will overwrite."""
        keep = self.folder.superseded
        keep.mkdir(exist_ok=True)
        names = [self.folder.last, self.folder.path / "metrics.csv"]
        for file in names:
            if file.exists():
                file.replace(keep / f"{file.stem}_{newer.epochs_run}_epochs{file.suffix}")
        logger.info(
            "Going back from epoch %d to %d; the newer snapshot and rows are kept in %s.",
            newer.epochs_run,
            self.progress.epochs_run,
            keep,
        )

    # --- training ---------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Train to the end of the budget, or until early stopping; score best.pt on the test folds.

        Returns
        -------
        dict
            What scores.json holds.

        Raises
        ------
        InterruptedRunError
            After a signal, once last.pt is written.
        TrainingError
            Where the loss is no number.
        """
        if not self.progress.epochs_run and not self.progress.steps_run:
            self.folder.start(self.config, self.overwrite)
        with self.folder.logging(), StopRequest() as stop:
            self.folder.write_environment(self.device, self.dtype)
            self._trackers = [
                tracker.build(self.folder.path, self.config.trainer.run_name, self.config.model_dump(mode="json"))
                for tracker in self.config.trainer.trackers
            ]
            try:
                for tracker in self._trackers:
                    tracker.write(self.history)
                self._epochs(stop)
            finally:
                for tracker in self._trackers:
                    tracker.close()
            return self._finish()

    def _epochs(self, stop: StopRequest) -> None:
        self._last_save = time.monotonic()
        while self.progress.epochs_run < self.config.trainer.epochs and not self.progress.stopped_early:
            start, first_step = time.monotonic(), self.progress.steps_run
            self._steps(stop)
            seconds = time.monotonic() - start
            self._end_epoch(seconds, self.dataset.samples * (1 - first_step / self.dataset.steps) / seconds)

    def _steps(self, stop: StopRequest) -> None:
        epoch, config = self.progress.epochs_run, self.config.trainer
        what = f"epoch {epoch + 1} of {config.epochs}"
        with console.progress(what, self.dataset.samples, "patches") as advance:
            for step in range(self.progress.steps_run, self.dataset.steps):
                advance(self._step(epoch, step))
                self.progress.steps_run = step + 1
                if stop.signal_number is not None:
                    self._save(self.folder.last)
                    raise InterruptedRunError(
                        f"Stopped by signal {stop.signal_number} after step {step + 1} of {self.dataset.steps} of "
                        f"epoch {epoch + 1}; last.pt is written. Go on with: bigsf resume {self.folder.path}",
                        stop.signal_number,
                    )
                if time.monotonic() - self._last_save > config.save_every:
                    self._save(self.folder.last)

    def _step(self, epoch: int, step: int) -> int:
        """Take one step and return the number of patches in it."""
        seed = SeedSequence([self.config.trainer.seed, epoch, step]).generate_state(1)[0]
        torch.manual_seed(int(seed))  # dropout
        if self.scheduler:
            factor = self.scheduler.factor(epoch + step / self.dataset.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        batch = self.dataset.batch(epoch, step)
        valid = batch.image.isfinite().all(dim=1, keepdim=True)
        unlabelled = valid.float() * self.config.trainer.loss.unlabelled_weight
        weight = torch.where(batch.labelled & valid, 1.0, unlabelled)
        self.model.train()
        with autocast(self.device, self.dtype):
            logits = self.model(batch.image, batch.position)
        answers = [self.loss(answer[:, None], batch.target, weight) for answer in logits.unbind(dim=1)]
        loss = LossSum(torch.stack([a.total for a in answers]).mean(), answers[0].weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        total, loss_weight = float(loss.total.detach()), float(loss.weight)
        if not math.isfinite(total):
            self._fail(epoch, step)
        self.optimizer.step()
        before = self.progress.partial_loss
        self.progress.partial_loss = (before[0] + total, before[1] + loss_weight)
        return len(batch.image)

    def _fail(self, epoch: int, step: int) -> None:
        positions = self.patch_file.positions[self.dataset.batch_indices(epoch, step)]
        some = ", ".join(f"({y}, {x})" for y, x in positions[:4])
        bad_weights = any(not p.isfinite().all() for p in self.model.parameters())
        cause = (
            "the weights are no longer finite: lower trainer.optimizer.lr"
            if bad_weights
            else "the values of these patches, or a learning rate that is too high"
        )
        raise TrainingError(
            f"The loss is not a number in epoch {epoch + 1}, step {step + 1}, patches at (y, x) = {some}, ... "
            f"Likely cause: {cause}. The last good snapshot stays in {self.folder.path}."
        )

    def _end_epoch(self, seconds: float, rate: float) -> None:
        config, progress = self.config.trainer, self.progress
        total, weight = progress.partial_loss
        evaluation = self._evaluate(self.split[1])
        quantities = {"train_loss": total / weight if weight else float("nan")}
        quantities |= {f"val_{name}": value for name, value in evaluation.quantities.items()}
        self._check_monitored(quantities)
        progress.epochs_run, progress.steps_run, progress.partial_loss = (
            progress.epochs_run + 1,
            0,
            (0.0, 0.0),
        )
        lr = self.optimizer.param_groups[0]["lr"]
        self.history.append({"epoch": progress.epochs_run, "lr": lr, **quantities})
        self.thresholds = evaluation.thresholds
        if self.scheduler:
            self.scheduler.end_of_epoch(quantities)
        if self.early_stopping:
            progress.stopped_early = self.early_stopping.should_stop(quantities)
        value = quantities[config.best_by]
        sign = 1 if higher_is_better(config.best_by) else -1
        improved = math.isfinite(value) and (not self.best or sign * value > sign * self.best["value"])
        if improved:
            self.best = {"value": value, "epoch": progress.epochs_run}
            self._save(self.folder.best)
        self._save(self.folder.last)
        for tracker in self._trackers:
            tracker.write(self.history)
        shown = "  ".join(f"{name} {number:.4f}" for name, number in quantities.items())
        logger.info(
            "epoch %d/%d  %s  %s, %.0f patches/s%s",
            progress.epochs_run,
            config.epochs,
            shown,
            console.duration(seconds),
            rate,
            "  best" if improved else "",
        )
        if progress.stopped_early:
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
        return evaluate(
            self.judge, self.folds, folds, self.metrics, self.loss, self.config.trainer.loss.unlabelled_weight
        )

    def _save(self, path: Path) -> None:
        snapshot = Snapshot(
            model_state=self.model.state_dict(),
            optimizer_state=self.optimizer.state_dict(),
            scheduler_state=self.scheduler.state() if self.scheduler else {},
            early_stopping_state=self.early_stopping.state() if self.early_stopping else {},
            global_config=self.config.model_dump(mode="json"),
            epochs_run=self.progress.epochs_run,
            steps_run=self.progress.steps_run,
            partial_loss=self.progress.partial_loss,
            history=self.history,
            best=self.best,
            thresholds=self.thresholds,
            patch_size=self.patch_file.patch_size,
            data_identity=self.patch_file.identity,
            image_sha256=self.patch_file.image_sha256,
            stopped_early=self.progress.stopped_early,
            network_handed_in=self.parts.network is not None,
        )
        snapshot.save(path)
        self._last_save = time.monotonic()

    def _finish(self) -> dict[str, Any]:
        from bigsf.pictures import draw_curves

        if self.folder.complete:
            logger.info("%s is complete; extend it with --epochs.", self.folder.path)
        if not self.best:
            raise TrainingError(
                f"{self.config.trainer.best_by} was never a number, so no best.pt was chosen; {self.folder.last} "
                f"stays. The validation folds {self.split[1]} may hold no labelled pixel."
            )
        best = Snapshot.load(self.folder.best)
        self.model.load_state_dict(best.model_state)
        evaluation = self._evaluate(self.split[2])
        thresholds = best.thresholds
        scores = {
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "split": [list(part) for part in self.split],
            "model": self.config.trainer.model.type,
            "epochs_run": self.progress.epochs_run,
            "best_epoch": int(self.best["epoch"]),
            "best_by": self.config.trainer.best_by,
            "best_value": self.best["value"],
            "thresholds": thresholds,
            "test": {
                **evaluation.quantities,
                "labelled_best_dice": evaluation.labelled.best_dice()[0],
                "marked_ratio_whole": evaluation.whole.marked_ratio(thresholds["whole"]),
                "marked_ratio_labelled": evaluation.whole.marked_ratio(thresholds["labelled"]),
            },
        }
        draw_curves(self.history, self.folder.curves, int(self.best["epoch"]))
        self.folder.write_json(self.folder.scores, scores)
        return scores


def _placed(config: RunConfig, folder: Path) -> RunConfig:
    """Return the config of a run for the folder in which it lies now."""
    folder = folder.absolute()
    trainer = config.trainer.model_copy(update={"output_dir": folder.parent, "run_name": folder.name})
    return config.model_copy(update={"trainer": trainer})


def check_patch_size(patch_size: int, multiple: int, name: str) -> None:
    """Raise `ConfigError` when patches do not go through a network, with the nearest sizes that do."""
    if patch_size % multiple:
        below, above = patch_size // multiple * multiple, -(-patch_size // multiple) * multiple
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"Patches of {patch_size} pixels do not go through this {name}: use a multiple of {multiple}, for example "
            f"{sizes}, in bigsf preprocess --patch-size, or lower trainer.model.depth."
        )
