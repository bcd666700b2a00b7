"""Find filaments, and other thin structures, in one very large astronomical map.

Names are imported when they are first used: `import bigsf` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigsf.evaluation.completeness import measure_recovery
    from bigsf.evaluation.injection import InjectedPlanes, inject
    from bigsf.filaments.catalogue import Filaments
    from bigsf.filaments.cleaning import Cleaning
    from bigsf.folds.folds import Folds
    from bigsf.folds.splits import SplitConfig, make_splits
    from bigsf.maps.mosaic.mosaic import make_mosaic
    from bigsf.patches.patch_file import PatchFile
    from bigsf.patches.preprocess import PreprocessConfig, preprocess
    from bigsf.segmentation.segment import segment
    from bigsf.simulation.galaxy import simulate_galaxy
    from bigsf.training.build import Parts
    from bigsf.training.kfold import KFold
    from bigsf.training.run_config import RunConfig
    from bigsf.training.snapshot import Snapshot
    from bigsf.training.trainer import Trainer


_HOME = {
    "Cleaning": "filaments.cleaning",
    "Filaments": "filaments.catalogue",
    "Folds": "folds.folds",
    "InjectedPlanes": "evaluation.injection",
    "KFold": "training.kfold",
    "Parts": "training.build",
    "PatchFile": "patches.patch_file",
    "PreprocessConfig": "patches.preprocess",
    "RunConfig": "training.run_config",
    "Snapshot": "training.snapshot",
    "SplitConfig": "folds.splits",
    "Trainer": "training.trainer",
    "inject": "evaluation.injection",
    "make_mosaic": "maps.mosaic.mosaic",
    "make_splits": "folds.splits",
    "measure_recovery": "evaluation.completeness",
    "preprocess": "patches.preprocess",
    "segment": "segmentation.segment",
    "simulate_galaxy": "simulation.galaxy",
}


__all__ = [
    "Cleaning",
    "Filaments",
    "Folds",
    "InjectedPlanes",
    "KFold",
    "Parts",
    "PatchFile",
    "PreprocessConfig",
    "RunConfig",
    "Snapshot",
    "SplitConfig",
    "Trainer",
    "inject",
    "make_mosaic",
    "make_splits",
    "measure_recovery",
    "preprocess",
    "segment",
    "simulate_galaxy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bigsf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bigsf.{_HOME[name]}"), name)
