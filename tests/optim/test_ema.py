"""The moving average of the weights against numpy."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.optim import ExponentialMovingAverage
from ppcls_light.optim.ema import ema_decay


def test_the_decay_rises_to_its_limit_and_depends_on_the_update_alone():
    assert [ema_decay(0.9999, update) for update in (0, 1, 9, 90)] == [1 / 10, 2 / 11, 10 / 19, 91 / 100]
    assert ema_decay(0.9999, 10**6) == 0.9999
    assert ema_decay(0.5, 8) == 0.5


def network():
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(36, 2))


def arrays(model):
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def test_equals_numpy_for_weights_and_batch_norm_statistics():
    model, rng = network(), np.random.default_rng(0)
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters())
    ema = ExponentialMovingAverage(model, 0.4)
    expected = {key: value.astype("float64") for key, value in arrays(model).items()}
    for update in range(6):
        model(paddle.to_tensor(rng.normal(size=(8, 3, 5, 5)).astype("float32"))).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        ema.update(model, optimizer, update)
        decay = min(0.4, (1 + update) / (10 + update))
        for key, value in arrays(model).items():
            expected[key] = decay * expected[key] + (1 - decay) * value
    averaged = arrays(ema.model)
    assert averaged.keys() == expected.keys() >= {"1._mean", "1._variance"}
    for key, value in expected.items():
        np.testing.assert_allclose(averaged[key], value, rtol=2e-6, atol=1e-7, err_msg=key)
    assert np.abs(averaged["3.weight"] - arrays(model)["3.weight"]).max() > 1e-3
    assert not ema.model.training
    assert model.training


def test_the_average_of_half_precision_is_taken_from_the_float32_masters():
    model = network()
    ema = ExponentialMovingAverage(model, 0.9)
    before = arrays(model)
    model.to(dtype="float16")
    optimizer = paddle.optimizer.Momentum(0.1, parameters=model.parameters(), multi_precision=True)
    fine = before["3.weight"] + np.float32(1e-5)  # float16 cannot tell it from the weights
    optimizer._master_weights[model[3].weight.name] = paddle.to_tensor(fine)
    ema.update(model, optimizer, 10**6)
    averaged = arrays(ema.model)
    assert averaged["3.weight"].dtype == np.float32
    np.testing.assert_allclose(averaged["3.weight"], 0.9 * before["3.weight"] + 0.1 * fine, rtol=1e-6)
    rounded = 0.9 * before["0.weight"] + 0.1 * arrays(model)["0.weight"].astype("float32")
    np.testing.assert_allclose(averaged["0.weight"], rounded, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_equal_weights_stay_exactly_equal(decay):
    model = network()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    ema = ExponentialMovingAverage(model, decay)
    ema.update(model, optimizer, 100)
    for key, value in arrays(model).items():
        np.testing.assert_array_equal(arrays(ema.model)[key], value)
