"""Mixed precision: one path for float32, float16 and bfloat16."""

from __future__ import annotations

import contextlib
from typing import Any, ContextManager, Mapping

import paddle
from paddle import nn
from paddle.optimizer import Optimizer

from ..config.schema import AMPConfig
from .log import LOGGER


class Precision:
    """One path for fp32 and mixed precision: `autocast()`, `backward(loss)`, `step(optimizer)`.

    Sources: Micikevicius et al., arXiv 1710.03740 (float16, loss scaling); Kalamkar et al., arXiv 1905.12322
    (bfloat16, which has the range of float32 and needs none).

    On CPU, where Paddle's AMP does nothing, a warning says that fp32 is used. `level` is "O0" (float32), "O1" (float32
    weights) or "O2" (half-precision weights with float32 masters); `skipped` counts the updates left out because a
    gradient did not fit into float16.
    """

    def __init__(self, amp: AMPConfig | None, device: str) -> None:
        if amp is not None and not amp.use_amp:
            amp = None
        if amp is not None and device == "cpu":
            LOGGER.warning("AMP.use_amp: Paddle has no mixed precision on CPU; this run is in fp32")
            amp = None
        self._amp, self.level, self.skipped = amp, amp.level if amp else "O0", 0
        if amp is not None and amp.dtype == "float16":
            self.scaler = paddle.amp.GradScaler(
                init_loss_scaling=amp.scale_loss, use_dynamic_loss_scaling=amp.use_dynamic_loss_scaling
            )
        else:
            self.scaler = paddle.amp.GradScaler(enable=False)

    @property
    def scores_in_float32(self) -> bool:
        """True if evaluation needs float32 weights while training has others."""
        return self._amp is not None and self.level == "O2" and not self._amp.use_fp16_test

    def decorate(self, model: nn.Layer, optimizer: Optimizer) -> tuple[nn.Layer, Optimizer]:
        """Return model and optimizer ready for level O2; else unchanged."""
        if self._amp is None or self.level != "O2":
            return model, optimizer
        return paddle.amp.decorate(
            model, optimizer, level="O2", dtype=self._amp.dtype, master_weight=True, save_dtype="float32"
        )

    def autocast(self) -> ContextManager[None]:
        """Return the context of a forward pass in training."""
        if self._amp is None:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(
            level=self.level, dtype=self._amp.dtype, use_promote=self._amp.use_promote
        )

    def evaluation(self) -> ContextManager[None]:
        """Return the context of a forward pass in evaluation: float32 unless `AMP.use_fp16_test`."""
        return self.autocast() if self._amp and self._amp.use_fp16_test else contextlib.nullcontext()

    def backward(self, loss: paddle.Tensor) -> None:
        """Add the gradients of `loss`, scaled, to those that are there."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: Optimizer) -> bool:
        """Update the weights and return True; leave them, count that and return False if a gradient overflowed.

        Gradients are unscaled before the optimizer clips them. Those of all processes are averaged by then, so
        that an overflow in one shows in all, and all decide alike.
        """
        self.scaler.unscale_(optimizer)
        overflow = self.scaler.is_enable() and bool(self.scaler._found_inf)
        self.scaler.step(optimizer)
        self.scaler.update()
        self.skipped += overflow
        return not overflow

    def state_dict(self) -> dict[str, Any]:
        """Return the loss scale and the count of skipped updates as plain values, for a checkpoint."""
        return {**self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; a run that had no loss scale leaves the configured one."""
        self.skipped = state.get("skipped", 0)
        scale = {key: value for key, value in state.items() if key != "skipped"}
        if scale:
            self.scaler.load_state_dict(scale)
        elif self.scaler.is_enable():
            LOGGER.info("the checkpoint has no loss scale; starting with AMP.scale_loss")
