"""Weights by name, address or file: fetched from a server under the hosts' own paths, checked, converted, kept."""

import hashlib
import json
import logging
import os
import runpy
import threading
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from ppcls_light.errors import WeightsError
from ppcls_light.models import create_model
from ppcls_light.weights import load_pretrained, local_file, write_weights
from ppcls_light.weights.published import training

torch_writer = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("torch_writer.py"))))
NAME = "PPLCNet_x0_25"
PADDLECLAS, PADDLEX = ("/" + source.url.split("://")[1] for source in training(NAME).sources)
FILE = "PPLCNet_x0_25_pretrained.pdparams"


@pytest.fixture(scope="module")
def network():
    return create_model(NAME)


@pytest.fixture(scope="module")
def content(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "m.pdparams"
    write_weights(path, network.state_dict())
    return path.read_bytes()


@pytest.fixture
def internet(weights_home, file_server, content):
    """The server with PaddleClas' file; `internet.home` is the empty cache."""
    file_server.files[PADDLECLAS] = content
    file_server.home = weights_home
    return file_server


def in_cache(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def assert_is(model, network):
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[key].numpy(), value.numpy(), err_msg=key)


def test_true_fetches_once_and_says_what_was_loaded(internet, network, content, caplog):
    caplog.set_level(logging.INFO)
    assert_is(create_model("pplcnet_X0_25", pretrained=True), network)
    path, digest = internet.home / FILE, hashlib.sha256(content).hexdigest()
    assert in_cache(internet.home) == [FILE, f"{FILE}.sha256"]
    assert (internet.home / f"{FILE}.sha256").read_text() == f"{digest}  {FILE}\n"
    line = f"{path} ({internet.address}{PADDLECLAS}), SHA-256 {digest[:12]}"
    assert f"{line}: 146 keys, its head, too" in caplog.text
    assert_is(create_model(NAME, pretrained="in1k"), network)
    assert internet.asked == [(PADDLECLAS, None)]


def test_a_head_of_other_classes_starts_anew_and_the_rest_is_loaded(internet, network, caplog):
    caplog.set_level(logging.INFO)
    model = create_model(NAME, class_num=3, pretrained=True)
    assert model.state_dict()["fc.weight"].shape == [1280, 3]
    np.testing.assert_array_equal(
        model.state_dict()["conv1.conv.weight"], network.state_dict()["conv1.conv.weight"]
    )
    assert "144 keys, a new head (fc.weight, fc.bias)" in caplog.text
    with pytest.raises(WeightsError, match=r"the weights have 1000 classes, Arch.class_num is 3"):
        load_pretrained(create_model(NAME, class_num=3), True)


def test_the_next_source_is_asked_when_one_has_no_file(internet, network, content, caplog):
    caplog.set_level(logging.INFO)
    internet.files = {PADDLEX: content}
    assert_is(create_model(NAME, pretrained=True), network)
    assert [path for path, _ in internet.asked] == [PADDLECLAS, PADDLEX]
    assert f"{PADDLECLAS}: HTTP 404" in caplog.text
    assert in_cache(internet.home) == [
        "PP-LCNet_x0_25_pretrained.pdparams",
        "PP-LCNet_x0_25_pretrained.pdparams.sha256",
    ]


def test_another_training_never_stands_in(internet):
    internet.files = {PADDLECLAS.replace("_pretrained", "_ssld_pretrained"): b"x"}
    with pytest.raises(WeightsError) as raised:
        create_model(NAME, pretrained=True)
    text = str(raised.value)
    assert "\n" not in text
    for part in (PADDLECLAS, PADDLEX, "HTTP 404", "(6.1 MB)", str(internet.home / FILE)):
        assert part in text
    with pytest.raises(WeightsError, match=r"no published weights called ra2; there are: in1k .*, ssld"):
        create_model(NAME, pretrained="ra2")


@pytest.mark.parametrize("body", [b"<html>log in", b"\x80\x02not a pickle", b"", "short"])
def test_what_is_no_weights_is_refused_and_not_kept(internet, content, body):
    internet.faults[PADDLECLAS] = [internet.kinds.bare(content[:-50] if body == "short" else body)]
    with pytest.raises(WeightsError, match=rf"{PADDLECLAS}: gives .*; .*{PADDLEX}: HTTP 404") as raised:
        create_model(NAME, pretrained=True)
    assert "\n" not in str(raised.value)
    assert in_cache(internet.home) == []


def test_a_file_that_is_no_longer_the_same_is_refused(internet):
    create_model(NAME, pretrained=True)
    path = internet.home / FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        WeightsError, match=rf"{FILE} is not the file that it was: .*delete it to fetch it again"
    ):
        create_model(NAME, pretrained=True)
    path.unlink()
    internet.files[PADDLECLAS] = bytes(data)
    with pytest.raises(
        WeightsError, match=rf"gives a file with .*, the one first seen; delete .*{FILE}\.sha256 if"
    ):
        create_model(NAME, pretrained=True)
    assert in_cache(internet.home) == [f"{FILE}.sha256"]


def test_a_damaged_record_of_a_sum_is_not_taken_for_none(internet):
    create_model(NAME, pretrained=True)
    (internet.home / f"{FILE}.sha256").write_bytes(b"\xff")
    with pytest.raises(WeightsError, match=rf"{FILE}\.sha256 does not begin with a SHA-256; delete it"):
        create_model(NAME, pretrained=True)


def test_a_hash_in_the_name_is_checked(internet):
    source = training("lcnet_050").sources[0]
    path = "/" + source.url.split("://")[1]
    internet.files[path] = b"x"
    with pytest.raises(WeightsError, match=r"gives a file with the SHA-256 2d711642.*, not f447553b"):
        local_file(True, "lcnet_050")


def test_offline_the_file_is_taken_if_it_is_there(internet, network, content, monkeypatch):
    monkeypatch.setenv("PPCLS_LIGHT_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"PPCLS_LIGHT_OFFLINE is set.*\(6.1 MB\).*put it at") as raised:
        create_model(NAME, pretrained=True)
    assert str(internet.home / FILE) in str(raised.value)
    assert not internet.home.exists()
    internet.home.mkdir()
    (internet.home / FILE).write_bytes(content[:5000])
    with pytest.raises(WeightsError, match=rf"{FILE}"):
        create_model(NAME, pretrained=True)
    assert in_cache(internet.home) == [FILE]  # nothing is remembered of what is no weights
    (internet.home / FILE).write_bytes(content)
    assert_is(create_model(NAME, pretrained=True), network)
    assert internet.asked == []


def test_paddleclas_own_download_is_found(internet, network, content, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("PPCLS_LIGHT_OFFLINE", "1")
    folder = tmp_path / "paddleclas"
    folder.mkdir(parents=True)
    (folder / "PP-LCNet_x0_25_pretrained.pdparams").write_bytes(content)  # as a training of PaddleX leaves it
    assert_is(create_model(NAME, pretrained=True), network)
    assert f"(PaddleClas' cache {folder})" in caplog.text
    assert in_cache(internet.home) == ["PP-LCNet_x0_25_pretrained.pdparams.sha256"]
    (folder / "PP-LCNet_x0_25_pretrained.pdparams").write_bytes(content + b" ")
    with pytest.raises(WeightsError, match="PPCLS_LIGHT_OFFLINE is set"):
        create_model(NAME, pretrained=True)
    assert "not taken, its SHA-256 is" in caplog.text


def test_a_damaged_download_of_paddleclas_is_left_alone(internet, network, content, tmp_path, caplog):
    (tmp_path / "paddleclas").mkdir()
    (tmp_path / "paddleclas" / FILE).write_bytes(content[:-100])
    assert_is(create_model(NAME, pretrained=True), network)
    assert "not taken: " in caplog.text
    assert in_cache(internet.home) == [FILE, f"{FILE}.sha256"]


def test_hugging_faces_own_switch_leaves_its_addresses_out(internet, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"HTTP 404; .*huggingface.co/timm/fasternet_t0.*: HF_HUB_OFFLINE is set"
    ):
        create_model("FasterNet_T0", pretrained=True)
    assert not any("huggingface" in path for path, _ in internet.asked)


def test_plain_http_needs_the_checksum(internet, network, content, monkeypatch):
    monkeypatch.delenv("PPCLS_LIGHT_MIRROR")
    with pytest.raises(
        WeightsError, match=r"micronet-m0.pth: is plain http.*SHA-256 is not known; .*#sha256=HEX"
    ):
        local_file("authors", "MicroNet_M0")
    internet.files["/own/net.pdparams"] = content
    url = f"{internet.address}/own/net.pdparams"
    with pytest.raises(WeightsError, match="is plain http"):
        create_model(NAME, pretrained=url)
    with pytest.raises(WeightsError, match="gives a file with the SHA-256"):
        create_model(NAME, pretrained=f"{url}#sha256={'0' * 64}")
    with pytest.raises(WeightsError, match="after # there may be sha256= and the 64 digits"):
        create_model(NAME, pretrained=f"{url}#md5=1")
    assert_is(create_model(NAME, pretrained=f"{url}#sha256={hashlib.sha256(content).hexdigest()}"), network)
    assert internet.asked == [("/own/net.pdparams", None)] * 2


def test_a_published_address_is_the_published_file(internet, network):
    assert_is(create_model(NAME, pretrained=training(NAME).sources[0].url), network)
    assert in_cache(internet.home) == [FILE, f"{FILE}.sha256"]


def test_an_address_whose_format_is_unknown_is_refused_before_it_is_asked(internet):
    with pytest.raises(
        WeightsError,
        match=r"cannot tell the format of https://example.com/model\?download=1; its name should end in one of \.pth",
    ):
        create_model(NAME, pretrained="https://example.com/model?download=1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://[::1/m.pdparams", "https://\\[::1/m.pdparams is no address of http or https"),
        (
            "https://me:secret@example.com/m.pdparams",
            "https://example.com/m.pdparams has a user name or a pass",
        ),
    ],
)
def test_an_odd_address_is_one_line_without_the_password(internet, url, message):
    with pytest.raises(WeightsError, match=message):
        create_model(NAME, pretrained=url)
    assert not internet.home.exists()


def test_an_odd_mirror_is_one_line_without_the_password(internet, monkeypatch):
    for mirror, message in (("http://[", "is no address"), ("http://me:secret@a", "has a user name")):
        monkeypatch.setenv("PPCLS_LIGHT_MIRROR", mirror)
        with pytest.raises(WeightsError, match=message) as raised:
            create_model(NAME, pretrained=True)
        assert "secret" not in str(raised.value)


def test_hugging_face_files_of_the_users_own_keep_their_names(internet, network, content, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", internet.address)
    sha256 = hashlib.sha256(content).hexdigest()
    for path in ("/me/mine/resolve/main/net.pdparams", "/net.pdparams"):
        internet.files[path] = content
        assert_is(create_model(NAME, pretrained=f"https://huggingface.co{path}#sha256={sha256}"), network)


def test_several_at_once_fetch_once(internet):
    internet.faults[PADDLECLAS] = [internet.kinds.late(0.3, internet.answer)]
    found = []
    threads = [threading.Thread(target=lambda: found.append(local_file(True, NAME).sha256)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == len(internet.asked) == 1


def test_a_folder_that_cannot_be_written_is_one_line_with_the_variable(internet, monkeypatch):
    internet.home.write_text("a file in the place of the folder")
    with pytest.raises(
        WeightsError, match=r"cannot write .*; PPCLS_LIGHT_HOME names another folder"
    ) as raised:
        create_model(NAME, pretrained=True)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_only_read_gives_its_file(internet, network, content):
    internet.home.mkdir()
    (internet.home / FILE).write_bytes(content)
    internet.home.chmod(0o555)
    try:
        if os.access(internet.home, os.W_OK):
            pytest.skip("this user may write everywhere")
        assert_is(create_model(NAME, pretrained=True), network)
        assert in_cache(internet.home) == [FILE]
        with pytest.raises(
            WeightsError, match=r"cannot write .*Permission denied; PPCLS_LIGHT_HOME names another"
        ):
            create_model(NAME, pretrained="ssld")
    finally:
        internet.home.chmod(0o755)


@pytest.mark.parametrize("averaged", [True, False])
def test_a_torch_checkpoint_is_converted_and_its_average_taken(internet, averaged, caplog):
    caplog.set_level(logging.INFO)
    name = "EdgeNeXt_XX_Small"
    network = create_model(name)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    own = OrderedDict(
        (key, torch_writer.tensor(value.T if value.ndim == 2 else value)) for key, value in state.items()
    )
    other = OrderedDict(
        (key, torch_writer.tensor(0 * (value.T if value.ndim == 2 else value)))
        for key, value in state.items()
    )
    checkpoint = {"model": other, "model_ema": own, "epoch": 300} if averaged else {"state_dict": own}
    path = "/" + training(name).sources[0].url.split("://")[1]
    internet.files[path] = torch_writer.zip_bytes(checkpoint)
    assert_is(create_model(name, pretrained=True), network)
    assert "keys from the authors' names, its head, too" in caplog.text


def test_timms_safetensors_are_converted_from_hugging_face(internet, root, caplog):
    caplog.set_level(logging.INFO)
    with np.load(root / "tests/parity/timm_lcnet_100.npz") as parity:
        shapes = json.loads(parity["keys"].tobytes())
    state = {key: np.full(shape, index, "float32") for index, (key, shape) in enumerate(shapes.items())}
    source = training("lcnet_100").sources[1]
    internet.files["/" + source.url.split("://")[1]] = safetensors.numpy.save(state)
    model = create_model("lcnet_100", class_num=10, pretrained=True)
    assert (model.state_dict()["last_conv.bias"].numpy() == list(shapes).index("conv_head.bias")).all()
    assert "keys from timm's names, its head, too" in caplog.text
    assert in_cache(internet.home)[0] == "timm--lcnet_100.ra2_in1k.safetensors"


def test_a_name_that_is_neither_a_file_nor_a_training_is_answered_with_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        WeightsError, match=r"no weights file imagenet .*; trainings of \w+ that were published: in1k, ssld"
    ):
        create_model(NAME, pretrained="imagenet")
