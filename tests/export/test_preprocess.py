"""Preprocessing in the exported graph, against the transforms on photos of odd sizes and in every engine."""

import json

import cv2
import numpy as np
import paddle
import pytest
import yaml

from ppcls_light.base.probabilities import softmax
from ppcls_light.bundle import read_bundle
from ppcls_light.config.postprocess import ThreshOutput
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.errors import ConfigError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.preprocess import Preprocessing
from ppcls_light.export.resample import FILTERS
from ppcls_light.models import create_model
from ppcls_light.models.embedding import logits_and_embeddings
from ppcls_light.prediction import Predictor

VALUES = [("NormalizeImage", {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1], "order": ""})]
CROP = [("CropImage", {"size": 40}), *VALUES]
# height, width: pixels in a line, smaller than the crop, tall, wide, halved, and others
SIZES = [(1, 50), (60, 1), (7, 5), (131, 40), (48, 48), (96, 128), (75, 100), (37, 211)]


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (height // 9 + 2, width // 7 + 2, 3)).astype("uint8")
    smooth = cv2.resize(cells, (width, height)).astype(int)
    return (smooth + rng.integers(-30, 31, smooth.shape)).clip(0, 255).astype("uint8")


def resizes():
    for backend, filters in FILTERS.items():
        for name in filters:
            own = {"resize_short": 48, "interpolation": name, "backend": backend}
            yield f"{backend}-{name}", [("ResizeImage", own)]
    yield "size", [("ResizeImage", {"size": [50, 44]})]
    yield "rounded-down", [("Resize", {"size": 47})]
    yield "rounded-down-by-pillow", [("DecodeImage", {"to_np": False}), ("Resize", {"size": 47})]


@pytest.mark.parametrize("first", [pytest.param(ops, id=name) for name, ops in resizes()])
def test_pixels_are_those_of_the_transforms(first):
    crop = [("CenterCrop", {"size": 40}), *VALUES] if first[-1][0] == "Resize" else CROP
    layer, transforms = Preprocessing([*first, *crop], (3, 40, 40)), build_transforms([*first, *crop])
    for size in SIZES:
        image = photo(*size)
        found = layer(paddle.to_tensor(image[None])).numpy()[0]
        assert np.abs(found - transforms(image)).max() <= 1, size


def test_sides_are_rounded_as_python_rounds_them():
    """A double times 232 / 112 is below the half that 119 * 232 / 112 is; 256 / 512 is exact, and halves go to even."""
    for short, photos in ((232, [(112, 119), (48, 105), (116, 174)]), (256, [(512, 683), (512, 685)])):
        resize = Preprocessing([("ResizeImage", {"resize_short": short}), *CROP], (3, 40, 40)).resize
        for sides in photos:
            _, width = resize.sizes(*(paddle.to_tensor([side]) for side in sides))
            assert width.tolist() == [round(sides[1] * (short / min(sides)))]


def test_values_and_order_of_the_channels():
    ops = [
        ("DecodeImage", {"to_rgb": False}),
        ("ResizeImage", {"size": 40}),
        ("ToTensor", {}),
        ("Normalize", {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.3, 0.4], "to_rgb": True}),
    ]
    layer, image = Preprocessing(ops, (3, 40, 40)), photo(40, 40)
    assert layer.channels == "bgr"
    found = layer(paddle.to_tensor(image[None, :, :, ::-1].copy())).numpy()[0]
    np.testing.assert_allclose(found, build_transforms(ops)(image), atol=1e-6)


@pytest.mark.parametrize(
    ("ops", "named"),
    [
        (
            [("ResizeImage", {"resize_short": 48, "interpolation": "nearest"}), *CROP],
            "bilinear, bicubic, lanczos, or",
        ),
        (
            [("ResizeImage", {"resize_short": 48, "interpolation": "area"}), *CROP],
            "interpolation area of cv2",
        ),
        ([("ResizeImage", {"size": 40, "interpolation": "box", "backend": "pil"}), *VALUES], "box of pil"),
        ([("ResizeImage", {"size": 40, "interpolation": "random"}), *VALUES], "interpolation random"),
        ([("ResizeImage", {"resize_short": 48}), *VALUES], "add CropImage"),
        (CROP, "ResizeImage or Resize first"),
        ([("ResizeImage", {"size": 40}), ("Pad", {"padding": 2}), *VALUES], "ResizeImage, Pad"),
        ([("ResizeImage", {"size": 40}), ("NormalizeImage", {"order": "", "output_fp16": True})], "no form"),
        ([("DecodeImage", {"channel_first": True}), ("ResizeImage", {"size": 40}), *VALUES], "channel_first"),
    ],
)
def test_what_a_graph_cannot_do_is_refused(ops, named):
    with pytest.raises(ExportError, match=named):
        Preprocessing(ops, (3, 40, 40))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{index}.png" for index in range(4)]
    for path, size in zip(paths, [(75, 100), (75, 100), (131, 40), (30, 33)]):
        assert cv2.imwrite(str(path), photo(*size, seed=len(path.name)))
    return paths


OPS = [("ResizeImage", {"resize_short": 64}), ("CropImage", {"size": 32}), ("NormalizeImage", {"order": ""})]


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    model = create_model("PPLCNet_x0_25", class_num=3)
    model.eval()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, files, network):
    pytest.importorskip("paddle2onnx")
    folder = tmp_path_factory.mktemp("photos")
    limit = ThreshOutput(threshold=0.8)
    options = {"images": files, "onnx": True, "embedding": True, "postprocess": limit, "preprocess": True}
    export_model(network, folder, (3, 32, 32), OPS, ["a", "b", "犬"], **options)
    return folder


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_engines_answer_photos_as_the_network_answers_prepared_images(folder, files, network, engine):
    pytest.importorskip(engine)
    predictor, prepare = Predictor(folder, engine=engine, batch_size=3, topk=3), build_transforms(OPS)
    photos = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in files]
    with paddle.no_grad():
        inputs = paddle.to_tensor(np.stack([prepare(photo) for photo in photos]))
        logits, embeddings = (found.numpy() for found in logits_and_embeddings(network, inputs))
    for row, expected in zip(predictor.predict(files), softmax(logits)):
        assert row["class_ids"] == (-expected).argsort().tolist()
        np.testing.assert_allclose(row["scores"], -np.sort(-expected), atol=1e-3)
    apart = np.linalg.norm(predictor.embed(photos) - embeddings, axis=1)
    assert (apart <= 0.01 * np.linalg.norm(embeddings, axis=1)).all()


def test_onnx_file_explains_itself(folder):
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(folder / "inference.onnx"), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("rgb", "tensor(uint8)", ["batch", "height", "width", 3])
    told = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told["class_names"] == ["a", "b", "犬"]
    assert told["postprocess"] == {"name": "ThreshOutput", "threshold": 0.8, **told["postprocess"]}
    assert (told["channels"], told["unknown"], told["multilabel"], told["output"]) == (
        "rgb",
        None,
        False,
        "probs",
    )
    assert [list(op) for op in told["transform_ops"]][:2] == [["ResizeImage"], ["CropImage"]]


def test_folder_says_what_its_graph_takes(folder):
    bundle = read_bundle(folder)
    assert bundle.photos.channels == bundle.input == "rgb"
    content = yaml.safe_load((folder / "inference.yml").read_text())
    assert content["PreProcess"]["transform_ops"] == []  # no other tool prepares an image twice
    assert content["ppcls_light"]["parity"]["preprocessing"]["grey_levels"] <= 1
    assert [op.name for op in bundle.transform_ops] == [*(name for name, _ in OPS), "ToCHWImage"]


def test_what_would_change_the_pixels_is_refused(folder):
    with pytest.raises(ConfigError, match="bf16 would round"):
        Predictor(folder, engine="paddle", precision="bf16")
    with pytest.raises(ConfigError, match="leave PreProcess"):
        Predictor(folder, transform_ops=[("ResizeImage", {"size": 32}), ("ToCHWImage", {})])


def test_another_image_is_not_exported(tmp_path, files, monkeypatch):
    """A graph that rounds otherwise than OpenCV is found on the photos, and nothing is left of it."""
    monkeypatch.setitem(FILTERS["cv2"], "bicubic", FILTERS["pil"]["bicubic"])
    ops = [
        ("ResizeImage", {"resize_short": 40, "interpolation": "bicubic"}),
        ("CropImage", {"size": 32}),
        *VALUES,
    ]
    with pytest.raises(ExportError, match=r"grey levels \(allowed 1\)"):
        export_model(
            *(create_model("PPLCNet_x0_25", class_num=3), tmp_path / "out", (3, 32, 32), ops),
            images=files,
            preprocess=True,
        )
    assert not (tmp_path / "out").exists()
