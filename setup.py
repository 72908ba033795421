"""Packaging. Paddle itself is an extra: CPU and GPU builds are different packages that exclude each other."""

import platform
import re
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "ppcls_light/__init__.py").read_text(encoding="utf-8"))[
    1
]

EXTRAS = {
    "cpu": ["paddlepaddle>=2.6.2"],
    "gpu": ["paddlepaddle-gpu>=2.6.2"],
    "onnxruntime": ["onnxruntime>=1.19"],  # which runs an inference.onnx without Paddle
    "onnx": [
        "paddle2onnx>=2.0",  # with Paddle 3
        "onnxruntime>=1.19",
        # For ONNX Runtime's quantizer; its last version for Python 3.9 needs what onnx 1.18 lacks.
        *["ml_dtypes>=0.3", 'onnx>=1.17,<1.18; python_version < "3.10"'],
    ],
    "openvino": ["openvino>=2024.0"],
    "ncnn": ["ncnn>=1.0.20240820"],  # its converter, pnnx, is installed without what it asks for: torch
    "mnn": ["MNN>=3.4"],  # 3.2 differs by more than 1e-4
    "int8": ["nncf>=2.14"],
    "litert": ["ai-edge-litert>=2.1", 'ai-edge-quantizer>=0.10; python_version >= "3.10"'],
    "heif": ["pillow-heif>=0.15"],
    "serving": [
        *["fastapi>=0.115.7", "starlette>=0.44", "python-multipart>=0.0.18"],
        *["uvicorn>=0.29", "prometheus-client>=0.17"],
    ],
    "batch": ["ray[data]>=2.30", "pyarrow>=10"],
    # later PaddleX (3.5.2 to 3.7.2) lists a whole batch's class ids for each image
    "paddlex": [
        "paddlex>=3.3,<3.5",
        "opencv-contrib-python==4.10.0.84",
        "pypdfium2>=4",
    ],  # the one OpenCV it takes
    "faiss": ["faiss-cpu>=1.8"],
    "visual": ["visualdl>=2.5.1"],
    "tensorboard": ["tensorboardX>=2.6"],
    "wandb": ["wandb>=0.16"],
    "plot": ["matplotlib>=3.8"],
    "search": ["optuna>=3.6", "matplotlib>=3.8"],
    "explain": ["matplotlib>=3.8", "scikit-image>=0.22"],
    "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.29", "mkdocs-jupyter>=0.25"],
    "test": [
        *["pytest>=7.4", "pytest-xdist>=3.2", "hypothesis>=6.100"],
        *[
            "scikit-learn>=1.4",
            "scikit-image>=0.22",
            "matplotlib>=3.8",
            "visualdl>=2.5.1",
            "tensorboardX>=2.6",
        ],
    ],
}
EXTRAS["notebooks"] = [
    *["ipykernel>=6.29", "jupytext>=1.16", "nbclient>=0.10", "nbformat>=5.9"],
    *EXTRAS["explain"],
]
EXTRAS["package"] = ["build>=1.0", "check-jsonschema>=0.35", "setuptools>=64", "twine>=5", "wheel>=0.40"]
EXTRAS["teacher"] = [*EXTRAS["onnx"], "scikit-learn>=1.4"]
EXTRAS["dev"] = [
    "mypy>=1.10",
    *["ruff>=0.6", "httpx>=0.25", "playwright>=1.45", 'schemathesis>=4.30; python_version >= "3.10"'],
    *(
        need
        for name in [
            "test",
            "onnx",
            "openvino",
            "ncnn",
            "mnn",
            "litert",
            "int8",
            "heif",
            "serving",
            "batch",
            "package",
            "docs",
            "notebooks",
            "search",
        ]
        for need in EXTRAS[name]
    ),
]


TOOLCHAIN = runpy.run_path(str(ROOT / "ppcls_light/ops/toolchain.py"))["toolchain"]()
COMPILER = next(filter(None, map(shutil.which, TOOLCHAIN.compilers)), None) if TOOLCHAIN else None
# The engine `native` is compiled for the wheel on Linux on these; elsewhere, and without a compiler, on first use.
MACHINES = ("x86_64", "aarch64")
COMPILES = sys.platform == "linux" and platform.machine() in MACHINES and COMPILER is not None


class BuildWithConfigs(build_py):
    """Put `configs/` into the wheel as `ppcls_light/configs/`, and the libraries of the engine `native`.

    An editable install reads the configs where they stand, and compiles on first use what is edited.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "ppcls_light"
        shutil.rmtree(package / "configs", ignore_errors=True)  # of an earlier build, whose files may be gone
        shutil.copytree(ROOT / "configs", package / "configs", ignore=shutil.ignore_patterns("README.md"))
        if COMPILES:
            try:
                build_native(package / "ops" / "native", Path(self.get_finalized_command("build").build_temp))
            except (OSError, subprocess.CalledProcessError) as problem:
                self.warn(f"the engine native is compiled on first use, not now: {problem}")


def build_native(folder, scratch):
    """Compile the library of the engine `native` for each instruction set into `folder`."""
    levels = runpy.run_path(str(ROOT / "ppcls_light/ops/levels.py"))
    compilations, links = [], []
    for level in levels["LEVELS"]:
        objects = scratch / level.name
        objects.mkdir(parents=True, exist_ok=True)
        compile_all, link = levels["commands"](
            TOOLCHAIN, COMPILER, level, objects, folder / f"{level.name}.so"
        )
        compilations += compile_all
        links.append(link)
    with ThreadPoolExecutor() as pool:
        for commands in (compilations, links):
            list(pool.map(subprocess.check_call, commands))


class BinaryWheel(bdist_wheel):
    """A wheel for any Python 3 on this system: the libraries are not extensions of Python."""

    def get_tag(self):
        if not COMPILES:
            return super().get_tag()
        name, version = platform.libc_ver()
        # A library needs no later version of glibc than the one that it was linked with.
        manylinux = f"manylinux_{version.replace('.', '_')}" if name == "glibc" else "linux"
        return "py3", "none", f"{manylinux}_{platform.machine()}"


class BinaryDistribution(Distribution):
    """One with libraries, where they are compiled."""

    def has_ext_modules(self):
        return COMPILES


setup(
    name="ppcls_light",
    version=VERSION,
    description="Lightweight image classification on PaddlePaddle: train, export, serve",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    cmdclass={"build_py": BuildWithConfigs, "bdist_wheel": BinaryWheel},
    distclass=BinaryDistribution,
    packages=find_packages(include=["ppcls_light", "ppcls_light.*"]),
    package_data={
        "ppcls_light": ["labels/*.txt", "py.typed"],
        "ppcls_light.datasets": ["files/*"],
        "ppcls_light.export.web": ["static/*"],
        "ppcls_light.models": ["costs.csv"],
        "ppcls_light.ops": [
            "*.cc",
            "*.h",
            "kernels/*.cc",
            "kernels/*.h",
            "native/*.cc",
            "native/*.h",
            "native/*.map",
        ],
        "ppcls_light.serve": ["static/*"],
        "ppcls_light.weights": ["published.yaml"],
    },
    entry_points={"console_scripts": ["ppcls-light = ppcls_light.commands:main"]},
    python_requires=">=3.9",
    install_requires=(ROOT / "requirements.txt").read_text().split(),
    extras_require=EXTRAS,
    keywords="image classification, PaddlePaddle, PP-LCNet, FasterNet, MicroNet, EdgeNeXt, inference",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
