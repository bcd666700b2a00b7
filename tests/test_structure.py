"""The folders of the package are the steps of the data flow, and imports run one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "bigsf"

ORDER = (
    "cli",
    "plot",
    "simulation",
    "segmentation",
    "training",
    "training.components",
    "evaluation.report",
    "evaluation",
    "metrics",
    "filaments",
    "folds",
    "models",
    "models.pretrained",
    "patches",
    "maps.shapes",
    "maps.mosaic",
    "maps",
    "config",
    "",
)
"""From the last step of the data flow to what all steps share: a folder imports from those after it alone."""

MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
ENTRY = ("__init__", "__main__")
"""The lazy public names and `python -m bigsf`, which name modules of all folders."""


def folder_of(module: str) -> str:
    return module.rpartition(".")[0]


def imported_modules(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports anywhere in it, also for type checking alone."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bigsf":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "bigsf"]
        for name in names:
            path = name.removeprefix("bigsf").removeprefix(".")
            candidates = (path, f"{path}.__init__", path.rpartition(".")[0], f"{path.rpartition('.')[0]}.__init__")
            yield next(found for found in (c.removeprefix(".") for c in candidates) if found in MODULES)


ARROWS = {module: sorted(set(imported_modules(module)) - {module}) for module in MODULES if module not in ENTRY}


def test_every_folder_stands_in_the_order() -> None:
    assert {folder_of(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_from_folders_further_down(folder: str) -> None:
    rank = {name: number for number, name in enumerate(ORDER)}
    upwards = [
        f"{module} imports {other}"
        for module, others in ARROWS.items()
        if folder_of(module) == folder
        for other in others
        if rank[folder_of(other)] < rank[folder]
    ]
    assert upwards == []


def test_no_import_runs_in_a_circle() -> None:
    left = {module: set(others) - set(ENTRY) for module, others in ARROWS.items()}
    while ends := [module for module, others in left.items() if not others & left.keys()]:
        for module in ends:
            del left[module]
    assert left == {}


def test_no_module_is_long() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: number for module, number in lines.items() if number > 300} == {}
