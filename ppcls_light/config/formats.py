"""Names of the formats of an export; `--help` shows them, so that this imports nothing."""

from typing import Literal

# All but the first two are of other runtimes, see export/targets.
ExportFormat = Literal["paddle", "onnx", "openvino"]
