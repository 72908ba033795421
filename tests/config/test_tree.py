"""YAML text, `-o` and `_base_` to trees: what the values are, and one line that says where for every fault."""

import math

import pytest
import yaml

from ppcls_light.config import tree as tree_module
from ppcls_light.config.tree import apply_override, dump_yaml, merge, parse_literal, parse_yaml, read_tree
from ppcls_light.errors import ConfigError


def fault(function, *arguments):
    """Return the message of the ConfigError that the call must raise; it must be one line."""
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def overridden(text, *overrides):
    tree = parse_yaml(text, "a.yaml")
    for override in overrides:
        apply_override(tree, override)
    return tree.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("+5", 5),
        ("3e-5", 3e-5),
        ("1e8", 1e8),
        ("1E+2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("0.000001", 1e-6),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("yes", True),
        ("null", None),
        ("~", None),
        ("None", None),
        ("", None),
        ("'None'", "None"),
        ("'5'", "5"),
        ("1.0/255.0", "1.0/255.0"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("[1, [2, x]]", [1, [2, "x"]]),
        ("{a: 1, b: {c: null}}", {"a": 1, "b": {"c": None}}),
    ],
)
def test_scalars_and_collections(text, value):
    result = parse_yaml(f"key: {text}\n", "a.yaml").plain()["key"]
    assert result == value
    assert type(result) is type(value)


def test_every_value_knows_its_line_and_scalars_their_spelling():
    tree = parse_yaml("a:\n  b: 1e3\n  c:\n    - x\n    - y: 2\n", "dir/f.yaml")
    assert tree.value["a"].where == "dir/f.yaml:1"
    assert tree.value["a"].value["b"].where == "dir/f.yaml:2"
    assert tree.value["a"].value["b"].text == "1e3"
    items = tree.value["a"].value["c"].value
    assert [item.where for item in items] == ["dir/f.yaml:4", "dir/f.yaml:5"]


def test_aliases_and_merge_keys_mean_what_yaml_says():
    """The specification of merge keys: the mapping's own keys win, and of several mappings the earlier ones do."""
    text = (
        "base: &b {x: 1, y: 2}\nsame: *b\nmore: &m\n  <<: *b\n  y: 3\nbefore: {y: 3, <<: *b}\n"
        "again: {<<: [*m, *b], z: 4}\nother: {<<: [*b, *m]}\ntwice: *m\nnested: {<<: {<<: *m, x: 5}, z: 6}\n"
    )
    assert parse_yaml(text, "a.yaml").plain() == {
        "base": {"x": 1, "y": 2},
        "same": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "before": {"x": 1, "y": 3},
        "again": {"x": 1, "y": 3, "z": 4},
        "other": {"x": 1, "y": 2},
        "twice": {"x": 1, "y": 3},
        "nested": {"x": 5, "y": 3, "z": 6},
    }


def test_an_override_of_one_use_of_an_alias_leaves_the_others():
    text = "a: &ops [{Crop: {size: 1}}]\nb: *ops\n"
    assert overridden(text, "a.0.Crop.size=5") == {"a": [{"Crop": {"size": 5}}], "b": [{"Crop": {"size": 1}}]}


def laughs(width, depth):
    """A YAML bomb: each level is a list that names the level below `width` times."""
    lines = ["a0: &a0 [x]"]
    for level in range(1, depth):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


MERGE_BOMB = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 45)
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\na: 2", 2, "'a' is given twice (first at a.yaml:1)"),
        ("a:\n\tb: 1", 2, "indent with spaces, not tabs"),
        ("a: [1, 2", 1, "not valid YAML"),
        ("a: 1\n---\nb: 2", 2, "not valid YAML"),
        ("a: 1\nb: \x07", 2, "character U+0007 is not allowed"),
        ("a: \0", 1, "character U+0000 is not allowed"),
        ("a: &x [*x]", 1, "this alias contains itself"),
        ("a: &x\n  b: 1\n  <<: *x", 3, "this alias contains itself"),
        ("a: 1\nb: *nope", 2, "nope"),
        ("<<: 3", 1, "'<<' takes over a mapping"),
        ("? [1]\n: 2", 1, "a key must be a plain word"),
        ('"a\\nb": 2', 1, "a key must be a plain word"),
        ('"' + "k" * 500 + '": 1', 1, "a key must be a plain word"),
        ("a: !!python/object/apply:os.system [ls]", 1, "a config has no tags"),
        ("a: !!python/name:os.system", 1, "a config has no tags"),
        ("a: !own {b: 1}", 1, "a config has no tags"),
        ("a: !!bool maybe", 1, "a config has no tags"),
        ("a: !!timestamp x", 1, "a config has no tags"),
        ("a: " + "[" * 60 + "]" * 60, 1, "nested too deeply"),
        (laughs(10, 12), None, "more than 100000 values"),
        (MERGE_BOMB, None, "more than 100000 values"),
    ],
)
def test_faults_of_a_file_name_the_line(text, line, words):
    message = fault(parse_yaml, text, "a.yaml")
    assert message.startswith(f"a.yaml:{line}: " if line else "a.yaml:")
    assert words in message


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, '2', ~, {b: yes}]\nc: *x\nd: {<<: {e: 1e-3}, f: >-\n  two\n  lines\n}",
        "url: http://a/b?c#d\nlist: [a:b, http://c]\n'quoted: key': \"\\u00e9\\n\"\nempty:\n",
        "a:\tb",
        "a: [1, 2\nb: 3",
        "a: !!python/object:os.system x",
    ],
)
def test_libyaml_and_pyyaml_read_the_same(monkeypatch, text):
    def read():
        try:
            return parse_yaml(text, "f.yaml")
        except ConfigError as error:
            return str(error)

    found = read()
    monkeypatch.setattr(tree_module, "_FastLoader", tree_module._Loader)
    assert found == read()


def test_text_that_exhausts_the_parser_is_one_line_too():
    assert "nested too deeply" in fault(parse_yaml, "a: " + "[" * 20_000, "a.yaml")


@pytest.mark.parametrize("text", ["9" * 5000, "1" * 200_000 + "x", "1" * 200_000 + "e"])
def test_thousands_of_digits_are_quick_and_at_worst_text(text):
    value = parse_yaml(f"a: {text}", "a.yaml").plain()["a"]
    assert value == text or value == int(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("None", None),
        ("3e-5", 3e-5),
        ("5", 5),
        ("-1.5", -1.5),
        ("[1, 2]", [1, 2]),
        ("[1, None, 'x y']", [1, None, "x y"]),
        ("{name: Step, gamma: 0.1}", {"name": "Step", "gamma": 0.1}),
        ("", ""),
        ("'5'", "5"),
        ('"a: b"', "a: b"),
        ("./a=b/c: d #e/数据 集", "./a=b/c: d #e/数据 集"),
        (" padded ", "padded"),
        ("*x", "*x"),
        ("&x", "&x"),
        ("!!python/object/apply:os.system [ls]", "!!python/object/apply:os.system [ls]"),
        ("__import__('os').getpid()", "__import__('os').getpid()"),
        ("1.0/255.0", "1.0/255.0"),
        ("<<", "<<"),
        ("- x", "- x"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_literals_of_the_command_line(text, value):
    result = parse_literal(text, "-o k").plain()
    if text == "9" * 5000 and isinstance(result, int):
        result = str(result)  # Pythons before 3.11 have no limit of digits
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["[1, 2", "{a: 1", '"open', "[1]]", "['a' 'b']", "{a: 1, a: 2}", "[" * 9000])
def test_broken_literals_name_the_option(text):
    assert fault(parse_literal, text, "-o Global.x=...").startswith("-o Global.x=...: ")


def test_overrides_reach_into_lists_and_make_missing_mappings():
    text = "a:\n  - {Crop: {size: 1}}\n  - {Flip: }\nnothing:\n"
    assert overridden(
        text, "a.0.Crop.size=2", "a.-1.Flip.p=0.5", "b.c.d=x", "nothing.k=1", "a.1.Flip.q=true"
    ) == {
        "a": [{"Crop": {"size": 2}}, {"Flip": {"p": 0.5, "q": True}}],
        "b": {"c": {"d": "x"}},
        "nothing": {"k": 1},
    }


def test_overrides_apply_in_order_and_remember_where_they_came_from():
    tree = parse_yaml("a: {b: 1}", "a.yaml")
    apply_override(tree, "a={b: 2}")
    apply_override(tree, "a.c=3")
    assert tree.plain() == {"a": {"b": 2, "c": 3}}
    assert tree.value["a"].value["b"].where == "-o a={b: 2}"
    assert tree.value["a"].value["c"].where == "-o a.c=3"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("Global", "expected Section.key=value"),
        ("=3", "expected Section.key=value"),
        ("Global..epochs=3", "expected Section.key=value"),
        ("Global.=3", "expected Section.key=value"),
        ("k\n1.x=3", "expected Section.key=value"),
        (".".join(["a"] * 3000) + "=1", "expected Section.key=value"),
        ("a.2.b=1", "a is a list of 2, which has no '2'; use a position such as a.0"),
        ("a.-3.b=1", "a is a list of 2, which has no '-3'"),
        ("a.x=1", "a is a list of 2, which has no 'x'"),
        ("a.٣=1", "a is a list of 2, which has no '٣'"),
        ("a." + "9" * 5000 + "=1", "a is a list of 2"),
        ("empty.0=1", "empty is a list of 0, which has no '0'; it has no positions yet"),
        ("n.b=1", "n is 5, which has no 'b'"),
    ],
)
def test_faults_of_an_override_name_it(override, words):
    message = fault(overridden, "a: [1, 2]\nempty: []\nn: 5\n", override)
    assert message.startswith("-o ")
    assert words in message or len(override) > 1000


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_bases_are_relative_and_later_ones_and_the_file_win(tmp_path):
    write(
        tmp_path,
        pieces__one="a: 1\nb: 1\nc: 1\nlist: [1, 2]\ndeep: {x: 1, y: 1}\n",
        pieces__sub__two="_base_: ../one.yaml\nb: 2\nc: 2\ndeep: {y: 2}\n",
        pieces__three="c: 3\nd: 3\n",
        run__top="_base_: [../pieces/sub/two.yaml, ../pieces/three.yaml]\nlist: [9]\nd: 4\n",
    )
    tree = read_tree(tmp_path / "run" / "top.yaml")
    assert tree.plain() == {"a": 1, "b": 2, "c": 3, "list": [9], "deep": {"x": 1, "y": 2}, "d": 4}
    assert tree.value["deep"].value["y"].where.endswith("two.yaml:4")
    assert tree.value["a"].where.endswith("one.yaml:1")


def test_the_same_base_twice_is_no_cycle(tmp_path):
    write(tmp_path, root="a: 1", left="_base_: root.yaml", right="_base_: root.yaml\nb: 2")
    write(tmp_path, top="_base_: [left.yaml, right.yaml]")
    assert read_tree(tmp_path / "top.yaml").plain() == {"a": 1, "b": 2}


def test_a_new_name_replaces_the_mapping_but_keeps_the_class_count(tmp_path):
    write(
        tmp_path,
        base="opt: {name: Momentum, momentum: 0.9, lr: {name: Cosine, t: 1}}\nArch: {name: A, class_num: 7, k: 1}\n",
        other="_base_: base.yaml\nopt: {name: AdamW}\nArch: {name: B}\n",
        same="_base_: base.yaml\nopt: {name: Momentum, lr: {name: Step}}\n",
    )
    assert read_tree(tmp_path / "other.yaml").plain() == {
        "opt": {"name": "AdamW"},
        "Arch": {"name": "B", "class_num": 7},
    }
    assert read_tree(tmp_path / "same.yaml").plain()["opt"] == {
        "name": "Momentum",
        "momentum": 0.9,
        "lr": {"name": "Step"},
    }


def test_merging_leaves_both_sides_as_they_were():
    base, child = parse_yaml("a: {b: 1}", "base"), parse_yaml("a: {c: 2}", "child")
    assert merge(base, child).plain() == {"a": {"b": 1, "c": 2}}
    assert base.plain() == {"a": {"b": 1}}
    assert child.plain() == {"a": {"c": 2}}


def test_a_cycle_of_bases_is_named(tmp_path):
    write(tmp_path, a="_base_: b.yaml", b="x: 1\n_base_: c.yaml", c="_base_: ./a.yaml")
    message = fault(read_tree, tmp_path / "a.yaml")
    assert "c.yaml:1: _base_: " in message
    assert "leads back to itself" in message
    write(tmp_path, alone="_base_: alone.yaml")
    assert "leads back to itself" in fault(read_tree, tmp_path / "alone.yaml")


@pytest.mark.parametrize("base", ["nope.yaml", "1", "null", "[nope.yaml]", "''", ".", "{a: b}", '"a\\0b"'])
def test_a_bad_base_is_named_with_its_line(tmp_path, base):
    write(tmp_path, top=f"a: 1\n_base_: {base}\n")
    message = fault(read_tree, tmp_path / "top.yaml")
    assert "top.yaml:2: _base_: " in message


@pytest.mark.parametrize("content", ["hello", "- a\n- b", "5", "'x'"])
def test_a_file_that_is_no_mapping(tmp_path, content):
    write(tmp_path, top=content)
    assert "top.yaml:1: a config is a mapping of sections" in fault(read_tree, tmp_path / "top.yaml")


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "null"])
def test_an_empty_file_is_an_empty_mapping(tmp_path, content):
    write(tmp_path, top=content)
    assert read_tree(tmp_path / "top.yaml").plain() == {}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("./ppcls/configs/ImageNet/MicroNet/micronet_m3.yaml", "configs/micronet/MicroNet_M3.yaml"),
        ("ppcls/configs/ImageNet/PPLCNet/PPLCNet_x1_0.yaml", "configs/pplcnet/PPLCNet_x1_0.yaml"),
        ("edgenext-xx-small-bn-hs.yml", "configs/edgenext/EdgeNeXt_XX_Small_BN_HS.yaml"),
        ("FasterNet_T0", "configs/fasternet/FasterNet_T0.yaml"),
        ("configs/quick_start/photo.yaml", "configs/quick_start/photos.yaml"),
        ("configs/inference_cls.yaml", "deploy/configs/inference_cls.yaml"),
    ],
)
def test_a_missing_config_is_answered_with_ours(root, tmp_path, monkeypatch, given, meant):
    monkeypatch.chdir(root)
    assert fault(read_tree, given).endswith(f"; did you mean '{meant}'?")
    monkeypatch.chdir(tmp_path)
    elsewhere = root / meant if meant.startswith("deploy") else meant.replace("configs/", "ppcls_light:")
    assert fault(read_tree, given).endswith(f"; did you mean '{elsewhere}'?")
    if meant.startswith("configs"):
        read_tree(elsewhere)


def test_a_config_of_the_package_is_found_from_any_folder_as_file_and_as_base(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, own="_base_: ppcls_light:quick_start/digits.yaml\nGlobal: {epochs: 3}\n")
    shipped = read_tree("ppcls_light:quick_start/digits.yaml").plain()
    assert shipped == read_tree(root / "configs/quick_start/digits.yaml").plain()
    own = read_tree("own.yaml").plain()
    assert own == {**shipped, "Global": {**shipped["Global"], "epochs": 3}}
    assert "; did you mean 'ppcls_light:quick_start/digits.yaml'?" in fault(
        read_tree, "ppcls_light:digit.yaml"
    )
    write(tmp_path, wrong="_base_: ppcls_light:quick_start/none.yaml\n")
    assert "wrong.yaml:1: _base_: no such file: " in fault(read_tree, "wrong.yaml")


def test_a_missing_config_is_answered_with_one_beside_it(tmp_path):
    write(tmp_path, my_own_run="a: 1")
    hint = f"; did you mean '{tmp_path}/my_own_run.yaml'?"
    assert fault(read_tree, tmp_path / "my-own-runs.yaml").endswith(hint)
    assert "did you mean" not in fault(read_tree, "ppcls/configs/ImageNet/ResNet/ResNet50.yaml")


def test_files_that_cannot_be_read(tmp_path):
    assert "no such config file (working directory: " in fault(read_tree, tmp_path / "nope.yaml")
    assert "is a folder" in fault(read_tree, tmp_path)
    assert "cannot be read" in fault(read_tree, "a\0b.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    assert "latin.yaml:2: not UTF-8 text" in fault(read_tree, latin)
    latin.write_bytes("a: 1\n".encode("utf-16"))
    assert "latin.yaml:1: not UTF-8 text" in fault(read_tree, latin)
    big = tmp_path / "big.yaml"
    big.write_text("a: " + "x" * 1_100_000)
    assert "larger than" in fault(read_tree, big)


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_bytes("\ufeffa: 1\r\nb: 数据\r\n".encode())
    tree = read_tree(path)
    assert tree.plain() == {"a": 1, "b": "数据"}
    assert tree.value["b"].where.endswith(":2")


def test_dumped_values_read_back_the_same_here_and_in_plain_yaml():
    values = {
        "texts": [
            "None",
            "1e-8",
            "12:30",
            "2024-01-31",
            "010",
            "yes",
            "null",
            "",
            " x ",
            "a: b",
            "#c",
            "数据",
            "5",
            "<<",
        ],
        "numbers": [0, -3, 1e-8, 0.1, 1e300, 2**62],
        "rest": [None, True, {"a": [{"b": None}]}],
        "empty": {"list": [], "mapping": {}},
    }
    text = dump_yaml(values)
    assert parse_yaml(text, "a.yaml").plain() == values
    assert yaml.safe_load(text) == values
