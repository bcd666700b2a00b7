"""Config, the base of every configuration: YAML in, YAML out, overrides, errors as lines a user can act on.

A config is what the YAML says; the class it builds is what runs. `build()` is the only bridge, and what is
known only at run time is an argument of it, never a field.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from bigsf.config.messages import Location, as_option, explain, field_names, shown
from bigsf.config.yaml_source import Dumper, read_yaml, with_setting
from bigsf.console import plural
from bigsf.errors import ConfigError, UsageError


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
        data, lines = read_yaml(path)
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
        data, lines = read_yaml(path) if path else ({}, {})
        if not isinstance(data, Mapping):
            raise ConfigError(f"{path} holds {shown(data)}; expected keys such as {', '.join(cls.model_fields)}.")
        merged = dict(data)
        for name, value in options.items():
            known = field_names(name, cls.model_fields[name])
            old: Any = next((merged.pop(key) for key in known if key in merged), {})
            merged[name] = {**old, **value} if isinstance(value, Mapping) and isinstance(old, Mapping) else value
        try:
            return cls.model_validate(merged, context={"folder": path.absolute().parent if path else Path.cwd()})
        except ValidationError as error:
            if path and not any(detail["loc"][:1] and detail["loc"][0] in options for detail in error.errors()):
                messages = explain(cls, error, lines)
                raise ConfigError("\n".join([f"{path} has {plural(len(messages), 'mistake')}:", *messages])) from None
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
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name} holds {shown(data)}; expected keys such as {', '.join(cls.model_fields)}.")
        for setting in overrides:
            data = with_setting(data, setting)
        try:
            return cls.model_validate(data, context={"folder": folder})
        except ValidationError as error:
            messages = explain(cls, error, lines)
            raise ConfigError("\n".join([f"{name} has {plural(len(messages), 'mistake')}:", *messages])) from None

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML: every key, absolute paths, main names instead of aliases."""
        data = self.model_dump(mode="json")
        return str(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100))


def _resolve(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(folder) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path; a relative one is relative to the folder of the YAML file that holds it."""


def aliased(default: Any, *names: str, **constraints: Any) -> Any:
    """Return a field that may also be given under one of `names`[1:]; `names`[0] is the field's own name."""
    return Field(default=default, validation_alias=AliasChoices(*names), **constraints)


def matching(pattern: str, words: str) -> AfterValidator:
    """Check a string against a regular expression that `words` put into words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"found {value!r}, expected {words}.")
        return value

    return AfterValidator(check)
