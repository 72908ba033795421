"""The exported folder: inference.yml, the checksums and the ONNX file. Training writes it, running reads it."""

from .folder import Bundle, read_bundle

__all__ = ["Bundle", "read_bundle"]
