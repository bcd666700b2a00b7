"""Paths -> the snapshots of an ensemble, their window and their threshold."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigsf.errors import BigsfWarning, ConfigError, SnapshotError
from bigsf.models.pretrained import NAMES, snapshot_path
from bigsf.training.snapshot import Snapshot


def find_models(paths: Sequence[str | Path]) -> list[Path]:
    """Return the snapshots that paths mean: a snapshot itself, best.pt of a run folder, all best.pt of a k-fold's.

    The name of a model that comes with the package, such as "higal-small", means its snapshot.

    Raises
    ------
    SnapshotError
        Where a path is neither.
    """
    found: list[Path] = []
    for path in map(snapshot_path, paths):
        if path.is_dir():
            inside = [path / "best.pt"] if (path / "best.pt").exists() else sorted(path.glob("split_*/best.pt"))
            if not inside and (path / "last.pt").exists():
                raise SnapshotError(
                    f"{path} holds a run that was stopped before its first epoch ended. Go on with bigsf resume {path}."
                )
            if not inside:
                raise SnapshotError(f"{path} holds no trained model: neither best.pt nor split_*/best.pt.")
            if (path / "kfold.yaml").exists() and not (path / "summary.json").exists():
                warnings.warn(
                    f"{path} holds a k-fold that has not ended; of its models only {len(inside)} can vote. Go on with "
                    f"bigsf resume {path}.",
                    BigsfWarning,
                    stacklevel=2,
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise SnapshotError(
                f"{path} does not exist. Expected a snapshot, e.g. results/experiment_1/best.pt, or a model that comes "
                f"with bigsf: {', '.join(NAMES)}."
            )
    return found


def shared_window(snapshots: Sequence[Snapshot], paths: Sequence[Path]) -> int:
    sizes = {snapshot.patch_size for snapshot in snapshots}
    if len(sizes) > 1:
        listing = ", ".join(f"{path}: {s.patch_size}" for path, s in zip(paths, snapshots, strict=True))
        raise SnapshotError(f"Models that vote must share one patch size; found {listing}.")
    return sizes.pop()


def find_threshold(threshold: str | float, snapshots: Sequence[Snapshot]) -> float:
    if threshold in ("whole", "labelled"):
        return float(np.mean([getattr(snapshot.thresholds, str(threshold)) for snapshot in snapshots]))
    try:
        value = float(threshold)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold {threshold}: expected whole, labelled, or a probability from 0 to 1.")
    return value
