"""Export for Paddle Inference: python tools/export_model.py -c CONFIG -o Global.pretrained_model=FILE

With --format onnx also for ONNX Runtime, OpenVINO and others: inference.onnx beside the Paddle graph.
With --format openvino also for that runtime, proved in it; -o Global.export_precision=fp16 adds half precision.
With -o Global.export_preprocess=true for photos as they are decoded: resize, crop and normalisation are in the graph.
With -o Global.export_precision=int8 also in int8, for every engine that loses no more than --max-drop by it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light.commands import run_tool

if __name__ == "__main__":
    run_tool("export")
