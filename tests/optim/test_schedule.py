"""The schedules against Paddle's schedulers, put together as PaddleClas does, at every step."""

import logging

import paddle.optimizer.lr as paddle_lr
import pytest

from ppcls_light.config.learning import ConstLR, Cosine, Linear, Piecewise, Step
from ppcls_light.errors import ConfigError
from ppcls_light.optim import build_schedule

EPOCHS, STEPS = 7, 5


class Constant(paddle_lr.LRScheduler):
    """PaddleClas' scheduler of this name."""

    def get_lr(self):
        return self.base_lr


CASES = {
    "cosine": (
        lambda **common: Cosine(0.3, eta_min=0.01, **common),
        lambda span, epoch: paddle_lr.CosineAnnealingDecay(0.3, span, eta_min=0.01),
    ),
    "linear": (
        lambda **common: Linear(0.3, end_lr=0.01, power=1.5, **common),
        lambda span, epoch: paddle_lr.PolynomialDecay(0.3, span, end_lr=0.01, power=1.5),
    ),
    "linear cycle": (
        lambda **common: Linear(0.3, end_lr=0.01, cycle=True, **common),
        lambda span, epoch: paddle_lr.PolynomialDecay(0.3, span, end_lr=0.01, cycle=True),
    ),
    "step": (
        lambda **common: Step(0.3, step_size=2, gamma=0.3, **common),
        lambda span, epoch: paddle_lr.StepDecay(0.3, 2 * epoch, gamma=0.3),
    ),
    "piecewise": (
        lambda **common: Piecewise(decay_epochs=[2, 3], values=[0.3, 0.1, 0.04], **common),
        lambda span, epoch: paddle_lr.PiecewiseDecay([2 * epoch, 3 * epoch], [0.3, 0.1, 0.04]),
    ),
    "constant": (lambda **common: ConstLR(0.3, **common), lambda span, epoch: Constant(0.3)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("warmup_epoch", [0, 1, 2])
@pytest.mark.parametrize("by_epoch", [False, True])
def test_equals_paddle(case, warmup_epoch, by_epoch):
    make_ours, make_paddle = CASES[case]
    epoch = 1 if by_epoch else STEPS
    reference = make_paddle((EPOCHS - warmup_epoch) * epoch, epoch)
    if warmup_epoch:
        reference = paddle_lr.LinearWarmup(reference, warmup_epoch * epoch, start_lr=0.001, end_lr=0.3)
    schedule = build_schedule(
        make_ours(warmup_epoch=warmup_epoch, warmup_start_lr=0.001, by_epoch=by_epoch), EPOCHS, STEPS
    )
    assert schedule.name == type(reference).__name__
    expected = []
    for step in range(EPOCHS * STEPS):
        expected.append(reference())
        if not by_epoch or (step + 1) % STEPS == 0:
            reference.step()
    assert [schedule(step) for step in range(EPOCHS * STEPS)] == pytest.approx(expected, rel=1e-12)


def test_cycle_starts_again_past_the_span():
    reference = paddle_lr.PolynomialDecay(0.3, EPOCHS * STEPS, end_lr=0.01, cycle=True)
    schedule = build_schedule(Linear(0.3, end_lr=0.01, cycle=True), EPOCHS, STEPS)
    for step in range(3 * EPOCHS * STEPS):
        assert schedule(step) == pytest.approx(reference(), rel=1e-12)
        reference.step()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("warmup_epoch", [EPOCHS, EPOCHS + 5])
def test_warmup_longer_than_the_run_is_cut_and_logged(case, warmup_epoch, caplog):
    with caplog.at_level(logging.WARNING, "ppcls_light"):
        schedule = build_schedule(CASES[case][0](warmup_epoch=warmup_epoch), EPOCHS, STEPS)
    assert "takes all 7 epochs" in caplog.text
    reference = paddle_lr.LinearWarmup(0.3, EPOCHS * STEPS, start_lr=0.0, end_lr=0.3)
    for step in range(EPOCHS * STEPS + 1):
        assert schedule(step) == pytest.approx(reference(), rel=1e-12)
        reference.step()


def test_any_order_gives_the_same_values():
    schedule = build_schedule(Cosine(0.1, warmup_epoch=1), EPOCHS, STEPS)
    forward = [schedule(step) for step in range(EPOCHS * STEPS)]
    assert [schedule(step) for step in reversed(range(EPOCHS * STEPS))] == forward[::-1]


def test_falling_warmup_is_an_error():
    with pytest.raises(ConfigError, match=r"warmup_start_lr 0\.5 is above learning_rate 0\.1"):
        build_schedule(Cosine(0.1, warmup_epoch=1, warmup_start_lr=0.5), EPOCHS, STEPS)
