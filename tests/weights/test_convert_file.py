import os
import runpy
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.models import create_model
from ppcls_light.weights import convert_file, load_weights, read_weights, write_weights

torch_writer = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("torch_writer.py"))))
LAYOUTS = [torch_writer.zip_bytes, torch_writer.stacked_bytes]


@pytest.fixture(scope="module")
def ours():
    """Our own weights of a network of each family."""
    names = ("FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small", "lcnet_baseline", "PPLCNet_x0_25")
    return {
        name: {key: value.numpy() for key, value in create_model(name, class_num=3).state_dict().items()}
        for name in names
    }


def as_torch(state):
    """Our weights under the names and in the layout of the authors of MicroNet or EdgeNeXt."""
    return OrderedDict(
        (
            key.replace("._mean", ".running_mean").replace("._variance", ".running_var"),
            torch_writer.tensor(value.T if value.ndim == 2 else value),
        )
        for key, value in state.items()
    )


def with_prefix(prefix, state):
    return OrderedDict((prefix + key, value) for key, value in state.items())


def zeros_like(state):
    return OrderedDict(
        (key, torch_writer.tensor(np.zeros(value.layout[1], "float32"))) for key, value in state.items()
    )


def args():
    return torch_writer.Global("argparse", "Namespace")


def assert_equal(path, expected):
    read = read_weights(path)
    assert set(read) == set(expected)
    for key, value in read.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["MicroNet_M0", "EdgeNeXt_XX_Small"])
@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_a_state_dict_in_every_layout(tmp_path, ours, layout, name, suffix):
    (tmp_path / "m.pth").write_bytes(layout(as_torch(ours[name])))
    report = convert_file(tmp_path / "m.pth", tmp_path / f"deep/m{suffix}", name.lower())
    assert report.keys.fits
    assert len(report.keys.loaded) == len(ours[name])
    assert report.owner == "the authors'"
    assert_equal(tmp_path / f"deep/m{suffix}", ours[name])
    assert os.listdir(tmp_path / "deep") == [f"m{suffix}"]
    load_weights(create_model(name, class_num=3), tmp_path / f"deep/m{suffix}")
    convert_file(tmp_path / "m.pth", tmp_path / f"deep/m{suffix}", name.lower())
    assert os.listdir(tmp_path / "deep") == [f"m{suffix}"]
    write_weights(tmp_path / f"deep/m{suffix}", {"another": np.ones(3, "float32")})
    convert_file(tmp_path / "m.pth", tmp_path / f"deep/m{suffix}", name.lower())
    assert list(read_weights(tmp_path / f"deep/previous_1/m{suffix}")) == ["another"]


@pytest.mark.parametrize(
    ("file", "checkpoint"),
    [
        (
            "checkpoint.pth.tar",  # MicroNet's and torchvision's training scripts
            lambda state: {
                "epoch": 3,
                "arch": "MicroNet",
                "best_prec1": torch_writer.tensor(np.array(46.6, "float32")),
                "optimizer": {"state": {0: {"momentum_buffer": torch_writer.tensor(np.zeros(4, "float32"))}}},
                "state_dict": with_prefix("module.", state),
            },
        ),
        (
            "last.ckpt",  # Lightning, as the authors of FasterNet train
            lambda state: {
                "hyper_parameters": args(),
                "callbacks": {torch_writer.Global("pytorch_lightning", "ModelCheckpoint"): 1},
                "state_dict": with_prefix("model.", state),
            },
        ),
        ("compiled.pt", lambda state: {"model": with_prefix("module._orig_mod.", state), "args": args()}),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_checkpoints(tmp_path, ours, file, checkpoint, layout):
    (tmp_path / file).write_bytes(layout(checkpoint(as_torch(ours["MicroNet_M0"]))))
    report = convert_file(tmp_path / file, tmp_path / "m.pdparams", "micronet_m0")
    assert report.section in ("state_dict", "model")
    assert_equal(tmp_path / "m.pdparams", ours["MicroNet_M0"])


@pytest.mark.parametrize("names", [("model", "model_ema"), ("state_dict", "state_dict_ema")])
def test_averaged_weights_are_taken_when_asked_for(tmp_path, ours, names):
    """As EdgeNeXt's authors and timm save them."""
    averaged = as_torch(ours["EdgeNeXt_XX_Small"])
    content = {names[0]: zeros_like(averaged), names[1]: averaged, "args": args(), "epoch": 299}
    source, destination = tmp_path / "m.pth", tmp_path / "m.pdparams"
    source.write_bytes(torch_writer.zip_bytes(content))
    report = convert_file(source, destination, "edgenext_xx_small", ema=True)
    assert (report.section, report.ema) == (names[1], names[1])
    assert "--ema" not in str(report)
    assert_equal(destination, ours["EdgeNeXt_XX_Small"])
    report = convert_file(source, destination, "edgenext_xx_small")
    assert report.section == names[0]
    assert f"the file has averaged weights too, {names[1]}; add --ema" in str(report)
    assert not any(value.any() for value in read_weights(destination).values())


def test_averaged_weights_that_are_not_there_or_alone(tmp_path, ours):
    source, destination = tmp_path / "m.pth", tmp_path / "m.pdparams"
    state = as_torch(ours["MicroNet_M0"])
    for content in (state, {"model": state}):
        source.write_bytes(torch_writer.zip_bytes(content))
        with pytest.raises(WeightsError, match=r"m\.pth holds no averaged weights .* leave --ema out"):
            convert_file(source, destination, "micronet_m0", ema=True)
    source.write_bytes(torch_writer.zip_bytes({"model_ema": state}))
    with pytest.raises(WeightsError, match=r"averaged weights only \(model_ema\); add --ema"):
        convert_file(source, destination, "micronet_m0")
    write_weights(tmp_path / "m.safetensors", ours["MicroNet_M0"])
    with pytest.raises(WeightsError, match="is no training checkpoint"):
        convert_file(tmp_path / "m.safetensors", destination, "micronet_m0", ema=True)
    assert not destination.exists()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_other_formats_of_torch_names(tmp_path, ours, suffix):
    state = {
        key.replace("._mean", ".running_mean").replace("._variance", ".running_var"): (
            value.T if value.ndim == 2 else value
        ).astype("float16")
        for key, value in ours["MicroNet_M0"].items()
    }
    source = tmp_path / f"m{suffix}"
    np.savez_compressed(source, **state) if suffix == ".npz" else write_weights(source, state)
    convert_file(source, tmp_path / "m.pdparams", "micronet_m0")
    rounded = {key: value.astype("float16") for key, value in ours["MicroNet_M0"].items()}
    assert_equal(tmp_path / "m.pdparams", rounded)


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "EdgeNeXt_XX_Small", "MicroNet_M0", "lcnet_baseline"])
def test_paddle_weights_keep_their_layout(tmp_path, ours, name):
    write_weights(tmp_path / "m.pdparams", ours[name])
    report = convert_file(tmp_path / "m.pdparams", tmp_path / "m.safetensors", name)
    assert report.owner == "PaddleClas'"
    assert_equal(tmp_path / "m.safetensors", ours[name])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("PPLCNet_x0_25", "PP-LCNet_x0_25_textline_ori.pdparams"),
        ("PPLCNet_x1_0", "PP-LCNet_x1_0_textline_ori.pdparams"),
    ],
)
def test_the_vendors_weights(tmp_path, shared, name, file):
    convert_file(shared / "weights" / file, tmp_path / "m.safetensors", name)
    assert_equal(tmp_path / "m.safetensors", read_weights(shared / "weights" / file))


def test_what_is_left_over_or_missing_is_named_and_nothing_written(tmp_path, ours):
    state = as_torch(ours["MicroNet_M0"])
    state["teacher.weight"] = state.pop("features.0.stem.0.conv.0.weight")
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes({"state_dict": with_prefix("module.", state)}))
    message = (
        r"m\.pth: these weights, read as the authors', are not those of MicroNet_M0: 191 keys fit, "
        r"1 missing \(features\.0\.stem\.0\.conv\.0\.weight\), 1 unexpected \(teacher\.weight\)"
    )
    with pytest.raises(WeightsError, match=message) as raised:
        convert_file(tmp_path / "m.pth", tmp_path / "out" / "m.pdparams", "micronet_m0")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_two_networks_in_one_state_dict(tmp_path, ours):
    state = as_torch(ours["MicroNet_M0"])
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes({**state, **with_prefix("module.", state)}))
    with pytest.raises(WeightsError, match="and another key both mean"):
        convert_file(tmp_path / "m.pth", tmp_path / "m.pdparams", "micronet_m0")


def test_a_pickled_network_is_no_state_dict(tmp_path):
    network = torch_writer.Global("models.fasternet", "FasterNet")
    for content in (network, {"model": network}, [1]):
        (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes(content))
        with pytest.raises(WeightsError, match=r"a pickled models\.fasternet\.FasterNet|a list") as raised:
            convert_file(tmp_path / "m.pth", tmp_path / "m.pdparams", "fasternet_t0")
        assert "state" in str(raised.value)


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, {"state_dict": {}}, {3: torch_writer.tensor(np.ones(1, "f4"))}]
)
def test_no_weights_inside(tmp_path, content):
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes(content))
    with pytest.raises(WeightsError, match=r"m\.pth"):
        convert_file(tmp_path / "m.pth", tmp_path / "m.pdparams", "micronet_m0")


def test_a_shape_is_checked_before_it_takes_memory(tmp_path, ours):
    """A tensor of stride 0 may claim any shape; this one is 4 TiB."""
    state = as_torch(ours["MicroNet_M0"])
    storage = torch_writer.Storage(np.zeros(1, "float32"))
    state["classifier.0.linear.0.weight"] = torch_writer.Tensor(storage, 0, (2**20, 2**20), (0, 0))
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes(state))
    with pytest.raises(
        WeightsError, match=r"classifier\.0\.linear\.0\.weight \[1048576, 1048576\] instead of"
    ):
        convert_file(tmp_path / "m.pth", tmp_path / "m.pdparams", "micronet_m0")


def test_quantised_weights_are_refused(tmp_path, ours):
    state = as_torch(ours["MicroNet_M0"])
    key = "features.0.stem.0.conv.0.weight"
    state[key] = torch_writer.tensor(np.zeros(ours["MicroNet_M0"][key].shape, "int64"))
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes(state))
    with pytest.raises(WeightsError, match=r"conv\.0\.weight is int64"):
        convert_file(tmp_path / "m.pth", tmp_path / "m.pdparams", "micronet_m0")


def test_names_that_say_no_format_or_network(tmp_path, ours):
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot tell the format of .*m\.onnx; .* one of \.pth, "):
        convert_file(tmp_path / "m.onnx", tmp_path / "m.pdparams", "micronet_m0")
    write_weights(tmp_path / "m.pdparams", ours["MicroNet_M0"])
    with pytest.raises(WeightsError, match=r"cannot tell the format of .*m\.pth; end its name in \.pdparams"):
        convert_file(tmp_path / "m.pdparams", tmp_path / "m.pth", "micronet_m0")
    with pytest.raises(ConfigError, match="did you mean 'MicroNet_M0'"):
        convert_file(tmp_path / "m.pdparams", tmp_path / "m.safetensors", "micronet_0")


@pytest.mark.parametrize("damage", ["truncated", "objects", "text", "encrypted"])
def test_a_bad_npz(tmp_path, damage):
    path = tmp_path / "m.npz"
    np.savez(path, w=np.array([{}], dtype=object) if damage == "objects" else np.zeros(9))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("not weights")
    elif damage == "encrypted":
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"m\.npz .* is damaged or no \.npz file") as raised:
        convert_file(path, tmp_path / "m.pdparams", "micronet_m0")
    assert "\n" not in str(raised.value)


def test_an_npz_that_unpacks_to_a_thousand_times_its_size(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", w=np.zeros(80_000_000, "uint8"))
    with pytest.raises(WeightsError, match="unpack to 80000128, which trained weights never do"):
        convert_file(tmp_path / "m.npz", tmp_path / "out.pdparams", "MicroNet_M0")


def test_the_tool(tmp_path, root, ours):
    (tmp_path / "m.pth").write_bytes(torch_writer.zip_bytes({"model": as_torch(ours["MicroNet_M0"])}))
    command = [sys.executable, root / "tools/convert_weights.py", "m.pth", "m.pdparams", "--arch"]
    done = subprocess.run([*command, "micronet_m0"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "model: 192 keys mapped from the authors' names, 0 missing, 0 unexpected\nwrote m.pdparams\n"
    )
    assert_equal(tmp_path / "m.pdparams", ours["MicroNet_M0"])
    done = subprocess.run([*command, "micronet_m1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: m.pth: these weights, read as the authors', are not those of MicroNet_M1"
    )
    assert done.stderr.count("\n") == 1
