"""ncnn, a runtime for phones and boards: pnnx, its converter, reads ONNX.

A network of ncnn has no batch: blobs are (C, H, W), `in0` the image and `out0`, `out1`, ... the outputs in order.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from ...base.files import write_text
from ...errors import ExportError
from .target import Run, Target, fixed_to_one_image

FILES = {
    precision: (f"inference{suffix}.ncnn.param", f"inference{suffix}.ncnn.bin")
    for precision, suffix in (("fp32", ""), ("fp16", ".fp16"))
}

# Lines that pnnx writes for any batch, and their form for one image: (batch, C, 1, 1) is an expression, on which ncnn
# before 2026 ends the process, and a sum over axis 1, EdgeNeXt's of tokens, loses its axis and would add up nothing.
FOR_ONE_IMAGE = {
    r'12=0 13=0 6="1,1,//\((\d+),0n\),0n"': r"0=1 1=1 2=\1",
    r"^(Reduction .*) -23303=0 ": r"\1 -23303=1,0 ",
}


def convert(onnx_file: str, folder: str, precision: str, images: np.ndarray) -> None:
    """Write the network's layers, as text, and its weights, of which fp16 is half as large."""
    model, shape = fixed_to_one_image(onnx_file)
    with tempfile.TemporaryDirectory() as scratch:
        file = os.path.join(scratch, "network.onnx")
        with open(file, "wb") as stream:
            stream.write(model.SerializeToString())
        sizes = ",".join(map(str, shape))
        command = [_pnnx(), file, f"inputshape=[{sizes}]f32", f"fp16={int(precision == 'fp16')}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, errors="replace")
        made = [os.path.join(scratch, f"network.ncnn.{suffix}") for suffix in ("param", "bin")]
        if done.returncode or not all(map(os.path.isfile, made)):
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
            raise ExportError(f"pnnx (exit {done.returncode}): {lines[-1]}")
        with open(made[0], encoding="utf-8") as layers:
            text = layers.read()
        for line, form in FOR_ONE_IMAGE.items():
            text = re.sub(line, form, text, flags=re.MULTILINE)
        write_text(made[0], text)
        for source, name in zip(made, FILES[precision]):
            shutil.move(source, os.path.join(folder, name))


def _pnnx() -> str:
    """Return the path of the program; importing its package would import torch, which ONNX files do not need."""
    spec = importlib.util.find_spec("pnnx")
    (folder,) = (spec and spec.submodule_search_locations) or [""]
    return os.path.join(folder, "pnnx.exe" if sys.platform == "win32" else "pnnx")


def load(folder: str, precision: str, threads: int) -> Run:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_vulkan_compute = False
    if precision == "fp32":  # by default ncnn rounds to half precision where the processor computes in it
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        network.opt.use_bf16_storage = False
    for name, read in zip(FILES[precision], (network.load_param, network.load_model)):
        if read(os.path.join(folder, name)):
            raise ExportError(f"ncnn cannot read {name}")
    outputs = sorted(network.output_names(), key=lambda name: int(name[len("out") :]))

    def run(image: np.ndarray) -> list[np.ndarray]:
        extractor = network.create_extractor()
        extractor.input("in0", ncnn.Mat(np.ascontiguousarray(image[0], np.float32)).clone())
        found = []
        for name in outputs:
            status, values = extractor.extract(name)
            if status:
                raise ExportError(f"ncnn computes no {name} (status {status})")
            found.append(np.array(values)[None])
        return found

    return run


TARGET = Target(
    name="ncnn",
    title="ncnn",
    extra="ncnn",
    packages=("pnnx", "ncnn"),
    files=FILES,
    convert=convert,
    load=load,
    install='pip install "ppcls_light[ncnn]" && pip install --no-deps "pnnx>=20261020" (torch is not needed)',
)
