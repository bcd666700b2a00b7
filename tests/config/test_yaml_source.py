from typing import Any

import pytest
import yaml

from bigsf.config.yaml_source import Dumper, parse_yaml, with_setting
from bigsf.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("-190:20:30.15", "-190:20:30.15"),
        ("0", 0),
        ("00.5", 0.5),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1e-3", 0.001),
        ("'010'", "010"),
        ("yes", True),
    ],
)
def test_numbers_are_those_of_both_versions_of_yaml(text: str, value: Any) -> None:
    assert parse_yaml(f"key: {text}", "a.yaml")[0] == {"key": value}
    assert with_setting({}, f"key={text}") == ({"key": value}, ("key",))


@pytest.mark.parametrize("text", ["010", "-08", "[1, 007]", "{010: 1}"])
def test_leading_zeros_are_refused_in_files_and_settings(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a.yaml, line 1: .* is octal in YAML 1.1 and decimal in YAML 1.2. Write "):
        parse_yaml(f"key: {text}", "a.yaml")
    with pytest.raises(ConfigError, match=r"overrides='key=.*, line 1: .* is octal in YAML 1.1"):
        with_setting({}, f"key={text}")


def test_a_number_of_thousands_of_digits_is_a_short_message() -> None:
    with pytest.raises(
        ConfigError, match=r"overrides='key=9+\.\.\.', line 1: expected a number, found one of 5,000 di"
    ):
        with_setting({}, f"key={'9' * 5000}")


@pytest.mark.parametrize("text", ["010", "08", "1:30", "1e5", "0"])
def test_texts_that_look_like_numbers_are_written_in_quotes(text: str) -> None:
    assert parse_yaml(yaml.dump({"key": text}, Dumper=Dumper), "a.yaml")[0] == {"key": text}
