"""YAML or options -> validated configuration -> YAML: the base of every configuration, and types of its fields.

Each mistake in a YAML file becomes one line that says where it is, what was found and what is allowed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from bigsf.config.messages import OF_SETTING, Location, allowed_classes, as_option, explain, field_names, shown
from bigsf.config.yaml_source import Dumper, read_yaml, with_setting
from bigsf.console import plural
from bigsf.errors import ConfigError, UsageError
from bigsf.files import with_home

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _RaisesConfigError(ModelMetaclass):
    """Raises `ConfigError` where a configuration is made in Python with wrong arguments.

    An `__init__` would do so for each part of a configuration too, whose mistakes are to be told together.
    """

    def __call__(self, *args: Any, **keys: Any) -> Any:
        try:
            return super().__call__(*args, **keys)
        except ValidationError as error:
            raise _mistakes(self, error, self.__name__, {}) from None


class Config(BaseModel, metaclass=_RaisesConfigError):
    """A part of the configuration. It cannot be changed, and unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, data: Any) -> Any:
        """Give truth values to numbers as texts, which they refuse; Python would take them as 1 and 0."""
        if not isinstance(data, Mapping):
            return data
        numbers = {
            key
            for name, field in cls.model_fields.items()
            if _is_number(field.annotation)
            for key in field_names(name, field)
        }
        return {key: _bool_as_text(value) if key in numbers else value for key, value in data.items()}

    @model_validator(mode="before")
    @classmethod
    def _null_is_no_second_name(cls, data: Any) -> Any:
        """Leave out names of a field that are null where it has another name too, as in files of former versions."""
        if not isinstance(data, Mapping):
            return data
        kept = dict(data)
        for name, field in cls.model_fields.items():
            for key in sorted(field_names(name, field), key=lambda key: key == name):
                if kept.get(key, 0) is None and any(each in kept for each in field_names(name, field) - {key}):
                    del kept[key]
        return kept

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file. Relative paths in it are relative to its folder.

        Parameters
        ----------
        path
            The YAML file.
        overrides
            Settings such as ``"trainer.optimizer.lr=1e-4"``, which replace or add keys.

        Raises
        ------
        ConfigError
            Where the file has mistakes. The message has one line for each of them.
        """
        path = Path(path)
        data, lines = read_yaml(path)
        return cls._validated(data, path.absolute().parent, overrides, name=str(path), lines=lines)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None) -> Self:
        """Validate a dictionary. Relative paths in it are relative to `folder`, by default the current folder."""
        return cls._validated(data, folder or Path.cwd(), overrides, name="the configuration", lines={})

    @classmethod
    def from_options(cls, options: Mapping[str, Any], path: Path | None) -> Self:
        """Validate the options of a command line, together with the keys of a YAML file where one is given.

        Parameters
        ----------
        options
            The options by a name of their field. An option replaces the key of the file, under whatever name the file
            gives it. An option that is a dictionary replaces only the keys that it has.
        path
            The YAML file.

        Raises
        ------
        UsageError
            Where the command line has a mistake. The message names the option.
        ConfigError
            Where the file has mistakes.
        """
        data, lines = read_yaml(path) if path else ({}, {})
        of_file, given = dict(cls._mapping(data, str(path))), {}
        for name, value in options.items():
            known = next(names for key, field in cls.model_fields.items() if name in (names := field_names(key, field)))
            replaced = [of_file.pop(key) for key in known if key in of_file]
            parts = [part for part in (*replaced, value) if isinstance(part, Mapping)]
            given[name] = {key: part[key] for part in parts for key in part} if isinstance(value, Mapping) else value
        folder = path.absolute().parent if path else Path.cwd()
        try:
            return cls.model_validate({**of_file, **given}, context={"folder": folder})
        except ValidationError as error:
            if path and not any(detail["loc"][:1] and detail["loc"][0] in options for detail in error.errors()):
                raise _mistakes(cls, error, str(path), lines) from None
            raise UsageError(" ".join(map(as_option, explain(cls, error, {})))) from None

    @classmethod
    def _validated(
        cls,
        data: Any,
        folder: Path,
        overrides: Sequence[str],
        name: str,
        lines: Mapping[Location, int],
    ) -> Self:
        data = cls._mapping(data, name)
        for setting in overrides:
            before = data
            data, path = with_setting(data, setting)
            made = {path[:n]: OF_SETTING for n in range(1, len(path)) if not _holds(before, path[:n])}
            lines = {key: line for key, line in lines.items() if key[: len(path)] != path} | made | {path: OF_SETTING}
        try:
            return cls.model_validate(data, context={"folder": folder})
        except ValidationError as error:
            raise _mistakes(cls, error, name, lines) from None

    @classmethod
    def _mapping(cls, data: Any, name: str) -> Mapping[str, Any]:
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name} holds {shown(data)}; expected keys such as {', '.join(cls.model_fields)}.")
        return data

    def to_yaml(self) -> str:
        """Return the configuration as YAML, with every key under its main name and with absolute paths."""
        data = self.model_dump(mode="json")
        return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _holds(data: Any, path: Location) -> bool:
    """Tell whether nested maps and lists have a path."""
    try:
        for key in path:
            data = data[key]
    except (LookupError, TypeError):
        return False
    return True


def _mistakes(kind: Any, error: ValidationError, name: str, lines: Mapping[Location, int]) -> ConfigError:
    messages = explain(kind, error, lines)
    return ConfigError("\n".join([f"{name} has {plural(len(messages), 'mistake')}:", *messages]))


def _is_number(annotation: Any) -> bool:
    """Tell whether a field holds numbers and no truth values."""
    classes = [each for each in allowed_classes(annotation) if isinstance(each, type)]
    return any(issubclass(each, int | float) for each in classes) and bool not in classes


def _bool_as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_bool_as_text(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def _resolve(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(folder) / with_home(path)


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path. A relative path is relative to the folder of its YAML file."""


def aliased(default: Any, *names: str, **constraints: Any) -> Any:
    """Return a field that may be given under any of `names`. The first of them is the name of the field itself."""
    return Field(default=default, validation_alias=AliasChoices(*names), **constraints)


def matching(pattern: str, words: str) -> AfterValidator:
    """Check that a string matches a regular expression. `words` describe it in the error message."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"found {value!r}, expected {words}.")
        return value

    return AfterValidator(check)
