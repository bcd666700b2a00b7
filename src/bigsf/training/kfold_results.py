"""The predicted maps of a k-fold -> out-of-fold map, catalogue, candidates for a review, and summary.

The processes of the run share what takes long: the scores of all maps, of their skeletons, and of injected filaments,
and the lines of the filaments of the catalogue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from bigsf.evaluation.catalogue import KFoldCatalogue, cleaned_mask, make_catalogue
from bigsf.evaluation.completeness import measure_completeness
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.map_scores import MapScores
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.evaluation.mask_thresholds import find_mask_thresholds
from bigsf.evaluation.out_of_fold import OutOfFold, mask_of_test_folds, score_out_of_fold, write_out_of_fold
from bigsf.evaluation.predictions import KFoldPredictions
from bigsf.evaluation.records import Completeness, KFoldSummary, RunScores
from bigsf.evaluation.review import make_review, write_candidates
from bigsf.evaluation.stored_baselines import StoredBaselines
from bigsf.evaluation.summary import FIGURES, OUTPUTS, REPORT, TABLES
from bigsf.figures import FORMATS
from bigsf.filaments.catalogue import Filaments
from bigsf.filaments.columns import write_ecsv
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.outputs import Outputs
from bigsf.training.components.filament_augmentation import FilamentsConfig
from bigsf.training.distributed import World
from bigsf.training.run_config import RunConfig
from bigsf.training.shared_counts import merge_counts
from bigsf.training.shared_filaments import shared_filaments
from bigsf.version import __version__

_THRESHOLDS: TypeAdapter[list[Thresholds] | None] = TypeAdapter(list[Thresholds] | None)
_COMPLETENESS = TypeAdapter(dict[str, Completeness])


@dataclass
class KFoldResults:
    """What follows from the predictions of a k-fold; all processes of the run make it and call `write`.

    Parameters
    ----------
    world
        The processes. All see the same folder.
    path
        The folder of the k-fold.
    predictions
        The maps that the model of each split predicts; all parts of them are there.
    folds
        Folds of a patch file with labels.
    runs
        The scores of each run, by the name of its folder.
    config
        The configuration of the k-fold.
    """

    world: World
    path: Path
    predictions: KFoldPredictions
    folds: Folds
    runs: Mapping[str, RunScores]
    config: RunConfig

    def __post_init__(self) -> None:
        self.baselines = StoredBaselines(self.predictions.baselines)
        self.fits_path = self.path / "out_of_fold.fits"

    def write(self) -> KFoldSummary | None:
        """Write the files of `bigsf.evaluation.summary.OUTPUTS`; the processes share the steps that take long.

        Returns
        -------
        KFoldSummary or None
            What summary.json holds, in the first process; None in the others.

        Raises
        ------
        BigsfError
            Where a process has failed, in all processes.
        """
        world, folds, predictions = self.world, self.folds, self.predictions
        world.first(lambda: remove_former(self.path))
        thresholds = world.shared(lambda: find_mask_thresholds(predictions.thresholds, folds), _THRESHOLDS)
        config_yaml = self.config.to_yaml()
        out_of_fold = world.first(
            lambda: write_out_of_fold(self.fits_path, predictions.out_of_fold, folds, thresholds, config_yaml)
        )
        scores = self._scores(thresholds)
        masks = self._mask_scores(scores)
        families = self._completeness([each.whole for each in thresholds])

        found = shared_filaments(
            world,
            predictions.out_of_fold.folder,
            folds.patch_file.shape,
            lambda: cleaned_mask(self.fits_path),
            partial(Filaments.measure_lines, outlines=False),
        )

        def write_summary() -> KFoldSummary:
            assert out_of_fold is not None
            assert found is not None
            catalogue = make_catalogue(folds, self.fits_path, list(families.values()), found[0])
            _write_tables(self.path, folds, catalogue, [each.whole for each in thresholds])
            summary = self._summary(thresholds, out_of_fold, scores, masks, families, catalogue)
            for prediction in predictions:
                prediction.remove()  # before the summary, which tells that all is done
            summary.save(self.path / "summary.json")
            return summary

        return world.first(write_summary)

    def _scores(self, thresholds: Sequence[Thresholds]) -> MapScores:
        """Return the scores of the out-of-fold map; each process scores its share of the rows of areas."""

        def score_share() -> MapScores:
            scores = MapScores(self.folds, self.baselines)
            score_out_of_fold(scores, self.predictions.out_of_fold, thresholds, self.world.rank, self.world.size)
            return scores

        scores = self.world.each(score_share)
        merge_counts(self.world, scores.counts)
        return scores

    def _mask_scores(self, scores: MapScores) -> MaskScores:
        """Return the scores of skeletons, bins and areas; each process scores its share of the parts of the map."""

        def score_share() -> MaskScores:
            masks = MaskScores(self.folds, scores.best_thresholds(), self.baselines)
            with FitsImage(self.fits_path) as probability:
                masks.add(probability, self.world.rank, self.world.size)
            return masks

        masks = self.world.each(score_share)
        merge_counts(self.world, masks.counts)
        return masks

    def _completeness(self, thresholds: Sequence[float]) -> dict[str, Completeness]:
        """Return what is found of each family of injected filaments; each process measures its share of families."""
        families = {"injected": self.predictions.injected, "injected_plummer": self.predictions.injected_plummer}
        tested = mask_of_test_folds(self.folds)

        def of_family(stored: StoredPrediction) -> Completeness:
            assert isinstance(stored.planes, InjectedPlanes)
            return measure_completeness(stored.planes, stored, thresholds, self.fits_path, tested, self.baselines)

        share = list(families)[self.world.rank :: self.world.size]
        mine = self.world.each(lambda: {name: of_family(families[name]) for name in share})
        measured = {name: each for shares in self.world.gather(mine, _COMPLETENESS) for name, each in shares.items()}
        return {name: measured[name] for name in families}

    def _summary(
        self,
        thresholds: Sequence[Thresholds],
        out_of_fold: OutOfFold,
        scores: MapScores,
        masks: MaskScores,
        families: Mapping[str, Completeness],
        catalogue: KFoldCatalogue,
    ) -> KFoldSummary:
        file, folds, trainer = self.folds.patch_file, self.folds, self.config.trainer
        return KFoldSummary(
            bigsf=__version__,
            data=str(file.path),
            data_identity=file.identity,
            splits=folds.splits,
            folds={fold: count._asdict() for fold, count in folds.counts.items()},
            shared_pixels=folds.leakage.shared,
            clear_px=_clear_px(folds, self.config.data.straddle),
            labelled_uncovered=folds.leakage.labelled_uncovered,
            runs=dict(self.runs),
            predicted_pixels=scores.predicted,
            valid_pixels=scores.valid,
            seen_pixels=int(out_of_fold.seen[0]),
            seen_labels=int(out_of_fold.seen[1]),
            out_of_fold=scores.table(),
            baseline_scales={name: list(of_split) for name, of_split in self.baselines.scales.items()},
            skeletons=masks.skeletons(),
            mask_thresholds=dict(zip(self.runs, thresholds, strict=True)),
            thresholds=scores.threshold_costs(),
            seam_contrast=out_of_fold.seams.scores(),
            curves=scores.curves(),
            by=masks.by_bin(),
            worst_areas=masks.worst_areas(),
            injected=families["injected"],
            injected_plummer=families["injected_plummer"],
            reliability=catalogue.reliability(),
            added_widths_px=[each.width_px for each in trainer.augmentations if isinstance(each, FilamentsConfig)],
            start_from=None if trainer.start_from is None else str(trainer.start_from),
        )


def _clear_px(folds: Folds, straddle: bool) -> int | None:
    """Return the least number of clear pixels between what training and test patches show."""
    clear = folds.leakage.clear_px
    if clear is None or not straddle:
        return clear
    return min(clear, folds.config.gap)  # patches that straddle areas show them up to their gap


def remove_former(path: Path) -> None:
    """Remove the summary of an earlier map, and then all else of it: it would not belong to the new one."""
    figures = [f"{stem}{ending}" for stem in FIGURES for ending in FORMATS]
    for name in ("summary.json", *OUTPUTS, REPORT, *figures):
        (path / name).unlink(missing_ok=True)


def _write_tables(path: Path, folds: Folds, catalogue: KFoldCatalogue, thresholds: Sequence[float]) -> None:
    """Write the catalogue, and the candidates for visual inspection as a table and as regions; all of them or none."""
    names = catalog, review, regions = [path / name for name in TABLES]
    candidates, outlines = make_review(folds, path / "out_of_fold.fits", catalogue, thresholds)
    with Outputs(*names, follow_links=False).writing() as files:
        write_ecsv(files[catalog], catalogue.table)
        write_ecsv(files[review], candidates)
        write_candidates(files[regions], candidates, outlines, folds.patch_file.wcs)
