"""YAML -> plain data and the line of each key; settings of the command line that change the data."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from bigsf.config.messages import Location, shown
from bigsf.errors import ConfigError
from bigsf.option_names import option


class _Loader(yaml.SafeLoader):
    """Reads the safe subset of YAML, and as YAML 1.2 does `1e-3` as a number and `1:30` as a text."""


class Dumper(yaml.SafeDumper):
    """Writes YAML. It quotes the strings that `_Loader` would read as numbers."""


for _yaml in (_Loader, Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?|\.\d)[\d_]*[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


_LONGEST_NUMBER = 1000  # characters; Python refuses integers of more than 4300 digits

_LEADING_ZERO = re.compile(r"[-+]?0[\d_]+")
for _yaml in (_Loader, Dumper):
    _yaml.add_implicit_resolver("tag:yaml.org,2002:int", _LEADING_ZERO, list("-+0"))


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    """Return a number, or the text of a clock: YAML 1.1 would read 1:30 as 90."""
    if ":" in node.value:
        return str(node.value)
    if _LEADING_ZERO.fullmatch(node.value):
        digits = node.value.lstrip("-+0_") or "0"
        problem = (
            f"{node.value} is octal in YAML 1.1 and decimal in YAML 1.2. Write {digits} for the decimal number, or "
            f"'{node.value}' in quotes for a text"
        )
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    if len(node.value) > _LONGEST_NUMBER:
        problem = f"expected a number, found one of {len(node.value):,} digits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    is_integer = node.tag.endswith(":int")
    number: int | float = loader.construct_yaml_int(node) if is_integer else loader.construct_yaml_float(node)
    return number


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct_number)


_MOST_LINES = 100_000  # a file of nine anchors with nine aliases each would have 400 million


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Location, int]]:
    """Parse YAML, and find the line of each key.

    Returns
    -------
    data : object
        The parsed document.
    lines : dict
        The line of each key, counted from 1, by the path of the key, e.g. ``("trainer", "model", "depth")``.

    Raises
    ------
    ConfigError
        Where there is a syntax error, a tag that is not plain data, or a key that is given twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = list(islice(_lines(node, ()), _MOST_LINES)) if node else []
        if len(lines) == _MOST_LINES:
            raise ConfigError(
                f"{name} is no configuration: written out, its anchors make {_MOST_LINES:,} keys or more."
            )
        data = loader.construct_document(node) if node else {}
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{name}, line {mark.line + 1 if mark else '?'}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: e.g. what looks like a date has a 13th month
        raise ConfigError(f"{name} is not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(
            f"{name} is no configuration: its keys lie too deep in each other, or in themselves."
        ) from None
    except _DuplicateKeyError as error:
        raise ConfigError(f"{name}, {error}") from None
    return data, dict(lines)


def read_yaml(path: Path) -> tuple[Any, dict[Location, int]]:
    """Parse a YAML file, with the same results as `parse_yaml`.

    Raises
    ------
    ConfigError
        Where the file cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected a YAML file, e.g. config.yaml.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; expected a YAML file, as bigsf init writes it.") from None
    except (OSError, ValueError) as error:  # ValueError: the path has a null character
        raise ConfigError(f"{path} cannot be read as a YAML file: {error}.") from None
    return parse_yaml(text, str(path))


class _DuplicateKeyError(Exception):
    pass


def _lines(node: yaml.Node, path: Location) -> Iterator[tuple[Location, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise _DuplicateKeyError(
                    f"line {line}: the key {key.value!r} stands on line {seen[key.value]} already. Keep one of them."
                )
            seen[key.value] = line
            yield from _lines(value, (*path, key.value))
            yield (*path, key.value), line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def with_setting(data: Mapping[str, Any], setting: str) -> tuple[dict[str, Any], Location]:
    """Return data with one key set, by a setting such as "trainer.optimizer.lr=1e-4", and the path of the key.

    Raises
    ------
    ConfigError
        Where the setting has no key or no `=`, or where its key lies inside a value that has no keys.
    """
    key, separator, value = setting.partition("=")
    if not separator or not key:
        raise ConfigError(
            f"{option('overrides', setting)}: expected a key and a value, e.g. trainer.optimizer.lr=1e-4."
        )
    parsed, _ = parse_yaml(value, option("overrides", setting if len(setting) <= 100 else setting[:97] + "..."))
    keys = key.split(".")
    path = tuple(int(part) if part.isdecimal() else part for part in keys)
    return _replaced(data, keys, parsed if value.strip() else None, setting), path


def _replaced(container: Any, keys: list[str], value: Any, setting: str) -> Any:
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(container, list):
        if not first.isdecimal() or int(first) >= len(container):
            raise ConfigError(f"{option('overrides', setting)}: {first!r} is no index of a list of {len(container)}.")
        index = int(first)
        return [
            *container[:index],
            _replaced(container[index], rest, value, setting),
            *container[index + 1 :],
        ]
    if container is None:
        container = {}
    if not isinstance(container, Mapping):
        raise ConfigError(
            f"{option('overrides', setting)}: {first!r} lies inside {shown(container)}, which has no keys."
        )
    return {**container, first: _replaced(container.get(first), rest, value, setting)}
