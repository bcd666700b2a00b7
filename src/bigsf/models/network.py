"""The configuration that all networks share: planes in and out, normalization, position encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt
from torch import nn

from bigsf.config import Component, aliased, default_tag
from bigsf.errors import ConfigError
from bigsf.models.normalizations import LogConfig, NormalizationConfig
from bigsf.models.positions import AnyPositionConfig
from bigsf.option_names import option


def _to_list(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() == "auto":
        raise ValueError(
            "found 'auto', expected numbers such as 1,2: all folds are predicted at the same scales. Those of a map "
            f"are chosen by segment, with {option('scales', 'auto')}."
        )
    return value.split(",") if isinstance(value, str) else value


def _ordered(scales: list[int]) -> list[int]:
    return sorted(set(scales))


Scales = Annotated[
    list[Annotated[int, Field(ge=1, le=32)]],
    BeforeValidator(_to_list),
    AfterValidator(_ordered),
    Field(min_length=1),
]
"""Factors by which a map is binned, in order; read from a list or from a text such as "1,2,4"."""


class NetworkConfig(Component[nn.Module]):
    """The part common to all networks."""

    not_arguments: ClassVar[frozenset[str]] = frozenset({"type", "normalization", "position", "scales"})

    in_channels: PositiveInt = 1
    """Image planes of the patch file; checked against it."""

    out_channels: Literal[1] = 1
    """Planes of the output: BigSF separates one class from the rest."""

    normalization: Annotated[NormalizationConfig, default_tag("log")] = LogConfig(type="log")
    """From raw map values to the network's input."""

    scales: Scales = [1]
    """Factors by which a map is binned when it is predicted; the largest probability counts. With [1, 2, 4], filaments
    up to four times as wide are found. The augmentation `rotate` with a `zoom` teaches the network other scales."""

    position: AnyPositionConfig | None = aliased(None, "position", "encoder")
    """The encoder that tells the network where each patch lies; null: none."""

    @property
    def patch_multiple(self) -> int:
        """Sides of patches must be a multiple of this many pixels."""
        return 1


def check_patch_size(patch_size: int, multiple: int, name: str) -> None:
    """Raise `ConfigError` where patches do not go through a network; name the nearest sizes that do."""
    if patch_size % multiple:
        below, above = patch_size // multiple * multiple, -(-patch_size // multiple) * multiple
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"Patches of {patch_size} pixels do not go through this {name}: use a multiple of {multiple}, for example "
            f"{sizes}, as {option('patch_size')} of preprocess, or lower trainer.model.depth."
        )
