"""Teacher and student in one network."""

import copy

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
    # Without which an optimizer would keep a state for them.
    assert all(parameter.stop_gradient for parameter in pair.Teacher.parameters())
    assert all(parameter.grad is None for parameter in pair.Teacher.parameters())
    assert all(p.grad is not None for p in pair.Student.parameters() if not p.stop_gradient)


def test_maps_that_are_wanted_come_beside_the_logits_the_teacher_s_without_a_gradient(pair, images):
    wanted = {"Teacher": {"map": "blocks4"}, "Student": {"map": "blocks4", "blocks[5]": "blocks5"}}
    networks = {name: getattr(pair, name) for name in wanted}
    model = DistillationModel(networks, frozen=["Teacher"], features=wanted)
    model.train()
    outputs = model(images)
    assert {name: list(own) for name, own in outputs.items()} == {
        "Teacher": ["logits", "map"],
        "Student": ["logits", "map", "blocks[5]"],
    }
    assert outputs["Teacher"]["map"].stop_gradient
    assert not outputs["Student"]["map"].stop_gradient
    teacher = model.Teacher
    expected = teacher.blocks4(teacher.blocks3(teacher.blocks2(teacher.conv1(images))))
    np.testing.assert_array_equal(outputs["Teacher"]["map"].numpy(), expected.numpy())
    assert set(model.state_dict()) == set(pair.state_dict())


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPLCNet_x0_25", {"dropout_prob": 0.0}),
        ("PPLCNet_x0_25", {"use_last_conv": False}),
        ("FasterNet_T0", {}),
        ("MicroNet_M0", {"dropout_rate": 0.0}),
        ("EdgeNeXt_XX_Small", {}),
    ],
)
def test_the_mapped_features_are_those_that_the_classifier_takes(name, options, images):
    student = create_model(name, class_num=3, **options)
    model = DistillationModel({"Student": student}, embedding_sizes={"Teacher": 3})
    classifier = next(
        layer for key, layer in student.named_sublayers() if f"{key}.weight" == student.head_keys[0]
    )
    linear = model.Student_to_Teacher
    linear.weight.set_value(classifier.weight), linear.bias.set_value(classifier.bias)
    taken = []
    classifier.register_forward_post_hook(lambda layer, inputs, output: taken.append(output))
    model.train()
    outputs = model(images)
    np.testing.assert_array_equal(outputs["Student_to_Teacher"].numpy(), taken[0].numpy())
    model.eval()
    np.testing.assert_array_equal(model(images).numpy(), student(images).numpy())


def test_a_copy_keeps_features_of_its_own(images):
    student = create_model("PPLCNet_x0_25", class_num=3)
    model = DistillationModel({"Student": student}, embedding_sizes={"Teacher": 4})
    twin = copy.deepcopy(model)
    for one in (twin, model):
        one.train()
        assert one(images)["Student_to_Teacher"].shape == [2, 4]
    assert set(model.state_dict()) - {f"Student.{key}" for key in student.state_dict()} == {
        "Student_to_Teacher.weight",
        "Student_to_Teacher.bias",
    }
