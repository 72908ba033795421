"""What is known of combinations of versions; the versions are made up, so that no test depends on this environment."""

import pytest

from ppcls_light.doctor.known import Installed, findings, release

GOOD = {
    "numpy": "2.3.5",
    "pillow": "13.0.0",
    "PyYAML": "6.0.4",
    "safetensors": "0.8.0",
    "opencv-python-headless": "5.0.0.93",
    "paddlepaddle": "3.2.2",
    "paddle2onnx": "2.1.0",
    "setuptools": "80.0",
}


def installed(packages=(), without=(), python=(3, 11), **others):
    there = {name: version for name, version in {**GOOD, **dict(packages)}.items() if name not in without}
    return Installed(python, there, **others)


def test_nothing_is_said_of_a_good_environment():
    assert findings(installed()) == []
    assert findings(installed({"paddlepaddle": "2.6.2", "numpy": "1.26.4", "paddle2onnx": "1.3.1"})) == []
    assert findings(installed({"paddlex": "3.4.3"})) == []
    assert (
        findings(installed({"paddlepaddle-gpu": "3.2.2"}, ["paddlepaddle"], gpus=["H200"], nvidia=True)) == []
    )


@pytest.mark.parametrize(
    ("environment", "what", "fix"),
    [
        (installed({"numpy": "2.4.1"}), "NumPy 2.4.1 takes no array of one element", '"numpy<2.4"'),
        (installed({"paddlepaddle": "2.6.2"}), "NumPy 2.3.5 cannot be imported beside", '"numpy<2.3"'),
        (
            installed({"paddlepaddle-gpu": "3.2.2"}),
            "are both installed, and share the folder paddle",
            "uninstall -y",
        ),
        (
            installed({"paddlepaddle": "2.6.2", "numpy": "1.26.4"}, ["setuptools"]),
            "Paddle 2.6 needs setuptools",
            "pip install setuptools",
        ),
        (
            installed({"paddlepaddle": "2.5.0", "numpy": "1.26.4"}),
            "older than 2.6.2",
            '"paddlepaddle>=2.6.2"',
        ),
        (
            installed({"opencv-python": "4.10.0.84"}),
            "share the folder cv2",
            "pip uninstall -y opencv-python ",
        ),
        (installed({"paddle2onnx": "1.2.11"}), "cannot read what Paddle 3 exports", "paddle2onnx>=2.0"),
        (installed({"paddlex": "3.5.2"}), "lists the class ids of a whole batch", '"paddlex>=3.3,<3.5"'),
        (installed({"paddlex": "3.7.2"}), "lists the class ids of a whole batch", '"paddlex>=3.3,<3.5"'),
        (installed(without=["paddlepaddle"]), "Paddle is not installed", '"ppcls_light[cpu]"'),
        (
            installed(without=["paddlepaddle"], python=(3, 14)),
            "at most, and this is 3.14",
            "with Python 3.13",
        ),
        (installed(without=["numpy", "pillow"]), "not installed: numpy, pillow", "pip install numpy pillow"),
        (
            installed(failures={"cv2": "libGL.so.1"}),
            "cv2 is installed and cannot be imported: libGL.so.1",
            "again",
        ),
    ],
)
def test_what_fails_is_named_with_its_fix(environment, what, fix):
    (found,) = findings(environment)
    assert what in found.what
    assert fix in found.fix
    assert found.breaks


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        (installed({"paddlepaddle": "3.3.1"}), "Paddle 3.3.1 cannot run some operators under oneDNN"),
        (installed({"paddlepaddle": "3.3.0"}), "Paddle 3.3.0 cannot run some operators under oneDNN"),
        (
            installed({"openvino": "2026.4.1"}, ["paddlepaddle"]),
            "openvino can run exported folders without it",
        ),
        (installed({"opencv-python": GOOD["opencv-python-headless"]}), "share the folder cv2"),
        (installed(nvidia=True), "the installed Paddle is for CPUs"),
        (installed({"paddlepaddle-gpu": "3.2.2"}, ["paddlepaddle"], gpus=[]), "built for GPUs and sees none"),
        (installed(variables={"FLAGS_enable_pir_api": "0"}), "written as inference.pdmodel"),
        (installed(variables={"ONEDNN_MAX_CPU_ISA": "AVX2"}), "ONEDNN_MAX_CPU_ISA=AVX2 may hide"),
    ],
)
def test_what_is_good_to_know_is_no_fault(environment, what):
    (found,) = findings(environment)
    assert what in found.what
    assert found.fix
    assert not found.breaks


def test_what_breaks_comes_first():
    found = findings(installed({"paddlepaddle": "3.3.1", "numpy": "2.4.0"}))
    assert [finding.breaks for finding in found] == [True, False]


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("3.3.1", (3, 3, 1)), ("3.0.0rc1", (3, 0, 0)), ("2.6.2.post120", (2, 6, 2)), ("dev", ())],
)
def test_numbers_of_a_version(version, numbers):
    assert release(version) == numbers
