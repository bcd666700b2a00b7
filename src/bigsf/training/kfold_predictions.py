"""The trained models of a k-fold -> what they are to predict."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import TypeAdapter

from bigsf.errors import DataError
from bigsf.evaluation.baseline_scales import ScalesOfBaselines, choose_scales
from bigsf.evaluation.predictions import KFoldPredictions
from bigsf.files import sha256
from bigsf.folds.folds import Folds
from bigsf.models.batch_size import batch_size_on
from bigsf.models.device import resolve_precision
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.option_names import option
from bigsf.training.distributed import World
from bigsf.training.run_config import RunConfig
from bigsf.training.snapshot import Snapshot
from bigsf.version import __version__

_SCALES: TypeAdapter[ScalesOfBaselines | None] = TypeAdapter(ScalesOfBaselines | None)


def load_models(folders: Sequence[Path], folds: Folds) -> list[Snapshot]:
    """Return the best snapshot of each run of a k-fold.

    Raises
    ------
    SnapshotError
        Where a model cannot be loaded.
    DataError
        Where a model was trained on another patch file or on other folds.
    """
    snapshots = [Snapshot.load(folder / "best.pt") for folder in folders]
    for folder, snapshot in zip(folders, snapshots, strict=True):
        if snapshot.data_identity != folds.patch_file.identity or snapshot.folds_identity != folds.identity:
            raise DataError(
                f"{folder} was trained on another patch file or other folds, so its test areas are not those of today. "
                f"Train anew with {option('overwrite', True)}."
            )
    return snapshots


def predictions_of(
    folder: Path,
    snapshots: Sequence[Snapshot],
    config: RunConfig,
    folds: Folds,
    world: World,
    device: torch.device,
) -> KFoldPredictions:
    """Return the predictions of the models of a k-fold, none of which is made yet.

    Parameters
    ----------
    folder
        The folder of the k-fold.
    snapshots
        The model of each split.
    config
        The configuration of the k-fold; no key of its `out_of_fold` is null.
    folds
        Its folds.
    world
        The processes; each of them asks for the predictions.
    device
        Where the networks run.
    """
    file, scales = folds.patch_file, world.shared(lambda: choose_scales(folds, folds.splits), _SCALES)
    models = [snapshot.build_model(trust=config).to(device) for snapshot in snapshots]
    predictor = SlidingWindowPredictor(
        models,
        file.patch_size,
        config.out_of_fold.stride,
        batch_size=batch_size_on(device, models, file.patch_size, file.channels, config.trainer.deterministic),
        device=device,
        dtype=resolve_precision(config.trainer.precision, device),
        wcs=file.wcs,
        tta=bool(config.out_of_fold.tta),
        scales=config.trainer.model.scales,
    )
    entries = {
        "versions": [__version__, torch.__version__],
        "models": [sha256(folder / f"split_{number}" / "best.pt") for number in range(1, len(snapshots) + 1)],
        "scales": dict(scales),
        "out_of_fold": config.out_of_fold.model_dump(),
        "predicted": [predictor.stride, predictor.scales, str(predictor.dtype), device.type],
    }
    return KFoldPredictions.of(folder, json.dumps(entries), predictor, folds, scales)
