"""YAML configs: reading, validation against the schema, and dumping.

The names are loaded on first use: the schema of a training takes longer to import than an exported network to load.
"""

from typing import TYPE_CHECKING

from ..base.lazy import attach

if TYPE_CHECKING:
    from .load import ConfigLike as ConfigLike
    from .load import checked as checked
    from .load import load_config as load_config
    from .load import load_run as load_run
    from .load import overridden as overridden
    from .moved import relocate_config as relocate_config
    from .moved import relocate_run as relocate_run
    from .schema import Config as Config
    from .sections import dump_config as dump_config
    from .sections import load_as as load_as
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "load": [
                "ConfigLike",
                "checked",
                "load_config",
                "load_run",
                "overridden",
            ],
            "moved": ["relocate_config", "relocate_run"],
            "schema": ["Config"],
            "sections": ["dump_config", "load_as"],
        },
    )
