"""Options of an inference engine."""

from dataclasses import dataclass
from typing import Literal, Optional, get_args

from ..config.values import EngineName, Precision
from ..errors import ConfigError

Device = Literal["cpu", "gpu"]
MOST_THREADS = 1024  # with many more OpenMP ends the process


@dataclass(frozen=True)
class EngineOptions:
    """Options of an inference engine; every field is set there explicitly.

    Attributes:
        engine: "paddle", "onnxruntime", "openvino", "native" (this package's own, for folders with inference.plan), or
            "auto": the fastest of them on this machine.
        device: "cpu" or "gpu"; `gpu_id` picks one of several, `gpu_mem` MiB are reserved on it at once.
        cpu_threads: threads of CPU operators; None: the physical cores.
        onednn: oneDNN (formerly MKL-DNN) in Paddle on the CPU. Off is 3 to 8 times slower on most networks;
            "auto" tries both.
        precision: "fp32"; "fp16" on a GPU; "bf16" on a CPU that has instructions for it; "int8"; "auto": the
            fastest that the export proved. A folder that is int8 alone is run as that.
        use_tensorrt: TensorRT on the GPU, for folders with inference.pdmodel.
        ir_optim: Paddle's graph optimisation.
        profile: Paddle's own operator profile, printed at the end of the process.
        batch_size: the batch that the engine is prepared for, None for none in particular; the largest one for
            TensorRT.

    Raises ConfigError: an engine, a device or a precision that there is not, no batch where there must be one, or more
    threads than OpenMP can start.
    """

    engine: EngineName = "paddle"
    device: Device = "cpu"
    gpu_id: int = 0
    gpu_mem: int = 8000
    cpu_threads: Optional[int] = None
    onednn: bool = True
    precision: Precision = "fp32"
    use_tensorrt: bool = False
    ir_optim: bool = True
    profile: bool = False
    batch_size: Optional[int] = 1

    @property
    def title(self) -> str:
        """Name of these options: "paddle fp32, oneDNN off"."""
        off = "" if self.onednn or self.engine != "paddle" else ", oneDNN off"
        return f"{self.engine} {self.precision}{off}"

    def __post_init__(self) -> None:
        for key, names in (("engine", EngineName), ("precision", Precision), ("device", Device)):
            if getattr(self, key) not in get_args(names):
                raise ConfigError(
                    f"there is no {key} {getattr(self, key)!r}; choose one of {', '.join(get_args(names))}"
                )
        if self.batch_size is not None and not (isinstance(self.batch_size, int) and self.batch_size > 0):
            raise ConfigError(
                f"batch_size is {self.batch_size!r}; it is a whole number of images from 1 on, such as 8"
            )
        if self.batch_size is None and (self.use_tensorrt or "auto" in (self.engine, self.precision)):
            raise ConfigError("batch_size=None is neither for TensorRT nor for auto, which measures a batch")
        if self.cpu_threads is not None and self.cpu_threads > MOST_THREADS:
            raise ConfigError(
                f"{self.cpu_threads} threads are too many; take the physical cores (leave Global.cpu_num_threads out)"
            )
