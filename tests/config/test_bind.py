"""Trees bound to dataclasses and constructors: what is accepted, and one line with the fix for what is not."""

import functools
from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

import pytest

from ppcls_light.config.bind import bind, bind_plain, check_arguments
from ppcls_light.config.tree import parse_yaml
from ppcls_light.config.types import (
    FromRegistry,
    Keyed,
    NonNegativeFloat,
    NonNegativeInt,
    Op,
    PositiveFloat,
    PositiveInt,
    Probability,
    Range,
    WithParams,
)
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.registry import Registry

OPS = Registry("op")
NETS = Registry("network")


@OPS.register()
class Crop:
    def __init__(self, size: Union[PositiveInt, Tuple[PositiveInt, PositiveInt]] = 224, scale: float = 1.0):
        if size == 13:
            raise ConfigError("size 13 brings bad luck; use 14")


@OPS.register(aliases=["Mirror"])
class Flip:
    def __init__(self, code: Literal[1, 0, -1] = 1):
        if code == 0:
            raise DataError("no upside down here")


@OPS.register()
class Choose:
    def __init__(self, **ops: Dict[str, Any]):
        self.ops = ops


@OPS.register()
class Bare:
    pass


class Net:
    def __init__(
        self,
        width: PositiveFloat = 1.0,
        class_num: PositiveInt = 1000,
        dropout_prob: Probability = 0.2,
        strides: Tuple[PositiveInt, PositiveInt] = (2, 2),
        features_only: bool = False,
    ):
        pass


NETS.register("Net_x0_5", aliases=["tiny"])(functools.partial(Net, width=0.5))
NETS.register("Net_x1_0")(functools.partial(Net, width=1.0))


@dataclass
class Arch:
    name: str
    class_num: PositiveInt = 1000
    params: Dict[str, Any] = field(default_factory=dict)


@dataclass
class Slow:
    rate: PositiveFloat
    name: Literal["Slow", "Slowly"] = "Slow"


@dataclass
class Fast:
    rate: PositiveFloat
    jump: Optional[int] = None
    name: Literal["Fast"] = "Fast"

    def __post_init__(self):
        if self.jump == 3:
            raise ConfigError("jump is 3; use 2")


@dataclass
class Loss:
    weight: NonNegativeFloat
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None


@dataclass
class Everything:
    whole: int = 0
    count: PositiveInt = 1
    seed: NonNegativeInt = 0
    real: float = 0.0
    share: Probability = 0.5
    flag: bool = False
    text: str = ""
    maybe: Optional[str] = None
    one_of: Literal["O1", "O2"] = "O1"
    workers: Union[NonNegativeInt, Literal["auto"]] = "auto"
    text_or_number: Union[str, int, None] = None
    shape: Tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 224, 224)
    ks: Union[PositiveInt, List[PositiveInt]] = 1
    names: Optional[List[str]] = None
    table: Dict[str, PositiveInt] = field(default_factory=dict)
    speed: Union[Slow, Fast, None] = None
    only: Optional[Slow] = None
    losses: List[Annotated[Loss, Keyed()]] = field(default_factory=list)
    ops: List[Annotated[Op, FromRegistry(OPS)]] = field(default_factory=list)
    arch: Optional[Annotated[Arch, WithParams(NETS, hidden=("features_only",))]] = None


def bound(text):
    return bind(Everything, parse_yaml(text, "a.yaml"))


def fault(text, line=1):
    """Return the message after "a.yaml:LINE: " of the one-line ConfigError that binding `text` must raise."""
    with pytest.raises(ConfigError) as caught:
        bound(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"a.yaml:{line}: ")
    return message[len(f"a.yaml:{line}: ") :]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("whole: -3", -3),
        ("count: 5", 5),
        ("real: 5", 5.0),
        ("real: '0.1'", 0.1),
        ("real: 1.0/255.0", 1 / 255),
        ("real: 3 / 4", 0.75),
        ("real: 1e-8", 1e-8),
        ("share: 1", 1.0),
        ("flag: true", True),
        ("text: ./out", "./out"),
        ("text: 1e3", "1e3"),
        ("text: 5", "5"),
        ("text: 2024-01-31", "2024-01-31"),
        ("text: ''", ""),
        ("maybe: null", None),
        ("one_of: O2", "O2"),
        ("workers: auto", "auto"),
        ("workers: 0", 0),
        ("text_or_number: 5", 5),
        ("text_or_number: five", "five"),
        ("shape: [1, 28, 28]", (1, 28, 28)),
        ("ks: 3", 3),
        ("ks: [1, 5]", [1, 5]),
        ("names: [a, 10, 数据]", ["a", "10", "数据"]),
        ("table: {a: 1, b: 2}", {"a": 1, "b": 2}),
        ("speed: {name: Fast, rate: 2, jump: 1}", Fast(2.0, 1)),
        ("speed: {name: Slowly, rate: 2}", Slow(2.0, "Slowly")),
        ("speed: null", None),
        ("only: {name: Slow, rate: 0.5}", Slow(0.5)),
        ("losses: [Loss: {weight: 1, epsilon: 0.1}, {Loss: {weight: 0}}]", [Loss(1.0, 0.1), Loss(0.0)]),
        ("arch: {name: TINY, dropout_prob: 0.1}", Arch("Net_x0_5", 1000, {"dropout_prob": 0.1})),
        ("arch: {name: Net_x1_0, class_num: 4, strides: [1, 2]}", Arch("Net_x1_0", 4, {"strides": (1, 2)})),
        ("arch: {name: Net_x1_0, width: 2}", Arch("Net_x1_0", 1000, {"width": 2.0})),
        (
            "ops: [{Crop: {size: [2, 3], scale: 1/4}}, {mirror: }, Flip, {Choose: {a: {b: 1}}}]",
            [
                Op("Crop", {"size": (2, 3), "scale": 0.25}),
                Op("Flip", {}),
                Op("Flip", {}),
                Op("Choose", {"a": {"b": 1}}),
            ],
        ),
    ],
)
def test_accepted(text, value):
    result = getattr(bound(text), text.partition(":")[0])
    assert result == value
    assert type(result) is type(value)


def test_nothing_given_is_the_defaults():
    assert bound("") == Everything()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whole: 1.0", "whole: expected a whole number, got 1.0; for example whole: 10"),
        ("whole: true", "whole: expected a whole number, got True; for example whole: 10"),
        ("whole: '5'", "whole: expected a whole number, got '5'; for example whole: 10"),
        ("whole: null", "whole: expected a whole number, got None; for example whole: 10"),
        ("whole: [1]", "whole: expected a whole number, got [1]; for example whole: 10"),
        (
            "whole: 9223372036854775808",
            "whole: expected a whole number, got 9223372036854775808; for example",
        ),
        ("count: 0", "count: expected a whole number >= 1, got 0; for example count: 10"),
        ("seed: -1", "seed: expected a whole number >= 0, got -1; for example seed: 10"),
        ("real: abc", "real: expected a number, got 'abc'; for example real: 0.1"),
        ("real: .nan", "real: expected a number, got nan; for example real: 0.1"),
        ("real: nan", "real: expected a number, got 'nan'"),
        ("real: -.inf", "real: expected a number, got -inf"),
        (
            "real: 1e-320",
            "real: expected a number, got 1e-320; computing is in float32, which holds 1.2e-38 to",
        ),
        ("real: -1e39", "real: expected a number, got -1e+39; computing is in float32"),
        ("real: 1e999", "real: expected a number, got inf"),
        ("real: 1e200/1e-200", "real: expected a number, got '1e200/1e-200'"),
        ("real: 1/0", "real: expected a number, got '1/0'"),
        ("real: 1/2/3", "real: expected a number, got '1/2/3'"),
        ("real: 1_0", "real: expected a number, got '1_0'"),
        ("real: true", "real: expected a number, got True"),
        ("real: __import__('os').getpid()", "real: expected a number, got \"__import__('os').getpid()\""),
        ("share: 1.5", "share: expected a number >= 0 and <= 1, got 1.5; for example share: 0.1"),
        ("flag: 1", "flag: expected true or false, got 1; for example flag: true"),
        ("flag: 'true'", "flag: expected true or false, got 'true'"),
        ("text: true", "text: expected text, got True"),
        ("text: [a]", "text: expected text, got ['a']"),
        ('text: "a\\Nb"', "text: expected text on one line, got 'a\\x85b'"),
        ('text: "a\\Lb"', "text: expected text on one line, got 'a\\u2028b'"),
        ('text: "a\\nb"', "text: expected text on one line, got 'a\\nb'"),
        ("one_of: o1", "one_of: expected one of O1, O2, got 'o1'; did you mean 'O1'?"),
        ("one_of: [O1]", "one_of: expected one of O1, O2, got ['O1']; for example one_of: O1"),
        (
            "workers: aut",
            "workers: expected a whole number >= 0 or 'auto', got 'aut'; for example workers: 10",
        ),
        (
            "shape: [3, 224]",
            "shape: expected a list of 3 whole numbers >= 1, got [3, 224]; for example shape: [10,",
        ),
        ("shape: [3, 224, 0]", "shape.2: expected a whole number >= 1, got 0; for example 10"),
        (
            "ks: [1, 0]",
            "ks: expected a whole number >= 1 or a list of whole numbers >= 1, got [1, 0]; for example",
        ),
        ("names: a", "names: expected a list of texts, got 'a'; for example names: [some_text]"),
        ("table: {a: 0}", "table.a: expected a whole number >= 1, got 0; for example a: 10"),
        ("table: [1]", "table: expected a mapping, got [1]"),
        ("tabel: {}", "unknown key tabel; did you mean 'table'?"),
        ("xyzzy: 1", "unknown key xyzzy; known keys: whole, count, seed"),
        ("speed: 3", "speed: expected a mapping with a name, got 3; for example speed: {name: Slow, ...}"),
        ("speed: {rate: 1}", "speed: expected a mapping with a name, got {'rate': 1}"),
        ("speed: {name: Fats, rate: 1}", "speed.name: unknown name 'Fats'; did you mean 'Fast'?"),
        ("speed: {name: Quick, rate: 1}", "speed.name: unknown name 'Quick'; known: Slow, Slowly, Fast"),
        ("speed: {name: [Fast], rate: 1}", "speed.name: unknown name ['Fast']; known: Slow"),
        ("speed: {name: {a: 1}, rate: 1}", "speed.name: unknown name {'a': 1}; known: Slow"),
        ("speed: {name: Slow}", "speed.rate is missing; add it, for example rate: 0.1"),
        ("speed: {name: Slow, rate: 1, jump: 2}", "unknown key speed.jump; known keys: rate, name"),
        ("speed: {name: Fast, rate: 1, jump: 3}", "speed: jump is 3; use 2"),
        ("only: {name: Fast, rate: 1}", "only.name: unknown name 'Fast'"),
        ("losses: {Loss: {weight: 1}}", "losses: expected a list of entries, got {'Loss'"),
        (
            "losses: [Loss]",
            "losses.0: expected one name with its parameters (check the indentation), got 'Loss'",
        ),
        ("losses: [{Los: {weight: 1}}]", "unknown key losses.0.Los; did you mean 'Loss'?"),
        ("losses: [{Loss: {weigth: 1}}]", "unknown key losses.0.Loss.weigth; did you mean 'weight'?"),
        ("losses: [{Loss: }]", "losses.0.Loss.weight is missing; add it, for example weight: 0.1"),
        (
            "losses: [{Loss: {weight: 1, epsilon: 1}}]",
            "losses.0.Loss.epsilon: expected a number >= 0 and < 1, got 1",
        ),
        ("ops: [{Crop: }, {Corp: {size: 3}}]", "ops.1: unknown op 'Corp'; did you mean 'Crop'?"),
        ("ops: [{Quux: }]", "ops.0: unknown op 'Quux'; known: Crop, Flip, Choose, Bare"),
        ("ops: [{Crop: {sise: 3}}]", "unknown key ops.0.Crop.sise; did you mean 'size'?"),
        (
            "ops: [{Crop: {size: 0}}]",
            "ops.0.Crop.size: expected a whole number >= 1 or a list of 2 whole numbers >= 1",
        ),
        ("ops: [{Crop: {size: 13}}]", "ops.0.Crop: size 13 brings bad luck; use 14"),
        ("ops: [{Crop: 3}]", "ops.0.Crop: expected a mapping of keys, got 3; for example Crop: {size: ...}"),
        (
            "ops: [{Crop: , size: 3}]",
            "ops.0: expected one name with its parameters (check the indentation), got {",
        ),
        ("ops: [{Bare: {x: 1}}]", "unknown key ops.0.Bare.x; known keys: none"),
        ("ops: [3]", "ops.0: expected one name with its parameters"),
        ("ops: {Crop: }", "ops: expected a list of entries, got {'Crop': None}; for example ops: [{Name:"),
        (
            "ops: [{Flip: {code: true}}]",
            "ops.0.Flip.code: expected one of 1, 0, -1, got True; for example code: 1",
        ),
        ("ops: [{Flip: {code: 1.0}}]", "ops.0.Flip.code: expected one of 1, 0, -1, got 1.0"),
        ("ops: [{Choose: {a: 3}}]", "ops.0.Choose.a: expected a mapping, got 3"),
        ("arch: {class_num: 3}", "arch.name is missing"),
        ("arch: 3", "arch: expected a mapping of keys, got 3; for example arch: {name: ...}"),
        ("arch: {name: [a]}", "arch.name: expected text, got ['a']"),
        ("arch: {name: Net_x0_6}", "arch.name: unknown network 'Net_x0_6'; did you mean 'Net_x0_5'?"),
        ("arch: {name: tiny, dropout: 0.2}", "unknown key arch.dropout; did you mean 'dropout_prob'?"),
        ("arch: {name: tiny, class_nums: 3}", "unknown key arch.class_nums; did you mean 'class_num'?"),
        ("arch: {name: tiny, dropout_prob: 2}", "arch.dropout_prob: expected a number >= 0 and <= 1, got 2"),
        (
            "arch: {name: tiny, params: {}}",
            "unknown key arch.params; known keys: name, class_num, width, dropout_prob",
        ),
        (
            "arch: {name: tiny, features_only: true}",
            "unknown key arch.features_only; known keys: name, class_num",
        ),
        ("[1]", "expected a mapping of keys, got [1]; for example {whole: ...}"),
    ],
)
def test_refused_with_the_place_the_reason_and_the_fix(text, message):
    assert fault(text).startswith(message)


def test_the_line_is_that_of_the_key_at_fault():
    text = "count: 1\nops:\n  - Crop:\n      size: 3\n  - Flip:\n      cod: 1\n"
    assert fault(text, line=6) == "unknown key ops.1.Flip.cod; did you mean 'code'?"
    text = "count: 1\nspeed:\n  name: Fast\n  rate: 0\n"
    assert fault(text, line=4).startswith("speed.rate: expected a number > 0, got 0")


def test_long_values_are_shown_short():
    assert len(fault(f"whole: {'x' * 10_000}")) < 200


def test_other_kinds_of_user_error_keep_their_kind():
    with pytest.raises(DataError, match=r"a\.yaml:1: ops\.0\.Flip: no upside down here"):
        bound("ops: [{Flip: {code: 0}}]")


def test_plain_values_are_checked_alike():
    assert bind_plain(Everything, {"shape": (1, 2, 3), "text": 5}, "here").shape == (1, 2, 3)
    with pytest.raises(
        ConfigError, match=r"^here: count: expected a whole number >= 1, got 0; for example count: 10$"
    ):
        bind_plain(Everything, {"count": 0}, "here")
    with pytest.raises(ConfigError, match=r"^here: jump is 3; use 2$"):
        bind_plain(Fast, {"rate": 1, "jump": 3}, "here")


def test_arguments_of_a_function_and_of_a_partial():
    def function(a: int, b: float = 1.0):
        pass

    node = parse_yaml("a: 1", "a.yaml")
    assert check_arguments(function, node, "f") == {"a": 1}
    assert check_arguments(functools.partial(function, a=5), parse_yaml("b: 2", "a.yaml"), "f") == {"b": 2.0}
    with pytest.raises(ConfigError, match=r"^a\.yaml:1: unknown key f\.a; known keys: b$"):
        check_arguments(function, node, "f", skip=("a",))


def test_an_annotation_that_cannot_be_checked_is_a_fault_of_the_program():
    def function(a: bytes):
        pass

    with pytest.raises(TypeError, match="bytes"):
        check_arguments(function, parse_yaml("a: 1", "a.yaml"), "f")


def test_ranges_say_what_they_are():
    assert str(Range(0, 1, low_open=True)) == "> 0 and <= 1"
    assert 0 not in Range(0, low_open=True)
    assert 1 not in Range(high=1, high_open=True)
    assert Range(2, 4).example("10") == "2"
    assert Range(high=4).example("10") == "4"
