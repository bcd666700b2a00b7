from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.errors import ConfigError
from bigsf.folds.splits import Split, SplitConfig, make_splits


def split_config(**settings: Any) -> SplitConfig:
    return SplitConfig.from_dict(settings)


def sizes(split: Split) -> list[int]:
    return [len(part) for part in split]


def test_splits_as_specified() -> None:
    rotations: list[Split] = [
        Split([1, 2], [3], [4]),
        Split([2, 3], [4], [1]),
        Split([3, 4], [1], [2]),
        Split([4, 1], [2], [3]),
    ]
    assert make_splits(4, 2) == make_splits(4, 0.5) == make_splits(4) == rotations
    assert make_splits(4, 2, step=2) == rotations[::2]
    assert make_splits(4, 2, step=9) == rotations[:1]


@pytest.mark.parametrize(
    ("k", "k_train", "number", "expected"),
    [
        (10, 0.6, 10, [6, 2, 2]),
        (5, 0.6, 5, [3, 1, 1]),
        (1, None, 1, [8, 1, 1]),
        (1, 0.8, 1, [8, 1, 1]),
        (1, 6, 1, [6, 2, 2]),
        (3, None, 3, [1, 1, 1]),
        (5, 2, 5, [2, 1, 2]),
        (10, 0.7, 10, [7, 1, 2]),
        (100, 0.29, 100, [29, 35, 36]),
    ],
)
def test_sizes_of_splits(k: int, k_train: float | None, number: int, expected: list[int]) -> None:
    splits = make_splits(k, k_train)
    assert len(splits) == number
    assert {tuple(sizes(split)) for split in splits} == {tuple(expected)}


def test_standard_training_is_the_first_split_of_ten_folds() -> None:
    assert make_splits(1) == [([1, 2, 3, 4, 5, 6, 7, 8], [9], [10])]


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 40), st.data())
def test_every_split_uses_every_fold_once_and_every_fold_is_tested_equally_often(k: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, k - 2))
    fraction = count / k
    splits = make_splits(k, count)
    assert splits == make_splits(k, fraction)
    for train, valid, test in splits:
        assert sorted(train + valid + test) == list(range(1, k + 1))
        assert len(train) == count
        assert len(test) - len(valid) in (0, 1)
    for part in zip(*splits, strict=True):
        number = np.bincount(np.concatenate(part), minlength=k + 1)[1:]
        assert (number == number[0]).all()


@pytest.mark.parametrize("k_train", [0.0, 0.001, 1.5, 3, 4, 5, -1])
def test_impossible_splits_are_refused(k_train: float) -> None:
    with pytest.raises(ConfigError, match=rf"k_train is {k_train:g} of 4 folds; expected 1 to 2, or a fraction of k"):
        make_splits(4, k_train)


def test_two_folds_are_too_few() -> None:
    with pytest.raises(
        ConfigError, match=r"k is 2; training, validation and test need a fold each: expected 1 or at least 3"
    ):
        make_splits(2)
