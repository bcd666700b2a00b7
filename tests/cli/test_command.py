"""The help of the commands: panels, flags without a type, and the keys of the configuration."""

import re

import pytest

from bigsf.cli.command import PANELS, PANELS_OF_SEGMENT
from bigsf.training.run_config import RunConfig
from conftest import Run

COMMANDS = ["", "preprocess", "split", "train", "kfold", "resume", "segment", "init", "info"]


def help_of(command: str, bigsf_command: Run) -> str:
    result = bigsf_command(*command.split(), "--help")
    assert result.code == 0
    return result.out


@pytest.mark.parametrize("width", ["80", "100"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_flag_shows_no_type_and_no_line_is_too_long(
    command: str, width: str, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    text = help_of(command, bigsf_command)
    assert "<bool>" not in text
    assert max(map(len, text.splitlines())) <= int(width)


@pytest.mark.parametrize(("command", "panels"), [("preprocess", PANELS), ("segment", PANELS_OF_SEGMENT)])
def test_each_option_of_a_panel_stands_in_it(command: str, panels: dict[str, str], bigsf_command: Run) -> None:
    parts = re.split(r"^╭─ (.*?) ─+╮$", help_of(command, bigsf_command), flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(shown)[:2] == ["Arguments", "Options"]
    assert set(shown) - {"Arguments", "Options"} == set(panels)
    for panel, names in panels.items():
        options = set(re.findall(r"^│ (--[a-z-]+)", shown[panel], flags=re.MULTILINE))
        assert options == {f"--{name.replace('_', '-')}" for name in names.split()}


@pytest.mark.parametrize("command", ["train", "kfold"])
def test_the_keys_of_the_configuration_are_listed_on_one_screen(command: str, bigsf_command: Run) -> None:
    text = help_of(command, bigsf_command)
    assert len(text.splitlines()) <= 50
    words = set(re.findall(r"\w+", text))
    for name, field in RunConfig.model_fields.items():
        assert name in words
        for key in getattr(field.annotation, "model_fields", {}):
            assert key in words
    assert {"samples_per_epoch", "in_memory"} <= words  # of the data


def test_helpers_have_a_panel_of_their_own(bigsf_command: Run) -> None:
    six, helpers = help_of("", bigsf_command).split("Helpers")
    assert " segment " in six
    assert " init " in helpers
    assert " info " in helpers
    assert " init " not in six
