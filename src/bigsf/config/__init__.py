"""YAML -> validated configuration, with messages that say what to do."""

from bigsf.config.base import Config, ConfigPath, aliased, matching
from bigsf.config.component import Component, CustomConfig, default_tag, ignore_tag_case, members

__all__ = [
    "Component",
    "Config",
    "ConfigPath",
    "CustomConfig",
    "aliased",
    "default_tag",
    "ignore_tag_case",
    "matching",
    "members",
]
