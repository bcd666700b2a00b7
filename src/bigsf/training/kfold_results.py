"""The predicted maps of a k-fold -> out-of-fold map, catalogue, candidates for a review, and summary.

The processes of the run share what takes long: the scores of all maps, of their skeletons, and of injected filaments.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from bigsf.evaluation.catalogue import KFoldCatalogue, make_catalogue
from bigsf.evaluation.completeness import measure_recovery
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.map_scores import MapScores
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.evaluation.mask_thresholds import find_mask_thresholds
from bigsf.evaluation.out_of_fold import mask_of_test_folds, score_out_of_fold, write_out_of_fold
from bigsf.evaluation.predictions import KFoldPredictions
from bigsf.evaluation.records import KFoldSummary, Recovery, RunScores
from bigsf.evaluation.review import make_review, write_candidates
from bigsf.evaluation.stored_baselines import StoredBaselines
from bigsf.evaluation.summary import FIGURES, REPORT, TABLES
from bigsf.figures import FORMATS
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.metrics.thresholds import Thresholds
from bigsf.outputs import Outputs
from bigsf.training.components.filament_augmentation import FilamentsConfig
from bigsf.training.distributed import World
from bigsf.training.run_config import RunConfig
from bigsf.training.shared_counts import merge_counts
from bigsf.version import __version__

_THRESHOLDS: TypeAdapter[list[Thresholds] | None] = TypeAdapter(list[Thresholds] | None)
_RECOVERIES = TypeAdapter(dict[int, Recovery])


def summarise_kfold(
    world: World,
    path: Path,
    predictions: KFoldPredictions,
    folds: Folds,
    runs: Mapping[str, RunScores],
    config: RunConfig,
) -> KFoldSummary | None:
    """Score the out-of-fold map of a k-fold, and write both; all processes of the run call it.

    The folder then holds the files of `bigsf.evaluation.summary.OUTPUTS`.

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

    Returns
    -------
    KFoldSummary or None
        What summary.json holds, in the first process; None in the others.
    """
    fits_path, file, tested = path / "out_of_fold.fits", folds.patch_file, mask_of_test_folds(folds)
    baselines = StoredBaselines(predictions.baselines)
    world.first(lambda: _remove_former(path))
    thresholds = world.shared(lambda: find_mask_thresholds(predictions.thresholds, folds), _THRESHOLDS)
    whole = [each.whole for each in thresholds]
    out_of_fold = world.first(
        lambda: write_out_of_fold(fits_path, predictions.out_of_fold, folds, thresholds, config.to_yaml())
    )
    scores = _shared_scores(world, predictions, folds, thresholds, baselines)
    masks = _shared_mask_scores(world, fits_path, folds, scores, baselines)

    def recovery(family: int) -> Recovery:
        prediction = (predictions.injected, predictions.injected_plummer)[family]
        assert isinstance(prediction.planes, InjectedPlanes)
        return measure_recovery(prediction.planes, prediction, whole, fits_path, tested, baselines)

    families: dict[int, Recovery] = {}
    world.each(lambda: families.update({family: recovery(family) for family in (0, 1)[world.rank :: world.size]}))
    for measured in world.gather(families, _RECOVERIES):
        families |= measured

    def summary() -> KFoldSummary:
        assert out_of_fold is not None
        trainer = config.trainer
        catalogue = make_catalogue(folds, fits_path, [families[0], families[1]])
        _write_tables(path, folds, catalogue, whole)
        return KFoldSummary(
            bigsf=__version__,
            data=str(file.path),
            data_identity=file.identity,
            splits=folds.splits,
            folds={fold: count._asdict() for fold, count in folds.counts.items()},
            shared_pixels=folds.leakage.shared,
            clear_px=_clear_px(folds, config.data.straddle),
            labelled_uncovered=folds.leakage.labelled_uncovered,
            runs=dict(runs),
            predicted_pixels=scores.predicted,
            valid_pixels=scores.valid,
            seen_pixels=int(out_of_fold.seen[0]),
            seen_labels=int(out_of_fold.seen[1]),
            out_of_fold=scores.table(),
            baseline_scales={name: list(of_split) for name, of_split in baselines.scales.items()},
            skeletons=masks.skeletons(),
            mask_thresholds=dict(zip(runs, thresholds, strict=True)),
            thresholds=scores.threshold_costs(),
            seam_contrast=out_of_fold.seams.scores(),
            curves=scores.curves(),
            by=masks.by_bin(),
            worst_areas=masks.worst_areas(),
            injected=families[0],
            injected_plummer=families[1],
            reliability=catalogue.reliability(),
            added_widths_px=[each.width_px for each in trainer.augmentations if isinstance(each, FilamentsConfig)],
            start_from=None if trainer.start_from is None else str(trainer.start_from),
        )

    def write_summary() -> KFoldSummary:
        written = summary()
        for prediction in predictions:
            prediction.remove()  # before the summary, which tells that all is done
        written.save(path / "summary.json")
        return written

    return world.first(write_summary)


def _clear_px(folds: Folds, straddle: bool) -> int | None:
    """Return the least number of clear pixels between what training and test patches show."""
    clear = folds.leakage.clear_px
    if clear is None or not straddle:
        return clear
    return min(clear, folds.config.gap)  # patches that straddle areas show them up to their gap


def _remove_former(path: Path) -> None:
    """Remove what a former map has left, so that no other map is taken for the one of these scores."""
    figures = [path / f"{stem}{ending}" for stem in FIGURES for ending in FORMATS]
    for former in (path / "summary.json", path / REPORT, *figures):
        former.unlink(missing_ok=True)


def _shared_scores(
    world: World,
    predictions: KFoldPredictions,
    folds: Folds,
    thresholds: Sequence[Thresholds],
    baselines: StoredBaselines,
) -> MapScores:
    """Return the scores of the out-of-fold map; each process scores its share of the rows of areas."""
    scores = MapScores(folds, baselines)
    world.each(lambda: score_out_of_fold(scores, predictions.out_of_fold, thresholds, world.rank, world.size))
    merge_counts(world, scores.parts)
    return scores


def _shared_mask_scores(
    world: World, out_of_fold: Path, folds: Folds, scores: MapScores, baselines: StoredBaselines
) -> MaskScores:
    """Return the scores of skeletons, bins and areas; each process scores its share of the parts of the map."""
    masks = MaskScores(folds, scores.best_thresholds(), baselines)

    def add_share() -> None:
        with FitsImage(out_of_fold) as probability:
            masks.add(probability, world.rank, world.size)

    world.each(add_share)
    merge_counts(world, masks.parts)
    return masks


def _write_tables(path: Path, folds: Folds, catalogue: KFoldCatalogue, thresholds: Sequence[float]) -> None:
    """Write the catalogue, and the candidates for visual inspection as a table and as regions; all of them or none."""
    names = catalog, review, regions = [path / name for name in TABLES]
    candidates, outlines = make_review(folds, path / "out_of_fold.fits", catalogue, thresholds)
    with Outputs(*names, follow_links=False).writing() as files:
        catalogue.table.write(files[catalog], format="ascii.ecsv", overwrite=True)
        candidates.write(files[review], format="ascii.ecsv", overwrite=True)
        write_candidates(files[regions], candidates, outlines, folds.patch_file.wcs)
