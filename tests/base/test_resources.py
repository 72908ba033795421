"""Configs that come with the package, in the checkout; test_package.py has those of a wheel."""

from ppcls_light.base.resources import config_path, configs_folder, packaged_configs
from ppcls_light.config import load_config


def test_a_checkout_has_its_own_configs_by_name(root):
    assert configs_folder() == root / "configs"
    files = {path.relative_to(root / "configs").as_posix() for path in root.glob("configs/*/*.yaml")}
    shown = {name for name in files if not name.startswith("_base_")}
    names = packaged_configs()
    assert names == sorted(f"ppcls_light:{name}" for name in shown)
    for name in names:
        load_config(name)
    assert config_path("a/b.yaml") == "a/b.yaml"
