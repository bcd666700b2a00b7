"""One training a split, the map that no model cheated on, and their summary."""

import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bigsf import console
from bigsf.atomic import atomic_path, write_text
from bigsf.console import logger
from bigsf.distributed import World
from bigsf.errors import ConfigError, DataError, UsageError
from bigsf.evaluation import in_bands
from bigsf.fits_output import FitsWriter, provenance
from bigsf.folds import Folds
from bigsf.inference import Judge
from bigsf.pictures import Thumbnails, draw_quicklook
from bigsf.precision import pick_device, resolve_precision
from bigsf.resumption import placed
from bigsf.run_config import RunConfig
from bigsf.run_folder import RunFolder, read_json, to_json
from bigsf.scores import MapScores
from bigsf.snapshot import Snapshot
from bigsf.trainer import Trainer


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
        cls, path: Path, device: str | None = None, world: World | None = None, time_limit_s: float | None = None
    ) -> Self:
        """Return the k-fold of a folder, which may have been moved."""
        return cls(_recorded(path / "kfold.yaml", path), device, world or World(), time_limit_s)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.path = self.config.trainer.output_dir / self.config.trainer.run_name
        self.patch_file = self.config.data.build()
        self.patch_file.labels()
        if self.world.size > 1:  # the first makes them, the others read what it wrote
            self.world.first(lambda: Folds.load_or_make(self.patch_file, self.config.split))
        self.folds = Folds.load_or_make(self.patch_file, self.config.split)
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
        if only is not None and not 1 <= only <= len(self.names):
            raise ConfigError(f"--only {only}: there are splits 1 to {len(self.names)}.")
        self.world.first(lambda: self._start(overwrite, only))
        for number in range(1, len(self.names) + 1) if only is None else [only]:
            self._train(number, overwrite)
        missing = [name for name in self.names if not RunFolder(self.path / name).complete]
        if missing:
            logger.info("Still to train: %s. Then run bigsf kfold once more.", ", ".join(missing))
            return None
        self.world.first(self.summarise)
        return self.summary if self.world.is_first else None

    def _start(self, overwrite: bool, only: int | None) -> None:
        """Record the config, or check that it is the one of the runs that lie there."""
        record = self.path / "kfold.yaml"
        same = record.exists() and _recorded(record, self.path) == placed(self.config, self.path)
        if record.exists() and not same and not overwrite:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration (see {record}). Choose another trainer.run_name, "
                "or pass --overwrite to train anew."
            )
        if record.exists() and not same and only is not None:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration; --overwrite --only {only} would mix the two. "
                "Leave --only out to train all anew."
            )
        found = [path for path in self.path.glob("*") if path.name != "kfold.yaml"] if self.path.exists() else []
        if not record.exists() and found:
            raise UsageError(
                f"{self.path} holds something else, e.g. {found[0].name}. Choose another trainer.run_name."
            )
        if overwrite and only is None:
            for folder in self.path.glob("split_*"):
                RunFolder(folder).clear()  # before the record: what is left of a killed start is never taken for new
        write_text(record, self.config.to_yaml())

    def _train(self, number: int, overwrite: bool) -> None:
        folder = RunFolder(self.path / self.names[number - 1])
        if folder.complete and not overwrite:
            logger.info("%s is done.", folder.path.name)
            return
        logger.info("%s of %d: %s", folder.path.name, len(self.names), self.folds.splits[number - 1])
        if folder.newest_snapshot and not overwrite:
            trainer = Trainer.from_snapshot(folder.path, device=self.device, world=self.world)
        else:
            trainer = Trainer(self.split_config(number), self.device, overwrite=True, world=self.world)
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
        """Write out_of_fold.fits, out_of_fold.png and summary.json from the trained models; keep the summary."""
        snapshots = [Snapshot.load(self.path / name / "best.pt") for name in self.names]
        for name, snapshot in zip(self.names, snapshots, strict=True):
            if snapshot.data_identity != self.patch_file.identity or snapshot.folds_identity != self.folds.identity:
                raise DataError(
                    f"{self.path / name} was trained on another patch file or other folds, so its test areas are not "
                    "those of today. Train anew with --overwrite."
                )
        scores = MapScores(self.folds)
        self._write_map(snapshots, scores)
        runs = [RunFolder(self.path / name) for name in self.names]
        self.summary = {
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "splits": [list(split) for split in self.folds.splits],
            "shared_pixels": self.folds.pixels["shared"],
            "runs": {run.path.name: read_json(run.scores) for run in runs},
            "judged_pixels": scores.judged,
            "valid_pixels": scores.valid,
            "out_of_fold": scores.table(),
        }
        write_text(self.path / "summary.json", to_json(self.summary))

    def _write_map(self, snapshots: list[Snapshot], scores: MapScores) -> None:
        device = pick_device(self.device)
        models = [snapshot.build_model().to(device) for snapshot in snapshots]
        dtype = resolve_precision(self.config.trainer.precision, device)
        judge = Judge(
            models, self.patch_file.patch_size, batch_size=64, device=device, dtype=dtype, wcs=self.patch_file.wcs
        )
        tests = [split[2] for split in self.folds.splits]
        votes = max(sum(fold in test for test in tests) for fold in range(1, int(self.folds.grid.max()) + 1))

        def allowed(y0: int, y1: int) -> npt.NDArray[np.bool_]:
            number = self.folds.rows(y0, y1)
            return np.stack([np.isin(number, test) for test in tests])

        header = self.patch_file.header.copy()
        header.remove("BUNIT", ignore_missing=True)
        header, table = provenance(
            header,
            "Out-of-fold probability of a filament",
            {"data identity": self.patch_file.identity, "config": self.config.to_yaml()},
        )
        kinds: dict[str, npt.DTypeLike] = {"PRIMARY": np.float32, "MASK": np.uint8, "FOLD": np.uint8}
        if votes > 1:
            kinds["STD"] = np.float32
        cuts = np.array([snapshot.thresholds["whole"] for snapshot in snapshots], np.float32)[:, None, None]
        path, shape = self.path / "out_of_fold.fits", self.patch_file.shape
        thumbnails = Thumbnails(shape)
        with (
            atomic_path(path) as temporary,
            FitsWriter(temporary, shape, header, kinds, [table]) as writer,
            console.progress("out-of-fold map", shape[0], "rows") as advance,
        ):
            for y0, y1, each in in_bands(judge.rows(self.patch_file, allowed, advance), self.folds.areas.y_edges):
                mean, std, cut = _vote(each, cuts)
                writer.write("PRIMARY", y0, mean)
                writer.write("MASK", y0, mean >= cut)
                writer.write("FOLD", y0, np.where(np.isfinite(mean), self.folds.rows(y0, y1), 0))
                if votes > 1:
                    writer.write("STD", y0, std)
                scores.update(y0, y1, np.isfinite(mean), mean)
                thumbnails.add(y0, image=self.patch_file.read_rows(y0, y1)[0], probability=mean)
        picture = path.with_suffix(".png")
        title = f"{self.patch_file.path.name}, out of fold"
        draw_quicklook(thumbnails, picture, header, title, float(cuts.mean()), "out-of-fold probability")


def _vote(each: npt.NDArray[np.float32], cuts: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
    """Return mean and deviation of the models that judged each pixel, and their mean threshold; NaN where none did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without a judge is NaN, as it should be
        mean, std = np.nanmean(each, axis=0), np.nanstd(each, axis=0)
        cut = np.nanmean(np.where(np.isfinite(each), cuts, np.nan), axis=0)
    return mean, std, cut


def _recorded(record: Path, folder: Path) -> RunConfig:
    """Return the config that a k-fold was started with, for the folder in which it lies now."""
    return placed(RunConfig.from_yaml(record), folder)
