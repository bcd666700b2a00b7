"""Configuration + data -> errors and warnings that can be known before training starts."""

import warnings
from collections.abc import Iterable

from torch import Tensor

from bigsf.errors import BigsfWarning, ConfigError
from bigsf.models.model_config import ModelConfig
from bigsf.patches.patch_file import PatchFile
from bigsf.training.run_config import RunConfig, TrainerConfig


def check_model(config: RunConfig, patch_file: PatchFile) -> None:
    """Raise `ConfigError` where a network does not fit a patch file."""
    model = config.trainer.model
    if model.in_channels != patch_file.channels:
        raise ConfigError(
            f"trainer.model.in_channels is {model.in_channels} but {patch_file.path.name} has {patch_file.channels} "
            "image planes."
        )
    check_patch_size(patch_file.patch_size, model.patch_multiple, model.type)
    norm = getattr(model, "norm", "group")
    if patch_file.patch_size == model.patch_multiple and norm != "group":
        raise ConfigError(
            f"Patches of {patch_file.patch_size} pixels leave one pixel at the lowest level of this {model.type}, too "
            f"few for norm: {norm}. Use patches of {2 * model.patch_multiple}, norm: group, or a lower "
            "trainer.model.depth."
        )


def check_patch_size(patch_size: int, multiple: int, name: str) -> None:
    """Raise `ConfigError` where patches do not go through a network; name the nearest sizes that do."""
    if patch_size % multiple:
        below, above = patch_size // multiple * multiple, -(-patch_size // multiple) * multiple
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"Patches of {patch_size} pixels do not go through this {name}: use a multiple of {multiple}, for example "
            f"{sizes}, in bigsf preprocess --patch-size, or lower trainer.model.depth."
        )


def takes_logarithm(model: ModelConfig) -> bool:
    """Say whether a model takes the logarithm of the map."""
    normalization = model.normalization
    return normalization.type == "log" or getattr(normalization, "log", False)


def warn_if_not_positive(model: ModelConfig, values: Tensor) -> None:
    """Warn where a model takes the logarithm of a map and a sample of its values is often not positive."""
    share = float((values <= 0).sum() / values.isfinite().sum().clamp(min=1))
    if takes_logarithm(model) and share > 0.01:
        warnings.warn(
            f"{share:.0%} of the valid pixels are 0 or below, and the model takes the logarithm of the map. If 0 marks "
            "missing data, pass --blank 0 to bigsf preprocess; for a map that is negative in places choose another "
            "trainer.model.normalization, e.g. asinh.",
            BigsfWarning,
            stacklevel=3,
        )


def check_monitored(config: TrainerConfig, metrics: Iterable[str]) -> None:
    """Raise `ConfigError` where a quantity that chooses best.pt, stops the run or sets its rate is not logged."""
    logged = ["epoch", "train_loss", "val_loss", *(f"val_{name}" for name in metrics)]
    logged += ["val_whole_average_precision", "val_whole_dice"]
    monitored = {}
    for name in ("early_stopping", "scheduler"):
        if monitor := getattr(getattr(config, name), "monitor", None):
            monitored[f"trainer.{name}.monitor"] = monitor
    if config.best_by:
        monitored["trainer.best_by"] = config.best_by
    for key, name in monitored.items():
        if name not in logged:
            raise ConfigError(f"{key} is {name!r}, which is not logged. Logged are {', '.join(logged)}.")
