"""`examine`: the facts, the answers of the probes and what is known of them, as text and for JSON."""

from __future__ import annotations

import getpass
import importlib.util
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Mapping

from ..base import mkl
from ..base.machine import processor_name
from . import facts, probes
from .known import Finding, Installed, findings
from .probes import Answer, ask

Sections = Mapping[str, Mapping[str, str]]

# Modules that are imported to see whether they can be, beside Paddle.
_IMPORTED = ("numpy", "cv2", "PIL", "yaml", "safetensors", "onnxruntime", "openvino", "paddle2onnx")
# Libraries of the inference engines, by the extra of setup.py that brings them.
_ENGINES = {"paddle": "cpu", "onnxruntime": "onnx", "openvino": "openvino"}
_AT_ONCE = 2
# Name and password of an address, with which some proxies are given without http://, and its query
_ACCESS = re.compile(r"(?<=//)\S*@|(?<!\S)[^\s/:@]+:(?!//)\S*@")
_QUERY = re.compile(r"(://[^\s?]*)\?\S*")


@dataclass(frozen=True)
class Report:
    """`sections` has the lines, {section: {name: text}}; `findings` what is known to fail, and what is good to know."""

    sections: Sections
    findings: list[Finding]

    @property
    def breaks(self) -> bool:
        """Return whether something is to be mended."""
        return any(finding.breaks for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON: the sections, and `findings`, a list of {what, fix, breaks}."""
        return {**self.sections, "findings": [finding._asdict() for finding in self.findings]}

    def __str__(self) -> str:
        lines = []
        for title, section in self.sections.items():
            width = max(map(len, section), default=0)
            lines += [title, *(f"  {name:<{width}}  {text}" for name, text in section.items()), ""]
        for title, breaks in (("to mend", True), ("good to know", False)):
            chosen = [finding for finding in self.findings if finding.breaks == breaks]
            for number, finding in enumerate(chosen):
                lines += [] if number else [title]
                lines += [f"  {finding.what}", f"    fix: {finding.fix}"]
        return "\n".join(lines if self.findings else [*lines, "nothing known to fail"])


def examine(folder: str | None = None) -> Report:
    """Return the report on this environment, and on an exported `folder`.

    It starts a process for each package that is imported, some seconds in all. Nothing in it ends in an exception.
    """
    modules = [name for name in _IMPORTED if _is_there(name)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paddle = pool.submit(ask, probes.paddle_build) if _is_there("paddle") else None
        imports = {name: pool.submit(ask, probes.version, name) for name in modules}
        weights, operators, native = (
            pool.submit(ask, probe) for probe in (probes.weights_cache, probes.operators, probes.native)
        )
        exported = pool.submit(ask, probes.exported, folder) if folder else None
    answers = {name: future.result() for name, future in imports.items()}
    if paddle:
        answers["paddle"] = paddle.result()
    packages, variables = facts.packages(), facts.variables()
    sections = {
        "ppcls_light": {"version": facts.version(), "source": facts.told(facts.source)},
        "machine": _machine(answers.get("paddle")),
        "packages": packages,
        "engines": {
            **{name: _engine(name, answers) for name in _ENGINES},
            "native": _native(native.result()),
        },
        "caches": {"weights": _weights(weights.result()), "operators": _operators(operators.result())},
        **({"exported folder": _exported(exported.result())} if exported else {}),
        "environment variables": variables,
    }
    said = answers.get("paddle", Answer()).said
    unreadable = exported.result().failure if exported else ""
    installed = Installed(
        sys.version_info[:2],
        packages,
        {name: answer.failure for name, answer in answers.items() if answer.failure},
        said and said["gpus"],
        facts.has_nvidia(),
        variables,
    )
    hide = _Hider()
    return Report(
        {title: {name: hide(text) for name, text in section.items()} for title, section in sections.items()},
        [
            *(
                [Finding(hide(unreadable), "name an exported folder, or export it again")]
                if unreadable
                else []
            ),
            *(Finding(hide(what), fix, breaks) for what, fix, breaks in findings(installed)),
        ],
    )


def _is_there(module: str) -> bool:
    """Return whether a module is installed; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _machine(paddle: Answer | None) -> dict[str, str]:
    return {
        "python": facts.told(facts.python),
        "system": facts.told(facts.system),
        "processor": facts.told(processor_name),
        "instruction sets": facts.told(facts.instruction_sets),
        "precisions": facts.told(facts.precisions),
        "cores": facts.told(facts.cores),
        "kernels of MKL": facts.told(mkl.kernels),
        "memory": facts.told(facts.memory),
        "disk": facts.told(facts.disk),
        "gpu": _gpu(paddle),
    }


def _gpu(paddle: Answer | None) -> str:
    driver = "NVIDIA driver" if facts.has_nvidia() else "no NVIDIA driver"
    if paddle is None or paddle.failure:
        return f"{driver}; Paddle cannot be asked"
    if paddle.said["gpus"] is None:
        return f"{driver}; Paddle is a build for CPUs"
    names = ", ".join(paddle.said["gpus"]) or "none that Paddle sees"
    return f"{names}; Paddle is built for CUDA {paddle.said['cuda']}, cuDNN {paddle.said['cudnn']}"


def _engine(name: str, answers: Mapping[str, Answer]) -> str:
    answer = answers.get(name)
    if answer is None:
        return f'not installed; pip install "ppcls_light[{_ENGINES[name]}]"'
    version = answer.said["version"] if name == "paddle" and answer.said else answer.said
    return f"does not start: {answer.failure}" if answer.failure else f"usable, {version}"


def _native(answer: Answer) -> str:
    return f"does not start: {answer.failure}" if answer.failure else answer.said


def _weights(answer: Answer) -> str:
    if answer.failure:
        return f"not known ({answer.failure})"
    folder, count, size = answer.said
    return f"{folder}: {count} file{'' if count == 1 else 's'}, {size / 1e6:.1f} MB"


def _operators(answer: Answer) -> str:
    if answer.failure:
        return f"not known ({answer.failure})"
    compiler, library = answer.said
    if not compiler:
        return f"not available: {library}"
    return f"{f'built, {library}' if library else 'not built yet; they are when they are first needed'}, by {compiler}"


def _exported(answer: Answer) -> dict[str, str]:
    return {"cannot be read": answer.failure} if answer.failure else answer.said


class _Hider:
    """Leaves out of a text what tells who the user is: the home folder, the user's name, passwords in addresses."""

    def __init__(self) -> None:
        homes = {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))} - {"~", "/", ""}
        self._homes = sorted(homes, key=len, reverse=True)
        try:
            user = getpass.getuser()
        except (KeyError, OSError, ImportError):
            user = ""
        # Names as short as that of root are parts of other words, and tell nobody.
        self._user = (
            re.compile(rf"(?<![\w.-]){re.escape(user)}(?![\w.-])") if user not in ("", "root") else None
        )

    def __call__(self, text: str) -> str:
        for home in self._homes:
            text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
        if self._user:
            text = self._user.sub("USER", text)
        return _QUERY.sub(r"\1", _ACCESS.sub("", text))
