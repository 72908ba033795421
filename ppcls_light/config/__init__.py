"""YAML configs: reading, validation against the schema, and dumping."""

from .load import ConfigLike, checked, dump_config, load_as, load_config, load_run, overridden
from .moved import relocate_config, relocate_run
from .schema import Config

__all__ = [
    "Config",
    "ConfigLike",
    "checked",
    "dump_config",
    "load_as",
    "load_config",
    "load_run",
    "overridden",
    "relocate_config",
    "relocate_run",
]
