"""Public names of a package that are loaded on first use."""

import importlib
import sys
from typing import Any, Callable, Dict, List, Sequence, Tuple


def attach(
    package: str, homes: Dict[str, Sequence[str]]
) -> Tuple[Callable[[str], Any], Callable[[], List[str]], List[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package that imports its modules on first use.

    A type checker takes every name for Any, unless it reads imports of the same names under `TYPE_CHECKING`.
    `package` is the package's `__name__`; `homes` has the public names by the module that holds them, and a module
    without names is a public name itself.
    """
    home_of = {name: module for module, names in homes.items() for name in names or [module]}

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = importlib.import_module(f"{package}.{home_of[name]}")
        return module if name == home_of[name] else getattr(module, name)

    def names() -> List[str]:
        special = [name for name in vars(sys.modules[package]) if name.startswith("__")]
        return [*home_of, *special]

    return load, names, sorted(home_of)
