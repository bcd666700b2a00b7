"""A stored configuration -> an error where it reaches beyond the run and is not trusted.

A file does not tell who made it. What a stored configuration names is therefore harmless or asked for: code to run, and
addresses to send results to. The patch file and the folds may lie anywhere. They are only read, their identities are
compared with those of the snapshot, and nothing of them leaves the run folder.
"""

from collections.abc import Iterator
from typing import Any

from bigsf.config import Component, Config
from bigsf.errors import SnapshotError
from bigsf.option_names import option


def refuse_untrusted(config: Config, whose: str, trust: bool | Config) -> None:
    """Refuse a stored configuration that reaches beyond the run.

    Parameters
    ----------
    config
        The configuration, or a part of it.
    whose
        What messages call its owner, e.g. "The snapshot".
    trust
        True: allow all of it. A configuration: allow what that one names too, and nothing else.

    Raises
    ------
    SnapshotError
        Where it names code or an address that is not trusted.
    """
    trusted = reaches(trust) if isinstance(trust, Config) else set()
    named = set() if trust is True else reaches(config)
    if asked := sorted(named - trusted):
        raise SnapshotError(
            f"{whose} would {', and '.join(asked)}. A file does not tell who made it: if this is your own, or you have "
            f"checked it, pass {option('trust', True)}."
        )


def reaches(config: Config) -> set[str]:
    """Return how the parts of a configuration reach beyond the run: the code that they run, where they send results."""
    return {part.reach for part in _components(config) if part.reach is not None}


def _components(value: Any) -> Iterator[Component[Any]]:
    """Yield the components in a configuration."""
    if isinstance(value, Component):
        yield value
    children = [getattr(value, name) for name in type(value).model_fields] if isinstance(value, Config) else value
    for child in children if isinstance(children, list | tuple) else ():
        yield from _components(child)
