"""The schedules against Paddle's schedulers, put together as PaddleClas does, at every step."""

import logging

import paddle.optimizer.lr as paddle_lr
import pytest

from ppcls_light.config.optim import (
    ConstLR,
    Cosine,
    Cyclic,
    Linear,
    MultiStepDecay,
    OneCycleLR,
    Piecewise,
    ReduceOnPlateau,
    Step,
)
from ppcls_light.errors import ConfigError
from ppcls_light.optim import build_schedule

EPOCHS, STEPS = 7, 5


class Constant(paddle_lr.LRScheduler):
    """PaddleClas' scheduler of this name."""

    def get_lr(self):
        return self.base_lr


CYCLE = {"base_learning_rate": 0.3, "max_learning_rate": 0.9, "step_size_up": 3, "step_size_down": 5}
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
    "multi step": (
        lambda **common: MultiStepDecay(0.3, milestones=[1, 3], gamma=0.3, **common),
        lambda span, epoch: paddle_lr.MultiStepDecay(0.3, [epoch, 3 * epoch], gamma=0.3),
    ),
    **{
        f"cyclic {mode}": (
            lambda mode=mode, **common: Cyclic(mode=mode, **CYCLE, exp_gamma=0.9, **common),
            lambda span, epoch, mode=mode: paddle_lr.CyclicLR(**CYCLE, exp_gamma=0.9, mode=mode),
        )
        for mode in ("triangular", "triangular2", "exp_range")
    },
    "cyclic symmetric": (
        lambda **common: Cyclic(base_learning_rate=0.3, max_learning_rate=0.5, step_size_up=4, **common),
        lambda span, epoch: paddle_lr.CyclicLR(0.3, 0.5, 4),
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


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("phase_pct", [0.1, 0.3])
def test_one_cycle_equals_paddle(anneal_strategy, three_phase, phase_pct):
    keys = {"max_learning_rate": 0.4, "divide_factor": 10.0, "end_learning_rate": 1e-5}
    keys.update(phase_pct=phase_pct, anneal_strategy=anneal_strategy, three_phase=three_phase)
    schedule = build_schedule(OneCycleLR(**keys), EPOCHS, STEPS)
    reference = paddle_lr.OneCycleLR(total_steps=EPOCHS * STEPS, **keys)
    assert schedule.name == "OneCycleLR"
    for step in range(EPOCHS * STEPS):
        assert schedule(step) == pytest.approx(reference(), rel=1e-12)
        reference.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10])
def test_one_cycle_of_a_short_run_stays_between_its_rates(steps):
    schedule = build_schedule(OneCycleLR(max_learning_rate=0.4, phase_pct=0.25), 1, steps)
    assert all(0 < schedule(step) <= 0.4 for step in range(steps))
    assert schedule(steps) == schedule(steps - 1)  # past the end it stays there


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ReduceOnPlateau(learning_rate=0.1, factor=0.5),
            "use Cosine or MultiStepDecay, and Global.early_stop",
        ),
        (lambda: OneCycleLR(max_learning_rate=0.1, warmup_epoch=5), "leave warmup_epoch out"),
        (lambda: OneCycleLR(max_learning_rate=0.1, learning_rate=0.2), "0.2 is not max_learning_rate 0.1"),
        (lambda: OneCycleLR(max_learning_rate=0.1, three_phase=True, phase_pct=0.5), "use 0.3"),
        (lambda: OneCycleLR(), "needs max_learning_rate; for example"),
        (lambda: Cyclic(base_learning_rate=0.1), "needs base_learning_rate, max_learning_rate and"),
        (lambda: MultiStepDecay(0.1, milestones=[3, 1]), r"needs rising milestones; for example .*\[30"),
    ],
)
def test_what_makes_no_schedule_is_said_in_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


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
