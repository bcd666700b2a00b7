"""Find filaments, and other thin structures, in one very large astronomical map.

Each name is imported when it is first used, so that `import bigsf` loads no torch.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from bigsf.version import __version__ as __version__

if sys.platform == "win32":
    raise ImportError(
        "BigSF runs on Linux and macOS; it does not run on Windows. Use the Windows Subsystem for Linux (WSL)."
    )

if TYPE_CHECKING:
    from bigsf import plot as plot
    from bigsf.console import show_progress as show_progress
    from bigsf.errors import BigsfError as BigsfError
    from bigsf.errors import BigsfWarning as BigsfWarning
    from bigsf.evaluation.completeness import measure_completeness as measure_completeness
    from bigsf.evaluation.injected_planes import InjectedPlanes as InjectedPlanes
    from bigsf.evaluation.injection import InjectedFilament as InjectedFilament
    from bigsf.evaluation.injection import inject as inject
    from bigsf.evaluation.label_scores import score as score
    from bigsf.filaments.catalogue import Filaments as Filaments
    from bigsf.filaments.cleaning import Cleaning as Cleaning
    from bigsf.folds.folds import Folds as Folds
    from bigsf.folds.splits import SplitConfig as SplitConfig
    from bigsf.folds.splits import make_splits as make_splits
    from bigsf.maps.mosaic.mosaic import make_mosaic as make_mosaic
    from bigsf.metrics.torch_metric import TorchMetric as TorchMetric
    from bigsf.models.sliding_window import SlidingWindowPredictor as SlidingWindowPredictor
    from bigsf.patches.patch_file import PatchFile as PatchFile
    from bigsf.patches.preprocess import PreprocessConfig as PreprocessConfig
    from bigsf.patches.preprocess import preprocess as preprocess
    from bigsf.segmentation.config import SegmentConfig as SegmentConfig
    from bigsf.segmentation.ensemble import Ensemble as Ensemble
    from bigsf.segmentation.model import Model as Model
    from bigsf.segmentation.model import load as load
    from bigsf.segmentation.segment import segment as segment
    from bigsf.simulation.galaxy import simulate_galaxy as simulate_galaxy
    from bigsf.simulation.recipe import Recipe as Recipe
    from bigsf.training.build import Parts as Parts
    from bigsf.training.components.losses import LossSum as LossSum
    from bigsf.training.kfold import KFold as KFold
    from bigsf.training.run_config import RunConfig as RunConfig
    from bigsf.training.snapshot import Snapshot as Snapshot
    from bigsf.training.trainer import Trainer as Trainer

_MODULES = {
    "BigsfError": "errors",
    "BigsfWarning": "errors",
    "Cleaning": "filaments.cleaning",
    "Ensemble": "segmentation.ensemble",
    "Filaments": "filaments.catalogue",
    "Folds": "folds.folds",
    "InjectedFilament": "evaluation.injection",
    "InjectedPlanes": "evaluation.injected_planes",
    "KFold": "training.kfold",
    "LossSum": "training.components.losses",
    "Model": "segmentation.model",
    "Parts": "training.build",
    "PatchFile": "patches.patch_file",
    "PreprocessConfig": "patches.preprocess",
    "Recipe": "simulation.recipe",
    "RunConfig": "training.run_config",
    "SegmentConfig": "segmentation.config",
    "SlidingWindowPredictor": "models.sliding_window",
    "Snapshot": "training.snapshot",
    "SplitConfig": "folds.splits",
    "TorchMetric": "metrics.torch_metric",
    "Trainer": "training.trainer",
    "inject": "evaluation.injection",
    "load": "segmentation.model",
    "make_mosaic": "maps.mosaic.mosaic",
    "make_splits": "folds.splits",
    "measure_completeness": "evaluation.completeness",
    "preprocess": "patches.preprocess",
    "score": "evaluation.label_scores",
    "segment": "segmentation.segment",
    "show_progress": "console",
    "simulate_galaxy": "simulation.galaxy",
}
"""From each public name to the module that it is imported from."""

__all__ = [*_MODULES, "plot"]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("bigsf.plot")
    if name not in _MODULES:
        raise AttributeError(f"module 'bigsf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bigsf.{_MODULES[name]}"), name)
