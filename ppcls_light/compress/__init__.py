"""Smaller networks: filter pruning, and quantization-aware training for int8."""

from .prune import compression_report, prune
from .quantize import is_quantized, quantize

__all__ = ["compression_report", "is_quantized", "prune", "quantize"]
