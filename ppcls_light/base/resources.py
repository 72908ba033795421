"""Files that come with the package: configs and class names, in a checkout and in an installed wheel.

The configs stand in `configs/` of the checkout, which the wheel has as `ppcls_light/configs/`. In a config, and after
`-c`, `ppcls_light:quick_start/photos.yaml` names one of them wherever the package is, and `ppcls_light:labels/NAME.txt`
a list of class names.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = "ppcls_light:"
_PACKAGE = Path(__file__).resolve().parents[1]


def configs_folder() -> Path:
    """Return the folder of the configs: that of the wheel, or else of the checkout."""
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def labels_folder() -> Path:
    """Return the folder of the class names of public data sets: a file `NAME.txt` each, with lines `id name`."""
    return _PACKAGE / "labels"


def packaged_configs() -> list[str]:
    """Return the names of the configs, such as "ppcls_light:quick_start/photos.yaml", without those of `_base_`."""
    folder = configs_folder()
    paths = (path.relative_to(folder) for path in sorted(folder.glob("*/*.yaml")))
    return [PREFIX + path.as_posix() for path in paths if path.parts[0] != "_base_"]


def config_path(name: str) -> str:
    """Return the path of the config `ppcls_light:FOLDER/FILE`; any other `name` is a path and stays as it is."""
    return str(configs_folder() / name[len(PREFIX) :]) if name.startswith(PREFIX) else name


def labels_path(name: str) -> str:
    """Return the path of the class names `ppcls_light:labels/NAME.txt`; any other `name` is a path and stays."""
    start = f"{PREFIX}labels/"
    return str(labels_folder() / name[len(start) :]) if name.startswith(start) else name
