"""Settings of MKL by processor; docs/benchmarks.md has no number of what they gain, which takes a processor of AMD."""

import subprocess
import sys

import pytest

from ppcls_light.base.mkl import kernels, switch_mkl

PROCESSOR = "processor\t: {}\nvendor_id\t: {}\nmodel name\t: A\nflags\t\t: fpu {}\n\n"


@pytest.fixture
def cpuinfo(tmp_path):
    """A function that writes the description of a machine with two processors, and returns its path."""

    def write(vendor, flags):
        path = tmp_path / "cpuinfo"
        path.write_text("".join(PROCESSOR.format(number, vendor, flags) for number in range(2)))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("vendor", "flags", "environment", "expected"),
    [
        ("AuthenticAMD", "avx avx2 fma", {}, "5"),
        ("AuthenticAMD", "avx avx2 fma avx512f", {}, "5"),
        ("AuthenticAMD", "avx", {}, None),
        ("AuthenticAMD", "avx2_of_another_name", {}, None),
        ("GenuineIntel", "avx avx2 fma", {}, None),
        ("HygonGenuine", "avx avx2 fma", {}, None),
        ("AuthenticAMD", "avx2", {"PPCLS_LIGHT_MKL_SWITCH": "0"}, None),
        ("AuthenticAMD", "avx2", {"PPCLS_LIGHT_MKL_SWITCH": "1"}, "5"),
        ("AuthenticAMD", "avx2", {"MKL_DEBUG_CPU_TYPE": "4"}, "4"),
        ("AuthenticAMD", "avx2", {"MKL_DEBUG_CPU_TYPE": ""}, ""),
    ],
)
def test_the_switch_is_set_where_it_helps_and_never_over_the_users(
    cpuinfo, vendor, flags, environment, expected
):
    path, environment = cpuinfo(vendor, flags), dict(environment)
    switch_mkl(environment, path)
    assert environment.get("MKL_DEBUG_CPU_TYPE") == expected
    assert ("PPCLS_LIGHT_MKL_SWITCH=0" in kernels(environment, path)) == (expected == "5")


def test_without_a_description_of_the_processor_nothing_is_set(tmp_path):
    environment = {}
    switch_mkl(environment, str(tmp_path / "missing"))
    assert environment == {}
    assert kernels(environment, str(tmp_path / "missing")) == "as it chooses"


IMPORT = """
import builtins, io, sys
before = builtins.open
amd = "vendor_id : AuthenticAMD\\nflags : avx2\\n\\n"
builtins.open = lambda path, *rest, **kwargs: (
    io.StringIO(amd) if path == "/proc/cpuinfo" else before(path, *rest, **kwargs)
)
import ppcls_light
import os, subprocess
assert "paddle" not in sys.modules
child = "import os; print(os.environ['MKL_DEBUG_CPU_TYPE'])"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_the_import_of_the_package_sets_it_before_paddles_for_children_too(root):
    command = [sys.executable, "-c", IMPORT]
    environment = {"PATH": "", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("5\n", "")
