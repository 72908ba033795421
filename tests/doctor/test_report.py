"""The report names what fails, ends in no traceback, and does not tell who the user is."""

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from ppcls_light.doctor import examine, facts, probes
from ppcls_light.ops import build, network

CRASHES = {
    "paddle": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "onnxruntime": "raise ImportError('libonnx.so: a part is missing\\nmore lines')",
    "openvino": "raise SystemExit(3)",
    "cv2": "__version__ = '0.0'",
}


@pytest.fixture(scope="module")
def printed(root, tmp_path_factory):
    """(exit code, text, stderr, JSON) for a user called gerda, with packages that fail and secrets in variables."""
    home = tmp_path_factory.mktemp("home") / "gerda"
    for name, code in CRASHES.items():
        (home / "libraries" / name).mkdir(parents=True)
        (home / "libraries" / name / "__init__.py").write_text(code)
    environment = {
        **os.environ,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "LOGNAME": "gerda",
        "PYTHONPATH": os.pathsep.join([str(home / "libraries"), str(root)]),
        "PPCLS_LIGHT_HOME": str(home / "weights"),
        "PPCLS_SERVING_TOKEN": "t0ps3cret",
        "https_proxy": "http://gerda:t0ps3cret@proxy.example:3128",
        "HTTP_PROXY": "gerda:t0ps3cret@proxy.example:3128",
        "ALL_PROXY": "socks5://gerda:t0p@t0ps3cret/x@proxy.example",
        "HF_ENDPOINT": "https://mirror.example/hub?token=t0ps3cret",
        "MY_PASSWORD": "t0ps3cret",
        "OMP_NUM_THREADS": "1",
    }

    def run(*flags):
        command = [sys.executable, "-m", "ppcls_light", "doctor", *flags]
        return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)

    text, other = run(), run("--json")
    assert text.returncode == other.returncode
    return text.returncode, text.stdout, text.stderr, json.loads(other.stdout)


def test_packages_that_fail_are_lines_and_the_exit_code_says_so(printed):
    code, text, errors, report = printed
    assert code == 1
    assert "Traceback" not in text + errors
    assert report["engines"]["onnxruntime"] == "does not start: ImportError: libonnx.so: a part is missing"
    assert report["engines"]["openvino"] == "does not start: SystemExit: 3"
    assert report["engines"]["native"].startswith(("usable, ", "not built yet; ", "not available: "))
    assert report["packages"]["numpy"] == metadata.version("numpy")
    mended = [finding["what"] for finding in report["findings"] if finding["breaks"]]
    assert any(what.startswith("onnxruntime is installed and cannot be imported: ") for what in mended)
    assert not any("cv2 is installed and cannot" in what for what in mended)
    for what in mended:
        assert f"  {what}\n    fix: " in text


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_library_that_kills_its_process_is_named(printed):
    assert printed[3]["engines"]["paddle"] == "does not start: its process dies of SIGKILL"


def test_the_text_does_not_tell_who_the_user_is(printed):
    _, text, _, report = printed
    for shown in (text, json.dumps(report)):
        assert "gerda" not in shown
        assert "t0ps3cret" not in shown
        assert "MY_PASSWORD" not in shown
    variables = report["environment variables"]
    assert variables["https_proxy"] == "http://proxy.example:3128"
    if os.name != "nt":  # where names of variables have no case
        assert variables["HTTP_PROXY"] == "proxy.example:3128"
    assert variables["ALL_PROXY"] == "socks5://proxy.example"
    assert variables["HF_ENDPOINT"] == "https://mirror.example/hub"
    assert variables["PPCLS_SERVING_TOKEN"] == "(set)"
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["PPCLS_LIGHT_HOME"] == f"~{os.sep}weights"


def test_a_folder_that_is_none_is_a_failure(tmp_path):
    told = probes.answer(probes.exported, str(tmp_path / "nowhere"))
    assert told.said is None
    assert told.failure.startswith(f"{tmp_path / 'nowhere'}: no such folder; ")


def test_the_cache_of_weights_is_counted_without_its_records(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path))
    assert probes.weights_cache() == (str(tmp_path), 0, 0)
    (tmp_path / "urls").mkdir()
    (tmp_path / "urls" / "a.pdparams").write_bytes(b"12345")
    (tmp_path / "urls" / "a.pdparams.sha256").write_bytes(b"1")
    assert probes.weights_cache() == (str(tmp_path), 1, 5)


def test_an_exported_folder_is_described(tmp_path):
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).write_bytes(b"{}")
    told = probes.exported(str(tmp_path))
    assert told == {"network": "without a name, format json, fp32", "engine.json": "nothing measured"}


def test_a_damaged_exported_folder_is_to_be_mended(tmp_path):
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).write_bytes(b"{}")
    digest = hashlib.sha256(b"as it was").hexdigest()
    (tmp_path / "inference.yml").write_text(
        "PreProcess: {transform_ops: [{ToCHWImage: null}]}\n"
        f"ppcls_light: {{files: {{inference.pdiparams: {digest}}}}}\n"
    )
    assert "inference.pdiparams is damaged" in probes.answer(probes.exported, str(tmp_path)).failure


def test_a_fact_that_cannot_be_had_is_a_line():
    assert facts.told(lambda: 1 / 0) == "not known (ZeroDivisionError: division by zero)"


def test_the_library_of_engine_native_is_loaded_or_says_why_not(native, monkeypatch, tmp_path):
    """Built, damaged, not built yet, and nothing that could build it."""
    assert probes.native() == f"usable, for {network.level().name}, {native}"
    damaged = tmp_path / "damaged.so"
    damaged.write_text("no library")
    with monkeypatch.context() as patch:
        patch.setattr(network, "prebuilt", lambda _: damaged)
        assert probes.native().startswith(f"not available: {damaged} does not load (")
    monkeypatch.setattr(network, "prebuilt", lambda _: tmp_path / "none.so")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert probes.native() == f"not built yet; it is when it is first needed, by {build.compiler()}"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probes.native().startswith("not available: there is no C++ compiler")


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_children")
def test_the_engines_of_this_environment_are_usable():
    report = examine()
    assert report.sections["engines"]["paddle"].startswith("usable, ")
    assert report.sections["machine"]["gpu"].split()[-1] != "asked"
    assert set(report.as_dict()) == {*report.sections, "findings"}
