import os
import signal

import numpy as np
import pytest
import yaml

WEIGHT = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
PREPROCESS = [{"ResizeImage": {"size": 16}}, {"NormalizeImage": {"scale": 1 / 255, "order": ""}}]


@pytest.fixture
def stop_after():
    """Let a Trainer train and send it SIGTERM during step number `steps`."""

    def stop(run, steps):
        original = run.train_step

        def train_step(batch):
            if run.position.step == steps - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(batch)

        run.train_step = train_step
        with pytest.raises(KeyboardInterrupt):
            run.fit()

    return stop


def _write_onnx(path, batch="n", probabilities=False, weight=WEIGHT):
    """Write a graph: images (batch, 3, 16, 16) -> `answer`, of their mean colour, and `map`, which is not pooled."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    steps = [
        helper.make_node("GlobalAveragePool", ["image"], ["colour"]),
        helper.make_node("Flatten", ["colour"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        helper.make_node("Softmax" if probabilities else "Identity", ["scores"], ["answer"]),
        helper.make_node("Identity", ["image"], ["map"]),
    ]
    float32, width = TensorProto.FLOAT, weight.shape[1]
    graph = helper.make_graph(
        steps,
        "teacher",
        [helper.make_tensor_value_info("image", float32, [batch, 3, 16, 16])],
        [
            helper.make_tensor_value_info("answer", float32, [batch, width]),
            helper.make_tensor_value_info("colour", float32, [batch, 3, 1, 1]),
            helper.make_tensor_value_info("map", float32, [batch, 3, 16, 16]),
        ],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


@pytest.fixture
def teacher_weight():
    """The matrix that the teacher of `write_onnx` multiplies the mean colour by."""
    return WEIGHT


@pytest.fixture
def write_onnx():
    """A function that writes a teacher as an ONNX file; tests that need it skip without ONNX and its runtime."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return _write_onnx


@pytest.fixture
def taught(config_file, tmp_path, write_onnx):
    """`config_file` with an ONNX file as the teacher of PPLCNet_x0_25."""
    write_onnx(tmp_path / "teacher.onnx")
    content = yaml.safe_load(config_file.read_text())
    student = {**content["Arch"], "dropout_prob": 0.0}
    teacher = {"onnx": f"{tmp_path}/teacher.onnx", "preprocess": PREPROCESS, "cache": f"{tmp_path}/cache"}
    content["Global"]["epochs"] = 2
    content["Arch"] = {
        "name": "DistillationModel",
        "class_num": 3,
        "models": [{"Teacher": teacher}, {"Student": student}],
    }
    content["Loss"]["Train"] = [
        {"CELoss": {"weight": 0.5}},
        {
            "DistillationKLDivLoss": {
                "weight": 0.5,
                "temperature": 2.0,
                "model_name_pairs": [["Student", "Teacher"]],
            }
        },
    ]
    path = tmp_path / "taught.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
