"""Packaging. Paddle itself is an extra: CPU and GPU builds are different packages that exclude each other."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "ppcls_light/__init__.py").read_text())[1]

setup(
    name="ppcls_light",
    version=VERSION,
    description="Lightweight image classification on PaddlePaddle: train, export, serve",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["ppcls_light", "ppcls_light.*"]),
    package_data={"ppcls_light.ops": ["*.cc", "*.h"]},
    python_requires=">=3.9",
    install_requires=(ROOT / "requirements.txt").read_text().split(),
    extras_require={
        "cpu": ["paddlepaddle>=2.6.2"],
        "gpu": ["paddlepaddle-gpu>=2.6.2"],
        "onnx": ["paddle2onnx>=2.0", "onnxruntime>=1.17"],
        "openvino": ["openvino>=2024.0"],
        "visual": ["visualdl>=2.5"],
        "tensorboard": ["tensorboardX>=2.6"],
        "wandb": ["wandb>=0.16"],
        "plot": ["matplotlib>=3.5"],
        "dev": [
            *["pytest>=7", "pytest-xdist>=3", "ruff>=0.6"],
            *["scikit-learn>=1.2", "matplotlib>=3.5", "visualdl>=2.5", "tensorboardX>=2.6"],
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
