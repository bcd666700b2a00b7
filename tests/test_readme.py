"""The documents tell the truth: their commands and blocks run, and what they name exists."""

import importlib
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from astropy.io import fits

import bigsf
from bigsf import RunConfig, errors
from bigsf.interrupts import StopRequest
from bigsf.models.unet import UNetConfig
from bigsf.patches.patch_file import PatchFile
from bigsf.training.build import build_run
from bigsf.training.kfold_plan import plan_out_of_fold, predicted_windows
from bigsf.training.run_config import OutOfFoldConfig
from conftest import Run
from programs import run_program

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PACKAGE = ROOT / "src" / "bigsf"
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *(ROOT / f / "README.md" for f in ("examples", "tests", "tests/benchmarks"))]
SMALL = {
    "trainer.epochs": "1",
    "trainer.model.features": "4",
    "trainer.model.depth": "2",
    "data.samples_per_epoch": "16",
    "trainer.batch_size": "8",
}
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


def block(document: str, language: str, containing: str) -> str:
    return next(text for text in blocks(document, language) if containing in text)


def marked(document: str, marker: str) -> list[str]:
    """Return the block below a marker and the one that follows it."""
    return re.findall(r"```\w+\n(.*?)```", document.split(f"<!-- {marker} -->\n")[1], re.DOTALL)[:2]


def run(command: list[str], cwd: Path) -> str:
    result = run_program(command, cwd=cwd)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def small(text: str) -> str:
    """Return a configuration with the sizes of a test."""
    data = yaml.safe_load(text)
    for key, value in SMALL.items():
        *path, last = key.split(".")
        inner = data
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = int(value)
    return yaml.safe_dump(data)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    make = [sys.executable, str(ROOT / "examples" / "make_galaxy.py")]
    run([*make, "--size", "320", "256", "--seed", "1", "-o", "galaxy.fits"], folder)
    run([*make, "--size", "192", "128", "--seed", "2", "-o", "map.fits"], folder)
    for plane, name in (("TARGET", "spines"), ("BACKGROUND", "background"), ("MISSING", "missing")):
        with fits.open(folder / "galaxy.fits") as hdus:
            fits.PrimaryHDU(hdus[plane].data, hdus[0].header).writeto(folder / f"{name}.fits")
    (folder / "config.yaml").write_text(small(block(README, "yaml", "data:\n  path: galaxy.h5\n")))
    return folder


# --- README.md --------------------------------------------------------------------------------------------------------


def test_it_is_read_in_five_minutes() -> None:
    assert len(README.splitlines()) <= 200


def test_the_commands_run_one_after_the_other(maps: Path, bigsf_command: Run) -> None:
    commands = [line for line in block(README, "bash", "bigsf kfold").splitlines() if line]
    assert [shlex.split(line)[1] for line in commands] == [
        "preprocess",
        "split",
        "train",
        "kfold",
        "resume",
        "segment",
    ]
    for line in commands:
        words = shlex.split(line)
        said = bigsf_command(*words[1:], cwd=maps)
        assert said.code == 0, said.err
    assert (maps / "map_segmented.fits").exists()
    assert (maps / "map_segmented.png").exists()
    assert (maps / "results" / "four_folds" / "out_of_fold.fits").exists()
    check_what_comes_out(maps)


def check_what_comes_out(folder: Path) -> None:
    """Compare the table of outputs with the files."""
    table = README.split("## What comes out")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) >= 8
    for names, meaning in rows:
        first, *others = re.findall(r"`([^`]+)`", names)
        others += [word for word in re.findall(r"`([^`]+)`", meaning) if "." in word]
        path = folder / first
        assert path.exists(), first
        beside = path if first.endswith("/") else path.parent
        for name in others:  # another ending of the first name, or a file beside it
            assert (path.with_suffix(name) if name.startswith(".") else beside / name).exists(), (first, name)
        if path.suffix == ".fits":
            with fits.open(path) as hdus:
                extensions = set(re.findall(r"`([A-Z]+)`", meaning))
                assert extensions
                assert extensions <= {hdu.name for hdu in hdus}


def test_the_options_of_segment_may_come_from_a_file(maps: Path, tmp_path: Path, bigsf_command: Run) -> None:
    (tmp_path / "segment.yaml").write_text(block(EXAMPLES, "yaml", "threshold: whole"))
    said = bigsf_command("segment", "higal-small", maps / "map.fits", "--config", "segment.yaml", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "min-area 20" in said.out


def test_the_python_block_runs(maps: Path, tmp_path: Path) -> None:
    for name in ("galaxy.fits", "map.fits", "config.yaml"):
        (tmp_path / name).symlink_to(maps / name)
    (tmp_path / "block.py").write_text(marked(README, "test: python")[0])
    assert "pixels are marked" in run([sys.executable, "block.py"], tmp_path)


@pytest.mark.parametrize(
    ("document", "name"), [(README, "AbsoluteError"), (EXAMPLES, "Highest")], ids=["README", "examples"]
)
def test_parts_of_ones_own(
    document: str, name: str, maps: Path, tmp_path: Path, bigsf_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("mylab", None)  # of the other document
    python, text = marked(document, "test: mylab")
    (tmp_path / "mylab.py").write_text(python)
    config = yaml.safe_load(text)
    if "data" not in config:  # the README shows the key of the part alone
        config = yaml.safe_load(small(yaml.safe_dump({**config, "data": {"path": "galaxy.h5"}})))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert bigsf_command("preprocess", maps / "galaxy.fits", cwd=tmp_path).code == 0
    said = bigsf_command("train", "config.yaml", cwd=tmp_path)
    assert said.code == 0, said.err
    assert name == "AbsoluteError" or name in said.out
    assert f"mylab:{name}" in next(tmp_path.rglob("results/*/config.yaml")).read_text()


def test_the_table_of_folders_is_the_package() -> None:
    table = README.split("## Folders")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)]
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    assert set(named) == folders
    assert len(named) == len(set(named))


def test_ci_finds_its_two_commands() -> None:
    for marker, start in (("ci: main", "pip install torch=="), ("ci: tests", "pip install torch==")):
        (line,) = marked(README, marker)[0].splitlines()
        assert line.startswith(start)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_the_example_of_all_keys_holds_every_default() -> None:
    reference = yaml.safe_load((ROOT / "examples" / "config.yaml").read_text(encoding="utf-8"))
    minimal = {"data": {"path": "galaxy.h5"}}
    assert RunConfig.from_dict(reference) == RunConfig.from_dict(minimal)
    assert missing_keys(reference, RunConfig.from_dict(minimal).model_dump(mode="json")) == []


def missing_keys(given: Any, whole: Any, path: str = "") -> list[str]:
    if isinstance(whole, list):
        return [key for i, item in enumerate(whole) for key in missing_keys(given[i], item, f"{path}.{i}")]
    if not isinstance(whole, dict):
        return []
    absent = [f"{path}.{key}" for key in whole if key not in given and key not in ("seed", "type")]
    shown = [key for key in whole if key in given]
    return absent + [key for name in shown for key in missing_keys(given[name], whole[name], f"{path}.{name}")]


def test_the_keys_that_people_change_exist() -> None:
    table = README.split("## Keys that people change")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    keys = [key for cell in cells for key in re.findall(r"`([\w.]+)`", cell)]
    assert len(keys) >= 8
    default = RunConfig.from_dict({"data": {"path": "galaxy.h5"}}).model_dump(mode="json")
    for key in keys:
        inner: Any = default
        for part in key.split("."):
            assert part in inner, key
            inner = inner[part]


def test_the_defaults_in_the_table_of_keys_are_those_of_the_code(patch_file: PatchFile) -> None:
    table = README.split("## Keys that people change")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", table, re.MULTILINE))
    config = RunConfig.from_dict({"data": {"path": "galaxy.h5"}})
    trainer = config.trainer
    assert isinstance(trainer.model, UNetConfig)
    expected = {
        "trainer.run_name": f"`{trainer.run_name}`",
        "trainer.epochs": "so many that 8000 patches are seen",
        "trainer.batch_size": str(trainer.batch_size),
        "trainer.model": f"`{trainer.model.type}`, {trainer.model.features} features, depth {trainer.model.depth}",
        "trainer.model.normalization": f"`{trainer.model.normalization.type}`",
        "trainer.loss.unlabelled_weight": f"{trainer.loss.unlabelled_weight}",
        "trainer.augmentations": ", ".join(f"`{augmentation.type}`" for augmentation in trainer.augmentations),
        "trainer.start_from": "null",
        "out_of_fold": "a quarter of a window, eight orientations",
    }
    assert {key: default for key, default in rows.items() if key in expected} == expected
    assert trainer.start_from is None
    small_network = {"data": {"path": patch_file.path}, "trainer": {"model": {"depth": 2}}}
    run = build_run(RunConfig.from_dict(small_network), write_folds=False)
    assert run.epochs == min(200, max(4, math.ceil(8000 / run.dataset.samples)))
    plan = plan_out_of_fold(RunConfig.from_dict(small_network), run.folds)
    window = patch_file.patch_size
    assert plan == OutOfFoldConfig(stride=window // 4, tta=True)
    quick = OutOfFoldConfig(stride=window // 2, tta=False)  # of 64 pixels: {stride: 32, tta: false}
    work, less = (predicted_windows(each, config, run.folds) for each in (plan, quick))
    assert work / less == pytest.approx(32, rel=0.25), "times less work"


def test_the_exit_codes_are_those_of_the_code() -> None:
    time_limit = StopRequest(0).stop
    assert time_limit is not None
    text = " ".join(README.split("Exit codes: ")[1].split(". What BigSF")[0].split())
    codes = {
        "usage": errors.UsageError.exit_code,
        "configuration": errors.ConfigError.exit_code,
        "data": errors.DataError.exit_code,
        "snapshot": errors.SnapshotError.exit_code,
        "training": errors.TrainingError.exit_code,
        "out of memory": errors.OUT_OF_MEMORY,
        "a lost process": errors.LostProcessError.exit_code,
        "time limit": time_limit.exit_code,
    }
    listed = ", ".join(f"{code} {kind}" for kind, code in codes.items())
    assert text == f"{listed}, 128 + the number of a signal"


def test_the_regions_of_the_how_to_are_a_configuration() -> None:
    text = block(EXAMPLES, "yaml", "type: regions")
    config = RunConfig.from_dict({"data": {"path": "galaxy.h5"}, **yaml.safe_load(text)})
    assert config.split.strategy.type == "regions"


def test_the_seed_trainer_block_works_word_for_word() -> None:
    text = """
data: {path: galaxy.h5}
trainer:
  output_dir: ./results
  run_name: experiment_1
  model:
    type: unet
    in_channels: 1
    out_channels: 1
  optimizer:
    type: adam
    lr: 0.001
  epochs: 50
  batch_size: 16
  metrics:
    - type: dice
"""
    config = RunConfig.from_dict(yaml.safe_load(text))
    assert (config.trainer.epochs, config.trainer.batch_size) == (50, 16)


# --- all documents ----------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@documents
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")) if "://" not in link]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@documents
def test_names_of_the_package_exist(path: Path) -> None:
    for name in set(re.findall(r"`(?:target: )?bigsf\.([\w.:]+)", path.read_text("utf-8"))):
        module, _, inner = name.partition(":")
        found: Any = importlib.import_module(f"bigsf.{module}") if inner else bigsf
        for part in (inner or name).rstrip(".").split("."):
            found = getattr(found, part)


@pytest.fixture
def options(bigsf_command: Run, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return the options of each command, from its help."""
    monkeypatch.setenv("COLUMNS", "250")
    found = {}
    for command in ("preprocess", "split", "train", "kfold", "resume", "segment"):
        found[command] = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", bigsf_command(command, "--help").out))
    return found


@documents
def test_options_of_the_command_exist(path: Path, options: dict[str, set[str]]) -> None:
    text = path.read_text("utf-8")
    given = [
        (command, option)
        for command, words in re.findall(rf"\bbigsf ({'|'.join(options)})\b([^`\n]*)", text)
        for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", words)
    ]
    assert [(command, option) for command, option in given if option not in options[command]] == []
    if path.parent.name != "benchmarks":  # where other programs have options too
        alone = set(re.findall(r"`(--?[a-z][\w-]*)[^`]*`", text))
        assert alone - {"--version", "--master-port"} <= set().union(*options.values())  # the latter is of torchrun


def test_every_example_has_an_entry() -> None:
    table = EXAMPLES.split("\n## ")[0]
    named = set(re.findall(r"`([\w.]+\.\w+)`", table.split("| --- |")[1]))
    files = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()} - {"README.md"}
    assert named == files


def test_every_benchmark_has_an_entry() -> None:
    text = (TESTS / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")]
    named = set(re.findall(r"`([\w/]+\.py)`", "\n".join(table)))
    programs = (TESTS / "benchmarks").rglob("*.py")
    assert named == {path.relative_to(TESTS / "benchmarks").as_posix() for path in programs}


def test_every_promise_has_its_test() -> None:
    text = (TESTS / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(names) > 40
    homes: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE):
            homes.setdefault(name, set()).add(path.name)
    moved = {f"{file}::{name}": homes.get(name) for file, name in names if file not in homes.get(name, ())}
    assert moved == {}, "where these tests are now"
    rows = re.findall(r"^\| (?!promise|---)(.*) \| (.*) \|$", text.split("## What is promised")[1], re.MULTILINE)
    assert [promise for promise, tests in rows if "::test_" not in tests] == []
