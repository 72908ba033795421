"""Compilers, flags and names by system. Only those of the system that runs the tests are tried."""

import subprocess

import pytest

from ppcls_light.ops import build, levels, network
from ppcls_light.ops.build import BuildError
from ppcls_light.ops.toolchain import toolchain


@pytest.mark.parametrize(
    ("system", "machine", "compilers", "processor", "suffix"),
    [
        ("Linux", "x86_64", ("c++", "g++", "clang++"), ("-march=native",), ".so"),
        ("Linux", "aarch64", ("c++", "g++", "clang++"), ("-mcpu=native",), ".so"),
        ("Darwin", "x86_64", ("c++", "clang++"), ("-march=native",), ".dylib"),
        ("Darwin", "arm64", ("c++", "clang++"), (), ".dylib"),
    ],
)
def test_a_compiler_its_flags_and_the_name_of_a_library(system, machine, compilers, processor, suffix):
    found = toolchain(system, machine)
    assert (found.compilers, found.processor, found.suffix) == (compilers, processor, suffix)


def test_macos_has_neither_the_options_of_gnus_linker_nor_openmp_in_the_driver(tmp_path):
    system = toolchain("Darwin", "arm64")
    compilations, link = levels.commands(system, "c++", levels.BASELINE, tmp_path, tmp_path / "native.dylib")
    assert link[-1] == str(tmp_path / "native.dylib")
    for option in ("--version-script", "--gc-sections", "-static-libgcc", "-s"):
        assert not any(option == part or option in part.split(",")[-1] for part in link), option
    assert not any("-fopenmp" in command for command in compilations)
    assert system.openmp[system.openmp.index("-fopenmp") - 1] == "-Xclang"


@pytest.mark.parametrize("system", ["Windows", "FreeBSD"])
def test_other_systems_compile_nothing_and_say_so(monkeypatch, system):
    monkeypatch.setattr(build.platform, "system", lambda: system)
    monkeypatch.setattr(build, "toolchain", lambda: toolchain(system, "AMD64"))
    for wanted in (build.library, lambda: network.library(levels.BASELINE)):
        with pytest.raises(BuildError, match=f"nothing is compiled on {system}"):
            wanted()


def test_a_processor_of_arm_has_no_instruction_sets_of_x86(monkeypatch):
    monkeypatch.setattr(build, "toolchain", lambda: toolchain("Linux", "aarch64"))
    assert build.kernel_flags() == ("-mcpu=native",)
    monkeypatch.setenv(build.MARCH, "x86-64-v3")
    with pytest.raises(BuildError, match="unset it"):
        build.kernel_flags()


def test_every_flag_of_this_system_is_one_of_the_compiler(tmp_path):
    try:
        system, compiler = build.system(), build.compiler()
    except BuildError as problem:
        pytest.skip(str(problem))
    source, target = tmp_path / "empty.cc", tmp_path / f"empty{system.suffix}"
    source.write_text("int empty;")
    names = [f"{system.exports}{levels.FOLDER / 'exports.map'}"] if system.exports else []
    flags = (*system.processor, *system.openmp)
    for link in (system.link, (*system.link_alone, *names)):
        command = [compiler, "-fPIC", *flags, *link, source, *system.openmp_library, "-o", target]
        subprocess.run(command, check=True)
        assert target.exists()
