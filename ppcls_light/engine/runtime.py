"""Device, processes, randomness and precision of a run: everything that depends on the machine."""

import contextlib
import hashlib
import os
from dataclasses import dataclass

import paddle
import paddle.distributed as dist

from ..errors import DeviceError
from .log import LOGGER

_ACCELERATORS = ("gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps")


@dataclass(frozen=True)
class Runtime:
    """Where this process runs: `device` as Paddle spells it, `rank` of `world_size` processes."""

    device: str
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self):
        return self.rank == 0


def start(device):
    """Choose the device, join the other processes of a `paddle.distributed.launch`, and return a Runtime.

    Args:
        device: `Global.device`; "auto" takes a GPU when the build and the machine have one.

    Raises:
        DeviceError: the installed Paddle was not built for the device, or the machine has none.
    """
    kind = choose_device(device, _available())
    paddle.set_device(kind)
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        dist.init_parallel_env()
    return Runtime(kind, dist.get_rank(), dist.get_world_size())


def choose_device(wanted, available):
    """Return the device to use out of `available` (a subset of the accelerators), or raise DeviceError."""
    if wanted == "cpu" or (wanted == "auto" and "gpu" not in available):
        return "cpu"
    if wanted == "auto":
        return "gpu"
    if wanted in available:
        return wanted
    package = "paddlepaddle-gpu" if wanted == "gpu" else f"a paddlepaddle built for {wanted}"
    raise DeviceError(
        f"Global.device: {wanted}: this paddlepaddle {paddle.__version__} was built without it or finds none; "
        f"use -o Global.device=cpu (or auto), or install {package}"
    )


def _available():
    found = set()
    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        found.add("gpu")
    if paddle.device.is_compiled_with_xpu():
        found.add("xpu")
    return found | {kind for kind in _ACCELERATORS if kind in paddle.device.get_all_custom_device_type()}


def seed_everything(*key):
    """Seed Paddle's generators from a tuple of whole numbers, the same on every machine and version.

    Called with (seed, rank, step) before each training step it makes dropout a pure function of the step:
    a resumed run needs no saved generator state.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    paddle.seed(int.from_bytes(digest[:4], "little"))


def sum_over_ranks(values, runtime):
    """Return the element-wise sum of a float64 array over all processes (itself when there is one)."""
    if runtime.world_size == 1:
        return values
    total = paddle.to_tensor(values, dtype="float64")
    dist.all_reduce(total)
    return total.numpy()


def broadcast_statistics(model, runtime):
    """Give every process rank 0's batch-norm statistics: each sees its own batches, and they drift apart."""
    if runtime.world_size > 1:
        for tensor in model.state_dict().values():
            if tensor.stop_gradient:
                dist.broadcast(tensor, src=0)


def synchronise_batch_norms(model, runtime):
    """Return `model` with batch norms over the batches of all processes (`Arch.use_sync_bn`).

    Raises:
        DeviceError: on CPU, where Paddle has no such kernel.
    """
    if runtime.device == "cpu":
        raise DeviceError("Arch.use_sync_bn: Paddle has none on CPU; use -o Arch.use_sync_bn=false")
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)


class Precision:
    """One path for fp32 and mixed precision: `autocast()`, `backward(loss)`, `step(optimizer)`.

    Args:
        amp: schema.AMPConfig or None.
        device: where the run is; on CPU Paddle's AMP does nothing, so a warning says that fp32 is used.
    """

    def __init__(self, amp, device):
        wanted = amp is not None and amp.use_amp
        if wanted and device == "cpu":
            LOGGER.warning("AMP.use_amp: Paddle has no mixed precision on CPU; this run is in fp32")
        self.enabled = wanted and device != "cpu"
        self.level = amp.level if self.enabled else "O0"
        self.scaler = paddle.amp.GradScaler(
            enable=self.enabled,
            init_loss_scaling=amp.scale_loss if self.enabled else 1.0,
            use_dynamic_loss_scaling=amp.use_dynamic_loss_scaling if self.enabled else False,
        )

    def decorate(self, model, optimizer):
        """Return model and optimizer ready for level O2 (fp16 weights, fp32 master copies); else unchanged."""
        if self.level == "O2":
            return paddle.amp.decorate(model, optimizer, level="O2", master_weight=True, save_dtype="float32")
        return model, optimizer

    def autocast(self):
        if not self.enabled:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(level=self.level)

    def backward(self, loss):
        self.scaler.scale(loss).backward()

    def step(self, optimizer):
        self.scaler.step(optimizer)
        self.scaler.update()
