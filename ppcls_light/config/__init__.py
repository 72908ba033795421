"""Typed, closed configs: `load_config(path, overrides)` and `dump_config(config)`."""

from .load import dump_config, load_config, load_yaml_as, relocate_config

__all__ = ["dump_config", "load_config", "load_yaml_as", "relocate_config"]
