"""Combinations of versions that are known to fail or to mislead, each with its fix.

Measured in this project or reported in the projects' own issues; a line names what happens, not that it may.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Iterator, Mapping, NamedTuple, Sequence

_REQUIRED = ("numpy", "pillow", "PyYAML", "safetensors")  # and an OpenCV, as requirements.txt has them
_OPENCV = tuple(f"opencv-{kind}python{end}" for kind in ("", "contrib-") for end in ("", "-headless"))
_PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
_NEWEST_PYTHON = (3, 13)  # that Paddle 3.3 has wheels for


class Finding(NamedTuple):
    """Something to mend, or only good to know."""

    what: str
    fix: str
    breaks: bool = True


@dataclass(frozen=True)
class Installed:
    """Facts of an environment, which the rules look at."""

    python: tuple[int, ...]
    packages: Mapping[str, str] = field(default_factory=dict)  # {distribution: version}
    failures: Mapping[str, str] = field(
        default_factory=dict
    )  # {module that is installed and not imported: reason}
    gpus: Sequence[str] | None = None  # that Paddle sees; None in a build for CPUs
    nvidia: bool = False  # this machine has NVIDIA's driver
    variables: Mapping[str, str] = field(default_factory=dict)

    def release(self, *names: str) -> tuple[int, ...]:
        """Return the numbers of the version of the first of these distributions that is there, () for none."""
        return next((release(self.packages[name]) for name in names if name in self.packages), ())


def release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (3, 3, 1) of "3.3.1.post2"."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def findings(installed: Installed) -> list[Finding]:
    """Return what is known of such an environment, what breaks first."""
    found = [
        finding
        for rule in (_required, _paddle, _numpy, _opencv, _onnx, _paddlex, _imports, _gpu, _environment)
        for finding in rule(installed)
    ]
    return sorted(found, key=lambda finding: not finding.breaks)


def _required(installed: Installed) -> Iterator[Finding]:
    missing = [name for name in _REQUIRED if name not in installed.packages]
    if not any(name in installed.packages for name in _OPENCV):
        missing.append(_OPENCV[1])
    if missing:
        yield Finding(f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _paddle(installed: Installed) -> Iterator[Finding]:
    there = [name for name in _PADDLES if name in installed.packages]
    version = installed.release(*there)
    if not there:
        yield _no_paddle(installed)
    if len(there) == 2:
        yield Finding(
            "paddlepaddle and paddlepaddle-gpu are both installed, and share the folder paddle: their files are mixed",
            "pip uninstall -y paddlepaddle paddlepaddle-gpu, then install the one that you want",
        )
    if version and version < (2, 6, 2):
        yield Finding(
            f"Paddle {_dotted(version)} is older than 2.6.2, the oldest that is tested",
            f'pip install "{there[0]}>=2.6.2"',
        )
    if (2,) < version < (3,) and "setuptools" not in installed.packages:
        yield Finding("Paddle 2.6 needs setuptools when it runs", "pip install setuptools")
    if version in ((3, 3, 0), (3, 3, 1)):
        yield Finding(
            f"Paddle {_dotted(version)} cannot run some operators under oneDNN (Paddle issue 77340); the four families "
            "have none of them, and a folder that fails is run without oneDNN, with a warning",
            'for other networks: pip install "paddlepaddle==3.2.2", or Global.enable_mkldnn=false',
            breaks=False,
        )


def _no_paddle(installed: Installed) -> Finding:
    engines = [name for name in ("onnxruntime", "openvino") if name in installed.packages]
    enough = f"; {' and '.join(engines)} can run exported folders without it" if engines else ""
    fix = 'pip install "ppcls_light[cpu]"'
    if installed.python > _NEWEST_PYTHON:
        enough += f"; Paddle 3.3 has wheels for Python {_dotted(_NEWEST_PYTHON)} at most, and this is "
        enough += _dotted(installed.python)
        fix = f"make an environment with Python {_dotted(_NEWEST_PYTHON)}, and in it {fix}"
    return Finding(f"Paddle is not installed{enough}", fix, breaks=not engines)


def _numpy(installed: Installed) -> Iterator[Finding]:
    numpy, paddle = installed.release("numpy"), installed.release(*_PADDLES)
    if (2,) < paddle < (3,) and numpy >= (2, 3):
        yield Finding(
            f"NumPy {_dotted(numpy)} cannot be imported beside Paddle {_dotted(paddle)}",
            'pip install "numpy<2.3"',
        )
    elif numpy >= (2, 4):
        yield Finding(
            f"NumPy {_dotted(numpy)} takes no array of one element for a number: Paddle's dynamic loss scaling and "
            "paddle.flops end in a TypeError",
            'pip install "numpy<2.4"',
        )


def _opencv(installed: Installed) -> Iterator[Finding]:
    there = [name for name in _OPENCV if name in installed.packages]
    if len(there) > 1:
        versions = {installed.packages[name] for name in there}
        yield Finding(
            f"{' and '.join(there)} are all installed, and share the folder cv2: the last one installed is in it",
            f"pip uninstall -y {' '.join(there)}, then pip install {there[-1]}",
            breaks=len(versions) > 1,
        )


def _onnx(installed: Installed) -> Iterator[Finding]:
    converter = installed.release("paddle2onnx")
    if converter and converter < (2,) and installed.release(*_PADDLES) >= (3,):
        yield Finding(
            f"paddle2onnx {_dotted(converter)} cannot read what Paddle 3 exports",
            'pip install "paddle2onnx>=2.0"',
        )


def _paddlex(installed: Installed) -> Iterator[Finding]:
    version = installed.release("paddlex")
    if (3, 5, 2) <= version <= (3, 7, 2):
        yield Finding(
            f"PaddleX {_dotted(version)} lists the class ids of a whole batch for each of its images, and its server "
            "answers 500 for image classification",
            'pip install "paddlex>=3.3,<3.5"',
        )


def _imports(installed: Installed) -> Iterator[Finding]:
    for module, reason in installed.failures.items():
        yield Finding(
            f"{module} is installed and cannot be imported: {reason}", "install its package again, by pip"
        )


def _gpu(installed: Installed) -> Iterator[Finding]:
    has_paddle = bool(installed.release(*_PADDLES)) and "paddle" not in installed.failures
    if has_paddle and installed.gpus is None and installed.nvidia:
        yield Finding(
            "this machine has an NVIDIA GPU, and the installed Paddle is for CPUs: everything runs on the CPU",
            "pip uninstall -y paddlepaddle, then install paddlepaddle-gpu for your CUDA as paddlepaddle.org.cn says",
            breaks=False,
        )
    elif has_paddle and installed.gpus is not None and not installed.gpus:
        yield Finding(
            "Paddle is built for GPUs and sees none: everything runs on the CPU",
            "check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container add --gpus all to docker run",
            breaks=False,
        )


def _environment(installed: Installed) -> Iterator[Finding]:
    if installed.variables.get("FLAGS_enable_pir_api", "1").lower() in ("0", "false"):
        yield Finding(
            "FLAGS_enable_pir_api switches Paddle's new graphs off: exports are written as inference.pdmodel",
            "unset it, where nothing old has to read them",
            breaks=False,
        )
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        if name in installed.variables:
            yield Finding(
                f"{name}={installed.variables[name]} may hide instruction sets of this processor",
                "unset it, if it is not meant",
                breaks=False,
            )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
