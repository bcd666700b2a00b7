"""Snapshots or run folders -> an ensemble of models that predicts a map together."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from bigsf.errors import DataError, SnapshotError, warn
from bigsf.maps.planes import MapOnSky
from bigsf.models.batch_size import batch_size_within
from bigsf.models.device import resolve_precision
from bigsf.models.model_config import ModelConfig
from bigsf.models.orientations import VIEWS
from bigsf.models.pretrained import NAMES, snapshot_path
from bigsf.models.sliding_window import SlidingWindowPredictor
from bigsf.option_names import option
from bigsf.segmentation.config import SegmentConfig
from bigsf.training.snapshot import Snapshot


def find_models(paths: Sequence[str | Path]) -> list[Path]:
    """Return the snapshots that paths mean.

    Parameters
    ----------
    paths
        Each is a snapshot, a run folder (its best.pt), the folder of a k-fold (best.pt of each split), or the name of
        a model that comes with the package, such as "higal-small".

    Raises
    ------
    SnapshotError
        Where a path is none of these.
    """
    return [model for path in map(snapshot_path, paths) for model in _models_of(path)]


def _models_of(path: Path) -> list[Path]:
    if path.is_dir():
        return _models_in(path)
    if not path.exists():
        raise SnapshotError(
            f"{path} does not exist. Expected a snapshot, e.g. results/experiment_1/best.pt, or a model that comes "
            f"with bigsf: {', '.join(NAMES)}."
        )
    return [path]


def _models_in(folder: Path) -> list[Path]:
    """Return the best model of a run folder, or those of the splits of a k-fold."""
    found = [folder / "best.pt"] if (folder / "best.pt").exists() else sorted(folder.glob("split_*/best.pt"))
    if not found and (folder / "last.pt").exists():
        raise SnapshotError(
            f"{folder} holds a run that was stopped before its first epoch ended. Go on with bigsf resume {folder}."
        )
    if not found:
        raise SnapshotError(f"{folder} holds no trained model: neither best.pt nor split_*/best.pt.")
    if (folder / "kfold.yaml").exists() and not (folder / "summary.json").exists():
        warn(
            f"{folder} holds a k-fold that has not ended: the ensemble has only {len(found)} of its models. Go on with "
            f"bigsf resume {folder}."
        )
    return found


@dataclass(frozen=True)
class Ensemble:
    """One trained model or more; the mean of their probabilities is the result.

    Examples
    --------
    >>> bigsf.Ensemble.load("higal-small").window
    64
    """

    paths: list[Path]
    """The snapshot files."""
    snapshots: list[Snapshot]
    """Their contents, in the same order."""

    @classmethod
    def load(cls, models: str | Path | Sequence[str | Path]) -> Self:
        """Load one model, or several, as `find_models` finds them.

        Raises
        ------
        SnapshotError
            Where a path is no model, or the models were trained on patches of different sizes.
        """
        paths = find_models([models] if isinstance(models, str | Path) else models)
        if not paths:
            raise SnapshotError(f"There is no model. Name one at least, e.g. {next(iter(NAMES))}.")
        snapshots = [Snapshot.load(path) for path in paths]
        if len({snapshot.patch_size for snapshot in snapshots}) > 1:
            sizes = ", ".join(f"{path}: {s.patch_size}" for path, s in zip(paths, snapshots, strict=True))
            raise SnapshotError(f"The models of an ensemble must share one patch size; found {sizes}.")
        return cls(paths, snapshots)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def window(self) -> int:
        """Side of the windows in pixels."""
        return self.snapshots[0].patch_size

    @property
    def scales(self) -> list[int]:
        """Factors by which a map is binned, unless others are asked for: those of any model."""
        return sorted({scale for model in self.model_configs for scale in model.scales})

    @cached_property
    def model_configs(self) -> list[ModelConfig]:
        """The configuration of each network."""
        return [snapshot.config.trainer.model for snapshot in self.snapshots]

    def threshold(self, wanted: str | float) -> float:
        """Return a probability as it is; for "whole" or "labelled" the mean of the models' thresholds of that name."""
        if isinstance(wanted, str):
            return float(np.mean([getattr(snapshot.thresholds, wanted) for snapshot in self.snapshots]))
        return wanted

    def check_channels(self, name: str, channels: int) -> None:
        """Raise `DataError` where a map has another number of image planes than the models take."""
        for model in self.model_configs:
            if model.in_channels != channels:
                raise DataError(
                    f"The model takes {model.in_channels} image planes, {name} gives {channels}. "
                    f"See {option('channels')}."
                )

    def predictor(
        self,
        source: MapOnSky,
        config: SegmentConfig,
        device: torch.device,
        scales: Sequence[int],
        network: nn.Module | None = None,
        trust: bool = False,
        part: tuple[int, int] | None = None,
    ) -> SlidingWindowPredictor:
        """Return the predictor that runs the models on a map.

        Parameters
        ----------
        source
            The map.
        config
            Its stride, batch size, memory, precision and test-time augmentation are used. The views of the latter are
            kept apart where its product `std` is their spread.
        device
            Where the networks run.
        scales
            Factors by which the map is binned.
        network
            The network of the models, where it was handed to the trainer as an object.
        trust
            Import and run the custom targets that the snapshots name.
        part
            (ny, nx) of the largest part of the map that is predicted at a time, for its memory; by default the map.

        Raises
        ------
        SnapshotError
            Where a model cannot be built.
        ConfigError
            Where the stride leaves gaps, or the memory is too small.
        """
        models = [snapshot.build_model(deepcopy(network), trust) for snapshot in self.snapshots]
        ny, nx = source.shape
        views = len(self) == 1 and config.tta and "std" in (config.products or ())
        batch_size = config.batch_size or batch_size_within(
            config.memory,
            models,
            self.window,
            source.channels,
            part or (ny, nx),
            scales,
            VIEWS if views else 0,
            gpu=device if device.type == "cuda" else None,
            gpu_bytes=config.memory if "memory" in config.model_fields_set else None,
        )
        return SlidingWindowPredictor(
            [model.to(device) for model in models],
            self.window,
            config.stride,
            batch_size,
            device,
            resolve_precision(config.precision, device),
            source.wcs,
            config.tta,
            scales,
            views,
        )
