"""LiteRT's format (TFLite), which phones run; written by this package, and made int8 by Google's quantizer.

onnx2tf, the common converter from ONNX, brings TensorFlow and pins versions that paddle2onnx's exclude.
"""

from __future__ import annotations

import os

import numpy as np

from ..target import Run, Target

FILES = {
    precision: (f"inference{suffix}.tflite",)
    for precision, suffix in (("fp32", ""), ("fp16", ".fp16"), ("int8", ".int8"))
}


def convert(onnx_file: str, folder: str, precision: str, images: np.ndarray) -> None:
    """Write the graph for one image. In fp16 the weights are halved; int8 is of weights per channel and activations."""
    from .conversion import converted
    from .int8 import quantized
    from .static import static

    content = converted(static(onnx_file), precision)
    if precision == "int8":
        content = quantized(content, channels_last(images))
    with open(os.path.join(folder, FILES[precision][0]), "wb") as file:
        file.write(content)


def channels_last(images: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as (N, H, W, C)."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def load(folder: str, precision: str, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(os.path.join(folder, FILES[precision][0]), num_threads=threads)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    exits = [one["index"] for one in interpreter.get_output_details()]

    def run(image: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(entry, channels_last(image))
        interpreter.invoke()
        return [interpreter.get_tensor(number) for number in exits]

    return run


TARGET = Target(
    name="tflite",
    title="LiteRT",
    extra="litert",
    packages=("ai_edge_litert",),
    files=FILES,
    convert=convert,
    load=load,
    layout="NHWC",
)
