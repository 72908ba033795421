"""The library that runs plans, step by step against Paddle's own operators and numpy."""

import ctypes.util
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from ppcls_light.base.machine import processor_flags
from ppcls_light.ops import network
from ppcls_light.ops.build import BuildError
from ppcls_light.ops.levels import LEVELS
from ppcls_light.ops.network import Network
from ppcls_light.ops.plan import (
    AddHeld,
    Factorized,
    Hold,
    Linear,
    PlanError,
    Pointwise,
    Pool,
    ShiftMax,
    Sigmoid,
    Softmax,
    encode,
)

CHANNELS, CLASSES = 12, 70


@pytest.fixture(params=LEVELS, ids=lambda level: level.name)
def native(request, monkeypatch):
    """The library for each of this processor's instruction sets."""
    if not request.param.needs <= processor_flags():
        pytest.skip(f"this processor has no {request.param.name}")
    try:
        library = network.loaded(network.library(request.param))
    except BuildError as problem:
        pytest.skip(f"the library does not build here: {problem}")
    monkeypatch.setattr(network, "_library", lambda: library)


class Draw:
    """Random steps; each call draws on."""

    def __init__(self, seed):
        self._rng = np.random.RandomState(seed)

    def array(self, *shape):
        return self._rng.standard_normal(shape).astype("float32") / np.sqrt(np.prod(shape[1:]) or 1)

    def factorized(self, inputs, middles, outputs, groups, kernel=(3, 3), stride=(1, 1), relu6=False):
        return Factorized(
            self.array(middles, inputs // groups, kernel[0], 1),
            self.array(middles),
            self.array(outputs, 1, 1, kernel[1]),
            self.array(outputs),
            groups,
            stride,
            (kernel[0] // 2, kernel[1] // 2),
            relu6,
        )

    def pointwise(self, inputs, outputs, groups=1, relu6=False):
        mask = np.kron(np.eye(groups), np.ones((outputs // groups, inputs // groups)))
        return Pointwise((self.array(outputs, inputs) * mask).astype("float32"), self.array(outputs), relu6)

    def shift_max(self, channels, fusions, hidden=8):
        count = 2 * fusions * channels
        return ShiftMax(
            self._rng.permutation(channels),
            self.array(hidden, channels),
            self.array(hidden),
            4 * self.array(count, hidden),
            self.array(count),
            tuple(self._rng.standard_normal(2 * fusions)),
        )

    def network(self, *steps, relu6=False):
        """Return the steps between a first convolution and a head, all of them for CHANNELS channels."""
        first = self.factorized(3, 4, CHANNELS, 1, relu6=relu6)
        head = [Pool(relu6), Linear(self.array(CHANNELS, CLASSES), self.array(CLASSES))]
        return [first, *steps, *head]


def reference(steps, images):
    """Do what the docstrings of the steps say, in float64."""
    x, held = images.astype("float64"), None
    for step in steps:
        if isinstance(step, Factorized):
            (down, across), (above, before) = step.stride, step.padding
            x = convolve(x, step.column, step.column_bias, (down, 1), (above, 0), step.groups)
            x = convolve(x, step.row, step.row_bias, (1, across), (0, before), x.shape[1])
        elif isinstance(step, Pointwise):
            x = convolve(x, step.weight[:, :, None, None], step.bias)
        elif isinstance(step, ShiftMax):
            x = shift_max(step, x)
        elif isinstance(step, Hold):
            held = x
        elif isinstance(step, AddHeld):
            x = x + held
        elif isinstance(step, Pool):
            x = hardswish((x.clip(0, 6) if step.relu6 else x).mean((2, 3)))
        elif isinstance(step, Linear):
            x = hardswish(x @ step.weight + step.bias)
        else:
            powers = np.exp(x)
            x = powers / (1 + powers if isinstance(step, Sigmoid) else powers.sum(1, keepdims=True))
        if isinstance(step, (Factorized, Pointwise)) and step.relu6:
            x = x.clip(0, 6)
    return x


def hardswish(x):
    return x * (x + 3).clip(0, 6) / 6


def convolve(x, weight, bias, stride=1, padding=0, groups=1):
    tensors = (paddle.to_tensor(array.astype("float64")) for array in (x, weight, bias))
    return F.conv2d(*tensors, stride, padding, groups=groups).numpy()


def shift_max(step, x):
    hidden = (x.mean((2, 3)) @ step.squeeze.T + step.squeeze_bias).clip(0)
    coefficients = (hidden @ step.excite.T + step.excite_bias).clip(-2, 2)
    coefficients = coefficients.reshape(len(x), len(step.centres), -1, 1, 1)
    coefficients = coefficients + np.reshape(step.centres, (-1, 1, 1, 1))
    shifted = x[:, step.shift]
    fusions = range(0, len(step.centres), 2)
    return np.max([coefficients[:, k] * x + coefficients[:, k + 1] * shifted for k in fusions], axis=0)


def changed_integers(plan):
    """Yield the plan with each integer of it replaced, one at a time."""
    begin = len(plan) - 4 * int(np.frombuffer(plan, "<u8", 1, 24)[0])
    for place in range(begin, len(plan), 4):
        old = int(np.frombuffer(plan, "<i4", 1, place)[0])
        for new in {old + 1, old - 1, -1, 0, 2**31 - 1, -(2**31)} - {old}:
            if -(2**31) <= new < 2**31:
                yield plan[:place] + np.int32(new).tobytes() + plan[place + 4 :]


def run(steps, images, threads=1):
    return Network(encode(steps)).run(images, threads)


def assert_equals_the_reference(steps, batch=2, size=(20, 24)):
    images = np.random.RandomState(0).standard_normal((batch, 3, *size)).astype("float32")
    expected = reference(steps, images)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(run(steps, images), expected, atol=2e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (5, 3)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (1, 3), (16, 16)], ids=str)
def test_factorized_convolutions(native, kernel, stride):
    """Depthwise, with a multiple of outputs, and dense; planes narrower and wider than a vector."""
    draw = Draw(sum(kernel) + 10 * sum(stride))
    for size in ((9, 7), (16, 16), (33, 40)):
        for middles, outputs, groups in ((12, 12, 12), (12, 24, 12), (24, 24, 12), (6, 12, 2)):
            step = draw.factorized(CHANNELS, middles, outputs, groups, kernel, stride, relu6=groups == 2)
            assert_equals_the_reference(draw.network(step, draw.pointwise(outputs, CHANNELS)), size=size)


def test_middles_that_are_the_same_are_computed_once(native):
    draw = Draw(0)
    step = draw.factorized(CHANNELS, 12, 12, 12)
    twice = np.repeat(np.arange(12), 2)
    repeated = Factorized(
        step.column[twice],
        step.column_bias[twice],
        draw.array(24, 1, 1, 3),
        draw.array(24),
        12,
        (1, 1),
        (1, 1),
        False,
    )
    integers, floats = repeated.encode()
    assert integers[7:10] == [12, 1, 2]  # middles, inputs and outputs of each
    assert sum(map(len, floats)) == 12 * (3 + 1) + 24 * (3 + 1)
    assert_equals_the_reference(draw.network(repeated, draw.pointwise(24, CHANNELS)))


def test_middles_of_which_some_are_the_same(native):
    draw = Draw(0)
    step = draw.factorized(CHANNELS, 24, 24, 12)
    for array in (step.column, step.column_bias):
        array[1] = array[0]
    assert_equals_the_reference(draw.network(step, draw.pointwise(24, CHANNELS)))


@pytest.mark.parametrize("groups", [1, 2, 3, 12])
def test_pointwise_convolutions_in_groups(native, groups):
    draw = Draw(groups)
    for outputs in (12, 24, 36, 60):
        steps = draw.pointwise(CHANNELS, outputs, groups), draw.pointwise(outputs, CHANNELS, relu6=True)
        assert_equals_the_reference(draw.network(*steps), size=(7 * groups, 7))
    _, floats = draw.pointwise(CHANNELS, 24, groups).encode()
    assert sum(map(len, floats)) == 24 * CHANNELS // groups + 24


@pytest.mark.parametrize("fusions", [1, 2])
def test_dynamic_shift_max(native, fusions):
    draw = Draw(fusions)
    for size in ((5, 5), (20, 24)):
        assert_equals_the_reference(draw.network(draw.shift_max(CHANNELS, fusions)), size=size)


def test_shortcuts_relu6_and_probabilities(native):
    draw = Draw(0)
    layers = [draw.factorized(12, 12, 12, 12), draw.shift_max(12, 2), draw.pointwise(12, 12)]
    shortcuts = [Hold(), *layers, AddHeld(), Hold(), *layers[::-1], AddHeld()]
    assert_equals_the_reference(draw.network(*shortcuts, relu6=True))
    for last in (Softmax(), Sigmoid()):
        steps = [*draw.network(*shortcuts), Linear(draw.array(CLASSES, 5), draw.array(5)), last]
        assert_equals_the_reference(steps)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 9])
def test_any_batch_and_any_threads_give_the_same_numbers(native, batch):
    """With more threads than images they share each image."""
    draw = Draw(0)
    steps = draw.network(Hold(), draw.shift_max(12, 2), draw.factorized(12, 12, 12, 12), AddHeld())
    images = np.random.RandomState(0).standard_normal((batch, 3, 32, 32)).astype("float32")
    one_by_one = np.concatenate([run(steps, images[n : n + 1]) for n in range(batch)])
    made = Network(encode(steps))
    for threads in (1, 2, 3, 4):
        np.testing.assert_array_equal(made.run(images, threads), one_by_one)


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (0, 3, 32, 32), (1, 3, 0, 32)], ids=str)
def test_only_rgb_images(native, shape):
    with pytest.raises(ValueError, match="RGB"):
        run(Draw(0).network(), np.zeros(shape, "float32"))


def test_threads_of_python_share_the_weights_and_run_at_once(native):
    steps = Draw(0).network()
    images = np.random.RandomState(0).standard_normal((4, 1, 3, 32, 32)).astype("float32")
    first = Network(encode(steps))
    expected = [first.run(one, 1) for one in images]
    made = [first, first, *(first.clone() for _ in range(2))]  # two of them by turns
    del first
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            found = pool.map(lambda of, one: of.run(one, 2), made, images)
            np.testing.assert_array_equal(list(found), expected)


def test_a_fork_runs_with_threads_of_its_own(native):
    """Those of the parent are not there, and its lock may be held for ever."""
    made, images = Network(encode(Draw(0).network())), np.ones((1, 3, 32, 32), "float32")
    expected = made.run(images, 2)
    child = os.fork()
    if child == 0:
        try:
            np.testing.assert_array_equal(made.run(images, 2), expected)
            np.testing.assert_array_equal(made.clone().run(images, 3), expected)
            made._finalizer()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(made.run(images, 2), expected)


def test_a_file_that_is_another_library_is_refused():
    other = ctypes.util.find_library("m")
    if other is None:
        pytest.skip("no other library is found here")
    with pytest.raises(BuildError, match="delete it"):
        network.loaded(Path(other))


def test_a_plan_that_was_cut_is_refused(native):
    plan = encode(Draw(0).network())
    for length in (0, 10, 63, 64, 65, 68, 1000, len(plan) - 4, len(plan) - 1):
        with pytest.raises(PlanError):
            Network(plan[:length])
    with pytest.raises(PlanError, match="length"):
        Network(plan + bytes(4))


def test_a_plan_made_by_hand_is_refused_or_runs_within_its_arrays(native):
    """Every integer in turn is another; what is read past an array, a sanitizer finds in test_sanitize.py."""
    draw = Draw(0)
    layers = [draw.factorized(12, 6, 12, 2), draw.shift_max(12, 2), draw.pointwise(12, 12, 3)]
    plan = encode([*draw.network(Hold(), *layers, AddHeld()), Softmax()])
    images = np.zeros((1, 3, 9, 9), "float32")
    refused = 0
    for changed in changed_integers(plan):
        try:
            assert Network(changed).run(images, 1).shape[0] == 1
        except PlanError:
            refused += 1
    assert refused > 500


BAD = {
    "a 1x1 convolution that does not fit 12 channels": lambda draw: [draw.pointwise(8, 12)],
    "groups that do not fit 12 channels": lambda draw: [draw.factorized(8, 8, 8, 8)],
    "a 1xk convolution that is not depthwise": lambda draw: [draw.factorized(12, 12, 18, 12)],
    "coefficients that do not fit 12 channels": lambda draw: [draw.shift_max(8, 1)],
    "a shortcut of another size": lambda draw: [
        Hold(),
        draw.pointwise(12, 8),
        AddHeld(),
        draw.pointwise(8, 12),
    ],
    "a shortcut of another size ?": lambda draw: [
        Hold(),
        draw.factorized(12, 12, 12, 12, stride=(2, 1)),
        AddHeld(),
    ],
    "an unknown stride": lambda draw: [draw.factorized(12, 12, 12, 12, stride=(17, 1))],
    "a shortcut within a shortcut": lambda draw: [Hold(), Hold()],
    "a linear layer before the pooling": lambda draw: [Softmax()],
}


@pytest.mark.parametrize("reason", BAD)
def test_steps_that_do_not_fit_are_refused(reason):
    draw = Draw(0)
    assert len(encode(draw.network())) > 64
    with pytest.raises(PlanError, match=reason):
        encode(draw.network(*BAD[reason](draw)))


def test_networks_without_a_head_or_a_first_convolution_are_refused():
    draw = Draw(0)
    with pytest.raises(PlanError, match="no convolution in front"):
        encode(draw.network()[1:])
    with pytest.raises(PlanError, match="something else than linear layers"):
        encode([*draw.network()[:-1], Softmax()])
    with pytest.raises(PlanError, match="an unknown stride or padding"):
        encode(draw.network(draw.factorized(12, 12, 12, 12, kernel=(4, 3))))
