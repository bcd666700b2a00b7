from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import create_model
from torch import nn

from bigsf.config import Config, CustomConfig, members
from bigsf.config.yaml_source import parse_yaml
from bigsf.errors import ConfigError
from bigsf.folds.strategies import StrategyConfig
from bigsf.metrics import MetricConfig
from bigsf.models.model_config import ModelConfig
from bigsf.models.normalizations import NormalizationConfig
from bigsf.models.positions import AnyPositionConfig
from bigsf.training.components.augmentations import AugmentationConfig
from bigsf.training.components.early_stopping import EarlyStoppingConfig
from bigsf.training.components.losses import AnyLossConfig
from bigsf.training.components.optimizers import OptimizerConfig
from bigsf.training.components.schedulers import AnySchedulerConfig
from bigsf.training.components.trackers import TrackerConfig
from bigsf.training.dataset import DataConfig
from bigsf.training.run_config import RunConfig

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "data": (DataConfig, {}),
    "strategy": (StrategyConfig, {}),
    "model": (ModelConfig, {}),
    "normalization": (NormalizationConfig, {"channels": 1}),
    "position": (AnyPositionConfig, {}),
    "loss": (AnyLossConfig, {}),
    "optimizer": (OptimizerConfig, {"parameters": [nn.Parameter(torch.ones(1))]}),
    "scheduler": (AnySchedulerConfig, {"epochs": 10, "directions": {"val_loss": False}}),
    "early_stopping": (EarlyStoppingConfig, {"directions": {"val_loss": False}}),
    "augmentations": (AugmentationConfig, {}),
    "metrics": (MetricConfig, {}),
    "trackers": (TrackerConfig, {"folder": Path(), "run_name": "run", "run_config": {"trainer": {"figures": "png"}}}),
}
"""From the key in a configuration to the union and to what is known only when a member is built."""

MEMBERS = [(family, member) for family, (union, _) in FAMILIES.items() for member in members(union)]
TAGS = [
    pytest.param(family, member, tag, id=f"{family}-{tag}")
    for family, member in MEMBERS
    for tag in get_args(member.model_fields["type"].annotation)
]


def methods_of(member: type[Config]) -> tuple[str, ...]:
    return member.methods if issubclass(member, CustomConfig) else ()


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory, patch_path: Path) -> Callable[..., dict[str, Any]]:
    """Return what one must write for a member and no more."""
    folder = tmp_path_factory.mktemp("mylab")
    methods = {name for family, _ in FAMILIES.values() for member in members(family) for name in methods_of(member)}
    (folder / "mylab_parts.py").write_text(
        "class Part:\n    def __init__(self, *arguments, **kwargs):\n        self.size = kwargs['size']\n"
        + "".join(f"    def {name}(self, *arguments): ...\n" for name in sorted(methods))
    )
    custom = {"target": "mylab_parts:Part", "kwargs": {"size": 3}, "folder": str(folder)}

    def make(member: type[Config], tag: str) -> dict[str, Any]:
        if issubclass(member, CustomConfig):
            return {"type": tag, **custom}
        required = [name for name, field in member.model_fields.items() if field.is_required() and name != "type"]
        needed = {"path": str(patch_path), "regions": [{"fold": 1}]}
        return {"type": tag, **{name: needed[name] for name in required}}

    return make


HOLDERS = {
    family: create_model("Holder", __base__=Config, part=(union, ...)) for family, (union, _) in FAMILIES.items()
}


def read(family: str, data: dict[str, Any]) -> Any:
    return dict(HOLDERS[family].from_dict({"part": data}))["part"]


def families_in(config: type[Config]) -> set[str]:
    """Return the keys, at any depth of a configuration, whose value has an open door."""
    found = set()
    for name, field in config.model_fields.items():
        kinds = members(field.annotation)
        found |= {name} if any(issubclass(kind, CustomConfig) for kind in kinds) else set()
        found |= {key for kind in kinds for key in families_in(kind)}
    return found


def test_every_family_of_a_configuration_is_tested_here() -> None:
    assert families_in(RunConfig) == set(FAMILIES)


@pytest.mark.parametrize(("family", "member", "tag"), TAGS)
def test_member_builds_from_its_minimal_yaml(
    family: str,
    member: type[Config],
    tag: str,
    minimal: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # trackers write where they are told, which is here
    assert type(read(family, minimal(member, tag))) is member
    try:
        built = read(family, minimal(member, tag)).build(**FAMILIES[family][1])
    except ConfigError as error:
        if "pip install 'bigsf[" not in str(error):
            raise
        pytest.skip(f"{tag} is an extra that is not installed")
    if issubclass(member, CustomConfig):
        assert built.size == 3
    else:
        assert built is not None


@pytest.mark.parametrize(("family", "member", "tag"), TAGS)
def test_member_is_the_same_after_writing_and_reading(
    family: str, member: type[Config], tag: str, minimal: Callable[..., dict[str, Any]]
) -> None:
    config = read(family, minimal(member, tag))
    assert read(family, config.model_dump(mode="json")) == config
    assert read(family, parse_yaml(config.to_yaml(), "text")[0]) == config


@pytest.mark.parametrize(("family", "member", "tag"), TAGS)
def test_type_is_read_without_regard_to_case(
    family: str, member: type[Config], tag: str, minimal: Callable[..., dict[str, Any]]
) -> None:
    data = minimal(member, tag)
    assert read(family, {**data, "type": tag.upper()}) == read(family, data)


@pytest.mark.parametrize(("family", "member", "tag"), TAGS)
def test_unknown_key_is_refused_with_the_nearest_one(
    family: str, member: type[Config], tag: str, minimal: Callable[..., dict[str, Any]]
) -> None:
    data = minimal(member, tag)
    for name in member.model_fields:
        with pytest.raises(ConfigError, match=rf"part\.{name}_: unknown key; did you mean '{name}'\?"):
            read(family, {**data, f"{name}_": 1})


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_type_is_refused_with_the_members(family: str) -> None:
    tags = [get_args(member.model_fields["type"].annotation)[0] for member in members(FAMILIES[family][0])]
    with pytest.raises(ConfigError, match=f"unknown type 'costum'; did you mean 'custom'.*{tags[0]}"):
        read(family, {"type": "costum"})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_says_what_it_changes(family: str) -> None:
    for member in members(FAMILIES[family][0]):
        silent = [name for name, field in member.model_fields.items() if name != "type" and not field.description]
        assert not silent, member


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", ["no_such_module:Part", "mylab_parts:NoSuchPart"])
def test_custom_target_that_is_not_there_is_named(
    family: str, target: str, minimal: Callable[..., dict[str, Any]]
) -> None:
    custom = next(member for member in members(FAMILIES[family][0]) if issubclass(member, CustomConfig))
    config = read(family, {**minimal(custom, "custom"), "target": target})
    with pytest.raises(ConfigError, match=f"{target} cannot be imported"):
        config.build(**FAMILIES[family][1])


def test_kwargs_hold_plain_data_of_any_depth() -> None:
    kwargs = {"widths": [1, 2.5], "inner": {"name": "x", "on": True, "none": None}}
    config = read("loss", {"type": "custom", "target": "a.b:c", "kwargs": kwargs})
    assert config.kwargs == kwargs
    assert np.isfinite(config.unlabelled_weight)
