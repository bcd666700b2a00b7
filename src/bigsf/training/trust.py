"""A stored configuration -> an error where it names code to run and is not trusted."""

from collections.abc import Iterator
from typing import Any

from bigsf.config import Config
from bigsf.errors import SnapshotError


def refuse_custom(config: Config, whose: str, trust: bool | Config) -> None:
    """Refuse a stored configuration that names code to import and run.

    Parameters
    ----------
    config
        The configuration, or a part of it.
    whose
        What messages call its owner, e.g. "The snapshot".
    trust
        True: run all of it. A configuration: run what that one names too, and nothing else.

    Raises
    ------
    SnapshotError
        Where it names code that is not trusted.
    """
    trusted = custom_targets(trust) if isinstance(trust, Config) else set()
    named = set() if trust is True else custom_targets(config)
    targets = sorted(named - trusted)
    if targets:
        raise SnapshotError(
            f"{whose} names code to run: {', '.join(targets)}. If that code is yours or you have read it, pass --trust "
            "(in Python trust=True)."
        )


def custom_targets(config: Config) -> set[str]:
    """Return the targets of the custom parts of a configuration, and where they are imported from."""
    return set(_targets(config.model_dump(mode="json")))


def _targets(node: Any) -> Iterator[str]:
    """Yield the targets of the custom parts in a dumped config, and where they are imported from."""
    if isinstance(node, dict) and node.get("type") == "custom":
        yield f"{node['target']} in {node['folder']}"
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)
