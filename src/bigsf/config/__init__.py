"""YAML -> validated configuration, with messages that say what to do."""

from bigsf.config.base import Config, ConfigPath, aliased, default_tag, ignore_tag_case, matching
from bigsf.config.component import Component, CustomConfig, members

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
