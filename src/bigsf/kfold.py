"""One training a split, the map that no model cheated on, and their summary."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigsf import console
from bigsf.atomic import atomic_path, write_text
from bigsf.baselines import BASELINES, BaselineMaps
from bigsf.console import logger
from bigsf.curves import ThresholdCurve, quantile_edges
from bigsf.distributed import World
from bigsf.errors import ConfigError, DataError, UsageError
from bigsf.evaluation import in_bands
from bigsf.fits_output import FitsWriter, provenance
from bigsf.folds import Folds
from bigsf.inference import Judge
from bigsf.pictures import Thumbnails, draw_quicklook
from bigsf.precision import pick_device, resolve_precision
from bigsf.run_config import RunConfig
from bigsf.run_folder import RunFolder, to_json
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

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.path = self.config.trainer.output_dir / self.config.trainer.run_name
        self.patch_file = self.config.data.build()
        self.patch_file.labels()
        if not self.world.is_first:
            self.world.wait()
        self.folds = Folds.load_or_make(self.patch_file, self.config.split)
        if self.world.is_first:
            self.world.wait()
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
        if self.world.is_first:
            self._start(overwrite, only)
        self.world.wait()
        for number in range(1, len(self.names) + 1) if only is None else [only]:
            self._train(number, overwrite)
        missing = [name for name in self.names if not RunFolder(self.path / name).complete]
        if missing:
            logger.info("Still to train: %s. Then run bigsf kfold once more.", ", ".join(missing))
            return None
        return self.summarise() if self.world.is_first else None

    def _start(self, overwrite: bool, only: int | None) -> None:
        """Record the config, or check that it is the one of the runs that lie there."""
        record = self.path / "kfold.yaml"
        text = self.config.to_yaml()
        if record.exists() and not overwrite and record.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration (see {record}). Choose another trainer.run_name, "
                "or pass --overwrite to train anew."
            )
        if not record.exists() and self.path.exists() and any(self.path.iterdir()) and not overwrite:
            raise UsageError(f"{self.path} holds something else. Choose another trainer.run_name, or pass --overwrite.")
        if overwrite and only is not None and record.exists() and record.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{self.path} holds a k-fold of another configuration; --overwrite --only {only} would mix the two. "
                "Leave --only out to train all anew."
            )
        write_text(record, text)

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

    def summarise(self) -> dict[str, Any]:
        """Write out_of_fold.fits, out_of_fold.png and summary.json from the trained models; return the summary."""
        snapshots = [Snapshot.load(self.path / name / "best.pt") for name in self.names]
        for name, snapshot in zip(self.names, snapshots, strict=True):
            if snapshot.data_identity != self.patch_file.identity:
                raise DataError(f"{self.path / name} was trained on another patch file. Train anew with --overwrite.")
        scores = _OutOfFoldScores(self.patch_file, self.folds)
        self._write_map(snapshots, scores)
        runs = [RunFolder(self.path / name) for name in self.names]
        summary = {
            "data": str(self.patch_file.path),
            "data_identity": self.patch_file.identity,
            "splits": [list(split) for split in self.folds.splits],
            "shared_pixels": self.folds.pixels["shared"],
            "runs": {run.path.name: read_json(run.scores) for run in runs},
            "judged_pixels": scores.judged,
            "valid_pixels": scores.valid,
            "out_of_fold": scores.table(),
        }
        write_text(self.path / "summary.json", to_json(summary))
        return summary

    def _write_map(self, snapshots: list[Snapshot], scores: "_OutOfFoldScores") -> None:
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
                scores.update(y0, y1, mean)
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


class _OutOfFoldScores:
    """Scores of the out-of-fold map and of the baselines, on the same pixels."""

    def __init__(self, patch_file: Any, folds: Folds) -> None:
        self.target, self.labelled = patch_file.labels()
        self.baselines = BaselineMaps(patch_file)
        self.judged = self.valid = 0
        self.patch_file = patch_file
        names = ["BigSF", *BASELINES]
        self.curves: dict[str, dict[str, ThresholdCurve]] = {}
        for name in names:
            edges = None if name == "BigSF" else self._edges(name)
            self.curves[name] = {kind: ThresholdCurve(edges) for kind in ("labelled", "whole")}

    def _edges(self, name: str) -> npt.NDArray[np.float64]:
        """Return bin edges from some rows of a baseline."""
        ny, nx = self.patch_file.shape
        rows = max(1, int(1e6 / nx))
        if rows >= ny:
            return quantile_edges(self.baselines.rows(name, 0, ny))
        starts = np.linspace(0, ny - 64, 4).astype(int)
        return quantile_edges(np.concatenate([self.baselines.rows(name, y, y + 64) for y in starts]))

    def update(self, y0: int, y1: int, probability: npt.NDArray[np.float32]) -> None:
        valid = np.isfinite(self.patch_file.read_rows(y0, y1)).all(axis=0)
        judged = np.isfinite(probability)
        self.valid += int(valid.sum())
        self.judged += int(judged.sum())
        truth, known = self.target[y0:y1] > 0, (self.labelled[y0:y1] > 0) & judged
        for name, curves in self.curves.items():
            score = probability if name == "BigSF" else self.baselines.rows(name, y0, y1)
            curves["labelled"].update(score[known], truth[known])
            curves["whole"].update(score[judged], truth[judged])

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        return {name: {kind: _scores(curve) for kind, curve in curves.items()} for name, curves in self.curves.items()}


def _scores(curve: ThresholdCurve) -> dict[str, float]:
    dice, threshold = curve.best_dice()
    return {
        "average_precision": curve.average_precision(),
        "roc_auc": curve.roc_auc(),
        "best_dice": dice,
        "threshold": threshold,
        "marked_ratio": curve.marked_ratio(threshold),
    }


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON file that this package wrote."""
    import json

    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
