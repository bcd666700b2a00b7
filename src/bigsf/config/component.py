"""A member of a family -> the object that runs: the one `build()` of all families.

A config is what the YAML says, and a class is what runs. `build()` leads from one to the other. Whatever is known only
at run time is an argument of `build()` and never a field of the config.
"""

import inspect
import math
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BeforeValidator, field_validator
from typing_extensions import override

from bigsf.config.base import Config, ConfigPath, matching
from bigsf.config.messages import allowed_classes
from bigsf.errors import ConfigError

Built = TypeVar("Built")
"""The type of the objects of a family."""


class Component(Config, Generic[Built]):
    """A member of a family: what the YAML says of an object that a run needs.

    The class keyword `builds` names the class, or the function, that makes the object. It is called with the arguments
    of `build()`, and with the fields of the config as keyword arguments.

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
    """The class or the function that makes the object."""
    not_arguments: ClassVar[frozenset[str]] = frozenset({"type"})
    """The fields that it does not take as arguments."""

    @property
    def reach(self) -> str | None:
        """What the object does beyond the files of its run, e.g. "run mylab:Net"; None: nothing.

        Where a file names such a part, the user is asked to trust it.
        """
        return None

    def __init_subclass__(cls, builds: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if builds is not None:
            cls.builds = staticmethod(builds)

    def build(self, *args: Any, **kwargs: Any) -> Built:
        """Return the object that this config describes.

        Parameters
        ----------
        *args, **kwargs
            What is known only at run time. A family that has such arguments names them in the `build` of its base
            class. Those given by name reach only the classes that have a parameter of this name.
        """
        assert self.builds is not None, f"{type(self).__name__} has no class keyword `builds`"
        parameters = inspect.signature(self.builds).parameters
        wanted = {name: value for name, value in kwargs.items() if name in parameters}
        fields = {name: getattr(self, name) for name in type(self).model_fields if name not in self.not_arguments}
        return cast(Built, self.builds(*args, **wanted, **fields))


def _not_serializable(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what is no text, finite number, boolean or None in nested lists and maps, and keys that are no text."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _not_serializable(each, f"{path}.{key}") if isinstance(key, str) else [(f"a key of {path}", key)]
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _not_serializable(each, f"{path}.{number}")
    elif not isinstance(value, str | int | None) and not (isinstance(value, float) and math.isfinite(value)):
        yield path, value


class CustomConfig(Component[Built]):
    """A member of every family for code of your own: any callable, imported when it is built."""

    type: Literal["custom"]

    target: Annotated[
        str, matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", "module:name, e.g. mylab.nets:AttentionUNet")
    ]
    """The callable, as `module:name`, e.g. `mylab.nets:AttentionUNet`."""

    kwargs: dict[str, Any] = {}
    """Its keyword arguments: text, finite numbers, true, false and null, and lists and maps of these."""

    folder: ConfigPath = Path()
    """A folder to import from; by default that of the YAML file."""

    methods: ClassVar[tuple[str, ...]] = ()
    """What the object must be able to do."""

    @field_validator("kwargs")
    @classmethod
    def _can_be_kept(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for path, value in _not_serializable(kwargs, "kwargs"):
            raise ValueError(
                f"{path} is {value!r}, which a snapshot does not give back as it is. Expected text, finite numbers, "
                "true, false and null, and lists and maps of these whose keys are text."
            )
        return kwargs

    @property
    @override
    def reach(self) -> str:
        return f"run {self.target} in {self.folder}"

    def load(self) -> Any:
        """Import the target.

        Raises
        ------
        ConfigError
            Where the module does not exist, cannot be run, or has no such name, or another one of its name is loaded.
        """
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        try:
            target = pkgutil.resolve_name(self.target)
        except (ImportError, AttributeError) as error:
            self._check_origin()
            raise ConfigError(
                f"The custom target {self.target} cannot be imported: {error}. "
                f"Looked in {self.folder} and the installed packages. If that folder was moved, set PYTHONPATH to it."
            ) from error
        except Exception as error:  # whatever the code of the module raises
            *_, last = traceback.extract_tb(error.__traceback__)
            raise ConfigError(
                f"The custom target {self.target} cannot be imported: {type(error).__name__}: {error}, raised at "
                f"{last.filename}, line {last.lineno}."
            ) from error
        self._check_origin()
        return target

    def _check_origin(self) -> None:
        """Refuse a module of the folder in whose place Python has taken another one of its name."""
        name, path = "", self.folder
        for part in self.target.partition(":")[0].split("."):
            name, path = f"{name}.{part}".lstrip("."), path / part
            own = [Path(f"{path}.py").resolve(), (path / "__init__.py").resolve()]
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and name != "__main__" and any(map(Path.exists, own)) and Path(file).resolve() not in own:
                raise ConfigError(
                    f"The custom target {self.target} is not that of {self.folder}: the module {name} is {file}. "
                    "Give yours another name, or use models of different folders one by one."
                )

    def call(self, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        """Import the target, and return its call with the arguments of the run and the `kwargs` of the config.

        Raises
        ------
        ConfigError
            Where the target does not exist, or does not take these arguments.
        """
        target, kwargs = self.load(), {**kwargs, **self.kwargs}
        try:
            inspect.signature(target).bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"The custom target {self.target} does not take kwargs {self.kwargs}: {error}.") from None
        except ValueError:  # a callable written in C may have no signature
            pass
        return partial(target, *args, **kwargs)

    @override
    def build(self, *args: Any, **kwargs: Any) -> Built:
        """Call the target.

        Raises
        ------
        ConfigError
            As `call`, and where it returns something that lacks a method.
        """
        built = self.call(*args, **kwargs)()
        if lacking := [name for name in self.methods if not callable(getattr(built, name, None))]:
            raise ConfigError(
                f"The custom target {self.target} returns {type(built).__name__}, which has no method "
                f"{' and no '.join(lacking)}. It needs {', '.join(self.methods)}."
            )
        return cast(Built, built)


def members(family: Any) -> list[type[Config]]:
    """Return the configs of the members of a family, in the order of its union."""
    return [m for m in allowed_classes(family) if isinstance(m, type) and issubclass(m, Config)]


def _lower_tag(value: object) -> object:
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        return {**value, "type": value["type"].lower()}
    return value


ignore_tag_case = BeforeValidator(_lower_tag)
"""Accept the `type` of a component in upper and lower case: ``UNet`` is ``unet``."""


def default_tag(name: str) -> BeforeValidator:
    """Take a component without a `type` as the member `name`."""
    return BeforeValidator(lambda value: {"type": name, **value} if isinstance(value, Mapping) else value)
