"""The whole configuration of a run: data, split, trainer and out-of-fold map."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt

from bigsf.config import Config, ConfigPath, aliased, default_tag, matching
from bigsf.config.duration import Seconds
from bigsf.errors import ConfigError
from bigsf.figures import FigureFormat
from bigsf.folds.splits import SplitConfig
from bigsf.metrics.config import AveragePrecisionConfig, DiceConfig, MetricConfig, ROCAUCConfig
from bigsf.models.device import Precision
from bigsf.models.model_config import ModelConfig
from bigsf.models.pretrained import PretrainedName
from bigsf.models.unet import UNetConfig
from bigsf.option_names import option
from bigsf.training.components.augmentations import AugmentationConfig, FlipConfig, Rotate90Config
from bigsf.training.components.early_stopping import EarlyStoppingConfig
from bigsf.training.components.filament_augmentation import FilamentsConfig
from bigsf.training.components.losses import AnyLossConfig, BCEConfig
from bigsf.training.components.optimizers import MuonConfig, OptimizerConfig
from bigsf.training.components.paste_augmentation import PasteConfig
from bigsf.training.components.schedulers import AnySchedulerConfig, OneCycleConfig
from bigsf.training.components.trackers import CSVConfig, CurvesConfig, TrackerConfig
from bigsf.training.dataset import DataConfig


class TrainerConfig(Config):
    """How a model is trained."""

    output_dir: ConfigPath = Field(default="./results", validate_default=True)
    """Folder of run folders."""

    run_name: Annotated[str, matching(r"[^/\\\0]*[^/\\\0.][^/\\\0]*", "the name of a folder, without slashes")] = (
        "experiment_1"
    )
    """Name of the run folder."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the weights, the order of patches, the augmentations and dropout."""

    epochs: PositiveInt | None = aliased(None, "epochs", "epoch")
    """Passes over the training patches. null: so many that 8000 patches are seen, but at least 4 and at most 200."""

    batch_size: PositiveInt = 16
    """Patches per step, over all processes."""

    accumulate: PositiveInt = 1
    """Parts of a batch that are computed one after the other, to save memory. With batch norm, and with losses that
    compare whole batches (all but bce and focal), the result changes."""

    clip_gradient: PositiveFloat | None = None
    """Largest norm of the gradient; a larger gradient is scaled down to it. null: no limit."""

    deterministic: bool = False
    """On GPUs too, use only algorithms that give the same bits each time; slower. CPUs always do."""

    save_every: Seconds = 600.0
    """Longest time between two saves of last.pt. A run that is killed loses at most this much work."""

    precision: Precision = "auto"
    """fp32, bf16, fp16 or auto (bf16 where the device multiplies it in hardware)."""

    compile: bool = False
    """Compile the network for training: 1.15 times as fast on a CPU, after half a minute for each of up to two sizes
    of batch. It needs a C++ compiler and pays from about half an hour of training on."""

    best_by: Annotated[str, matching(r"(?!train_).*", "a quantity of validation such as val_loss, or epoch")] | None = (
        None
    )
    """The logged quantity that chooses best.pt, e.g. val_loss; losses are to fall and scores to rise; `epoch` chooses
    the last. null: what early stopping monitors on the validation folds, else `epoch`."""

    start_from: PretrainedName | ConfigPath | None = None
    """A snapshot of the same architecture whose weights are the first: to go over to another map (transfer).
    higal-small and filaments-small come with the package and have the default network; the latter has the normalization
    robust."""

    model: Annotated[ModelConfig, default_tag("unet")] = UNetConfig()
    """The network and the normalization in front of it."""

    loss: Annotated[AnyLossConfig, default_tag("bce")] = BCEConfig()
    """The loss that training minimises."""

    optimizer: Annotated[OptimizerConfig, default_tag("muon")] = MuonConfig(type="muon")
    """How weights follow gradients."""

    scheduler: Annotated[AnySchedulerConfig | None, default_tag("onecycle")] = OneCycleConfig(type="onecycle")
    """How the learning rate changes; null: not at all."""

    early_stopping: Annotated[EarlyStoppingConfig | None, default_tag("patience")] = None
    """When to stop before `epochs`; null: never."""

    augmentations: list[AugmentationConfig] = [
        FlipConfig(),
        Rotate90Config(type="rotate90"),
        FilamentsConfig(type="filaments"),
        PasteConfig(type="paste"),
    ]
    """Random changes of the training patches, in this order."""

    metrics: list[MetricConfig] = [
        DiceConfig(),
        AveragePrecisionConfig(type="average_precision"),
        ROCAUCConfig(type="roc_auc"),
    ]
    """What is measured on labelled pixels of the validation and test folds."""

    trackers: list[TrackerConfig] = [CSVConfig(), CurvesConfig(type="curves")]
    """Where the quantities of each epoch are written."""

    figures: FigureFormat = "png"
    """Write the figures of a run or k-fold as pdf or svg too, beside the PNG: for papers."""


class OutOfFoldConfig(Config):
    """How `bigsf kfold` predicts the out-of-fold map. It may be changed once all is trained.

    What is null is chosen by the size of the map: a quarter of a window in eight orientations, or less work where these
    would take longer than all training, see `plan_out_of_fold`.
    """

    stride: PositiveInt | None = None
    """Pixels from one window to the next. Smaller is better, and slower. null: a quarter or a half of a window."""

    tta: bool | None = None
    """Test-time augmentation: the mean over the eight orientations of each window, for eight times the work.
    null: true, except on a large map."""


class RunConfig(Config):
    """The whole of a configuration file.

    Examples
    --------
    >>> bigsf.RunConfig.from_dict({"data": {"path": "galaxy.h5"}}, ["trainer.epochs=20"]).trainer.epochs
    20
    """

    data: DataConfig
    """Where patches come from."""

    split: SplitConfig = SplitConfig()
    """How the map is split into folds."""

    trainer: TrainerConfig = {}  # type: ignore[assignment]  # validated, so that its paths are those of the YAML
    """How a model is trained."""

    out_of_fold: OutOfFoldConfig = OutOfFoldConfig()
    """How the out-of-fold map of a k-fold is predicted."""

    @classmethod
    def of(cls, config: "RunConfig | str | Path | Mapping[str, Any]", overrides: Sequence[str] = ()) -> "RunConfig":
        """Return a configuration, or that of a YAML file or of a dictionary, with settings that replace or add keys.

        Raises
        ------
        ConfigError
            Where there are settings beside a configuration: it no longer tells the keys that were left out.
        """
        if isinstance(config, str | Path):
            return cls.from_yaml(config, overrides)
        if not isinstance(config, RunConfig):
            return cls.from_dict(config, overrides)
        if overrides:
            raise ConfigError(
                f"{option('overrides', list(overrides))} would do nothing: the configuration is made. Pass its YAML "
                "file or its dictionary, or make it with these settings."
            )
        return config
