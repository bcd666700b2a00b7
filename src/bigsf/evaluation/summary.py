"""The trained models of a k-fold -> out-of-fold map, catalogue, candidates for a review, and summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from bigsf.config import Config
from bigsf.errors import DataError
from bigsf.evaluation.catalogue import KFoldCatalogue, make_catalogue
from bigsf.evaluation.completeness import measure_recovery
from bigsf.evaluation.injected_planes import InjectedPlanes
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.evaluation.mask_thresholds import find_mask_thresholds
from bigsf.evaluation.out_of_fold import mask_of_test_folds, read_provenance, write_out_of_fold
from bigsf.evaluation.predictions import KFoldPredictions
from bigsf.evaluation.records import KFoldSummary, Recovery, RunScores
from bigsf.evaluation.review import make_review, write_candidates
from bigsf.evaluation.stored_baselines import StoredBaselines
from bigsf.figures import FORMATS, FigureFormat, figure_paths
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.models.stored_prediction import StoredPrediction
from bigsf.outputs import Outputs
from bigsf.version import __version__

REPORT = "report.html"
FIGURES = ("out_of_fold", "filaments")
"""The stems of the figures of a k-fold: the out-of-fold map, and the gallery of its filaments."""

_TABLES = ("catalog.ecsv", "review.ecsv", "review.reg")
OUTPUTS = ("out_of_fold.fits", *_TABLES, "summary.json")
"""What a k-fold writes once its models are trained: the out-of-fold map, the catalogue of its filaments, the candidates
for visual inspection as a table and as regions, and all scores."""


def outputs_of(figures: FigureFormat) -> list[str]:
    """Return the names of all that a k-fold writes in the end: `OUTPUTS`, the figures, and last the report."""
    return [*OUTPUTS, *(path.name for stem in FIGURES for path in figure_paths(Path(f"{stem}.png"), figures)), REPORT]


def summarise_kfold(
    path: Path,
    predictions: KFoldPredictions,
    folds: Folds,
    runs: dict[str, RunScores],
    clear_px: int | None,
    config_yaml: str,
    added_widths_px: Sequence[tuple[float, float]] = (),
    start_from: str | None = None,
) -> KFoldSummary:
    """Score the out-of-fold map of a k-fold, and write both.

    The folder then holds the files of `OUTPUTS`.

    Parameters
    ----------
    path
        The folder of the k-fold.
    predictions
        The maps that the model of each split predicts; all parts of them are there.
    folds
        Folds of a patch file with labels.
    runs
        The scores of each run, by the name of its folder.
    clear_px
        Least number of clear pixels between what training and test patches show.
    config_yaml
        The configuration, for the provenance.
    added_widths_px
        Range of the widths of the filaments that each augmentation `filaments` added to the training patches.
    start_from
        What the training started from; None for random weights.

    Returns
    -------
    KFoldSummary
        What summary.json holds.
    """
    file = folds.patch_file
    fits_path, summary_path = path / "out_of_fold.fits", path / "summary.json"
    figures = [path / f"{stem}{ending}" for stem in FIGURES for ending in FORMATS]
    for former in (summary_path, path / REPORT, *figures):  # so that no other map is taken for the one of these scores
        former.unlink(missing_ok=True)
    thresholds = find_mask_thresholds(predictions.thresholds, folds)
    baselines, tested = StoredBaselines(predictions.baselines), mask_of_test_folds(folds)
    out_of_fold = write_out_of_fold(fits_path, predictions.out_of_fold, folds, thresholds, baselines, config_yaml)
    scores = out_of_fold.scores
    masks = MaskScores(folds, scores.best_thresholds(), baselines)
    with FitsImage(fits_path) as probability:
        masks.add(probability)
    whole = [each.whole for each in thresholds]

    def recovery(prediction: StoredPrediction) -> Recovery:
        assert isinstance(prediction.planes, InjectedPlanes)
        return measure_recovery(prediction.planes, prediction, whole, fits_path, tested, baselines)

    families = recovery(predictions.injected), recovery(predictions.injected_plummer)
    catalogue = make_catalogue(folds, fits_path, families)
    _write_tables(path, folds, catalogue, whole)
    summary = KFoldSummary(
        bigsf=__version__,
        data=str(file.path),
        data_identity=file.identity,
        splits=folds.splits,
        folds={fold: count._asdict() for fold, count in folds.counts.items()},
        shared_pixels=folds.leakage.shared,
        clear_px=clear_px,
        labelled_uncovered=folds.leakage.labelled_uncovered,
        runs=runs,
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
        added_widths_px=list(added_widths_px),
        start_from=start_from,
    )
    for prediction in predictions:
        prediction.remove()  # before the summary, which tells that all is done
    summary.save(summary_path)
    return summary


def finished_summary(path: Path, runs: Mapping[str, RunScores], settings: Config) -> KFoldSummary | None:
    """Return the summary in the folder of a k-fold where nothing is left to predict; otherwise None.

    Parameters
    ----------
    path
        The folder.
    runs
        The scores of each run, as the folder holds them now.
    settings
        How the out-of-fold map is to be predicted: `out_of_fold` of the configuration.
    """
    needed = [path / name for name in OUTPUTS]
    if not all(file.is_file() and not file.is_symlink() for file in needed):
        return None
    try:
        summary = KFoldSummary.load(path / "summary.json")
        made = yaml.safe_load(read_provenance(path / "out_of_fold.fits")["config"])
    except DataError:  # what is damaged is made again
        return None
    of_these = {name: run.model_dump_json() for name, run in summary.runs.items()} == {
        name: run.model_dump_json() for name, run in runs.items()
    }
    return summary if of_these and made["out_of_fold"] == settings.model_dump(mode="json") else None


def _write_tables(path: Path, folds: Folds, catalogue: KFoldCatalogue, thresholds: Sequence[float]) -> None:
    """Write the catalogue, and the candidates for visual inspection as a table and as regions; all of them or none."""
    names = catalog, review, regions = [path / name for name in _TABLES]
    candidates, outlines = make_review(folds, path / "out_of_fold.fits", catalogue, thresholds)
    with Outputs(*names, follow_links=False).writing() as files:
        catalogue.table.write(files[catalog], format="ascii.ecsv", overwrite=True)
        candidates.write(files[review], format="ascii.ecsv", overwrite=True)
        write_candidates(files[regions], candidates, outlines, folds.patch_file.wcs)
