"""One training a split, the map that no model cheated on, and their summary."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from bigsf.console import logger
from bigsf.errors import ConfigError, DataError, UsageError
from bigsf.evaluation.completeness import measure_recovery
from bigsf.evaluation.injection import InjectedPlanes
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.evaluation.out_of_fold import test_pixels, write_out_of_fold
from bigsf.evaluation.report import write_report
from bigsf.files import write_text
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.models.device import pick_device, resolve_precision
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.training.distributed import World
from bigsf.training.resume import load_recorded_config, relocated
from bigsf.training.run_config import OutOfFoldConfig, RunConfig
from bigsf.training.run_folder import RunFolder, read_json, to_json
from bigsf.training.snapshot import Snapshot, refuse_custom
from bigsf.training.trainer import Trainer
from bigsf.version import __version__


def check_only(only: int | None, splits: int) -> None:
    """Refuse the number of a split that is not there."""
    if only is not None and not 1 <= only <= splits:
        raise ConfigError(f"--only {only}: there are splits 1 to {splits}.")


@dataclass
class KFold:
    """The runs of a k-fold: `output_dir/run_name/split_1`, `split_2`, ...

    Parameters
    ----------
    config
        The whole configuration; `split.use` plays no part.
    device
        Name of the device; by default the GPU where there is one.
    world
        The processes that train together.
    time_limit_s
        Stop in order once this many seconds have passed.
    """

    config: RunConfig
    device: str | None = None
    world: World = field(default_factory=World)
    time_limit_s: float | None = None

    @classmethod
    def from_folder(
        cls,
        path: Path,
        device: str | None = None,
        world: World | None = None,
        time_limit_s: float | None = None,
        trust: bool = False,
    ) -> Self:
        """Return the k-fold of a folder, which may have been moved; `trust` lets its custom targets run."""
        config = _recorded(path / "kfold.yaml", path)
        refuse_custom(config, str(path / "kfold.yaml"), trust)
        return cls(config, device, world or World(), time_limit_s)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.path = self.config.trainer.output_dir / self.config.trainer.run_name
        self.patch_file = self.config.data.build()
        self.patch_file.labels()
        if self.world.size > 1:  # the first makes them, the others read what it wrote
            self.world.first(lambda: Folds.load_or_make(self.patch_file, self.config.split))
        self.folds = Folds.load_or_make(self.patch_file, self.config.split)
        self.config = self.config.model_copy(update={"split": self.folds.config})
        self.names = [f"split_{number}" for number in range(1, len(self.folds.splits) + 1)]

    def run(self, only: int | None = None, overwrite: bool = False) -> dict[str, Any] | None:
        """Train the splits that are not done yet and, once all are, write the out-of-fold map and the summary.

        Parameters
        ----------
        only
            Train this split alone, numbered from 1: for job arrays.
        overwrite
            Train all anew, also what is done.

        Returns
        -------
        dict or None
            What summary.json holds; None while splits are missing.
        """
        check_only(only, len(self.names))
        self.world.first(lambda: self._start(overwrite, only))
        for number in range(1, len(self.names) + 1) if only is None else [only]:
            self._train(number, overwrite, self.path if only is None else None)
        missing = [name for name in self.names if not RunFolder(self.path / name).complete]
        if missing:
            logger.info("Still to train: %s. Then run bigsf kfold once more.", ", ".join(missing))
            return None
        self.world.first(self.summarise)
        return self.summary if self.world.is_first else None

    def _start(self, overwrite: bool, only: int | None) -> None:
        """Record the config, or check that it is the one of the runs that lie there."""
        record = self.path / "kfold.yaml"
        # Looked for before the record: a process of another split may start now, and writes the record first.
        found = [path for path in self.path.glob("[!.]*") if path != record]
        begun = any(RunFolder(folder).newest_snapshot for folder in self.path.glob("split_*"))
        same = record.exists() and _trained(_recorded(record, self.path)) == _trained(relocated(self.config, self.path))
        if record.exists() and begun and not same and not overwrite:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration (see {record}). Choose another trainer.run_name, "
                "or pass --overwrite to train anew."
            )
        if record.exists() and begun and not same and only is not None:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration; --overwrite --only {only} would mix the two. "
                "Leave --only out to train all anew."
            )
        if found and not record.exists():
            raise UsageError(
                f"{self.path} holds something else, e.g. {found[0].name}. Choose another trainer.run_name."
            )
        if overwrite and only is None:
            for folder in self.path.glob("split_*"):
                RunFolder(folder).clear()  # before the record: what is left of a killed start is never taken for new
        write_text(record, self.config.to_yaml())

    def _train(self, number: int, overwrite: bool, to_resume: Path | None) -> None:
        folder = RunFolder(self.path / self.names[number - 1])
        if folder.complete and not overwrite:
            logger.info("%s is done.", folder.path.name)
            return
        logger.info("%s of %d: %s", folder.path.name, len(self.names), list(self.folds.splits[number - 1]))
        if folder.newest_snapshot and not overwrite:
            trainer = Trainer.from_snapshot(folder.path, device=self.device, world=self.world, trust=self.config)
        else:
            trainer = Trainer(self.split_config(number), self.device, overwrite=True, world=self.world)
        trainer.to_resume = to_resume or folder.path
        limit = None if self.time_limit_s is None else max(0.0, self.time_limit_s - (time.monotonic() - self._started))
        trainer.train(limit)

    def split_config(self, number: int) -> RunConfig:
        """Return the config of the run of one split."""
        split = self.config.split.model_copy(update={"use": number})
        trainer = self.config.trainer.model_copy(update={"output_dir": self.path, "run_name": self.names[number - 1]})
        return self.config.model_copy(update={"split": split, "trainer": trainer})

    # --- what the runs make together ----------------------------------------------------------------------------------

    summary: dict[str, Any] = field(default_factory=dict, init=False)

    def summarise(self) -> None:
        """Write the out-of-fold map, summary.json and report.html from the trained models; keep the summary."""
        snapshots = [Snapshot.load(self.path / name / "best.pt") for name in self.names]
        for name, snapshot in zip(self.names, snapshots, strict=True):
            if snapshot.data_identity != self.patch_file.identity or snapshot.folds_identity != self.folds.identity:
                raise DataError(
                    f"{self.path / name} was trained on another patch file or other folds, so its test areas are not "
                    "those of today. Train anew with --overwrite."
                )
        path = self.path / "out_of_fold.fits"
        cuts = {
            kind: np.array([getattr(snapshot.thresholds, kind) for snapshot in snapshots], np.float32)[:, None, None]
            for kind in ("labelled", "whole")
        }
        predictor = self._predict(snapshots)
        made = write_out_of_fold(path, predictor, self.folds, cuts, self.config.to_yaml())
        table = made.scores.table()
        masks = MaskScores(self.folds, table)
        with FitsImage(path) as written:
            masks.add(written)
        known = self.patch_file.labels()[0] if self.patch_file.truth is None else self.patch_file.truth
        injected = InjectedPlanes(self.patch_file, known)
        runs = [RunFolder(self.path / name) for name in self.names]
        self.summary = {
            "bigsf": __version__,
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "splits": [list(split) for split in self.folds.splits],
            "folds": self.folds.counts,
            "shared_pixels": self.folds.pixels["shared"],
            "clear_px": self._clear_px(),
            "labelled_uncovered": self.folds.pixels["labelled_uncovered"],
            "runs": {run.path.name: read_json(run.scores) for run in runs},
            "predicted_pixels": made.scores.predicted,
            "valid_pixels": made.scores.valid,
            "out_of_fold": table,
            "skeletons": masks.skeletons(),
            "thresholds": made.scores.thresholds_cost(),
            "seam_contrast": made.jump.table(),
            "curves": made.scores.curves(),
            "by": masks.by_bin(),
            "worst_areas": masks.worst_areas(),
            "injected": measure_recovery(injected, predictor, cuts["whole"], path, test_pixels(self.folds)),
        }
        write_text(self.path / "summary.json", to_json(self.summary))
        write_report(self.path / "report.html", self.summary, self.folds, made, self.config.to_yaml())

    def _clear_px(self) -> int | None:
        """Return the least number of clear pixels between what training and test patches show."""
        clear = self.folds.clear_px
        if clear is None or not self.config.data.straddle:
            return clear
        return min(clear, self.folds.config.gap)  # patches that straddle areas show them up to their gap

    def _predict(self, snapshots: list[Snapshot]) -> SlidingWindowPredictor:
        device = pick_device(self.device)
        return SlidingWindowPredictor(
            [snapshot.build_model(trust=self.config).to(device) for snapshot in snapshots],
            self.patch_file.patch_size,
            self.config.out_of_fold.stride_of(self.patch_file.patch_size),
            batch_size=64,
            device=device,
            dtype=resolve_precision(self.config.trainer.precision, device),
            wcs=self.patch_file.wcs,
            symmetries=self.config.out_of_fold.tta,
        )


def _trained(config: RunConfig) -> RunConfig:
    """Return what of a config is trained with."""
    return config.model_copy(update={"out_of_fold": OutOfFoldConfig()})


def _recorded(record: Path, folder: Path) -> RunConfig:
    """Return the config that a k-fold was started with, for the folder in which it lies now."""
    return relocated(load_recorded_config(record), folder)
