"""Config, the base of every configuration: YAML in, YAML out, overrides, errors as lines a user can act on.

A config is what the YAML says; the class it builds is what runs. `build()` is the only bridge, and what is
known only at run time is an argument of it, never a field.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar, cast

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
from typing_extensions import override

from bigsf.config.messages import Location, allowed_classes, as_option, explain, field_names, shown
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


Built = TypeVar("Built")


class Component(Config, Generic[Built]):
    """A member of a family: what the YAML says of an object that a run needs.

    The class keyword `builds` names the class, or the function, that makes the object. It is called with what is known
    only at run time, and with the fields of the configuration as keyword arguments.

    Examples
    --------
    >>> class Gain:
    ...     def __init__(self, factor: float) -> None:
    ...         self.factor = factor
    >>> class GainConfig(Component[Gain], builds=Gain):
    ...     type: Literal["gain"] = "gain"
    ...     factor: float = 2.0
    >>> GainConfig(factor=3).build().factor
    3.0
    """

    builds: ClassVar[Callable[..., Any] | None] = None
    """Makes the object."""
    not_arguments: ClassVar[frozenset[str]] = frozenset({"type"})
    """Fields that are not arguments of it."""

    def __init_subclass__(cls, builds: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if builds is not None:
            cls.builds = staticmethod(builds)

    def build(self, *args: Any, **kwargs: Any) -> Built:
        """Return the object that this configuration describes, made with arguments of the run."""
        assert self.builds is not None, f"{type(self).__name__} has no class keyword `builds`"
        fields = {name: getattr(self, name) for name in type(self).model_fields if name not in self.not_arguments}
        return cast(Built, self.builds(*args, **kwargs, **fields))


class CustomConfig(Component[Any]):
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

    @override
    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Import the target and call it with arguments of the run and the `kwargs` of the configuration.

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


def members(family: Any) -> list[type[Config]]:
    """Return the member configs of a family, in the order of its union."""
    return [m for m in allowed_classes(family) if isinstance(m, type) and issubclass(m, Config)]
