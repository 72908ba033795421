"""OpenVINO's own format (IR), which its C++ and C programs and its smaller builds read without ONNX."""

from __future__ import annotations

import os

import numpy as np

from .target import Run, Target

FILES = {
    precision: (f"inference{suffix}.xml", f"inference{suffix}.bin")
    for precision, suffix in (("fp32", ""), ("fp16", ".fp16"))
}


def convert(onnx_file: str, folder: str, precision: str, images: np.ndarray) -> None:
    """Write the graph with any batch; fp16 is the weights' alone, and int8 that of the engine openvino."""
    from ...runtime.openvino_engine import ov

    model = ov.convert_model(onnx_file)
    ov.save_model(model, os.path.join(folder, FILES[precision][0]), compress_to_fp16=precision == "fp16")


def load(folder: str, precision: str, threads: int) -> Run:
    from ...runtime.openvino_engine import core, properties
    from ...runtime.options import EngineOptions

    options = EngineOptions(engine="openvino", cpu_threads=threads)
    compiled = core().compile_model(os.path.join(folder, FILES[precision][0]), "CPU", properties(options))
    request = compiled.create_infer_request()

    def run(image: np.ndarray) -> list[np.ndarray]:
        results = request.infer({0: image})
        return [results[index].copy() for index in range(len(results))]

    return run


TARGET = Target(
    name="openvino",
    title="OpenVINO",
    extra="openvino",
    packages=("openvino",),
    files=FILES,
    convert=convert,
    load=load,
    takes_photos=True,
)
