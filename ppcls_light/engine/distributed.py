"""Device selection, seeding, communication between processes and stop signals of a run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from dataclasses import dataclass
from typing import Any, Collection, Iterator, Mapping

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn

from ..base.signals import StopSignals
from ..errors import ConfigError, DeviceError, UserError

_ACCELERATORS = ("gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps")


@dataclass(frozen=True)
class Runtime:
    """Device and rank of this process: `device` is the kind ("cpu", "gpu", ...), `rank` one of `world_size`."""

    device: str
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def start(device: str) -> Runtime:
    """Choose the device, join the other processes of a `paddle.distributed.launch`, and return a Runtime.

    Device "auto" takes a GPU when the build and the machine have one. Raises DeviceError: the installed Paddle was not
    built for the device, or the machine has none.
    """
    kind = choose_device(device, _available())
    paddle.set_device(own_device(kind, os.environ))
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        if kind == "cpu":
            # Where there are GPUs the launcher does not ask for gloo, and Paddle would move to a GPU here.
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
        dist.init_parallel_env()
    return Runtime(kind, dist.get_rank(), dist.get_world_size())


def own_device(kind: str, environ: Mapping[str, str]) -> str:
    """Return the device of this process as `paddle.set_device` takes it, "gpu:2" for example.

    The launcher gives each of its processes one of `--gpus` in FLAGS_selected_gpus, counted among the visible
    ones, and a single process all of them, of which it takes the first. Without a launcher it is number 0.
    """
    if kind == "cpu":
        return kind
    return f"{kind}:{environ.get(f'FLAGS_selected_{kind}s', '0').split(',')[0]}"


def choose_device(wanted: str, available: Collection[str]) -> str:
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


def require_device(kind: str, number: int = 0) -> None:
    """Raise DeviceError unless this Paddle and this machine have the GPU called `number`, where `kind` is "gpu"."""
    found = paddle.device.cuda.device_count() if paddle.device.is_compiled_with_cuda() else 0
    if kind == "gpu" and number >= found:
        raise DeviceError(
            f"device gpu: GPU {number} is wanted, and this paddlepaddle {paddle.__version__} finds {found}; use "
            'device="cpu", or install paddlepaddle-gpu'
        )


def _available() -> set[str]:
    found = set()
    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        found.add("gpu")
    if paddle.device.is_compiled_with_xpu():
        found.add("xpu")
    return found | {kind for kind in _ACCELERATORS if kind in paddle.device.get_all_custom_device_type()}


def seed_everything(*key: int) -> None:
    """Seed Paddle's generators from a tuple of whole numbers, the same on every machine and version.

    Called with (seed, rank, step) before each training step it makes dropout a pure function of the step:
    a resumed run needs no saved generator state.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    paddle.seed(int.from_bytes(digest[:4], "little"))


def sum_over_ranks(values: np.ndarray, runtime: Runtime) -> np.ndarray:
    """Return the element-wise sum of a float64 array over all processes (itself when there is one)."""
    if runtime.world_size == 1:
        return values
    total = paddle.to_tensor(values, dtype="float64")
    dist.all_reduce(total)
    return total.numpy()


def mean_over_ranks(values: Mapping[str, float], runtime: Runtime) -> dict[str, float]:
    """Return the means over all processes of a dict of numbers, whose keys are the same on each of them."""
    totals = sum_over_ranks(np.array(list(values.values()), "float64"), runtime)
    return dict(zip(values, (totals / runtime.world_size).tolist()))


def gather(value: Any, runtime: Runtime) -> list[Any]:
    """Return the `value` of every process, any object that pickles, in the order of the ranks."""
    if runtime.world_size == 1:
        return [value]
    values: list[Any] = []
    dist.all_gather_object(values, value)
    return values


@contextlib.contextmanager
def raise_on_all_ranks(runtime: Runtime) -> Iterator[None]:
    """Raise a UserError of any process on all processes when the block ends, so that no process waits for ever.

    Inside, the processes must not exchange anything.
    """
    error = None
    try:
        yield
    except UserError as own:
        error = own
    first = next(filter(None, gather(error, runtime)), None)
    if first is not None:
        raise first


def require_same(value: Any, runtime: Runtime, name: str) -> None:
    """Raise ConfigError, on every process, unless `value`, called `name`, is the same on all of them."""
    values = gather(value, runtime)
    if any(other != values[0] for other in values):
        shown = ", ".join(f"{other} on rank {rank}" for rank, other in enumerate(values))
        raise ConfigError(f"{name} is not the same for all processes: {shown}; all nodes need the same files")


def average_gradients(model: nn.Layer, runtime: Runtime) -> None:
    """Replace the gradients of `model` by their means over all processes, in one exchange per type."""
    by_type: dict[paddle.dtype, list[paddle.Tensor]] = {}
    for parameter in model.parameters():
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = paddle.concat([gradient.flatten() for gradient in gradients]).scale_(1 / runtime.world_size)
        dist.all_reduce(flat)
        sizes = [int(np.prod(gradient.shape)) for gradient in gradients]
        for gradient, mean in zip(gradients, paddle.split(flat, sizes)):
            gradient.set_value(mean.reshape(gradient.shape))


def broadcast_statistics(model: nn.Layer, runtime: Runtime) -> None:
    """Give every process the batch-norm statistics of rank 0: each sees its own batches, and they drift apart."""
    if runtime.world_size > 1:
        for tensor in model.state_dict().values():
            if tensor.stop_gradient:
                dist.broadcast(tensor, src=0)


def synchronise_batch_norms(model: nn.Layer, runtime: Runtime) -> nn.Layer:
    """Return `model` with batch norms over the batches of all processes (`Arch.use_sync_bn`); one needs no others.

    Raises DeviceError: several on CPU, where Paddle has no such kernel.
    """
    if runtime.world_size == 1:
        return model
    if runtime.device == "cpu":
        raise DeviceError("Arch.use_sync_bn: Paddle has none on CPU; use -o Arch.use_sync_bn=false")
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)


class CollectiveStopSignals(StopSignals):
    """Signals to all processes of a run that end it once the step is finished and saved."""

    def reached(self, runtime: Runtime) -> bool:
        """Return whether any process of the run has been signalled, and note it in `signal` on all of them.

        All call it after the same step: one that left on its own would break the next step of the others, and
        the main process could not save.
        """
        own = self.signal is not None
        if mean_over_ranks({"signalled": own}, runtime)["signalled"] and not own:
            self.signal = signal.SIGTERM
        return self.signal is not None
