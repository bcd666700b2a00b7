"""Validation errors of a configuration -> one line for each mistake, which says what to change."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from bigsf.option_names import option

_BRANCH = re.compile(r"(str|int|float|bool|path)$|[a-z-]+\[")
"""What pydantic calls a type of a union in the location of a mistake."""

_MOST_HINTS = 3
"""A message names so many places at most where an unknown key might belong."""

Location = tuple[str | int, ...]
"""The path of a key, e.g. ``("trainer", "model", "depth")``."""

OF_SETTING = 0
"""The line of a key that a setting gives, and no line of a file."""


def explain(root: type[BaseModel], error: ValidationError, lines: Mapping[Location, int]) -> list[str]:
    """Return one text per mistake, in the order of the file: its line, its path, what was found, what is allowed."""
    found = dict.fromkeys(_explained(root, detail, lines) for detail in _one_of_each_union(root, error.errors()))
    return [text for _, text in sorted(found, key=lambda mistake: mistake[0])]


def _one_of_each_union(root: type[BaseModel], details: Sequence[Any]) -> Iterator[Any]:
    """Yield the details of mistakes, one for each value that fits no type of a union: all that it may be is allowed."""
    by_path: dict[Location, list[Any]] = {}
    for detail in details:
        by_path.setdefault(_locate(root, detail["loc"])[0], []).append(detail)
    for several in by_path.values():
        *others, last = several
        if others and all(detail["type"] != "value_error" for detail in several):
            yield {**last, "type": "union", "msg": " or ".join(dict.fromkeys(_expected(each) for each in several))}
        else:
            yield from several


_PLAIN = {"path_type": "a path", "int_parsing_size": "a whole number that is not so large"}
"""What is expected, where the text of pydantic does not say it in words of the user."""


def _expected(detail: Any) -> str:
    """Return what a value should be, e.g. "a valid integer"."""
    message = detail["msg"].removeprefix("Input should be ").split(", unable to parse")[0]
    return _PLAIN.get(detail["type"], str(message))


def _explained(root: type[BaseModel], detail: Any, lines: Mapping[Location, int]) -> tuple[int, str]:
    path, owner, allowed_here = _locate(root, detail["loc"])
    kind, found = detail["type"], shown(detail["input"])
    known = sorted(owner.model_fields) if owner else []
    where = ".".join(str(part) for part in path)
    or_null = ", or null for none" if type(None) in allowed_here else ""
    named = next((n for n, f in owner.model_fields.items() if path[-1] in field_names(n, f)), None) if owner else None
    if kind == "extra_forbidden" and named:
        text = f"is another name of {named!r}, which is given too. Keep one of them."
    elif kind == "extra_forbidden":
        others = [other for other in places_of(str(path[-1]), root) if other != where]
        few = 0 < len(others) <= _MOST_HINTS
        hint = f"; did you mean {' or '.join(others)}?" if few else nearest(str(path[-1]), known)
        text = f"unknown key{hint} Allowed: {', '.join(known)}."
    elif kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in detail["ctx"]["expected_tags"].split(",")]
        tag = detail["ctx"]["tag"]
        text = f"unknown type {tag!r}{nearest(str(tag), tags)} Allowed: {', '.join(tags)}{or_null}."
    elif kind == "union_tag_not_found":
        text = f"{found} does not say its type. Allowed: {', '.join(_tags(allowed_here))}."
    elif kind in ("model_attributes_type", "model_type", "dict_type"):
        example = "{type: " + next(iter(_tags(allowed_here)), "...") + "}" if _tags(allowed_here) else "key: value"
        text = f"found {found}, expected keys and values, e.g. {example}{or_null}."
    elif kind == "missing":
        text = "is required and missing."
    elif kind == "value_error":
        text = f"{detail['ctx']['error']}"
    else:
        text = f"found {found}, expected {_expected(detail)}."
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    place = "" if line is None else "a setting, " if line == OF_SETTING else f"line {line}, "
    return line or 0, f"  {place}{where or 'the whole'}: {text}"


def places_of(name: str, root: type[BaseModel]) -> list[str]:
    """Return where a configuration has a key of a name, e.g. `trainer.optimizer.lr`."""
    return list(dict.fromkeys(".".join(path) for path in _paths_of(root, name)))


def _paths_of(config: type[BaseModel], name: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys of a name, in each of the types that a part may have; lists have no such paths."""
    for key, info in config.model_fields.items():
        if key == name:
            yield (key,)
        if get_origin(info.annotation) is list:
            continue
        for part in allowed_classes(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from ((key, *path) for path in _paths_of(part, name))


def as_option(message: str) -> str:
    """Return the message on a key as one on an option of the command line: `patch_size` is `--patch-size`."""
    where, _, text = message.strip().partition(": ")
    key, _, inner = where.partition(".")
    return text if where == "the whole" else f"{option(key)}: {inner and f'{inner}: '}{text}"


def nearest(name: str, allowed: Sequence[str]) -> str:
    """Return the end of a message on an unknown name: the nearest allowed name where there is one, or a full stop."""
    match = difflib.get_close_matches(name.lower(), allowed, n=1)
    return f"; did you mean {match[0]!r}?" if match else "."


def _locate(root: type[BaseModel], location: Location) -> tuple[Location, type[BaseModel] | None, list[Any]]:
    """Return the YAML path of the location of an error, without the tags of unions, and where it belongs.

    Returns
    -------
    path : tuple
        The keys from the top of the file.
    owner : type of BaseModel
        The config that has the last key.
    allowed : list
        The classes that the last key may hold.
    """
    path: list[str | int] = []
    candidates: list[Any] = [root]
    owner: type[BaseModel] | None = None
    for part in location:
        configs = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        tagged = [c for c in configs if len(configs) > 1 and part in get_args(c.model_fields["type"].annotation)]
        if tagged:
            candidates = tagged
            continue
        if path and not configs and isinstance(part, str) and _BRANCH.match(part):
            continue
        owner = configs[0] if len(configs) == 1 else None
        path.append(part)
        field = next((f for n, f in owner.model_fields.items() if part in field_names(n, f)), None) if owner else None
        candidates = list(allowed_classes(field.annotation)) if field else candidates
    return tuple(path), owner, candidates


def _tags(allowed: Sequence[Any]) -> list[str]:
    """Return the values of `type` of the configs among some classes."""
    configs = [c for c in allowed if isinstance(c, type) and issubclass(c, BaseModel) and "type" in c.model_fields]
    return [str(tag) for config in configs for tag in get_args(config.model_fields["type"].annotation)]


def field_names(name: str, field: FieldInfo) -> set[str]:
    """Return the names under which a field may be given."""
    alias = field.validation_alias
    return {name, *(str(choice) for choice in alias.choices)} if isinstance(alias, AliasChoices) else {name}


def allowed_classes(annotation: Any) -> Iterator[Any]:
    """Yield the classes that an annotation allows, also inside unions, lists, tuples and `Annotated`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from allowed_classes(get_args(annotation)[0])
    elif origin in (Union, UnionType, list, tuple):
        for argument in get_args(annotation):
            yield from allowed_classes(argument)
    else:
        yield annotation


def shown(value: object) -> str:
    """Return a value as text for a message, with at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
