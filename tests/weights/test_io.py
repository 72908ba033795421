import hashlib
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import paddle
import pytest

from ppcls_light.errors import WeightsError
from ppcls_light.weights import dump_plain_pickle, load_plain_pickle, read_weights, write_weights


def state():
    rng = np.random.RandomState(0)
    return {
        "conv.weight": rng.standard_normal((4, 3, 3, 3)).astype("float32"),
        "fc.weight": np.asfortranarray(rng.standard_normal((5, 2)).astype("float32")),
        "steps": np.array(7, dtype="int64"),
    }


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert type(ours[key]) is np.ndarray
        assert ours[key].dtype == value.dtype
        np.testing.assert_array_equal(ours[key], value)


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_round_trip_with_and_without_suffix(tmp_path, suffix):
    path = tmp_path / "deep" / f"model_x0.5{suffix}"
    write_weights(path, state())
    read = read_weights(path)
    assert_same({key: read[key] for key in state()}, state())
    assert read_weights(path.with_name("model_x0.5")).keys() == state().keys()
    assert os.listdir(path.parent) == [path.name]
    read["steps"][...] = 8  # writable


def test_a_folder_of_the_same_name_does_not_hide_the_file(tmp_path):
    """PaddleClas writes best_model.pdparams and the folder best_model side by side."""
    write_weights(tmp_path / "best_model.pdparams", state())
    (tmp_path / "best_model").mkdir()
    assert set(read_weights(tmp_path / "best_model")) == set(state())


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_what_paddle_saves(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    path = str(tmp_path / "m.pdparams")
    paddle.save(layer.state_dict(), path, protocol=protocol)
    assert_same(read_weights(path), {key: value.numpy() for key, value in layer.state_dict().items()})


def test_paddle_loads_what_we_write(tmp_path):
    layer, other = paddle.nn.Linear(3, 2), paddle.nn.Linear(3, 2)
    write_weights(tmp_path / "m.pdparams", layer.state_dict())
    missing, unexpected = other.set_state_dict(paddle.load(str(tmp_path / "m.pdparams")))
    assert not missing
    assert not unexpected
    np.testing.assert_array_equal(other.weight.numpy(), layer.weight.numpy())


def test_reads_bfloat16_as_float32(tmp_path):
    tensor = paddle.to_tensor([1.0, -2.5, 0.15625]).astype("bfloat16")
    paddle.save({"w": tensor}, str(tmp_path / "m.pdparams"))
    np.testing.assert_array_equal(read_weights(tmp_path / "m")["w"], np.float32([1.0, -2.5, 0.15625]))
    header = b'{"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    content = len(header).to_bytes(8, "little") + header + b"\x80\x3f\x20\xc0"
    (tmp_path / "s.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read_weights(tmp_path / "s")["w"], np.float32([[1.0, -2.5]]))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickle_of_any_protocol(tmp_path, protocol):
    content = [
        OrderedDict(a=(1, 2.5, None, True), b={"deep": [b"raw", "text", -(2**70)]}),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.float32(0.1),
        np.zeros((0, 3), dtype=bool),
        float("inf"),
    ]
    (tmp_path / "p").write_bytes(pickle.dumps(content, protocol=protocol))
    read = load_plain_pickle(tmp_path / "p")
    assert read[0] == content[0]
    assert type(read[0]) is OrderedDict
    for ours, theirs in zip(read[1:5], content[1:5]):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert read[5] == content[5]


def test_reads_a_paddle_optimizer_state(tmp_path):
    layer = paddle.nn.Linear(2, 2)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(0.1, 10)
    optimizer = paddle.optimizer.Momentum(schedule, parameters=layer.parameters())
    layer(paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    paddle.save([optimizer.state_dict()], str(tmp_path / "o.pdopt"))
    (read,) = load_plain_pickle(tmp_path / "o.pdopt")
    name = f"{layer.weight.name}_velocity_0"
    np.testing.assert_array_equal(read[name][1], optimizer.state_dict()[name].numpy())
    assert read["LR_Scheduler"] == schedule.state_dict()


def test_dump_plain_pickle_round_trip(tmp_path):
    content = {"epoch": 3, "rng": np.arange(4, dtype=np.uint32), "best": 0.5}
    dump_plain_pickle(content, tmp_path / "latest.pdstates")
    read = load_plain_pickle(tmp_path / "latest.pdstates")
    np.testing.assert_array_equal(read.pop("rng"), content.pop("rng"))
    assert read == content


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {marker}",), f"{os.system.__module__}.system"),
        (eval, ("open('{marker}', 'w')",), "builtins.eval"),
        (subprocess.check_call, (["touch", "{marker}"],), "subprocess.check_call"),
        (getattr, ({}, "keys"), "builtins.getattr"),
        (np.load, ("{marker}",), "numpy.load"),
    ],
)
def test_a_crafted_file_runs_nothing(tmp_path, function, arguments, named):
    marker = tmp_path / "ran"
    filled = [
        [part.format(marker=marker) for part in argument] if isinstance(argument, list)
        else argument.format(marker=marker) if isinstance(argument, str) else argument
        for argument in arguments
    ]  # fmt: skip
    path = tmp_path / "evil.pdparams"
    path.write_bytes(pickle.dumps({"conv.weight": np.zeros(2), "x": Attack(function, *filled)}))
    with pytest.raises(WeightsError, match=f"refused: it asks to load {named}") as raised:
        read_weights(path)
    assert not marker.exists()
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",  # sets an attribute of a permitted function
        b"\x80\x04cnumpy\nndarray\nN}X\x05\x00\x00\x00arrayK\x01s\x86b.",  # and of a permitted class
        b"\x80\x04cnumpy\ndtype\n.",  # holds a class
        b"\x80\x04]\x94h\x00a.",  # a list that holds itself
        b"\x80\x04" + b"]" * 100000 + b"a" * 99999 + b".",
        b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x.",  # says that it is an exabyte long
        b"\x80\x04Psomewhere\n.",
    ],
)
def test_a_hostile_pickle_is_one_line(tmp_path, content):
    (tmp_path / "m.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match=r"m\.pdparams .* is damaged or no pickle") as raised:
        load_plain_pickle(tmp_path / "m.pdparams")
    assert "\n" not in str(raised.value)


NESTED = b")" + b"2\x86" * 64  # each level is a pair of the one below: 2^64 tuples to hash or to print


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"}" + NESTED + b"K\x01s", "a tuple as a key"),
        (b"}(" + NESTED + b"K\x01u", "a tuple as a key"),
        (b"(" + NESTED + b"K\x01d", "a tuple as a key"),
        (b"\x8f(" + NESTED + b"\x90", "member of a set"),
        (b"(" + NESTED + b"\x91", "member of a set"),
        (b"ccollections\nOrderedDict\n](" + NESTED + b"K\x01\x86e\x85R", "a tuple as a key"),
        (b"}\x8a\x09" + b"\xff" * 8 + b"\x7fK\x01s", "a int as a key"),
        (b"cnumpy\ndtype\n" + NESTED + b"\x85R", "a dtype that is no name of numbers"),
        *(
            (b"cnumpy\ndtype\nX" + len(text).to_bytes(4, "little") + text + b"\x85R", "no name of numbers")
            for text in (b"(1,f4", b"3)f4, (]i4", b"i4,f4", b"(2,2)f4", b"f4\n", b"")
        ),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00a" + NESTED + b"\x86R", "an encoding that is not latin1"),
        *(
            (code + size.to_bytes(width, "little"), "it asks for")
            for code, size, width in (
                (b"\x95", 6 << 30, 8),  # a frame
                (b"\x8e", 6 << 30, 8),  # bytes
                (b"\x96", 6 << 30, 8),  # a bytearray
                (b"\x8d", 6 << 30, 8),  # a text
                (b"\x8b", (1 << 31) - 1, 4),  # a number
            )
        ),
        # one list of 100,000, and a thousand tuples of it
        (b"](" + b"N" * 100_000 + b"eq\x000](" + b"cbuiltins\ntuple\nh\x00\x85R" * 1000 + b"e", "more than it holds"),
        # the same bytes as a hundred arrays
        (
            b"C\xff" + b"a" * 255 + b"q\x000]("
            + b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85RK\xff\x85tR" * 900
            + b"e",
            "more than it holds",
        ),
        (b"\x82\x01", "extension 1 of another program"),
    ],
)  # fmt: skip
def test_few_bytes_do_not_ask_for_gigabytes_or_hours(tmp_path, content, reason):
    (tmp_path / "m.pdparams").write_bytes(b"\x80\x05" + content + b".")
    with pytest.raises(WeightsError, match=rf"m\.pdparams .* is damaged or no pickle: .*{reason}") as raised:
        load_plain_pickle(tmp_path / "m.pdparams")
    assert len(str(raised.value)) < 400


def test_a_tuple_that_holds_one_tuple_over_and_over(tmp_path):
    """Fifty bytes that make 2^50 paths; each object is looked at once."""
    (tmp_path / "p").write_bytes(b"\x80\x04)" + 50 * b"2\x86" + b".")
    read = load_plain_pickle(tmp_path / "p")
    assert read[0] is read[1]


def test_the_attack_of_the_crafted_file_is_real(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Attack(os.system, f"\"{sys.executable}\" -c \"open(r'{marker}', 'w')\"")))
    assert marker.exists()


@pytest.mark.parametrize(
    "array", [np.array([{}, None], dtype=object), np.zeros(2, dtype=[("a", "f4")]), np.array("x")]
)
def test_only_arrays_of_numbers(tmp_path, array):
    (tmp_path / "m.pdparams").write_bytes(pickle.dumps({"w": array}))
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "m")


def test_every_truncation_is_one_line(tmp_path):
    path = tmp_path / "m.pdparams"
    write_weights(path, state())
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(WeightsError) as raised:
            read_weights(path)
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_random_damage_is_a_weights_error_or_other_numbers(tmp_path, suffix):
    """Flipped bytes may hit the numbers themselves; anything else must be the one kind of error."""
    path = tmp_path / f"m{suffix}"
    write_weights(path, state())
    content = path.read_bytes()
    rng = np.random.RandomState(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randint(len(content))] = rng.randint(256)
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except WeightsError:
            refused += 1
    assert refused > 10


def test_truncated_safetensors(tmp_path):
    path = tmp_path / "m.safetensors"
    write_weights(path, state())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightsError, match=r"m\.safetensors is damaged"):
        read_weights(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {"a": "text"}, {1: np.zeros(2)}, {"model": {"w": np.zeros(2)}}, {}]
)
def test_a_pickle_that_is_no_weights(tmp_path, content):
    dump_plain_pickle(content, tmp_path / "m.pdparams")
    with pytest.raises(WeightsError, match=r"m\.pdparams"):
        read_weights(tmp_path / "m.pdparams")


def test_missing_file_names_what_is_there(tmp_path):
    write_weights(tmp_path / "best_model.pdparams", state())
    with pytest.raises(
        WeightsError, match=r"no weights file .*best_mode .*did you mean 'best_model\.pdparams'\?"
    ):
        read_weights(tmp_path / "best_mode")
    with pytest.raises(WeightsError, match=r"; .* has best_model\.pdparams"):
        read_weights(tmp_path / "zzz")
    with pytest.raises(
        WeightsError, match=r"is a folder; give the weights file itself; .* has best_model\.pdparams"
    ):
        read_weights(tmp_path)
    with pytest.raises(WeightsError, match=r"did you mean '.*best_model'\?") as caught:
        read_weights(tmp_path / "PPLCNet_x1_0/best_model")  # as PaddleClas documents it
    assert f"'{tmp_path}/best_model'" in str(caught.value)
    with pytest.raises(WeightsError, match="there are no weights in"):
        read_weights(tmp_path / "nowhere" / "m")


def test_a_url_or_another_format_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"is a URL; create_model\(name, pretrained=URL\) fetches it"):
        read_weights("https://example.com/m.pdparams")
    (tmp_path / "m.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"m\.pth is no weights file; expected the suffix \.pdparams"):
        read_weights(tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="cannot tell the format"):
        write_weights(tmp_path / "m", state())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.pdparams"
    write_weights(path, state())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        dump_plain_pickle({"w": state()["steps"], "x": (item for item in ())}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.pdparams"]


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        write_weights(tmp_path / "file" / "m.pdparams", state())


def test_weights_are_compared_with_the_checksum_in_the_states_beside_them(tmp_path):
    path, states = tmp_path / "best_model.pdparams", tmp_path / "best_model.pdstates"
    write_weights(path, {"w": np.arange(64, dtype="float32")})
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    dump_plain_pickle({"sha256": {".pdparams": own}}, states)
    assert read_weights(tmp_path / "best_model")["w"][3] == 3
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(17).tobytes()) + 3] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"best_model\.pdparams is damaged, or not of the checkpoint"):
        read_weights(path)
    # in the middle of a save: the new weights have their name, the new states not yet
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    dump_plain_pickle({"sha256": {".pdparams": own}}, tmp_path / "best_model.pdstates.new")
    assert read_weights(path)["w"][3] == 3
    # of PaddleClas, and of a run before there were sums
    (tmp_path / "best_model.pdstates.new").unlink()
    dump_plain_pickle({"metric": 0.5, "epoch": 3}, states)
    read_weights(path)
