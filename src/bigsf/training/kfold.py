"""Configuration -> one trained model per split, the out-of-fold map, and their summary."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from bigsf.console import logger
from bigsf.errors import InUseError, UsageError
from bigsf.evaluation.records import KFoldSummary, RunScores
from bigsf.evaluation.report.kfold_report import write_kfold_report
from bigsf.evaluation.summary import REPORT, finished_summary, left_to_draw, outputs_of
from bigsf.files import check_folder, refuse_link, write_text
from bigsf.folds.folds import Folds
from bigsf.interrupts import stopping
from bigsf.lock import lock_folder, remove_stale_lock
from bigsf.models.device import pick_device
from bigsf.option_names import option
from bigsf.patches.patch_file import PatchFile
from bigsf.training.build import build_run, open_data
from bigsf.training.callbacks import Callback
from bigsf.training.checks import (
    check_labels,
    check_only,
    check_out_of_fold,
    warn_of_other_epochs,
    warn_of_untested_folds,
)
from bigsf.training.distributed import World
from bigsf.training.kfold_plan import plan_out_of_fold, training_keys_that_differ
from bigsf.training.kfold_predictions import load_models, predictions_of
from bigsf.training.kfold_results import KFoldResults, remove_former
from bigsf.training.resume import recorded_kfold, relocated
from bigsf.training.run_config import RunConfig
from bigsf.training.run_folder import RunFolder
from bigsf.training.shared_prediction import predicted_by
from bigsf.training.snapshot import Snapshot
from bigsf.training.trainer import Trainer
from bigsf.training.trust import refuse_untrusted

_NAMES, _STATE = TypeAdapter(list[str] | None), TypeAdapter(tuple[bool, bool] | None)


class KFold:
    """The runs of a k-fold: `output_dir/run_name/split_1`, `split_2`, ...

    Parameters
    ----------
    config
        The whole configuration; `split.use` has no effect.
    patch_file, folds
        The data and their folds.
    device
        Name of the device; by default the GPU where there is one.
    world
        The processes that train together; by default this one alone.
    time_limit_s
        Stop in order once this many seconds have passed.
    callbacks
        Work to do after each step and each epoch of every run.

    Attributes
    ----------
    written
        The files of the folder that the last `run` wrote, beside those of the splits: none where all was done.

    Examples
    --------
    >>> kfold = bigsf.KFold.from_config(bigsf.RunConfig.from_dict({"data": {"path": "galaxy.h5"}}))
    >>> kfold.names
    ['split_1', 'split_2', 'split_3', 'split_4']
    >>> summary = kfold.run()  # doctest: +SKIP
    """

    def __init__(
        self,
        config: RunConfig,
        patch_file: PatchFile,
        folds: Folds,
        device: str | None = None,
        world: World | None = None,
        time_limit_s: float | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config = config.model_copy(update={"split": folds.config, "out_of_fold": plan_out_of_fold(config, folds)})
        self.patch_file, self.folds = patch_file, folds
        self.device, self.world, self.callbacks = device, world or World(), callbacks
        self.path = config.trainer.output_dir / config.trainer.run_name
        self.names = [f"split_{number}" for number in range(1, len(folds.splits) + 1)]
        self.written: list[str] = []
        self._moved: Path | None = None
        self._deadline = None if time_limit_s is None else time.monotonic() + time_limit_s

    @classmethod
    def from_config(
        cls,
        config: RunConfig | str | Path | Mapping[str, Any],
        device: str | None = None,
        world: World | None = None,
        time_limit_s: float | None = None,
        callbacks: Sequence[Callback] = (),
        write_folds: bool = True,
    ) -> Self:
        """Return the k-fold of a configuration; its folds are read, or made and, with `write_folds`, written.

        Raises
        ------
        DataError
            Where the patch file has no labels, or the folds belong to other data.
        """
        config = RunConfig.of(config)
        patch_file, folds = open_data(config, world or World(), write_folds)
        return cls(config, patch_file, folds, device, world, time_limit_s, callbacks)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        device: str | None = None,
        world: World | None = None,
        time_limit_s: float | None = None,
        trust: bool = False,
        data: Path | None = None,
    ) -> Self:
        """Return the k-fold of a folder, which may have been moved.

        Parameters
        ----------
        path
            The folder.
        device, world, time_limit_s
            As for `KFold`.
        trust
            Run the code and send results to the addresses that its configuration names.
        data
            Where the patch file lies now, if it was moved.
        """
        path = Path(path)
        config = recorded_kfold(path, data)
        refuse_untrusted(config, str(path / "kfold.yaml"), trust)
        kfold = cls.from_config(config, device, world, time_limit_s, write_folds=False)
        kfold._moved = data
        return kfold

    def run(self, only: int | None = None, overwrite: bool = False) -> KFoldSummary | None:
        """Train the splits that are not done yet and, once all are, write the out-of-fold map and the summary.

        Parameters
        ----------
        only
            Train this split alone, numbered from 1: for job arrays.
        overwrite
            Train all splits again, those that are done too.

        Returns
        -------
        KFoldSummary or None
            What summary.json holds, in the first process; None while splits are missing or another task writes it.
        """
        check_only(only, len(self.names))
        check_labels(self.config, self.folds, self.folds.splits if only is None else [self.folds.splits[only - 1]])
        self.world.first(lambda: self._record_config(overwrite, only))
        if self.world.is_first:
            warn_of_untested_folds(self.folds)
        for number in range(1, len(self.names) + 1) if only is None else [only]:
            self._train_split(number, overwrite, self.path if only is None else None)
        if left := self.world.shared(lambda: [n for n in self.names if not RunFolder(self.path / n).complete], _NAMES):
            logger.info("Still to train: %s. Then run bigsf kfold once more.", ", ".join(left))
            return None
        with stopping(self._time_left_s, f"All splits are trained. Go on with: bigsf resume {self.path}"):
            snapshots = load_models([self.path / name for name in self.names], self.folds)
            if self.world.is_first:
                warn_of_other_epochs(self.names, [each.config.trainer.epochs for each in snapshots], self.config)
            summary = self.world.first(lambda: self._finished(overwrite))
            if self.world.sums([summary is not None])[0]:
                return summary
            try:
                return self._summarise(snapshots)
            except InUseError as error:
                if only is None:
                    raise
                logger.info("All splits are trained, and another task writes the out-of-fold map: %s", error)
        return None

    def _finished(self, overwrite: bool) -> KFoldSummary | None:
        """Return the summary of a k-fold that has ended, else None; write figures and report where one is missing."""
        summary = None if overwrite else finished_summary(self.path, self._run_scores(), self.config.out_of_fold)
        self.written = outputs_of(self.config.trainer.figures)
        if summary is not None:
            self.written = left_to_draw(self.path, self.config.trainer.figures)
            if self.written:
                self.write_report(summary)
        return summary

    def _run_scores(self) -> dict[str, RunScores]:
        return {name: RunScores.load(RunFolder(self.path / name).scores) for name in self.names}

    @property
    def _time_left_s(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self, only: int | None = None, overwrite: bool = False) -> None:
        """Check that the k-fold may be written into its folder, and go on with what lies there.

        Raises
        ------
        ConfigError
            Where there is no split of the number `only`, or windows would not cover the map.
        UsageError
            Where something else lies there, or a k-fold of another configuration that may not be replaced, or nothing
            can be written.
        """
        check_folder(self.path)
        check_only(only, len(self.names))
        check_out_of_fold(self.config, self.patch_file)
        record = self.path / "kfold.yaml"
        # Looked for before the record: a process of another split may start now, and writes the record first.
        found = [path for path in self.path.glob("[!.]*") if path != record]
        begun = any(RunFolder(folder).newest_snapshot for folder in self.path.glob("split_*"))
        here = relocated(self.config, self.path)
        there = recorded_kfold(self.path, self._moved) if record.exists() and begun else here
        if differing := training_keys_that_differ(there, here):
            what = f"{self.path} holds a k-fold of another configuration ({', '.join(differing)}; see {record})"
            if not overwrite:
                moved = f" Where the patch file was moved, resume this folder with {option('data')}."
                raise UsageError(
                    f"{what}. Choose another trainer.run_name, or pass {option('overwrite', True)} to train anew."
                    + (moved if "data.path" in differing else "")
                )
            if only is not None:
                raise UsageError(
                    f"{what}; {option('overwrite', True)} with {option('only', only)} would mix the two. Leave "
                    f"{option('only')} out to train all anew."
                )
        if found and not record.exists():
            run = RunFolder(self.path).config.exists()
            what = "a run of bigsf train" if run else f"something else, e.g. {found[0].name}"
            raise UsageError(f"{self.path} holds {what}. Choose another trainer.run_name.")

    def _record_config(self, overwrite: bool, only: int | None) -> None:
        """Record the configuration, once it is checked against what lies there."""
        self.check(only, overwrite)
        if overwrite and only is None:
            with ExitStack() as locks:
                splits = list(self.path.glob("split_*"))
                for folder in splits:  # none is removed while another process trains one of them
                    refuse_link(folder)
                    locks.enter_context(lock_folder(folder))
                remove_former(self.path)
                for folder in splits:
                    RunFolder(folder).clear()  # before the record: a kill never leaves old runs under a new record
        write_text(self.path / "kfold.yaml", self.config.to_yaml())

    def _train_split(self, number: int, overwrite: bool, to_resume: Path | None) -> None:
        """Train one split, or go on with it; a split that is done is left as it is."""
        folder = RunFolder(self.path / self.names[number - 1])
        refuse_link(folder.path)
        # One process looks: another task may end this split now, and a file system may show its files to some alone.
        done, begun = self.world.shared(lambda: (folder.complete, folder.newest_snapshot is not None), _STATE)
        if done and not overwrite:
            logger.info("%s is done.", folder.path.name)
            self.world.first(lambda: remove_stale_lock(folder.path))
            return
        logger.info("%s of %d: %s", folder.path.name, len(self.names), list(self.folds.splits[number - 1]))
        then: dict[str, Any] = {"callbacks": self.callbacks, "to_resume": to_resume}
        if begun and not overwrite:
            then |= {"device": self.device, "world": self.world, "trust": self.config, "beside": self.config}
            then["data"] = getattr(self.config.data, "path", None)  # a class of one's own need not have one
            trainer = Trainer.from_snapshot(folder.path, **then)
        else:
            run = build_run(self.split_config(number), self.device, world=self.world, write_folds=False)
            trainer = Trainer(run, overwrite=True, **then)
        trainer.train(self._time_left_s)

    def split_config(self, number: int) -> RunConfig:
        """Return the configuration of the run of one split."""
        split = self.config.split.model_copy(update={"use": number})
        trainer = self.config.trainer.model_copy(update={"output_dir": self.path, "run_name": self.names[number - 1]})
        return self.config.model_copy(update={"split": split, "trainer": trainer})

    def _summarise(self, snapshots: Sequence[Snapshot]) -> KFoldSummary | None:
        """Predict the map and write all that follows, by all processes; return the summary in the first of them."""
        device = pick_device(self.device, self.world.gpu if self.world.size > 1 else None)
        predictions = predictions_of(self.path, snapshots, self.config, self.folds, self.world, device)
        with predicted_by(self.world, predictions.named()):
            summary = KFoldResults(
                self.world, self.path, predictions, self.folds, self._run_scores(), self.config
            ).write()
            self.world.first(lambda: None if summary is None else self.write_report(summary))
            return summary

    def write_report(self, summary: KFoldSummary) -> None:
        """Write figures and report of a summary from what lies in the folder, without predicting the map again."""
        records = {name: RunFolder(self.path / name).record() for name in self.names}
        write_kfold_report(
            self.path / REPORT, summary, self.folds, records, self.config.to_yaml(), self.config.trainer.figures
        )
