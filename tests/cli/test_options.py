from pathlib import Path

import pytest

from bigsf.cli.options import config_from, seconds
from bigsf.config import Config, ConfigPath
from bigsf.errors import ConfigError


class Example(Config):
    number: float = 1.0
    flag: bool = False
    path: ConfigPath | None = None
    paths: list[ConfigPath] = []


def test_zero_is_given_and_none_and_false_are_not(tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text("number: 2\nflag: true\npaths: [a]\n")
    options: dict[str, object] = {"number": 0.0, "flag": False, "path": None, "paths": []}
    config = config_from(Example, options, tmp_path / "example.yaml")
    assert (config.number, config.flag, config.path, config.paths) == (0.0, True, None, [tmp_path / "a"])


def test_paths_of_options_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "example.yaml").write_text("path: b\n")
    config = config_from(Example, {"paths": [Path("a")]}, tmp_path / "example.yaml")
    assert (config.path, config.paths) == (tmp_path / "b", [tmp_path / "here" / "a"])


def test_a_duration_has_a_unit() -> None:
    assert (seconds(None), seconds("30min"), seconds("1h30min")) == (None, 1800, 5400)
    with pytest.raises(ConfigError, match="--time-limit soon: expected a duration such as 30min, 4h or 3:50:00"):
        seconds("soon")
