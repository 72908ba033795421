"""YAML configs: reading, validation against the schema, and dumping."""

from .load import ConfigLike, checked, dump_config, load_as, load_config, overridden, relocate_config
from .schema import Config

__all__ = [
    "Config",
    "ConfigLike",
    "checked",
    "dump_config",
    "load_as",
    "load_config",
    "overridden",
    "relocate_config",
]
