"""Promises of tests/README.md that hold by what the package does not contain."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "bigsf"
MODULES = {"subprocess", "pty", "shelve", "marshal", "code", "runpy"}
CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load", "np.load"),
}
OF_OBJECTS = re.compile(r"(all_gather|broadcast|gather|scatter|send|recv)_object(_list)?$")
"""How torch.distributed names what unpickles the messages of other processes."""


def dotted(node: ast.expr) -> str:
    """Return the name that a call is written with, such as `os.system`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def forbidden(tree: ast.AST) -> list[str]:
    """Return what starts a program, unpickles or runs text as code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if name.split(".")[0] in MODULES or name in CALLS]
            found += [name for name in names if OF_OBJECTS.search(name)]
        elif isinstance(node, ast.Attribute) and OF_OBJECTS.fullmatch(node.attr):
            found.append(node.attr)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            found += [name] if name in CALLS or name.startswith(("os.exec", "os.spawn", "os.posix_spawn")) else []
            if name == "torch.load" and "weights_only=True" not in ast.unparse(node):
                found.append(ast.unparse(node))
    return found


def test_no_module_starts_a_program_or_runs_text_as_code() -> None:
    found = {str(path): forbidden(ast.parse(path.read_text(encoding="utf-8"))) for path in PACKAGE.rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_what_is_forbidden_is_found() -> None:
    for text in (
        "import subprocess",
        "from os import system",
        "os.system('ls')",
        "exec(text)",
        "os.execv(path, words)",
        "torch.load(path)",
        "pickle.loads(data)",
        "distributed.all_gather_object(items, item)",
        "share = torch.distributed.broadcast_object_list",
        "from torch.distributed import gather_object",
    ):
        assert forbidden(ast.parse(text)), text
    assert forbidden(ast.parse("torch.load(path, weights_only=True)\nnetwork.eval()\npattern = re.compile('a')")) == []
