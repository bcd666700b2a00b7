"""Number of folds -> splits: which folds train, validate and test each model; and the configuration of folds."""

from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Field, PositiveInt, model_validator

from bigsf.config import Config, ConfigPath, aliased, default_tag
from bigsf.errors import ConfigError
from bigsf.folds.strategies import RandomStrategyConfig, StrategyConfig

_MOST_PX = 2**31 - 1  # positions are int32


class Split(NamedTuple):
    """Which folds, numbered from 1, train, validate and test one model."""

    train: list[int]
    """Folds that the model learns from."""
    validation: list[int]
    """Folds on which thresholds, and the best snapshot where it is asked for, are chosen."""
    test: list[int]
    """Folds that are scored, and predicted in the out-of-fold map."""


def make_splits(k: int, k_train: float | None = None, step: int = 1) -> list[Split]:
    """Return the rotations of k folds.

    Split i trains on folds i .. i + k_train - 1, cyclically, validates on the next, and tests on the rest.

    Parameters
    ----------
    k
        Number of folds, at least 3; or 1 for the standard training: ten folds, the first split only.
    k_train
        Folds in training: a count from 1, or a fraction of k below 1. By default all but two.
    step
        Keep every `step`-th split.

    Examples
    --------
    >>> make_splits(4, 2)[0]
    Split(train=[1, 2], validation=[3], test=[4])

    Raises
    ------
    ConfigError
        Where training, validation and test would not each get a fold.
    """
    n = 10 if k == 1 else k
    count = n - 2 if k_train is None else round(n * k_train) if k_train < 1 else int(k_train)
    rest = n - count
    if n < 3:
        raise ConfigError(f"k is {k}; training, validation and test need a fold each: expected 1 or at least 3.")
    if count < 1 or rest < 2 or (k_train is not None and k_train >= 1 and count != k_train):
        raise ConfigError(
            f"k_train is {k_train:g} of {n} folds; expected 1 to {n - 2}, or a fraction of k, so that training keeps 1 "
            "fold or more, and validation and test together 2 or more."
        )
    if k == 1 and step > 1:
        raise ConfigError(f"step is {step} but k is 1, which makes one split alone: leave step out.")
    n_valid = rest // 2
    rotations = [[(first + i) % n + 1 for i in range(n)] for first in range(n)]
    splits = [Split(r[:count], r[count : count + n_valid], r[count + n_valid :]) for r in rotations]
    return splits[:1] if k == 1 else splits[::step]


class SplitConfig(Config):
    """How a map is split into folds.

    Examples
    --------
    >>> bigsf.SplitConfig(k=4, k_train=2, gap=8).gap
    8
    """

    strategy: Annotated[StrategyConfig, default_tag("random")] = RandomStrategyConfig()
    """How areas are assigned to folds."""

    k: Annotated[int, Field(ge=1, le=255)] | None = aliased(None, "k", "nb_folds")
    """Number of folds; 1 is the standard training: ten folds, one split of 8/1/1. By default 4; but 10 where
    k_train and step are left out too, the strategy is random or balanced, and 15 areas or more hold patches: 7 train, 1
    validates and 2 are tested in each of five splits, so that a model learns from more of the map."""

    k_train: float | None = aliased(None, "k_train", "train_ratio", gt=0)
    """Folds in training: a count, or a fraction of k below 1; by default all but two, or 7 where ten folds are the
    default, see k. The test part takes the larger half of the rest."""

    step: PositiveInt | None = None
    """Keep every step-th of the k rotations, by default all, or every second, see k; folds that are then never
    tested are NaN in the out-of-fold map."""

    use: PositiveInt = 1
    """The split that `bigsf train` uses, numbered from 1."""

    area_size: Annotated[int, Field(ge=1, le=_MOST_PX)] | None = None
    """Side of an area in pixels; by default the larger of 64 and two patch sizes. Larger areas have fewer borders
    but sample the map more coarsely."""

    overlap: int = Field(default=0, ge=0, le=_MOST_PX)
    """Pixels that a patch may reach past the bottom and right border of its area. Above 0 folds share pixels."""

    gap: int = Field(default=0, ge=0, le=_MOST_PX)
    """Pixels kept clear between folds."""

    path: ConfigPath | None = None
    """The folds file; by default the patch file's name with `.folds.json`, beside it."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.overlap and self.gap:
            raise ValueError(f"overlap {self.overlap} and gap {self.gap} contradict each other; set one of them to 0.")
        make_splits(self.k or 4, self.k_train, self.step or 1)
        return self

    def filled_from(self, other: "SplitConfig") -> "SplitConfig":
        """Return this configuration with the keys that it leaves out taken from another.

        k, k_train and step belong together: where one of them is given, the others are not filled in.
        """
        given = {key for key in self.model_fields_set if getattr(self, key) is not None} | {"path", "use"}
        together = {"k", "k_train", "step"}
        given |= together if given & together else set()
        return self.model_copy(update={key: getattr(other, key) for key in type(self).model_fields if key not in given})


def default_folds_path(patch_file: Path) -> Path:
    """Return `galaxy.folds.json` for `galaxy.h5`."""
    return patch_file.with_suffix(".folds.json")
