"""Commands on an exported folder: `predict FOLDER IMAGES`, `serve FOLDER` and `explain FOLDER IMAGE`."""

import json

import pytest

from ppcls_light import commands
from ppcls_light.config import load_as
from ppcls_light.config.deploy import DeployConfig


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A function that runs `ppcls-light` in this process, in `tmp_path`: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            commands.main(list(map(str, arguments)))
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return call


def test_rows_are_those_of_the_config(run, model, images):
    """A folder and an image in it, in that order, with an option in between."""
    pairs = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}"]
    code, rows, _ = run("predict", "-o", *pairs)
    assert code == 0
    more = run("predict", model, "--quiet", images, images / "a.jpg")
    assert more == (0, rows + rows.splitlines(keepends=True)[0], "")
    assert rows.startswith("a.jpg:")


def test_a_name_that_is_not_unicode_or_looks_like_yaml(run, model, images):
    for name in ("1e3", "'{a: b}, \\ [c]", "\udcff"):
        path = images.parent / f"{name}.jpg"
        path.write_bytes((images / "a.jpg").read_bytes())
        code, rows, err = run("predict", model, path)
        assert (code, err) == (0, "")
        assert rows.startswith(f"{name}.jpg:".encode("ascii", "backslashreplace").decode()[:3])


def test_what_is_missing_is_named_before_anything_is_loaded(run, model, images):
    for arguments, said in (
        ((model,), "no images are given; "),
        ((), "no model is given; "),
        ((model, images, "nowhere"), "nowhere: no such image file or folder"),
    ):
        code, out, err = run("predict", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert said in err
        assert err.count("\n") == 1


def test_the_file_of_defaults_has_those_of_the_command(root):
    """Beyond its places for what has none."""
    file = load_as(DeployConfig, root / "deploy/configs/inference_cls.yaml")
    assert file == load_as(DeployConfig, {})


@pytest.mark.parametrize("arguments", [(), ("a", "--model", "b")])
def test_a_server_serves_one_folder(run, arguments):
    assert run("serve", *arguments)[::2] == (
        2,
        "error: give an exported folder, once: serve FOLDER, or --model FOLDER\n",
    )


def test_a_server_takes_its_folder_without_an_option(run):
    pytest.importorskip("uvicorn", reason="needs the extra serving")
    code, _, err = run("serve", "nowhere", "--workers", "1", "--port", "0")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: nowhere: no such folder")


def test_an_exported_folder_is_explained(run, model, images):
    code, _, err = run("explain", model, "--out", "heat", images / "a.jpg")
    assert code == 0, err
    with open("heat/explain.json") as file:
        (row,) = json.load(file)
    assert (row["method"], row["picture"]) == ("occlusion", "a.png")
    code, _, err = run("explain", model)
    assert (code, err.count("\n")) == (2, 1)
    assert "give an image or a folder of images" in err
