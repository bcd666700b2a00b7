"""Nested keys -> the paths of their leaves."""

from typing import Any


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested keys and lists, by their paths."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        path: leaf
        for key, value in config.items()
        for path, leaf in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }
