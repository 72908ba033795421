"""A training on the project's CPU operators, and what leaves it."""

import numpy as np
import paddle
import pytest

from ppcls_light import create_model
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.export.static import save_static

FAMILIES = ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_equals_paddles(own_operators, name):
    """Loss, running statistics and gradients, dropout aside, which draws from the same seed."""
    paddle.seed(0)
    model = create_model(name, class_num=5)
    x, labels = paddle.randn([3, 3, 64, 64]), paddle.to_tensor([0, 3, 1])
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    steps = []
    for chosen in (own_operators.enable, own_operators.disable):
        chosen()
        model.set_state_dict(state)
        model.train()
        paddle.seed(1)
        loss = paddle.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        gradients = {key: p.grad.numpy() for key, p in model.named_parameters() if p.grad is not None}
        running = {key: value.numpy() for key, value in model.state_dict().items() if "._" in key}
        steps.append((float(loss), gradients, running))
        model.clear_gradients()
    (ours, gradients, running), (theirs, expected, expected_running) = steps
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert list(gradients) == list(expected)
    largest = max(np.abs(value).max() for value in expected.values())
    for key, value in expected.items():
        # The rounding of a layer passes through all the batch norms before it.
        assert np.abs(gradients[key] - value).max() <= 1e-3 * largest, key
    for key, value in expected_running.items():
        np.testing.assert_allclose(running[key], value, rtol=1e-3, atol=1e-4, err_msg=key)


def test_the_network_that_was_trained_exports_as_paddles_operators(
    own_operators, config_file, tmp_path, caplog
):
    caplog.set_level("INFO")
    run = Trainer(load_config(config_file), Runtime("cpu"))
    assert "CPU operators: the project's" in caplog.text
    run.train_step(next(run.reader.loader.epoch(0)))
    folder = tmp_path / "static"
    folder.mkdir()
    if save_static(run.model, str(folder), [3, 32, 32]) == "json":
        graph = (folder / "inference.json").read_text()
    else:  # Paddle 2 also lists there every operator that the process knows
        program = paddle.jit.load(str(folder / "inference")).program()
        graph = " ".join(op.type for op in program.global_block().ops)
    assert "depthwise_conv2d" in graph
    assert "ppcls" not in graph


def test_evaluation_is_on_the_same_operators_and_agrees(own_operators):
    model = create_model("PPLCNet_x0_25", class_num=5)
    model.eval()
    x = paddle.randn([2, 3, 64, 64])
    with paddle.no_grad():
        ours = model(x).numpy()
        own_operators.disable()
        np.testing.assert_allclose(ours, model(x).numpy(), atol=1e-5)
