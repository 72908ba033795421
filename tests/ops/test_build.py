"""Where the library comes from, and what happens where it cannot be built."""

import os
import subprocess
import sys

import pytest

from ppcls_light.base.machine import physical_cores
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.ops import build, training
from ppcls_light.ops.build import BuildError

ENABLE = "from ppcls_light.ops import training; print(training.enable())"


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing built and nothing loaded; returns the empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "load", build.load.__wrapped__)
    return tmp_path / "cache/ppcls_light/ops"


def compiler(folder, script):
    """Put a compiler that is a shell script into an otherwise empty folder, and return the folder as a PATH."""
    folder.mkdir()
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


@pytest.fixture
def builds(fresh, monkeypatch, tmp_path):
    """A compiler whose library holds the number of the build: a function that returns the library's path."""
    script = """echo >> builds
while [ $# -gt 1 ]; do [ "$1" = -o ] && wc -l < builds > "$2"; shift; done"""
    monkeypatch.setenv("PATH", f"{compiler(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return build.library


def test_a_library_is_built_once(builds, fresh):
    path = builds()
    before = path.read_bytes()
    assert builds() == path
    assert path.read_bytes() == before
    assert list(fresh.iterdir()) == [path]


@pytest.mark.parametrize("harm", ["cut", "flipped", "planted", "open", "linked"])
def test_a_library_that_is_not_as_it_was_built_is_built_again(builds, fresh, tmp_path, harm):
    path = builds()
    before = path.read_bytes()
    if harm == "cut":
        path.write_bytes(before[:-1])
    elif harm == "flipped":
        path.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    elif harm == "planted":  # under the name that a version without checksums would look for
        path = path.rename(fresh / f"{path.stem.rpartition('_')[0]}.so")
    elif harm == "open":
        path.chmod(0o777)
    else:
        path.rename(tmp_path / "elsewhere.so")
        path.symlink_to(tmp_path / "elsewhere.so")
    again = builds()
    assert again.read_bytes() != before
    assert list(fresh.iterdir()) == [again]
    assert not again.stat().st_mode & 0o022


def test_a_cache_that_others_can_write_is_closed(builds, fresh):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    builds()
    assert fresh.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("folder", ["ops", "ppcls_light"])
def test_a_cache_of_another_user_is_refused(builds, fresh, folder):
    builds()
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    os.chown(fresh if folder == "ops" else fresh.parent, 12345, -1)
    with pytest.raises(BuildError, match=f"{folder} belongs to another user; set XDG_CACHE_HOME"):
        build.library()


@pytest.mark.slow
def test_processes_that_build_at_once_end_with_one_library(own_operators, root, tmp_path):
    """By a compiler that takes its time and gives what the real one gave before."""
    script = f"""sleep 0.3
while [ $# -gt 1 ]; do [ "$1" = -o ] && cp "{build.existing()}" "$2"; shift; done"""
    environment = {
        **os.environ,
        "PATH": f"{compiler(tmp_path / 'bin', script)}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", ENABLE]
    options = {
        "cwd": root,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    processes = [subprocess.Popen(command, **options) for _ in range(2)]
    for process in processes:
        out, error = process.communicate()
        assert (process.returncode, out) == (0, "1\n"), error
    built = list((tmp_path / "ppcls_light/ops").iterdir())
    assert [path.suffix for path in built] == [".so"]
    changed = built[0].stat().st_mtime_ns
    for threads in (None, "3"):  # more than Paddle's import and its predictors leave
        environment.pop("OMP_NUM_THREADS", None)
        environment.update({"OMP_NUM_THREADS": threads} if threads else {})
        expected = f"{threads or physical_cores()}\n"
        assert subprocess.run(command, **options, check=True).stdout == expected
    assert built[0].stat().st_mtime_ns == changed


def test_no_compiler(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    with pytest.raises(BuildError, match=r"there is no C\+\+ compiler \(c\+\+, g\+\+, clang\+\+\) on PATH"):
        training.enable()
    assert not fresh.exists()


def test_no_paddle(fresh, monkeypatch):
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="Paddle is not installed"):
        build.library()


def test_a_build_that_fails_names_the_cause_and_leaves_its_output(fresh, monkeypatch, tmp_path):
    script = "echo 'kernels.h:1: error: no such machine'; echo more; exit 1"
    monkeypatch.setenv("PATH", compiler(tmp_path / "bin", script))
    with pytest.raises(BuildError, match=r"\(kernels.h:1: error: no such machine\); see .*\.log$") as caught:
        training.enable()
    (log,) = fresh.iterdir()
    assert str(log) in str(caught.value)
    assert log.read_text().endswith("error: no such machine\nmore\n")


def test_a_library_that_does_not_load(fresh, monkeypatch, tmp_path):
    script = 'while [ $# -gt 1 ]; do [ "$1" = -o ] && echo junk > "$2"; shift; done'
    monkeypatch.setenv("PATH", compiler(tmp_path / "bin", script))
    with pytest.raises(BuildError, match="does not load"):
        training.enable()


def test_a_cache_that_cannot_be_written(fresh, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("PATH", compiler(tmp_path / "bin", "exit 0"))
    with pytest.raises(BuildError, match="set XDG_CACHE_HOME to a folder that can be written"):
        training.enable()


def test_another_compiler_processor_or_flag_has_its_own_library(monkeypatch, tmp_path):
    one, other = (compiler(tmp_path / name, f"echo {name}") + "/c++" for name in ("one", "other"))
    key = build._key(one)
    assert key == build._key(one) != build._key(other)
    for name, value in (("_processor", lambda: "another"), ("FLAGS", ("-O1",))):
        with monkeypatch.context() as patch:
            patch.setattr(build, name, value)
            assert key != build._key(one)
    with monkeypatch.context() as patch:
        patch.setenv("PPCLS_LIGHT_MARCH", "x86-64-v3")
        assert key != build._key(one)
        patch.setenv("PPCLS_LIGHT_MARCH", "")  # as if it were not there
        assert key == build._key(one)
        patch.setenv("PPCLS_LIGHT_MARCH", "x86-64 -include /etc/passwd")
        with pytest.raises(BuildError, match=r"is none of native, x86-64, x86-64-v3, x86-64-v4; unset it"):
            build._key(one)
    assert key == build._key(one)


def test_training_without_a_compiler_warns_once_and_uses_paddle(fresh, monkeypatch, config_file, caplog):
    monkeypatch.setenv("PATH", str(fresh))
    run = Trainer(load_config(config_file), Runtime("cpu"))
    said = [record for record in caplog.records if "CPU operators" in record.message]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "Paddle's, which train slower: there is no C++ compiler" in said[0].message
    batch = next(run.reader.loader.epoch(0))
    assert float(run.train_step(batch)[-1]["loss"]) > 0


@pytest.mark.parametrize("setting", ["Global.cpu_ops=false", "Global.to_static=true"])
def test_training_that_wants_paddles_says_so(fresh, config_file, caplog, setting, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr("ppcls_light.base.mkl.helps", lambda *_: True)
    Trainer(load_config(config_file, [setting]), Runtime("cpu"))
    assert sum(record.message.startswith("kernels of MKL: ") for record in caplog.records) == 1
    said = [record.message for record in caplog.records if "CPU operators" in record.message]
    assert said == [f"CPU operators: Paddle's ({setting.replace('=', ': ')})"]
    assert not fresh.exists()


def test_a_library_is_built_again_for_another_file_of_the_compiler_alone(tmp_path):
    compiler, link = tmp_path / "compiler", tmp_path / "c++"
    compiler.write_text("1")
    link.symlink_to(compiler)
    first = build.key(str(link), b"source")
    assert build.key(str(compiler), b"source") == first != build.key(str(compiler), b"other")
    compiler.write_text("12")
    assert build.key(str(link), b"source") != first
