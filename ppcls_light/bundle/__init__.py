"""Reading and writing of an exported folder: inference.yml, checksums and the ONNX file."""

from .folder import Bundle, read_bundle

__all__ = ["Bundle", "read_bundle"]
