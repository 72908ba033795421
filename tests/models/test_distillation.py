"""Teacher and student in one network."""

import numpy as np
import paddle
import pytest

from ppcls_light.models import create_model
from ppcls_light.models.distillation import DistillationModel


@pytest.fixture
def pair():
    paddle.seed(0)
    networks = {
        "Teacher": create_model("PPLCNet_x0_5", class_num=3, dropout_prob=0.0),
        "Student": create_model("PPLCNet_x0_25", class_num=3, dropout_prob=0.0),
    }
    return DistillationModel(networks, frozen=["Teacher"])


@pytest.fixture
def images():
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32"))


def test_in_training_every_network_answers_and_the_teacher_as_in_evaluation(pair, images):
    pair.train()
    before = {key: value.numpy() for key, value in pair.Teacher.state_dict().items()}
    outputs = pair(images)
    assert list(outputs) == ["Teacher", "Student"]
    pair.Teacher.eval()
    np.testing.assert_array_equal(outputs["Teacher"].numpy(), pair.Teacher(images).numpy())
    assert outputs["Teacher"].stop_gradient
    # No batch of training moves the statistics of its batch norms.
    for key, value in pair.Teacher.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    assert pair.Student.training


def test_the_gradient_reaches_the_student_alone(pair, images):
    pair.train()
    outputs = pair(images)
    ((outputs["Student"] - outputs["Teacher"]) ** 2).mean().backward()
    assert all(parameter.grad is None for parameter in pair.Teacher.parameters())
    assert all(p.grad is not None for p in pair.Student.parameters() if not p.stop_gradient)


def test_in_evaluation_it_is_the_student(pair, images):
    pair.eval()
    np.testing.assert_array_equal(pair(images).numpy(), pair.Student(images).numpy())


def test_a_mode_change_leaves_the_teacher_in_evaluation(pair):
    for change in (pair.eval, pair.train, pair.train):
        change()
        assert not any(layer.training for layer in pair.Teacher.sublayers(include_self=True))


def test_keys_begin_with_the_network_s_name(pair):
    keys = pair.state_dict()
    assert {key.split(".")[0] for key in keys} == {"Teacher", "Student"}
    assert len(keys) == len(pair.Teacher.state_dict()) + len(pair.Student.state_dict())
