"""The tool that fetches published weights, with a server in the place of the internet."""

import hashlib

import pytest

from ppcls_light import create_model
from ppcls_light.errors import WeightsError
from ppcls_light.weights import read_weights, record_sums, write_weights
from ppcls_light.weights.published import TABLE, training

NAME = "PPLCNet_x0_25"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "m.pdparams"
    write_weights(path, create_model(NAME).state_dict())
    return path.read_bytes()


@pytest.fixture
def tool(run_tool, capsys):
    """A function that runs a tool and returns (exit code, stdout, stderr)."""

    def run(name, *arguments):
        code = 0
        try:
            run_tool(name, *arguments)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_it_fetches_what_is_named_and_goes_on_after_a_failure(weights_home, file_server, content, tool):
    file_server.files["/" + training(NAME).sources[0].url.split("://")[1]] = content
    code, out, err = tool("fetch_weights", f"{NAME}/ssld", NAME)
    path, digest = weights_home / "PPLCNet_x0_25_pretrained.pdparams", hashlib.sha256(content).hexdigest()
    assert f"PPLCNet_x0_25 in1k: {path} (" in out
    assert digest in out
    assert path.read_bytes() == content
    first, last = err.splitlines()
    assert first.startswith("error: PPLCNet_x0_25 ssld: no weights: ")
    assert last == "error: 1 of 2 trainings have a file that could not be fetched; see above"
    assert code == 2


def test_it_lists_all_and_asks_for_names(tool):
    code, out, _ = tool("fetch_weights", "--list")
    assert code == 0
    assert [out.count(f"{name} ") for name in ("PPLCNet_x1_0", "EdgeNeXt_Base")] == [2, 3]
    for arguments in ((), ("--all", NAME)):
        assert tool("fetch_weights", *arguments)[::2] == (
            2, "error: name networks, or give --all; --list prints those there are\n",
        )  # fmt: skip


def test_only_sums_that_were_seen_are_recorded(weights_home, file_server, content, tool, tmp_path):
    code, _, err = tool("fetch_weights", NAME, "--record")
    assert (code, "unset PPCLS_LIGHT_MIRROR" in err) == (2, True)
    table, text = tmp_path / "published.yaml", TABLE.read_text(encoding="utf-8")
    table.write_text(text, encoding="utf-8")
    row, digest = training(NAME), hashlib.sha256(content).hexdigest()
    file_server.files["/" + row.sources[0].url.split("://")[1]] = content
    with pytest.raises(
        WeightsError, match=r"^PPLCNet_x0_25 in1k: \S+PP-LCNet_x0_25_pretrained.pdparams: HTTP 404$"
    ):
        record_sums(row, table)
    assert table.read_text(encoding="utf-8") == text.replace(
        f"{row.sources[0].url}, sha256: null", f"{row.sources[0].url}, sha256: {digest}"
    )
    assert not weights_home.exists()


def test_convert_weights_takes_an_address(weights_home, file_server, content, tool, tmp_path):
    source = training(NAME).sources[0].url
    file_server.files["/" + source.split("://")[1]] = content
    code, out, _ = tool("convert_weights", source, tmp_path / "m.safetensors", "--arch", NAME)
    assert (code, "146 keys mapped" in out) == (0, True)
    assert len(read_weights(tmp_path / "m.safetensors")) == 146
