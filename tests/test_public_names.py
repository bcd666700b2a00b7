import ast
import doctest
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import bigsf
import bigsf.plot

DOCUMENTED = {name: getattr(bigsf, name) for name in bigsf.__all__ if name != "plot"}
DOCUMENTED |= {f"plot.{name}": getattr(bigsf.plot, name) for name in bigsf.plot.__all__}


@pytest.fixture(scope="module")
def galaxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the examples read: a simulated map and its patch file."""
    folder = tmp_path_factory.mktemp("galaxy")
    image = bigsf.simulate_galaxy(folder / "galaxy.fits", 256, 192, seed=1)
    bigsf.preprocess(bigsf.PreprocessConfig(image=image, patch_size=32), folder / "galaxy.h5")
    return folder


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_is_documented_and_its_example_runs(
    name: str, galaxy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(galaxy)
    documented = DOCUMENTED[name]
    names = {"bigsf": bigsf, "np": np, "torch": torch, "Path": Path, **vars(inspect.getmodule(documented))}
    text = inspect.getdoc(documented) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples, f"{name} has no example"
    report: list[str] = []
    assert doctest.DocTestRunner().run(example, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", bigsf.__all__)
def test_a_public_name_is_imported_when_it_is_used(name: str) -> None:
    assert getattr(bigsf, name).__name__ in (name, f"bigsf.{name}")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bigsf' has no attribute 'segmenter'"):
        bigsf.segmenter  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    assert bigsf.__file__ is not None
    tree = ast.parse(Path(bigsf.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    names = {
        alias.name: node.module.removeprefix("bigsf.")
        for node in imports
        if node.module and node.module.startswith("bigsf.")  # the package plot is imported as a whole
        for alias in node.names
    }
    assert names.pop("__version__") == "version"
    assert names == bigsf._MODULES
