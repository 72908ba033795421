"""Export for Paddle Inference: python tools/export_model.py -c CONFIG -o Global.pretrained_model=FILE

With --format onnx also for ONNX Runtime, OpenVINO and others: inference.onnx beside the Paddle graph.
With -o Global.export_precision=int8 also in int8, for every engine that loses no more than --max-drop by it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli

OPTIONS = [
    (
        ["--format"],
        {
            "choices": ["paddle", "onnx"],
            "help": "paddle (default): Paddle's graph alone; onnx: inference.onnx beside it",
        },
    ),
    (
        ["--max-drop"],
        {
            "type": float,
            "metavar": "POINTS",
            "help": "percentage points of top-1 that bf16 and int8 may lose under Global.export_precision=int8 (1.0)",
        },
    ),
    (
        ["--operators"],
        {"action": "store_true", "help": "print how many operators the graph has as trained and as exported"},
    ),
]


if __name__ == "__main__":
    cli.run_job("export", __doc__, OPTIONS)
