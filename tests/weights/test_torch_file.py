import contextlib
import io
import os
import pickle
import runpy
import sys
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ppcls_light.errors import WeightsError
from ppcls_light.weights.torch_file import Unknown, load_torch_file, reading_torch

HERE = Path(__file__).parent
torch_writer = SimpleNamespace(**runpy.run_path(str(HERE / "torch_writer.py")))
Global, Storage, Tensor = torch_writer.Global, torch_writer.Storage, torch_writer.Tensor
WRITERS = {name: getattr(torch_writer, f"{name}_bytes") for name in ("zip", "stacked")}
GENUINE = ["torch_2_13_zip.pth", "torch_2_13_legacy.pth.tar"]

every_format = pytest.mark.parametrize("layout", WRITERS)


def arrays(path):
    """Read every tensor of the file's state dict, or of the file itself."""
    content = load_torch_file(path)
    with reading_torch(path):
        return {key: value.numpy() for key, value in content.get("state_dict", content).items()}


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / "m.pth").write_bytes(content)
        return tmp_path / "m.pth"

    return write


@pytest.mark.parametrize("name", GENUINE)
def test_reads_what_torch_wrote(name):
    """Written by torch 2.13 with torch.save: views, every number type, a Parameter, and metadata beside."""
    path = HERE / "data" / name
    expected = np.load(HERE / "data" / "torch_2_13_expected.npz")
    read = arrays(path)
    assert list(read) == expected.files
    for key, value in read.items():
        assert value.dtype == expected[key].dtype, key
        assert value.shape == expected[key].shape, key
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
    content = load_torch_file(path)
    assert content["epoch"] == 3
    assert isinstance(content["args"], Unknown)
    assert content["args"].origin == "argparse.Namespace"


@every_format
def test_every_layout_with_views_of_one_storage(file, layout):
    storage = Storage(np.arange(10, dtype="float32"))
    state = OrderedDict(
        a=torch_writer.tensor(np.arange(6, dtype="float32").reshape(2, 3)),
        b=Tensor(storage, 2, (2, 2), (1, 3)),
        c=Tensor(storage, 9, (1, 1), (10**9, 7)),
        d=torch_writer.tensor(np.array([2**40, -1])),
    )
    read = arrays(file(WRITERS[layout]({"state_dict": state, "epoch": 3})))
    np.testing.assert_array_equal(read["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["b"], [[2, 5], [3, 6]])
    np.testing.assert_array_equal(read["c"], [[9]])
    np.testing.assert_array_equal(read["d"], [2**40, -1])


@pytest.mark.parametrize(
    "content",
    [
        torch_writer.zip_bytes({"w": torch_writer.tensor(np.arange(3, dtype=">f4"))}, byteorder=b"big"),
        torch_writer.stacked_bytes(
            {"w": torch_writer.tensor(np.arange(3, dtype=">f4"))}, little_endian=False
        ),
    ],
    ids=["zip", "stacked"],  # a zip archive holds the time, and workers must collect the same names
)
def test_numbers_of_a_big_endian_machine(file, content):
    np.testing.assert_array_equal(arrays(file(content))["w"], [0, 1, 2])


def test_storage_views_of_the_older_layout(file):
    numbers = np.arange(8, dtype="float32")
    view = Storage(numbers, view=("9", 3, 4))
    content = torch_writer.stacked_bytes({"w": Tensor(view, 1, (3,), (1,))})
    np.testing.assert_array_equal(arrays(file(content))["w"], [4, 5, 6])
    for bounds in ((3, 6), (-1, 2), (2, -1)):
        view = Storage(numbers, view=("9", *bounds))
        with pytest.raises(WeightsError, match=r"a view .* of a storage of 8"):
            arrays(file(torch_writer.stacked_bytes({"w": Tensor(view, 0, (1,), (1,))})))


def test_numpy_arrays_among_the_tensors(file):
    path = file(torch_writer.zip_bytes({"w": np.arange(4.0).reshape(2, 2)}))
    np.testing.assert_array_equal(arrays(path)["w"], [[0, 1], [2, 3]])


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class AttackByState:
    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return Global("torch._utils", "_rebuild_tensor_v2"), (None, 0, (), ()), self.state


def attacks(marker):
    command = f"\"{sys.executable}\" -c \"open(r'{marker}', 'w')\""
    run = Attack(os.system, command)
    rebuild = Global("torch._tensor", "_rebuild_from_type_v2")
    return {
        "system": run,
        "eval": Attack(eval, f"open(r'{marker}', 'w')"),
        "nested": {"args": [(run,), {"deep": run}]},
        "through a function of torch": Attack(rebuild, Global("os", "system"), None, (command,), None),
        "getattr": Attack(getattr, Attack(__import__, "os"), "system"),
        "map": Attack(list, Attack(map, Global("os", "system"), [command])),
        "import": Attack(Global("importlib", "import_module"), "antigravity"),
    }


@every_format
@pytest.mark.parametrize("name", attacks(""))
def test_nothing_in_the_file_is_called_or_imported(file, tmp_path, layout, name):
    marker = tmp_path / "ran"
    state = OrderedDict(w=torch_writer.tensor(np.ones(2, "float32")))
    path = file(WRITERS[layout]({"state_dict": state, "args": attacks(marker)[name]}))
    np.testing.assert_array_equal(arrays(path)["w"], [1, 1])
    assert not marker.exists()
    assert "antigravity" not in sys.modules


def test_the_attacks_are_real(tmp_path):
    for name in ("system", "eval", "nested"):
        marker = tmp_path / name
        pickle.loads(pickle.dumps(attacks(marker)[name]))
        assert marker.exists()


def test_state_of_a_tensor_is_dropped(file):
    with pytest.raises(WeightsError, match="a tensor of a NoneType"):
        load_torch_file(file(torch_writer.zip_bytes({"w": AttackByState({"numpy": 1})})))
    state = OrderedDict(w=torch_writer.tensor(np.ones(2, "float32")))
    state.numpy = "an attribute of the dict, as torch's _metadata is"
    assert set(arrays(file(torch_writer.zip_bytes(state)))) == {"w"}


@every_format
@pytest.mark.parametrize(
    ("offset", "shape", "strides", "reason"),
    [
        (0, (4,), (1,), "reaches number 3 of a storage of 3"),
        (3, (1,), (1,), "reaches number 3 of a storage of 3"),
        (0, (2, 2), (2, 1), "reaches number 3 of a storage of 3"),
        (0, (2**31, 2**31), (1, 1), "reaches number"),
        (0, (2**62,), (2**62,), "reaches number"),
        (2, (2,), (-1,), "no tensor has offset"),
        (-1, (1,), (1,), "no tensor has offset"),
        (0, (-1,), (1,), "no tensor has offset"),
    ],
)
def test_a_tensor_outside_of_its_storage(file, layout, offset, shape, strides, reason):
    tensor = Tensor(Storage(np.zeros(3, "float32")), offset, shape, strides)
    with pytest.raises(WeightsError, match=rf"m\.pth .* is damaged or no file of torch\.save: .*{reason}"):
        arrays(file(WRITERS[layout]({"w": tensor})))


@pytest.mark.parametrize(
    ("shape", "strides"), [((3,), ()), ((3,), (1, 1)), ((1.5,), (1,)), (("3",), (1,)), (3, 1)]
)
def test_a_tensor_of_no_shape(file, shape, strides):
    with pytest.raises(WeightsError, match=r"m\.pth .* is damaged"):
        arrays(
            file(torch_writer.zip_bytes({"w": Tensor(Storage(np.zeros(3, "float32")), 0, shape, strides)}))
        )


@every_format
@pytest.mark.parametrize("numel", [2, 4, 2**40, 2**62, -1])
def test_a_storage_of_another_size_than_it_says(file, layout, numel):
    storage = Storage(np.zeros(3, "float32"), numel=numel)
    with pytest.raises(WeightsError, match=r"m\.pth .* is damaged") as raised:
        arrays(file(WRITERS[layout]({"w": Tensor(storage, 0, (3,), (1,))})))
    assert "\n" not in str(raised.value)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(file):
    """torch stores without compression, so that a storage cannot be larger than the file."""
    tensor = torch_writer.tensor(np.zeros(2**20, "float32"))
    path = file(torch_writer.zip_bytes({"w": tensor}, compression=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 2**14
    with pytest.raises(WeightsError, match=r"data\.pkl is compressed"):
        load_torch_file(path)


NESTED = b")" + b"2\x86" * 40
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%btQ"


@pytest.mark.parametrize(
    "content",
    [
        b"}" + NESTED + b"K\x01s",  # as a key
        NESTED + b"Q",  # as a reference
        b"(" + NESTED + b"NNNNtQ",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + NESTED + b"X\x03\x00\x00\x00cpuK\x01tQ",  # its key
        STORAGE % NESTED,  # its size
        b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + (STORAGE % b"K\x01")
        + b"K\x00" + NESTED + NESTED + b"tRs",  # as shape and strides
    ],
)  # fmt: skip
def test_nested_tuples_take_neither_hours_nor_pages(file, content):
    """Each level is a pair of the one below: 2^40 tuples to hash, to compare or to print."""
    path = file(b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + content + b".")
    with pytest.raises(WeightsError, match=r"m\.pth .* is damaged or no file of torch\.save") as raised:
        arrays(path)
    assert len(str(raised.value)) < 400


def test_what_else_a_zip_archive_can_be(file):
    state = {"w": torch_writer.tensor(np.zeros(3, "float32"))}
    with pytest.raises(WeightsError, match=r"m\.pth: a TorchScript program, .* save the state_dict\(\)"):
        load_torch_file(file(torch_writer.zip_bytes(state, **{"constants.pkl": b""})))
    path = file(b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(WeightsError, match=r"m\.pth .* is damaged .* no item named 'data\.pkl'"):
        load_torch_file(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        pickle.dumps({"w": 1}),
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1000),
        b"PK\x03\x04",
    ],
)
def test_what_is_no_torch_file_at_all(file, content):
    with pytest.raises(WeightsError, match=r"m\.pth .* is damaged or no file of torch\.save") as raised:
        load_torch_file(file(content))
    assert "\n" not in str(raised.value)


def test_a_tar_archive_of_the_first_torch_names_the_way_out(file):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(
        WeightsError, match=r"m\.pth: a tar archive of torch before 0\.1\.10; load it in a newer torch"
    ):
        load_torch_file(file(archive.getvalue()))


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read .*m\.pth: No such file"):
        load_torch_file(tmp_path / "m.pth")


@pytest.mark.parametrize("name", GENUINE)
def test_every_truncation_is_one_line(file, name):
    content = (HERE / "data" / name).read_bytes()
    for size in range(0, len(content), 7):
        with pytest.raises(WeightsError) as raised:
            arrays(file(content[:size]))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", GENUINE)
def test_random_damage_is_a_weights_error_or_other_numbers(file, source):
    content = (HERE / "data" / source).read_bytes()
    rng = np.random.RandomState(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randint(len(content))] = rng.randint(256)
        path = file(damaged)
        try:
            # Damage may put another object in a tensor's place, which only `convert_file` looks for.
            with contextlib.suppress(AttributeError):
                arrays(path)
        except WeightsError:
            refused += 1
    assert refused > 10
