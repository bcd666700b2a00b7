"""Config, the base of every configuration: YAML in, YAML out, overrides, errors as lines a user can act on.

A config is what the YAML says; the class it builds is what runs. `build()` is the only bridge, and what is
known only at run time is an argument of it, never a field.
"""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo

from bigsf.errors import ConfigError, UsageError

Location = tuple[str | int, ...]


class Config(BaseModel):
    """A frozen, strict piece of configuration; unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file; relative paths in it are relative to its folder.

        Parameters
        ----------
        path
            The YAML file.
        overrides
            Settings such as ``"trainer.optimizer.lr=1e-4"`` that replace or add keys.

        Raises
        ------
        ConfigError
            With one line for each mistake: where, what was found, what is allowed.
        """
        path = Path(path)
        data, lines = _read_yaml(path)
        return cls._validated(data, path.absolute().parent, overrides, name=str(path), lines=lines)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None) -> Self:
        """Validate a dictionary; relative paths in it are relative to `folder`, by default the current one."""
        return cls._validated(data, folder or Path.cwd(), overrides, name="the configuration", lines={})

    @classmethod
    def from_options(cls, options: Mapping[str, Any], path: Path | None) -> Self:
        """Validate the options of a command line, over those of a YAML file where there is one.

        An option replaces the key under any of its names; one that is a dictionary changes keys of the YAML's.

        Raises
        ------
        UsageError
            Where a mistake stands on the command line, in its words.
        ConfigError
            Where it stands in the file.
        """
        data, lines = _read_yaml(path) if path else ({}, {})
        if not isinstance(data, Mapping):
            raise ConfigError(f"{path} holds {_shown(data)}; expected keys such as {', '.join(cls.model_fields)}.")
        merged = dict(data)
        for name, value in options.items():
            known = _field_names(name, cls.model_fields[name])
            old: Any = next((merged.pop(key) for key in known if key in merged), {})
            merged[name] = {**old, **value} if isinstance(value, Mapping) and isinstance(old, Mapping) else value
        try:
            return cls.model_validate(merged, context={"folder": path.absolute().parent if path else Path.cwd()})
        except ValidationError as error:
            if path and not any(detail["loc"][:1] and detail["loc"][0] in options for detail in error.errors()):
                messages = [_explain(cls, detail, lines) for detail in error.errors()]
                raise ConfigError("\n".join([f"{path} has {_count(len(messages), 'mistake')}:", *messages])) from None
            raise UsageError(" ".join(_as_option(_explain(cls, detail, {})) for detail in error.errors())) from None

    @classmethod
    def _validated(
        cls,
        data: Any,
        folder: Path,
        overrides: Sequence[str],
        name: str,
        lines: Mapping[Location, int],
    ) -> Self:
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name} holds {_shown(data)}; expected keys such as {', '.join(cls.model_fields)}.")
        for override in overrides:
            data = _override(data, override)
        try:
            return cls.model_validate(data, context={"folder": folder})
        except ValidationError as error:
            messages = [_explain(cls, detail, lines) for detail in error.errors()]
            raise ConfigError("\n".join([f"{name} has {_count(len(messages), 'mistake')}:", *messages])) from None

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML: every key, absolute paths, main names instead of aliases."""
        data = self.model_dump(mode="json")
        return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _resolve(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(folder) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path; a relative one is relative to the folder of the YAML file that holds it."""


def aliased(default: Any, *names: str, **constraints: Any) -> Any:
    """Return a field that may also be given under one of `names`[1:]; `names`[0] is the field's own name."""
    return Field(default=default, validation_alias=AliasChoices(*names), **constraints)


def _lower_tag(value: object) -> object:
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        return {**value, "type": value["type"].lower()}
    return value


ignore_tag_case = BeforeValidator(_lower_tag)
"""Let the `type` of a component be written in any case: ``UNet`` is ``unet``."""


def default_tag(name: str) -> BeforeValidator:
    """Let a component without a `type` be the member `name`."""
    return BeforeValidator(lambda value: {"type": name, **value} if isinstance(value, Mapping) else value)


def matching(pattern: str, words: str) -> AfterValidator:
    """Check a string against a regular expression that `words` put into words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"found {value!r}, expected {words}.")
        return value

    return AfterValidator(check)


class CustomConfig(Config):
    """The open door of every family: any callable of the user's own, imported when it is built."""

    type: Literal["custom"]

    target: Annotated[str, matching(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "module:name, e.g. mylab.nets:AttentionUNet")]
    """Where it is: `module:name`, e.g. `mylab.nets:AttentionUNet`."""

    kwargs: dict[str, Any] = {}
    """Its keyword arguments."""

    folder: ConfigPath = Path()
    """A folder to import from; by default that of the YAML file."""

    def load(self) -> Any:
        """Import the target.

        Raises
        ------
        ConfigError
            Where the module or the name in it does not exist.
        """
        module_name, name = self.target.split(":")
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        try:
            return getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"The custom target {self.target} cannot be imported: {error}. "
                f"Looked in {self.folder} and the installed packages."
            ) from error

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Import the target and call it with arguments of the family and the `kwargs` of the configuration.

        Raises
        ------
        ConfigError
            Where it does not exist or does not take them.
        """
        target, kwargs = self.load(), {**kwargs, **self.kwargs}
        try:
            inspect.signature(target).bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"The custom target {self.target} does not take kwargs {self.kwargs}: {error}.") from None
        except ValueError:  # written in C, and says nothing of its arguments
            pass
        return target(*args, **kwargs)


# --- YAML ---------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with `1e-3` a number as in YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would read as numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?|\.\d)[\d_]*[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


_MOST_LINES = 100_000  # nine anchors of nine aliases each would make 400 million


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Location, int]]:
    """Parse YAML and say on which line each key stands.

    Returns
    -------
    data : object
        The parsed document.
    lines : dict
        From the path of a key, e.g. ``("trainer", "model", "depth")``, to its line, from 1.

    Raises
    ------
    ConfigError
        On a syntax error, a tag that is not plain data, or a key given twice.
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
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{name}, line {mark.line + 1 if mark else '?'}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: e.g. the 13th month in what looks like a date
        raise ConfigError(f"{name} is not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ConfigError(
            f"{name} is no configuration: its keys lie too deep in each other, or in themselves."
        ) from None
    except _DuplicateKeyError as error:
        raise ConfigError(f"{name}, {error}") from None
    return data, dict(lines)


def _read_yaml(path: Path) -> tuple[Any, dict[Location, int]]:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path that cannot be one
        raise ConfigError(f"{path} cannot be read as a YAML file: {error}.") from None


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


def _override(data: Mapping[str, Any], setting: str) -> dict[str, Any]:
    key, separator, value = setting.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {setting}: expected a key and a value, e.g. trainer.optimizer.lr=1e-4.")
    parsed, _ = parse_yaml(value, f"--set {setting}")
    replaced: dict[str, Any] = _replaced(data, key.split("."), parsed if value.strip() else None, setting)
    return replaced


def _replaced(container: Any, keys: list[str], value: Any, setting: str) -> Any:
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(container, list):
        if not first.isdecimal() or int(first) >= len(container):
            raise ConfigError(f"--set {setting}: {first!r} is no index of a list of {len(container)}.")
        index = int(first)
        return [
            *container[:index],
            _replaced(container[index], rest, value, setting),
            *container[index + 1 :],
        ]
    if container is None:
        container = {}
    if not isinstance(container, Mapping):
        raise ConfigError(f"--set {setting}: {first!r} lies inside {_shown(container)}, which has no keys.")
    return {**container, first: _replaced(container.get(first), rest, value, setting)}


# --- Mistakes as lines ----------------------------------------------------------------------------------------------


def _explain(root: type[Config], detail: Any, lines: Mapping[Location, int]) -> str:
    """Return one line for one pydantic error: line of the file, path, what was found, what is allowed."""
    path, owner, allowed_here = _locate(root, detail["loc"])
    kind, found = detail["type"], _shown(detail["input"])
    known = sorted(owner.model_fields) if owner else []
    where = ".".join(str(part) for part in path)
    named = next((n for n, f in owner.model_fields.items() if path[-1] in _field_names(n, f)), None) if owner else None
    if kind == "extra_forbidden" and named:
        text = f"is another name of {named!r}, which is given too. Keep one of them."
    elif kind == "extra_forbidden":
        text = f"unknown key{nearest(str(path[-1]), known)} Allowed: {', '.join(known)}."
    elif kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in detail["ctx"]["expected_tags"].split(",")]
        tag = detail["ctx"]["tag"]
        text = f"unknown type {tag!r}{nearest(str(tag), tags)} Allowed: {', '.join(tags)}."
    elif kind == "union_tag_not_found":
        text = f"{found} does not say its type. Allowed: {', '.join(_tags(allowed_here))}."
    elif kind in ("model_attributes_type", "model_type", "dict_type"):
        example = "{type: " + next(iter(_tags(allowed_here)), "...") + "}" if _tags(allowed_here) else "key: value"
        text = f"found {found}, expected keys and values, e.g. {example}."
    elif kind == "missing":
        text = "is required and missing."
    elif kind == "value_error":
        text = f"{detail['ctx']['error']}"
    else:
        message = detail["msg"].removeprefix("Input should be ").split(", unable to parse")[0]
        text = f"found {found}, expected {message}."
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    return f"  {f'line {line}, ' if line else ''}{where or 'the whole'}: {text}"


def _as_option(message: str) -> str:
    """Return the line of a mistake as one about an option: `patch_size` is `--patch-size`."""
    where, _, text = message.strip().partition(": ")
    return text if where == "the whole" else f"--{where.replace('_', '-')}: {text}"


def nearest(name: str, allowed: Sequence[str]) -> str:
    """Return the end of a message on an unknown name: the nearest that is allowed, or a full stop."""
    match = difflib.get_close_matches(name.lower(), allowed, n=1)
    return f"; did you mean {match[0]!r}?" if match else "."


def _locate(root: type[Config], location: Location) -> tuple[Location, type[Config] | None, list[Any]]:
    """Return the YAML path of an error's location, without union tags, and what it belongs to.

    Returns
    -------
    path : tuple
        The keys from the top of the file.
    owner : type of Config
        The config that has the last key.
    allowed : list
        The classes that the last key may hold.
    """
    path: list[str | int] = []
    candidates: list[Any] = [root]
    owner: type[Config] | None = None
    for part in location:
        configs = [c for c in candidates if isinstance(c, type) and issubclass(c, Config)]
        tagged = [c for c in configs if len(configs) > 1 and part in get_args(c.model_fields["type"].annotation)]
        if tagged:
            candidates = tagged
            continue
        owner = configs[0] if len(configs) == 1 else None
        path.append(part)
        field = next((f for n, f in owner.model_fields.items() if part in _field_names(n, f)), None) if owner else None
        candidates = list(_members(field.annotation)) if field else candidates
    return tuple(path), owner, candidates


def _tags(allowed: Sequence[Any]) -> list[str]:
    """Return the values of `type` of the configs among some classes."""
    configs = [c for c in allowed if isinstance(c, type) and issubclass(c, Config) and "type" in c.model_fields]
    return [str(tag) for config in configs for tag in get_args(config.model_fields["type"].annotation)]


def _field_names(name: str, field: FieldInfo) -> set[str]:
    alias = field.validation_alias
    return {name, *(str(choice) for choice in alias.choices)} if isinstance(alias, AliasChoices) else {name}


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the classes that an annotation allows, looking through unions, lists and Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType, list, tuple):
        for argument in get_args(annotation):
            yield from _members(argument)
    else:
        yield annotation


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def members(family: Any) -> list[type[Config]]:
    """Return the member configs of a family, in the order of its union."""
    return [m for m in _members(family) if isinstance(m, type) and issubclass(m, Config)]
