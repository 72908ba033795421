"""Smaller networks: filter pruning, and int8 by quantization-aware training or by calibration."""

from .calibrate import calibrate
from .prune import compression_report, prune
from .quantize import is_quantized, quantize

__all__ = ["calibrate", "compression_report", "is_quantized", "prune", "quantize"]
