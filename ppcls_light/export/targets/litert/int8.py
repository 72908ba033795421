"""int8 of a TFLite file by Google's quantizer: weights per channel, activations in ranges that images show."""

from __future__ import annotations

import numpy as np

from ....errors import ExportError
from .conversion import FLOAT
from .graph import CONSTANT


def quantized(content: bytes, images: np.ndarray) -> bytes:
    """Return the file in int8 with floats at both ends. Norms and softmax stay in fp32.

    Args:
        content: of a file in fp32.
        images: (N, H, W, C), prepared.

    Raises:
        ExportError: the quantizer is not installed.
    """
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
    except ImportError:
        raise ExportError(
            "int8 needs ai-edge-quantizer, which is there for Python 3.10 and later; "
            'pip install "ppcls_light[litert]"'
        ) from None
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    work = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    kinds = qtyping.TFLOperationName
    floats = [
        (".*", kinds.INPUT),
        (".*", kinds.OUTPUT),
        (".*", kinds.SOFTMAX),
        (f"{FLOAT}.*", kinds.ALL_SUPPORTED),
    ]
    for names, kind in floats:
        work.update_quantization_recipe(names, kind, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return bytes(work.quantize(_ranges(content, images), enable_progress_report=False).quantized_model)


def _ranges(content: bytes, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return the least and greatest element of each tensor over the images. The quantizer's own are moving averages."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    details = interpreter.get_tensor_details()
    # Without names are those of kernels' own; constants have ranges per channel, which the quantizer finds.
    tensors = [
        one
        for one in details
        if one["dtype"] == np.float32 and one["name"] and not one["name"].startswith(CONSTANT)
    ]
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {one["name"]: [] for one in tensors}
    for image in images:
        interpreter.set_tensor(entry, image[None])
        interpreter.invoke()
        for one in tensors:
            values = interpreter.get_tensor(one["index"])
            found[one["name"]].append((values.min(keepdims=True), values.max(keepdims=True)))
    return {
        name: {
            "min": np.min([low for low, _ in ends], axis=0),
            "max": np.max([high for _, high in ends], axis=0),
        }
        for name, ends in found.items()
    }
