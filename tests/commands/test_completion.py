"""Completion as shells do it, and the list of networks."""

import json
import shutil
import subprocess

import pytest

from ppcls_light import commands, list_models, list_pretrained
from ppcls_light.models import create_model, published
from ppcls_light.models.profile import profile


@pytest.fixture
def printed(capsys):
    """A function that runs `ppcls-light` in this process and returns its output."""

    def call(*arguments):
        commands.main(list(arguments))
        return capsys.readouterr().out

    return call


@pytest.fixture
def script(printed, tmp_path):
    """A function that returns the file of a shell's completion."""

    def write(shell):
        path = tmp_path / f"completion.{shell}"
        path.write_text(printed("completion", shell))
        return path

    return write


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (("expo",), ["export"]),
        (("ex",), ["export", "explain"]),
        (("export", "--max"), ["--max-drop"]),
        (("export", "--format", "on"), ["onnx"]),
        (("similar", "qu"), ["query"]),
        (("serve", "inf"), ["inference"]),
        (("convert", "wei"), ["weights.pth"]),
    ],
)
def test_bash_completes_commands_options_choices_and_paths(words, completed, script, tmp_path):
    (tmp_path / "inference").mkdir()
    for name in ("information.txt", "weights.pth"):
        (tmp_path / name).touch()
    code = 'source "$0"; COMP_WORDS=(ppcls-light "$@"); COMP_CWORD=$#; _shtab_ppcls_light; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", code, script("bash"), *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == completed


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not here")
def test_zsh_reads_its_script(script):
    subprocess.run(["zsh", "-n", script("zsh")], check=True)


def test_networks_are_listed_with_what_is_known_of_them(printed):
    rows = json.loads(printed("list", "--json"))
    assert [row["network"] for row in rows] == list_models()
    assert {row["network"]: row["top1"] for row in rows if row["top1"] is not None} == published()
    teachers = json.loads(printed("list", "teachers", "--json"))
    assert (
        [row["network"] for row in teachers] == list_models(teachers=True) == ["ResNet50_vd", "ResNet101_vd"]
    )
    assert sum(len(row["trainings"]) for row in (*rows, *teachers)) == len(list_pretrained())
    assert json.loads(printed("list", "resnet50*", "--json")) == teachers[:1]
    (row,) = json.loads(printed("list", "micronet_m0", "--json"))
    network = create_model("MicroNet_M0")
    counted = profile(network)
    assert (row["parameters"], row["multiply_adds"]) == (counted.params, counted.multiply_adds)
    assert (3, row["image_size"], row["image_size"]) == network.image_shape
    header, line = printed("list", "MicroNet_M0").splitlines()
    assert line.split() == ["MicroNet_M0", "46.60", "1.02", "3.45", "224", "in1k,", "authors", "46.60"]
    assert header.startswith("network ")


def test_configs_are_listed_as_they_are_named_after_c(printed):
    rows = json.loads(printed("list", "configs", "--json"))
    names = {row["name"]: row["title"] for row in rows}
    assert names["ppcls_light:micronet/MicroNet_M0.yaml"] == "MicroNet-M0 on ImageNet-1k"
    lines = printed("list", "configs").splitlines()
    assert [line.split()[0] for line in lines] == list(names)


def test_an_unknown_network_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main(["list", "MicroNt_M0"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: no network is called MicroNt_M0; did you mean 'MicroNet_M0'?\n"
