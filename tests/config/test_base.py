import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigsf.config import Config
from bigsf.config.yaml_source import parse_yaml
from bigsf.errors import ConfigError, UsageError
from bigsf.folds.splits import SplitConfig
from bigsf.folds.strategies import BalancedStrategyConfig, RandomStrategyConfig
from bigsf.patches.preprocess import PreprocessConfig
from bigsf.training.dataset import PatchesConfig
from bigsf.training.run_config import RunConfig

SEED_TRAINER = """\
data: {path: galaxy.h5}
trainer:
  output_dir: ./results
  run_name: experiment_1
  epoch: 30
  optimizer: {type: Adam, lr: 1e-3}
  scheduler: {type: MultiStep, milestones: [10, 20], gamma: 1e-1}
  model:
    type: UNet
    num_blocks: 3
"""


def run(folder: Path, text: str = SEED_TRAINER, *overrides: str) -> RunConfig:
    (folder / "run.yaml").write_text(text)
    return RunConfig.from_yaml(folder / "run.yaml", overrides)


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    """Return the lines of the error, without the name of the file."""
    with pytest.raises(ConfigError, match=r"run\.yaml") as caught:
        run(folder, text, *overrides)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_yaml_read_and_dumped_is_the_same_text(tmp_path: Path) -> None:
    config = run(tmp_path)
    text = config.to_yaml()
    assert run(tmp_path, text) == config
    assert run(tmp_path, text).to_yaml() == text


class Anything(Config):
    value: Any


# PyYAML does not keep U+0085 and its like
texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], include_characters="\n\t"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
number_like = st.from_regex(r"[-+]?[0-9][0-9_]*\.?[0-9]*([eE][-+]?[0-9]+)?", fullmatch=True)
plain_data = st.recursive(
    scalars | number_like, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(plain_data)
def test_any_plain_value_survives_yaml(value: Any) -> None:
    read, _ = parse_yaml(Anything(value=value).to_yaml(), "text")
    assert read == {"value": value}


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", ".1e-2", "+1e-3", "1_0e-4", "0.001"])
def test_exponents_are_numbers(tmp_path: Path, text: str) -> None:
    config = run(tmp_path, f"data: {{path: a.h5}}\ntrainer: {{optimizer: {{type: adam, lr: {text}}}}}\n")
    assert config.trainer.optimizer.lr == 0.001  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["e3", "1e", "1e3x", "0x1e3z", "'1e-3'"])
def test_what_only_resembles_an_exponent_is_a_string(text: str) -> None:
    data, _ = parse_yaml(f"a: {text}", "text")
    assert data == {"a": text.strip("'")}


def test_type_is_read_in_any_case_and_aliases_are_written_under_the_main_name(tmp_path: Path) -> None:
    config = run(tmp_path)
    assert (config.trainer.epochs, config.trainer.model.type) == (30, "unet")
    text = config.to_yaml()
    assert "epochs: 30" in text
    assert "depth: 3" in text
    assert not re.search(r"\b(epoch|num_blocks|UNet):", text)


def test_main_name_and_alias_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"nb_folds: is another name of 'k', which is given too"):
        SplitConfig.from_dict({"k": 4, "nb_folds": 5})


def test_relative_paths_are_relative_to_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(tmp_path)
    monkeypatch.chdir(elsewhere)
    config = RunConfig.from_yaml("../run.yaml")
    assert isinstance(config.data, PatchesConfig)
    assert config.data.path.resolve() == tmp_path / "galaxy.h5"
    assert config.trainer.output_dir.resolve() == tmp_path / "results"
    assert config.data.path.is_absolute()
    assert SplitConfig.from_dict({"path": "a.json"}, folder=tmp_path).path == tmp_path / "a.json"
    assert SplitConfig.from_dict({"path": "a.json"}).path == elsewhere / "a.json"
    assert SplitConfig.from_dict({"path": "/a.json"}, folder=tmp_path).path == Path("/a.json")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert SplitConfig.from_dict({"path": "~/a.json"}, folder=tmp_path).path == Path("/home/somebody/a.json")


def test_overrides_replace_and_add_keys(tmp_path: Path) -> None:
    config = run(
        tmp_path,
        SEED_TRAINER,
        "trainer.optimizer.lr=1e-4",
        "trainer.scheduler=",
        "split.strategy={type: Balanced, seed: 5}",
        "trainer.metrics=[{type: dice}, {type: roc_auc}]",
        "trainer.metrics.0.threshold=0.25",
        "trainer.loss={type: custom, target: 'mylab:loss', kwargs: {formula: a=b}}",
    )
    assert config.trainer.optimizer.lr == 1e-4  # type: ignore[union-attr]
    assert config.trainer.scheduler is None
    assert config.split.strategy == BalancedStrategyConfig(type="balanced", seed=5)
    assert [metric.type for metric in config.trainer.metrics] == ["dice", "roc_auc"]
    assert config.trainer.metrics[0].threshold == 0.25  # type: ignore[union-attr]
    assert config.trainer.loss.kwargs == {"formula": "a=b"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.epochs", "overrides='trainer.epochs': expected a key and a value"),
        ("=3", "overrides='=3': expected a key and a value"),
        ("split.k.x=3", "overrides='split.k.x=3': 'x' lies inside 4, which has no keys"),
        ("trainer.metrics.1.x=3", "'1' is no index of a list of 1"),
        ("trainer.epochs=[3", "overrides='trainer.epochs=\\[3', line 1: expected ',' or '\\]'"),
        ("trainer.epohcs=3", "trainer.epohcs: unknown key; did you mean 'epochs'?"),
        ("epochs=3", "epochs: unknown key; did you mean trainer.epochs?"),
        ("trainer.lr=0.1", "trainer.lr: unknown key; did you mean trainer.optimizer.lr\\? Allowed: accumulate"),
    ],
)
def test_wrong_overrides_are_named(tmp_path: Path, override: str, message: str) -> None:
    text = "data: {path: a.h5}\nsplit: {k: 4}\ntrainer: {metrics: [{type: dice}]}\n"
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, text, override)


@pytest.mark.parametrize(
    ("override", "found"), [("epochs=abc", "epochs: found 'abc'"), ("optimizer={lr: y}", "optimizer.lr: found 'y'")]
)
def test_a_mistake_in_a_setting_is_not_one_of_a_line(tmp_path: Path, override: str, found: str) -> None:
    text = "data: {path: a.h5}\ntrainer:\n  epochs: 3\n  optimizer: {lr: 0.1}\n"
    with pytest.raises(ConfigError, match=rf"\n  a setting, trainer\.{found}, expected a valid"):
        run(tmp_path, text, f"trainer.{override}")
    with pytest.raises(ConfigError, match=r"\n  a setting, trainer\.scheduler\.rise: found 'x', expected a valid"):
        run(tmp_path, text, "trainer.scheduler.rise=x")
    with pytest.raises(ConfigError, match=r"\n  trainer\.epochs: found 'abc', expected a valid"):
        RunConfig.from_dict({"data": {"path": "a.h5"}, "trainer": {"epochs": "abc"}}, ["trainer.batch_size=4"])
    with pytest.raises(ConfigError, match=r"\n  line 3, trainer\.epochs: found 'abc', expected a valid"):
        run(tmp_path, text.replace("3", "abc"), "trainer.batch_size=4")


def test_overrides_change_no_dictionary_of_the_caller() -> None:
    data = {"strategy": {"type": "random", "seed": 1}}
    assert SplitConfig.from_dict(data, ["strategy.seed=2"]).strategy == RandomStrategyConfig(seed=2)
    assert data == {"strategy": {"type": "random", "seed": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {path: a.h5}\nsplit:\n  k: [1, 2\n", "run.yaml, line 4: expected ',' or ']'"),
        ("data: {path: a.h5}\nsplit:\n\tk: 3\n", r"run.yaml, line 3: found character '\t'"),
        ("data: {path: a.h5}\nsplit:\n  k: 3\n  step: 1\n  k: 4\n", "line 5: the key 'k' stands on line 3 already"),
        ("data: !!python/object:os.system {}\n", "run.yaml, line 1: could not determine a constructor"),
        ("trainer:\n  run_name: 2024-13-45\n", "run.yaml is not YAML: month must be in 1..12"),
        ("data: \0\n", "run.yaml is not YAML: unacceptable character"),
        ("data: {path: a.h5}\n---\nsplit: {}\n", "run.yaml, line 2: but found another document"),
        ("- data\n", "run.yaml holds ['data']; expected keys such as data, split, trainer"),
        ("just words\n", "run.yaml holds 'just words'; expected keys such as data, split, trainer"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (line,) = mistakes(tmp_path, text)
    assert line.startswith("run.yaml")
    assert message in line


def test_several_mistakes_stand_each_on_its_line_with_its_place(tmp_path: Path) -> None:
    text = """\
data:
  path: a.h5
  in_memry: true
split:
  k: many
  strategy: {type: rnadom}
trainer:
  epoch: 0
  model:
    type: unet
    depht: 3
  metrics:
    - {type: dice}
    - {type: doce}
    - {threshold: 0.5}
  optimiser: {type: adam}
"""
    title, *lines = mistakes(tmp_path, text)
    assert title == "run.yaml has 8 mistakes:"
    starts = {
        "  line 3, data.in_memry: unknown key; did you mean 'in_memory'? Allowed: in_memory, path, samples_per_epoch",
        "  line 5, split.k: found 'many', expected a valid integer",
        "  line 6, split.strategy: unknown type 'rnadom'; did you mean 'random'? Allowed: random, naive, balanced, reg",
        "  line 8, trainer.epoch: found 0, expected greater than 0.",
        "  line 11, trainer.model.depht: unknown key; did you mean 'depth'? Allowed: ",
        "  line 14, trainer.metrics.1: unknown type 'doce'; did you mean 'dice'? Allowed: dice, ",
        "  line 15, trainer.metrics.2: {'threshold': 0.5} does not say its type. Allowed: dice, ",
        "  line 16, trainer.optimiser: unknown key; did you mean 'optimizer'? Allowed: ",
    }
    assert len(lines) == 8
    assert {start for start in starts if any(line.startswith(start) for line in lines)} == starts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data: is required and missing."),
        ("data: {}\n", "line 1, data.path: is required and missing."),
        (
            "data: {path: ~nobody there/a.h5}\n",
            "~nobody there/a.h5 begins with ~nobody there, which is no home of a user",
        ),
        ("data: {path: a.h5}\n1: 2\n", "1: found 1, expected"),
        ("data: {path: a.h5}\nsplit: {k: 4.5}\n", "line 2, split.k: found 4.5, expected a valid integer"),
        ("data: {path: a.h5}\nsplit: {k: 2}\n", "line 2, split: k is 2;"),
        ("data: {path: a.h5}\nsplit: {k_train: 3}\n", "line 2, split: k_train is 3 of 4 folds"),
        ("data: {path: a.h5}\nsplit: {overlap: 3, gap: 2}\n", "overlap 3 and gap 2 contradict each other"),
        ("data: {path: a.h5}\nsplit: {k_train: .nan}\n", "line 2, split.k_train: found nan, expected"),
        ("data: {path: a.h5}\ntrainer: {save_every: 3 weeks}\n", "found '3 weeks', expected a duration such as 30s"),
        ("data: {path: a.h5}\ntrainer: {model: 3}\n", "line 2, trainer.model: "),
    ],
)
def test_one_mistake_is_explained(tmp_path: Path, text: str, message: str) -> None:
    title, line = mistakes(tmp_path, text)
    assert title == "run.yaml has 1 mistake:"
    assert message in line


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml does not exist"):
        RunConfig.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"data: \xe9")
    with pytest.raises(ConfigError, match=r"latin.yaml is no text; expected a YAML file"):
        RunConfig.from_yaml(tmp_path / "latin.yaml")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10min", 600), ("1.5 h", 5400), ("90", 90)])
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert run(tmp_path, f"data: {{path: a.h5}}\ntrainer: {{save_every: {text}}}\n").trainer.save_every == seconds


def test_wrong_arguments_of_python_are_told_in_the_words_of_a_yaml() -> None:
    message = (
        r"^PreprocessConfig has 2 mistakes:\n  image: is required and missing\.\n  patchsize: unknown key; did you "
        r"mean 'patch_size'\? Allowed: background, .*$"
    )
    with pytest.raises(ConfigError, match=message):
        PreprocessConfig(patchsize=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^SplitConfig has 1 mistake:\n  the whole: k is 2; .*$"):
        SplitConfig(k=2)
    assert issubclass(ConfigError, ValueError)


def test_a_part_that_is_given_as_a_dictionary_is_told_of_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"^RunConfig has 1 mistake:\n  trainer\.epochs: found 'x', expected a valid"):
        RunConfig(data={"path": "a.h5"}, trainer={"epochs": "x"})  # type: ignore[arg-type]


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match=r"frozen"):
        SplitConfig().k = 5  # type: ignore[misc]


def test_missing_and_valid_are_one_plane() -> None:
    with pytest.raises(ConfigError, match="missing: is another name of 'valid', which is given too"):
        PreprocessConfig.from_dict({"image": "a.fits", "missing": "m.fits", "valid": "v.fits"})


@pytest.mark.parametrize(("missing", "valid"), [("m.fits", None), (None, "m.fits"), (None, None)])
def test_a_file_of_a_former_version_with_both_names_is_read(missing: str | None, valid: str | None) -> None:
    config = PreprocessConfig.from_dict({"image": "a.fits", "missing": missing, "valid": valid})
    assert config.valid == (Path.cwd() / "m.fits" if missing or valid else None)


def test_an_option_replaces_the_key_of_the_file_under_each_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("image: a.fits\nmissing: m.fits\n")
    for name in ("missing", "valid"):
        config = PreprocessConfig.from_options({name: Path("/v.fits")}, tmp_path / "config.yaml")
        assert config.valid == Path("/v.fits")
    with pytest.raises(UsageError, match=r"^'missing': is another name of 'valid'"):
        PreprocessConfig.from_options({"missing": Path("m.fits"), "valid": Path("v.fits")}, tmp_path / "config.yaml")


def test_defaults_of_a_config_are_valid_and_written(tmp_path: Path) -> None:
    text = run(tmp_path, "data: {path: a.h5}\ntrainer: {}\n").to_yaml()
    assert "split:\n  strategy:\n    type: random\n    seed: 0\n  k: null\n" in text
    assert f"output_dir: {tmp_path}/results\n" in text


def test_every_key_of_the_run_has_a_description() -> None:
    schema = RunConfig.model_json_schema()
    bare = [
        f"{name}.{key}"
        for name, definition in schema["$defs"].items()
        for key, prop in definition["properties"].items()
        if key != "type" and "description" not in prop
    ]
    assert bare == []
