"""The registry: one name once, any case, and the nearest name for a miss; what is registered can be checked."""

import functools
import inspect
import subprocess
import sys
import typing

import pytest

from ppcls_light.config.bind import check_arguments
from ppcls_light.config.tree import Node
from ppcls_light.errors import ConfigError
from ppcls_light.registry import BATCH_TRANSFORMS, MODELS, TRANSFORMS, Registry, nearest


def test_names_and_aliases_in_any_case():
    registry = Registry("fruit")

    @registry.register(aliases=["Pomme"])
    class Apple:
        pass

    @registry.register("Pear_x1_0")
    def make_pear():
        pass

    assert registry.get("apple") is registry.get("POMME") is Apple
    assert registry.get("pear_X1_0") is make_pear
    assert registry.canonical("pomme") == "Apple"
    assert registry.names() == ["Apple", "Pear_x1_0"]


@pytest.mark.parametrize(("name", "aliases"), [("apple", ()), ("Plum", ("APPLE",)), ("pomme", ())])
def test_a_name_taken_raises(name, aliases):
    registry = Registry("fruit")
    registry.register("Apple", aliases=["Pomme"])(object)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(name, aliases)(object)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("Aple", "unknown fruit 'Aple'; did you mean 'Apple'?"),
        ("zzz", "unknown fruit 'zzz'; known: Apple, Pear"),
        (5, "unknown fruit '5'; known: Apple, Pear"),
        ("a\nb", "unknown fruit 'a\\nb'; known: Apple, Pear"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wanted, message):
    registry = Registry("fruit")
    registry.register("Apple")(object)
    registry.register("Pear")(object)
    with pytest.raises(ConfigError) as caught:
        registry.get(wanted)
    assert str(caught.value) == message


def test_nearest_ignores_case_and_is_silent_about_strangers():
    assert nearest("CROPimag", ["CropImage", "FlipImage"]) == "; did you mean 'CropImage'?"
    assert nearest("qqq", ["CropImage"]) == ""
    assert nearest("x", []) == ""


def test_modules_are_imported_at_the_first_look_up_and_a_failure_is_not_forgotten():
    registry = Registry("fruit", ["ppcls_light.no_such_module"])
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            registry.names()


def test_the_config_package_imports_neither_paddle_nor_opencv():
    code = (
        "import sys, ppcls_light, ppcls_light.config, ppcls_light.registry\n"
        "loaded = {'paddle', 'cv2', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


ENTRIES = {
    f"{registry.kind}-{name}": registry.get(name)
    for registry in (MODELS, TRANSFORMS, BATCH_TRANSFORMS)
    for name in registry.names()
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_every_parameter_of_every_entry_can_be_checked(entry):
    target = entry.func if isinstance(entry, functools.partial) else entry
    init = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(init, include_extras=True)
    for name, parameter in inspect.signature(init).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        assert name in hints, f"{name} has no annotation"
        with pytest.raises(ConfigError, match=f"^a.yaml:1: Entry.{name}: expected "):
            check_arguments(entry, Node({name: Node(object(), "a.yaml:1")}, "a.yaml:1"), "Entry")
