import numpy as np
import paddle
import pytest
from paddle import nn


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


@pytest.fixture(scope="session")
def randomise():
    """Give every batch norm of a network random statistics and affine parameters, every classifier spread."""

    def apply(model, seed=0):
        rng = np.random.default_rng(seed)
        for layer in model.sublayers(include_self=True):
            if isinstance(layer, nn.BatchNorm2D):
                shape = layer._mean.shape
                layer._mean.set_value(rng.normal(0, 0.2, shape).astype("float32"))
                layer._variance.set_value(rng.uniform(0.3, 2, shape).astype("float32"))
                if layer.weight is not None:
                    layer.weight.set_value(rng.uniform(0.5, 1.5, shape).astype("float32"))
                    layer.bias.set_value(rng.normal(0, 0.2, shape).astype("float32"))
            elif isinstance(layer, nn.Linear):
                layer.weight.set_value(rng.normal(0, 0.3, layer.weight.shape).astype("float32"))
        return model

    return apply
