"""One run in one file: versioned, safe to load, written whole or not at all."""

import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from bigsf.config import Config
from bigsf.errors import ConfigError, SnapshotError, out_of_memory
from bigsf.files import atomic_path
from bigsf.maps.fits_image import is_fits
from bigsf.metrics.thresholds import Thresholds
from bigsf.models.pretrained import snapshot_path
from bigsf.models.segmentation_model import SegmentationModel
from bigsf.training.run_config import RunConfig
from bigsf.version import __version__

FORMAT = "bigsf snapshot"


FORMAT_VERSION = 2


_EXACT = ConfigDict(arbitrary_types_allowed=True, strict=True)


def _straddling_nothing(data: dict[str, Any]) -> dict[str, Any]:
    """Say of a snapshot of format 1 that it learnt from no patch that straddles areas."""
    config = data.get("GLOBAL_CONFIG")
    if isinstance(config, dict) and isinstance(config.get("data"), dict):
        config["data"].setdefault("straddle", False)
    return data


_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _straddling_nothing}
"""From a format version to what turns its dictionary into that of the next."""


@dataclass
class Snapshot:
    """All of a run that survives a restart, and a self-contained model.

    Randomness is a function of (seed, epoch, step), so no generator state is among it.
    """

    model_state: dict[str, torch.Tensor]
    """Weights of the network and statistics of the normalization."""
    optimizer_state: dict[str, Any]
    """State of the optimizer."""
    scheduler_state: dict[str, float]
    """State of the scheduler."""
    early_stopping_state: dict[str, float]
    """State of the early stopping."""
    scaler_state: dict[str, Any]
    """State of the gradient scaler of fp16; empty elsewhere."""
    global_config: dict[str, Any]
    """The whole resolved config."""
    epochs_run: int
    """Completed epochs."""
    steps_run: int
    """Completed steps of the epoch after them."""
    partial_loss: tuple[float, float]
    """Loss sum and weight of those steps, over all processes."""
    history: list[dict[str, Any]]
    """Logged quantities, a row a completed epoch."""
    best: dict[str, float]
    """Best value of the quantity that chooses best.pt, and its epoch; empty before the first."""
    thresholds: Thresholds
    """Thresholds of best Dice on the validation folds."""
    patch_size: int
    """Side in pixels of the windows that the model was trained on."""
    data_identity: str
    """Identity of the patch file."""
    folds_identity: str
    """Identity of the folds."""
    image_sha256: str
    """SHA-256 of the FITS file of the map."""
    stopped_early: bool
    """Whether early stopping has ended the run."""
    machine: dict[str, Any]
    """What the run is repeatable on bit for bit: device, processes, threads, number format, version of torch."""
    network_handed_in: bool
    """Whether the network was an object handed to the trainer, so that the config cannot build it."""

    def save(self, path: Path) -> None:
        """Write the snapshot, whole or not at all."""
        data = {field.name.upper(): getattr(self, field.name) for field in fields(self)}
        data |= {
            "THRESHOLDS": asdict(self.thresholds),
            "FORMAT": FORMAT,
            "FORMAT_VERSION": FORMAT_VERSION,
            "BIGSF_VERSION": __version__,
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(data, file)  # into a file of Python's, which says in an OSError when the disk is full
            except RuntimeError as error:  # torch's, as it closes its archive after that
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a snapshot, or the model of a name such as "higal-small"; nothing in it is executed.

        Raises
        ------
        SnapshotError
            Where the file is no snapshot, is cut short, holds more than plain data, or has a newer format.
        """
        path = snapshot_path(path)
        if is_fits(path):
            raise SnapshotError(f"{path} is a FITS file; expected a snapshot. Models come first, the map last.")
        try:
            if path.exists() and not zipfile.is_zipfile(path):
                raise SnapshotError(
                    f"{path} is not a snapshot: it is no PyTorch file, or it was cut short. "
                    "Expected e.g. best.pt of a run folder."
                )
            data = torch.load(path, map_location="cpu", weights_only=True)
        except SnapshotError:
            raise
        except FileNotFoundError:
            raise SnapshotError(f"{path} does not exist.") from None
        except pickle.UnpicklingError:
            raise SnapshotError(
                f"{path} holds more than plain data (a pickle that could run code), or is damaged. It was not loaded."
            ) from None
        except Exception as error:  # torch raises many kinds for a file that is none of its own
            if out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SnapshotError(f"{path} is not a snapshot that can be read: {reason}") from error
        if not isinstance(data, dict) or data.get("FORMAT") != FORMAT:
            raise SnapshotError(f"{path} is a PyTorch file but no snapshot of BigSF.")
        if not isinstance(data.get("FORMAT_VERSION"), int) or data["FORMAT_VERSION"] < 1:
            raise SnapshotError(f"{path} is damaged: its format version is {data.get('FORMAT_VERSION')!r}.")
        if data["FORMAT_VERSION"] > FORMAT_VERSION:
            raise SnapshotError(
                f"{path} has format {data['FORMAT_VERSION']}, written by bigsf {data.get('BIGSF_VERSION')}; this is "
                f"{__version__}, which reads up to {FORMAT_VERSION}. Update bigsf."
            )
        for version in range(data["FORMAT_VERSION"], FORMAT_VERSION):
            data = _UPGRADES[version](data)
        for field in fields(cls):
            try:
                kind: Any = dict[str, float] if field.type is Thresholds else field.type
                TypeAdapter(kind, config=_EXACT).validate_python(data[field.name.upper()])
                if field.type is Thresholds:
                    data["THRESHOLDS"] = TypeAdapter(Thresholds).validate_python(data["THRESHOLDS"])
            except KeyError:
                raise SnapshotError(f"{path} is damaged: it has no {field.name.upper()!r}.") from None
            except ValidationError as error:
                raise SnapshotError(f"{path} is damaged: {field.name.upper()}: {error.errors()[0]['msg']}.") from None
        if data["PATCH_SIZE"] < 1:
            raise SnapshotError(f"{path} is damaged: its patch size is {data['PATCH_SIZE']}.")
        return cls(**{field.name: data[field.name.upper()] for field in fields(cls)})

    @property
    def config(self) -> RunConfig:
        """The config, validated again."""
        try:
            return RunConfig.from_dict(self.global_config)
        except ConfigError as error:
            raise SnapshotError(f"The configuration in the snapshot cannot be used: {error}") from None

    def build_model(self, network: nn.Module | None = None, trust: bool | Config = False) -> SegmentationModel:
        """Return the trained model.

        Parameters
        ----------
        network
            The network, where it was handed to the trainer as an object; its weights are replaced.
        trust
            Import and run the custom targets that the snapshot names, or those of them that a config names too.

        Raises
        ------
        SnapshotError
            Where the weights do not fit the architecture of the config, the network must be handed in, or a custom
            target is not trusted.
        """
        if self.network_handed_in and network is None:
            raise SnapshotError(
                "This snapshot's network was handed to the Trainer as an object; hand it in again: network=..."
            )
        config = self.config
        refuse_custom(config.trainer.model, "The snapshot", trust)
        model = build_model(config, network)
        self.load_weights(model)
        return model

    def load_weights(self, model: SegmentationModel) -> None:
        """Give a model the weights.

        Raises
        ------
        SnapshotError
            Where they do not fit its architecture.
        """
        here = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        there = {name: tuple(tensor.shape) for name, tensor in self.model_state.items()}
        if odd := [name for name in {**there, **here} if here.get(name) != there.get(name)]:
            raise SnapshotError(
                f"The weights of the snapshot do not fit the network of the config: {odd[0]} is "
                f"{there.get(odd[0], 'absent')} there and {here.get(odd[0], 'absent')} here, and {len(odd) - 1} more "
                f"of {len(here)} differ."
            )
        model.load_state_dict(self.model_state)


def refuse_custom(config: Config, whose: str, trust: bool | Config) -> None:
    """Raise `SnapshotError` where a stored config names code to import and run, and is not trusted.

    `trust` may be a config that is trusted: what it names may be run, and nothing else.
    """
    trusted = set(_targets(trust.model_dump(mode="json"))) if isinstance(trust, Config) else set()
    named = set() if trust is True else set(_targets(config.model_dump(mode="json")))
    targets = sorted(named - trusted)
    if targets:
        raise SnapshotError(
            f"{whose} names code to run: {', '.join(targets)}. If that code is yours or you have read it, pass --trust "
            "(in Python trust=True)."
        )


def _targets(node: Any) -> Iterator[str]:
    """Yield the targets of the custom parts in a dumped config, and where they are imported from."""
    if isinstance(node, dict) and node.get("type") == "custom":
        yield f"{node['target']} in {node['folder']}"
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)


def build_model(config: RunConfig, network: nn.Module | None = None) -> SegmentationModel:
    """Return an untrained model of the config's network, or of another."""
    model = config.trainer.model
    if model.out_channels != 1:
        raise ConfigError(f"trainer.model.out_channels is {model.out_channels}; BigSF separates one class: use 1.")
    coordinates = model.position.coordinates if model.position else None
    built = SegmentationModel(network or model.build(), model.normalization.build(model.in_channels), coordinates)
    built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return built
