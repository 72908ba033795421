"""Embeddings from an ONNX file, an exported folder and weights: rows in order, none for what cannot be read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.check.embeddings import embedded, embedder
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, DeviceError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def colour_graph(path, names):
    """Write an ONNX file with an output per name: the mean of each colour, times 1, 2, ..."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["mean"])]
    constants = []
    for factor, name in enumerate(names, 1):
        constants.append(onnx.numpy_helper.from_array(np.array(factor, np.float32), f"factor{factor}"))
        nodes.append(helper.make_node("Mul", ["mean", f"factor{factor}"], [name]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", single, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info(name, single, ["n", 3, 1, 1]) for name in names],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


@pytest.mark.parametrize(("outputs", "factor"), [(["features"], 1), (["logits", "embedding"], 2)])
def test_an_onnx_file_gets_images_as_an_imagenet_network_does(listed, tmp_path, outputs, factor):
    embed = embedder(colour_graph(tmp_path / "graph.onnx", outputs))
    files = sorted(map(str, listed.glob("train/*/*.jpg")))
    sources = [*files[:3], str(listed / "gone.jpg"), *files[3:], Path(files[0]).read_bytes()]
    done = []
    rows, places = embedded(embed, sources, done.append)
    assert places.tolist() == [0, 1, 2, *range(4, 14)]
    assert done[-1] == 14
    for row, path in zip(rows, files):
        square = (
            cv2.resize(cv2.imread(path), (256, 256))[16:240, 16:240, ::-1] / 255
        )  # the pictures are squares
        colours = (square.mean(axis=(0, 1)) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert np.allclose(row, factor * colours, atol=1e-4)
    assert np.array_equal(rows[-1], rows[0])


def test_an_exported_folder_prepares_images_by_itself(listed, tmp_path):
    colour_graph(tmp_path / "inference.onnx", ["logits", "embedding"])
    ops = [
        ("DecodeImage", {}),
        ("ResizeImage", {"size": 224}),
        ("NormalizeImage", {"mean": [0, 0, 0], "std": [1, 1, 1], "order": ""}),
    ]
    own = {"arch": "colours", "output": "logits", "further": ["embedding"]}
    write_inference_yml(tmp_path, ops, Topk(topk=1), None, own)
    files = sorted(map(str, listed.glob("train/*/*.jpg")))
    rows, places = embedded(embedder(str(tmp_path)), [str(listed / "gone.jpg"), *files])
    assert places.tolist() == list(range(1, 13))
    for row, path in zip(rows, files):
        colours = cv2.resize(cv2.imread(path), (224, 224))[:, :, ::-1].mean(axis=(0, 1)) / 255
        assert np.allclose(row, 2 * colours, atol=1e-4)
    write_inference_yml(tmp_path, ops, Topk(topk=1), None, {"arch": "colours"})
    with pytest.raises(ConfigError, match="this export has no embeddings"):
        embedder(str(tmp_path))


def test_models_that_cannot_embed_are_refused(tmp_path, listed, monkeypatch):
    with pytest.raises(ConfigError, match="there is no such file"):
        embedder(str(tmp_path / "gone.onnx"))
    with pytest.raises(ConfigError, match="no such folder"):
        embedder(str(tmp_path / "gone"))
    embed = embedder(colour_graph(tmp_path / "graph.onnx", ["features"]))
    with pytest.raises(ConfigError, match="no image has an embedding"):
        embedded(embed, [str(listed / "gone.jpg")])
    monkeypatch.setattr(
        "ppcls_light.runtime.engines.missing_library", lambda engine: "onnxruntime is missing"
    )
    with pytest.raises(DeviceError, match="onnxruntime is missing"):
        embedder(str(tmp_path / "graph.onnx"))


def test_a_check_by_embeddings_finds_labels_that_no_like_image_has(
    listed, tmp_path, run_tool, capsys, make_picture
):
    """The graph sees colours only: cats are red here, dogs are blue, and one dog among them is called a cat."""
    lines = []
    for number in range(60):
        label = number % 2
        picture = np.asarray(make_picture(number, 96)).astype(float) * 0.3
        picture[:, :, 2 * label] += 150
        path = f"train/{number}.png"
        Image.fromarray(picture.astype(np.uint8)).save(listed / path)
        lines.append(f"{path} {label if number != 31 else 0}")
    (listed / "train_list.txt").write_text("\n".join(lines))
    (listed / "val_list.txt").unlink()
    graph = colour_graph(tmp_path / "graph.onnx", ["embedding"])
    run_tool(
        "check_data", listed, "--out", tmp_path / "out", "--embeddings", graph, "--cosine", 1, "--outlier", 99
    )
    found = [line for line in (tmp_path / "out/findings.csv").read_text().splitlines() if "suspect" in line]
    assert len(found) == 1
    assert found[0].startswith("suspect_label,train,train/31.png,0,")
    assert "0 of the 20 nearest have its label, 20 are " in found[0]
    assert "suspect_label: 1 label is that of no similar image: train/31.png" in capsys.readouterr().out
