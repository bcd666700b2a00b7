"""Configuration + data -> errors and warnings that can be known before training starts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from bigsf.console import logger, plural
from bigsf.errors import ConfigError, DataError, UsageError, warn
from bigsf.folds.folds import Folds
from bigsf.folds.splits import Split
from bigsf.metrics import Metric
from bigsf.metrics.config import AveragePrecisionConfig, RecallConfig, ROCAUCConfig, metric_name
from bigsf.models.model_config import CustomNetworkConfig, ModelConfig
from bigsf.models.network import check_patch_size
from bigsf.option_names import option
from bigsf.patches.patch_file import PatchFile
from bigsf.training.components.early_stopping import Directions, PatienceConfig
from bigsf.training.run import chosen_by
from bigsf.training.run_config import RunConfig, TrainerConfig
from bigsf.training.sent_array import pack

_OTHER_FOLDS = "Use other folds (another split.area_size, or another seed of split.strategy)"


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


def check_position(model: ModelConfig) -> None:
    """Raise `ConfigError` where a key of `position` does nothing: a network of one's own encodes positions itself."""
    if isinstance(model, CustomNetworkConfig) and model.position:
        usual = {name: field.default for name, field in type(model.position).model_fields.items()}
        for name, value in model.position:
            if name not in ("type", "coordinates") and value != usual[name]:
                raise ConfigError(
                    f"trainer.model.position.{name} would do nothing: a network of your own gets the positions as they "
                    "are."
                )


def check_only(only: int | None, splits: int) -> None:
    """Refuse the number of a split that does not exist."""
    if only is not None and not 1 <= only <= splits:
        raise UsageError(f"{option('only', only)}: there are splits 1 to {splits}.")


def check_out_of_fold(config: RunConfig, patch_file: PatchFile) -> None:
    """Raise `ConfigError` where the windows of the out-of-fold map would leave gaps, before any model is trained."""
    stride, window = config.out_of_fold.stride, patch_file.patch_size
    if stride is not None and stride > window:
        raise ConfigError(
            f"out_of_fold.stride is {stride}, and windows have {window} pixels, so that they would not cover the map. "
            f"Use a stride from 1 to {window}."
        )


def warn_of_untested_folds(folds: Folds) -> None:
    """Warn where the splits of a k-fold do not test every fold, so that its map is a part of the map."""
    tested, count = {fold for split in folds.splits for fold in split.test}, len(folds.counts)
    if folds.counts.keys() - tested:
        made = " (k: 1, for the training of one model)" if folds.config.k == 1 else ""
        remedy = "set split.k to 3 or more" if folds.config.k == 1 else "leave split.step out"
        warn(
            f"The splits of {folds.config.path.name}{made} test {len(tested)} of {count} folds: the out-of-fold map "
            "and its scores are of that part alone. For the whole map, remove that file or name another split.path, "
            f"and {remedy}."
        )


def takes_logarithm(model: ModelConfig) -> bool:
    """Say whether a model takes the logarithm of the map."""
    normalization = model.normalization
    return normalization.type == "log" or getattr(normalization, "log", False)


def warn_if_not_positive(model: ModelConfig, values: Tensor) -> None:
    """Warn where a model takes the logarithm of a map and a sample of its values is often not positive."""
    share = float((values <= 0).sum() / values.isfinite().sum().clamp(min=1))
    if takes_logarithm(model) and share > 0.01:
        warn(
            f"{share:.0%} of the valid pixels are 0 or below, and the model takes the logarithm of the map. If 0 marks "
            f"missing data, preprocess the map with {option('blank', 0)}; for a map that is negative in places choose "
            "another trainer.model.normalization, e.g. asinh."
        )


_DECIDES = {
    "trainer.best_by": "chooses best.pt",
    "trainer.early_stopping.monitor": "stops the training",
    "trainer.scheduler.monitor": "sets the learning rate",
}
"""What a logged quantity decides, by the key that names it."""


def check_labels(config: RunConfig, folds: Folds, splits: Iterable[Split]) -> None:
    """Raise `DataError` where the folds of a split lack the labels without which its training would choose no model."""
    for split in splits:
        for role, numbers in (("training", split.train), ("validation", split.validation)):
            if not config.trainer.loss.unlabelled_weight and not _count(folds, numbers, "labelled"):
                raise DataError(
                    f"The {role} folds {numbers} hold no labelled pixel, and trainer.loss.unlabelled_weight is 0, so "
                    f"that there is no loss. {_OTHER_FOLDS}, or a weight above 0."
                )
        undefined = _undefined(config.trainer, folds, split.validation)
        compared = {"trainer.best_by": chosen_by(config.trainer), **_compared(config.trainer)}
        for key, quantity in compared.items():
            if quantity in undefined:
                raise DataError(
                    f"The validation folds {split.validation} hold no {undefined[quantity]}, so that {quantity}, which "
                    f"{_DECIDES[key]}, is not defined. {_OTHER_FOLDS}, or {key}: val_loss."
                )


def warn_if_no_threshold(folds: Folds, split: Split) -> None:
    """Warn where the validation folds of a split hold no known structure, so that no threshold can be chosen there.

    Where they lack sure background alone, only the threshold of labelled pixels is undefined: that is just said.
    """
    if not _count(folds, split.validation, "target"):
        warn(
            f"The validation folds {split.validation} hold no pixel of a known structure, so that no threshold has a "
            f"best Dice there: both thresholds of the model will be 0.5. {_OTHER_FOLDS}, or give segment a threshold "
            "of your own."
        )
    elif _count(folds, folds.counts, "background") and not _count(folds, split.validation, "background"):
        logger.info(
            "The validation folds %s hold no pixel of sure background, so that their labels choose no threshold: the "
            "threshold labelled of the model will be 0.5.",
            split.validation,
        )


def _count(folds: Folds, numbers: Iterable[int], kind: Literal["labelled", "target", "background"]) -> int:
    """Return how many pixels of some folds have a label, or are on a known structure, or in the background."""
    return sum(getattr(folds.counts[number], kind) for number in numbers if number in folds.counts)


def _undefined(config: TrainerConfig, folds: Folds, validation: Iterable[int]) -> dict[str, str]:
    """Return the logged quantities that can be no numbers on some folds, and what the folds lack for them."""
    if _count(folds, validation, "target"):
        return {}
    labelled = _count(folds, validation, "labelled") > 0
    kinds = AveragePrecisionConfig, ROCAUCConfig, RecallConfig
    names = [metric_name(metric) for metric in config.metrics if not labelled or isinstance(metric, kinds)]
    lacking = dict.fromkeys(names, "pixel of a known structure" if labelled else "labelled pixel")
    lacking |= dict.fromkeys(("whole_average_precision", "whole_dice"), "pixel of a known structure")
    return {f"val_{name}": what for name, what in lacking.items()}


def check_states(metrics: Mapping[str, Metric]) -> None:
    """Raise `ConfigError` where a metric cannot tell other processes what it has counted."""
    for name, metric in metrics.items():
        try:
            for value in metric.state().values():
                pack(value)
        except (AttributeError, ValueError) as error:
            raise ConfigError(
                f"Several processes cannot share the metric {name}: {error}. Give its class a method state(), which "
                "returns what it has counted as numbers and arrays by name, and merge(state), which adds the state of "
                "another process. Or train with one process."
            ) from error


def directions_of(config: TrainerConfig, metrics: Mapping[str, Metric]) -> Directions:
    """Return whether higher is better, by the name of each logged quantity; quantities that do not say it are left out.

    Losses are to fall; `epoch` and the scores of the whole map are to rise. A metric says it by its attribute
    `higher_is_better`. For one that does not, `early_stopping.mode` says it wherever its values are compared.

    Raises
    ------
    ConfigError
        Where a quantity that chooses best.pt, stops the run or sets its learning rate is not logged, has no direction,
        or has another one than `early_stopping.mode` says.
    """
    if taken := {"loss", "whole_average_precision", "whole_dice"} & metrics.keys():
        raise ConfigError(f"A metric may not be called {min(taken)}: validation logs its own quantity under that name.")
    directions: dict[str, bool | None] = {"epoch": True, "train_loss": False, "val_loss": False}
    directions |= {f"val_{name}": getattr(metric, "higher_is_better", None) for name, metric in metrics.items()}
    directions |= {"val_whole_average_precision": True, "val_whole_dice": True}
    compared = _compared(config)
    for key, name in compared.items():
        of_training = {"train_loss"} if key == "trainer.best_by" else {"epoch"}
        allowed = [each for each in directions if each not in of_training]
        if name not in allowed:
            raise ConfigError(f"{key} is {name!r}, which is not logged. Logged are {', '.join(allowed)}.")
    if isinstance(stopping := config.early_stopping, PatienceConfig) and stopping.mode != "auto":
        higher = stopping.mode == "max"
        if directions[stopping.monitor] not in (higher, None):
            raise ConfigError(
                f"trainer.early_stopping.mode is {stopping.mode}, but {'lower' if higher else 'higher'} values of "
                f"{stopping.monitor} are better. Use mode: auto."
            )
        directions[stopping.monitor] = higher
    for key, name in compared.items():
        if directions[name] is None:
            raise ConfigError(
                f"{key} is {name!r}, but that metric does not say whether higher is better. Give its class the "
                "attribute higher_is_better = True or False"
                + (", or set trainer.early_stopping.mode to max or min." if "early_stopping" in key else ".")
            )
    return {name: higher for name, higher in directions.items() if higher is not None}


def _compared(config: TrainerConfig) -> dict[str, str]:
    """Return the logged quantities whose values a run compares, by the keys of the configuration that name them."""
    compared = {}
    for name in ("early_stopping", "scheduler"):
        if monitor := getattr(getattr(config, name), "monitor", None):
            compared[f"trainer.{name}.monitor"] = monitor
    if config.best_by:
        compared["trainer.best_by"] = config.best_by
    return compared


def warn_of_other_epochs(names: Sequence[str], epochs: Sequence[int | None], config: RunConfig) -> None:
    """Warn where runs of a k-fold were continued for other numbers of epochs than its configuration says."""
    planned = config.trainer.epochs
    odd = [f"{name} {number}" for name, number in zip(names, epochs, strict=True) if number != planned]
    if planned is not None and odd:  # the default number depends on the patches of a split
        warn(
            f"The configuration of the k-fold says {plural(planned, 'epoch')}, and these runs were trained for other "
            f"numbers: {', '.join(odd)}. The report names the configuration, and the epoch of each best.pt."
        )
