"""Names of the formats of an export; `--help` shows them, so that this imports nothing."""

from typing import Literal

# web is a page, see export/web; those behind it are of other runtimes, see export/targets.
ExportFormat = Literal["paddle", "onnx", "web", "openvino", "ncnn", "mnn", "tflite"]
