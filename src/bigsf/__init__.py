"""Find filaments, and other thin structures, in one very large astronomical map.

Names are imported when they are first used: `import bigsf` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bigsf.cleaning import Cleaning
    from bigsf.filaments import Filaments
    from bigsf.folds import Folds
    from bigsf.injection import InjectedPlanes, inject
    from bigsf.kfold import KFold
    from bigsf.mosaic import make_mosaic
    from bigsf.patches import PatchFile
    from bigsf.preprocessing import PreprocessConfig, preprocess
    from bigsf.recovery import measure_recovery
    from bigsf.run_config import RunConfig
    from bigsf.segmenter import segment
    from bigsf.simulation.galaxy import simulate_galaxy
    from bigsf.snapshot import Snapshot
    from bigsf.splits import SplitConfig, make_splits
    from bigsf.trainer import Parts, Trainer

_HOME = {
    "Cleaning": "cleaning",
    "Filaments": "filaments",
    "Folds": "folds",
    "InjectedPlanes": "injection",
    "KFold": "kfold",
    "Parts": "trainer",
    "PatchFile": "patches",
    "PreprocessConfig": "preprocessing",
    "RunConfig": "run_config",
    "Snapshot": "snapshot",
    "SplitConfig": "splits",
    "Trainer": "trainer",
    "inject": "injection",
    "make_mosaic": "mosaic",
    "make_splits": "splits",
    "measure_recovery": "recovery",
    "preprocess": "preprocessing",
    "segment": "segmenter",
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
