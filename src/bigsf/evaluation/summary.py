"""stub, replaced at the merge"""

from pathlib import Path
from collections.abc import Sequence
import numpy as np
from bigsf.evaluation.injection import InjectedPlanes
from bigsf.evaluation.mask_scores import MaskScores
from bigsf.evaluation.out_of_fold import test_pixels, write_out_of_fold
from bigsf.evaluation.completeness import measure_recovery
from bigsf.evaluation.records import KFoldSummary, RunScores
from bigsf.evaluation.report import write_report
from bigsf.folds.folds import Folds
from bigsf.maps.fits_image import FitsImage
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.version import __version__


def summarise_kfold(
    folder: Path,
    predictor: SlidingWindowPredictor,
    folds: Folds,
    thresholds: Sequence[Thresholds],
    runs: dict[str, RunScores],
    clear_px: int | None,
    config_yaml: str,
) -> KFoldSummary:
    path = folder / "out_of_fold.fits"
    cuts = {
        kind: np.array([getattr(t, kind) for t in thresholds], np.float32)[:, None, None]
        for kind in ("labelled", "whole")
    }
    made = write_out_of_fold(path, predictor, folds, cuts, config_yaml)
    table = made.scores.table()
    masks = MaskScores(folds, table)
    with FitsImage(path) as written:
        masks.add(written)
    file = folds.patch_file
    known = file.labels()[0] if file.truth is None else file.truth
    summary = KFoldSummary(
        bigsf=__version__,
        data=str(file.path),
        data_identity=file.identity,
        splits=folds.splits,
        folds=folds.counts,
        shared_pixels=folds.pixels["shared"],
        clear_px=clear_px,
        labelled_uncovered=folds.pixels["labelled_uncovered"],
        runs=runs,
        predicted_pixels=made.scores.predicted,
        valid_pixels=made.scores.valid,
        out_of_fold=table,
        skeletons=masks.skeletons(),
        thresholds=made.scores.thresholds_cost(),
        seam_contrast=made.jump.table(),
        curves=made.scores.curves(),
        by=masks.by_bin(),
        worst_areas=masks.worst_areas(),
        injected=measure_recovery(InjectedPlanes(file, known), predictor, cuts["whole"], path, test_pixels(folds)),
    )
    summary.save(folder / "summary.json")
    write_report(folder / "report.html", summary.model_dump(), folds, made, config_yaml)
    return summary
