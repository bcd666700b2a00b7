"""Messages name options in the words of Python or of the command line, wherever they come from."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bigsf
from bigsf.errors import UsageError
from bigsf.option_names import on_command_line, option
from conftest import Ended, Sky

PACKAGE = Path(__file__).parents[1] / "src" / "bigsf"

OF_A_COMMAND = re.compile(r"(?:^|[\s\"'`(])(?:--(?:[a-z]|$)|-o\b)")
"""An option of the command line in a text, or the beginning of one whose name is filled in."""

EXPLAINED = {
    "option_names.py": 1,  # which spells the names of the command line
    "training/launcher.py": 1,  # an option of torchrun
    "evaluation/report/elements.py": 1,  # a variable of CSS
    "evaluation/report/figures.py": 2,  # styles of lines
}


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a module that are no documentation, also the parts of texts that are filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def test_no_message_of_the_library_names_an_option_of_the_command_line() -> None:
    found = {
        str(path.relative_to(PACKAGE)): len(options)
        for path in PACKAGE.rglob("*.py")
        if "cli" not in path.parts and (options := list(filter(OF_A_COMMAND.search, texts(path))))
    }
    assert found == EXPLAINED, "name options with bigsf.option_names.option"


@pytest.mark.parametrize(
    ("name", "value", "in_python", "in_command"),
    [
        ("overwrite", True, "overwrite=True", "--overwrite"),
        ("patch_size", None, "'patch_size'", "--patch-size"),
        ("blank", -999.0, "blank=-999", "--blank -999"),
        ("scales", [1, 2], "scales=[1, 2]", "--scales 1,2"),
        ("scales", "auto", "scales='auto'", "--scales auto"),
        ("channels", None, "'channels'", "--channel"),
        ("overrides", "a=1", "overrides='a=1'", "--set a=1"),
        ("k", None, "'k'", "-k"),
    ],
)
def test_an_option_is_named_as_the_caller_writes_it(name: str, value: object, in_python: str, in_command: str) -> None:
    assert option(name, value) == in_python
    with on_command_line():
        assert option(name, value) == in_command
    assert option(name, value) == in_python


def test_a_command_and_a_call_are_told_of_their_own_option(sky: Sky, ended: Ended, tmp_path: Path) -> None:
    output = tmp_path / "out.h5"
    output.touch()
    for _ in range(2):  # what the command sets does not outlive it
        with pytest.raises(UsageError, match=r"out\.h5 exists already\. Pass overwrite=True .* another 'output'\."):
            bigsf.preprocess(bigsf.PreprocessConfig(image=sky.path("image"), patch_size=16), output)
        message = ended(2, "preprocess", sky.path("image"), "-o", output).err
        assert "out.h5 exists already. Pass --overwrite to replace it, or name another --output." in message
