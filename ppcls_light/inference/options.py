"""What an engine can be told."""

from dataclasses import dataclass
from typing import Literal, Optional


@dataclass(frozen=True)
class EngineOptions:
    """How to run a network; every field is said to the engine explicitly.

    Attributes:
        engine: "paddle", "onnxruntime" or "openvino".
        device: "cpu" or "gpu"; `gpu_id` picks one of several, `gpu_mem` MiB are reserved on it at once.
        cpu_threads: threads of CPU operators; None: the physical cores.
        onednn: oneDNN (formerly MKL-DNN) on the CPU. Off is 3 to 8 times slower.
        precision: "fp32", or "fp16" on a GPU; a folder that is int8 is run as that.
        use_tensorrt: TensorRT on the GPU, for folders with inference.pdmodel.
        ir_optim: Paddle's graph optimisation.
        profile: Paddle's own operator profile, printed at the end of the process.
        batch_size: the largest batch TensorRT plans for.
    """

    engine: Literal["paddle", "onnxruntime", "openvino"] = "paddle"
    device: Literal["cpu", "gpu"] = "cpu"
    gpu_id: int = 0
    gpu_mem: int = 8000
    cpu_threads: Optional[int] = None
    onednn: bool = True
    precision: Literal["fp32", "fp16"] = "fp32"
    use_tensorrt: bool = False
    ir_optim: bool = True
    profile: bool = False
    batch_size: int = 1
