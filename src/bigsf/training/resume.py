"""What changes when a run is taken up again: its place, its budget, its machine."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bigsf.errors import BigsfWarning, ConfigError, SnapshotError
from bigsf.folds.splits import default_folds_path
from bigsf.training.dataset import PatchesConfig
from bigsf.training.run_config import RunConfig


def relocated(config: RunConfig, folder: Path, data: str | Path | None = None) -> RunConfig:
    """Return the config of a run for the folder in which it lies now, and for a patch file that was moved."""
    folder = folder.absolute()
    trainer = config.trainer.model_copy(update={"output_dir": folder.parent, "run_name": folder.name})
    update: dict[str, Any] = {"trainer": trainer}
    if data is not None and isinstance(config.data, PatchesConfig):
        update["data"] = config.data.model_copy(update={"path": Path(data).absolute()})
        if config.split.path == default_folds_path(config.data.path):
            update["split"] = config.split.model_copy(update={"path": None})  # beside the patch file
    return config.model_copy(update=update)


_RECORDED = {"output_dir", "run_name", "seed", "save_every", "model", "loss", "optimizer", "metrics", "trackers"}
"""Of the keys below `trainer` that every recorded config has, enough that none written by hand has them all."""


def load_recorded_config(path: Path) -> RunConfig:
    """Return the config that a run recorded; one that says nothing of straddling is older, and did without.

    Raises
    ------
    SnapshotError
        Where a user wrote it: to go on there would write over it and train beside what else lies there.
    """
    config = RunConfig.from_yaml(path)
    named = yaml.safe_load(path.read_bytes()).get("trainer") or {}
    if _RECORDED - named.keys():
        raise SnapshotError(f"No run recorded {path}: there is nothing to resume. Start one with bigsf train {path}")
    if b"straddle:" in path.read_bytes():
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"straddle": False})})


def with_epochs(config: RunConfig, epochs: int | None, epochs_run: int = 0) -> RunConfig:
    """Return the config with another budget, saying what that does to the learning rate."""
    if epochs is None or epochs == config.trainer.epochs:
        return config
    if epochs < epochs_run:
        raise ConfigError(f"--epochs {epochs} is less than the {epochs_run} epochs that the run has behind it.")
    scheduler = config.trainer.scheduler
    if scheduler and scheduler.depends_on_total:
        warnings.warn(
            f"The {scheduler.type} schedule depends on the number of epochs: with {epochs} instead of "
            f"{config.trainer.epochs} the learning rate differs from that of a run planned so.",
            BigsfWarning,
            stacklevel=3,
        )
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"epochs": epochs})})


def warn_if_elsewhere(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Say when a run goes on where it cannot be the undisturbed one bit for bit."""
    changed = [f"{key} {there.get(key)} there, {value} here" for key, value in here.items() if there.get(key) != value]
    if changed:
        warnings.warn(
            f"The run was made elsewhere ({'; '.join(changed)}): it goes on, but no longer bit for bit as if "
            "undisturbed.",
            BigsfWarning,
            stacklevel=3,
        )
