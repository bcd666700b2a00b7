import ast
from pathlib import Path

import pytest

import bigsf


@pytest.mark.parametrize("name", bigsf.__all__)
def test_a_public_name_is_imported_when_it_is_used(name: str) -> None:
    assert getattr(bigsf, name).__name__ == name


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
        if node.module and node.module.startswith("bigsf.")
        for alias in node.names
    }
    assert names == bigsf._MODULES
