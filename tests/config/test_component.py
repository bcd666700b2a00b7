import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from bigsf.config import Component, CustomConfig, members
from bigsf.errors import ConfigError
from bigsf.folds.strategies import StrategyConfig
from bigsf.training.components.schedulers import CustomSchedulerConfig


class Amplifier:
    def __init__(self, *inputs: str, factor: float, output: str) -> None:
        self.inputs, self.factor, self.output = inputs, factor, output


class AmplifierConfig(Component[Amplifier], builds=Amplifier):
    type: Literal["amplifier"] = "amplifier"
    factor: float = 2.0


def test_build_takes_arguments_of_the_run_and_the_fields() -> None:
    amplifier = AmplifierConfig(factor=3).build("left", "right", output="loud")
    assert (amplifier.inputs, amplifier.factor, amplifier.output) == (("left", "right"), 3, "loud")


def test_arguments_given_by_name_reach_only_a_class_that_takes_them() -> None:
    class Quiet:
        def __init__(self, factor: float) -> None:
            self.factor = factor

    class QuietConfig(Component[Quiet], builds=Quiet):
        factor: float = 0.5

    assert QuietConfig().build(output="loud").factor == 0.5
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'output'"):
        AmplifierConfig().build(otput="loud")


def test_function_that_builds_is_not_bound_to_the_config() -> None:
    class FunctionConfig(Component[float], builds=lambda number: 2 * number):
        number: float = 4

    assert FunctionConfig().build() == 8


def test_members_of_a_family_are_those_of_its_union() -> None:
    assert [member.__name__ for member in members(StrategyConfig)] == [
        "RandomStrategyConfig",
        "NaiveStrategyConfig",
        "BalancedStrategyConfig",
        "RegionsStrategyConfig",
        "CustomStrategyConfig",
    ]


def test_custom_target_is_imported_from_the_yaml_folder_when_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = CustomConfig[int].from_dict({"type": "custom", "target": "mylab_config.nets:answer"}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"mylab_config.nets:answer cannot be imported: No module .* Looked in /"):
        config.load()
    (tmp_path / "mylab_config").mkdir()
    (tmp_path / "mylab_config" / "nets.py").write_text("answer = 42\n")
    sys.path_importer_cache.clear()
    assert config.load() == 42
    wrong = config.model_copy(update={"target": "mylab_config.nets:question"})
    with pytest.raises(ConfigError, match=r"no attribute 'question'"):
        wrong.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n1 / 0\n", r"cannot be imported: ZeroDivisionError: division by zero, raised at .*broken\.py, line 2\."),
        ("def loss(:\n", r"cannot be imported: SyntaxError: .*\(broken\.py, line 1\)"),
    ],
)
def test_a_custom_module_that_cannot_be_run_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "broken.py").write_text(text)
    config = CustomConfig[int].from_dict({"type": "custom", "target": "broken:loss"}, folder=tmp_path)
    with pytest.raises(ConfigError, match=message):
        config.load()


def test_another_module_of_the_same_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that another folder has given, nor an installed one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for folder, answer in (("first", 1), ("second", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mylab_twice.py").write_text(f"answer = {answer}\n")
        (tmp_path / folder / "json.py").write_text("answer = 3\n")

    def config(folder: str, module: str) -> CustomConfig[int]:
        return CustomConfig[int].from_dict({"type": "custom", "target": f"{module}:answer"}, folder=tmp_path / folder)

    assert config("first", "mylab_twice").load() == 1
    with pytest.raises(ConfigError, match=r"not that of .*second: the module mylab_twice is .*first/mylab_twice\.py"):
        config("second", "mylab_twice").load()
    with pytest.raises(ConfigError, match=r"the module json is .*json/__init__\.py"):
        config("first", "json").load()
    assert config("first", "mylab_twice").load() == 1


def test_packages_without_an_init_file_are_told_apart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "mylab_by_hand", ModuleType("mylab_by_hand"))
    configs = {}
    for folder in ("first", "second"):
        (tmp_path / folder / "mylab_spread").mkdir(parents=True)
        (tmp_path / folder / "mylab_spread" / "nets.py").write_text("answer = 1\n")
        (tmp_path / folder / "mylab_by_hand.py").write_text("answer = 1\n")
        target = {"type": "custom", "target": "mylab_spread.nets:answer"}
        configs[folder] = CustomConfig[int].from_dict(target, folder=tmp_path / folder)
    assert configs["first"].load() == 1
    with pytest.raises(ConfigError, match=r"the module mylab_spread\.nets is .*first/mylab_spread/nets\.py"):
        configs["second"].load()
    with pytest.raises(ConfigError, match="has no attribute 'answer'"):
        configs["first"].model_copy(update={"target": "mylab_by_hand:answer"}).load()


def test_what_lacks_a_method_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mylab_lacking.py").write_text(
        "class Falling:\n    def __init__(self, epochs): ...\n    def factor(self, epoch): return 1.0\n"
    )
    config = CustomSchedulerConfig.from_dict({"type": "custom", "target": "mylab_lacking:Falling"}, folder=tmp_path)
    with pytest.raises(ConfigError, match="returns Falling, which has no method end_of_epoch and no state and no load"):
        config.build(3, {})


@pytest.mark.parametrize(
    "target", ["nets", "nets.Net", "nets:", ":Net", "nets:Net()", "os; rm:x", "lab..nets:Net", "lab.2:Net"]
)
def test_custom_target_must_be_module_and_name(target: str) -> None:
    with pytest.raises(ConfigError, match=r"target: found .*, expected module:name, e\.g\. mylab\.nets:AttentionUNet"):
        CustomConfig.from_dict({"type": "custom", "target": target})
