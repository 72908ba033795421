"""Preprocessing in the exported graph, against the transforms on photos of odd sizes and in every engine."""

import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from PIL import Image

from ppcls_light.base.probabilities import softmax
from ppcls_light.bundle.chosen import Chosen
from ppcls_light.bundle.folder import read_bundle, write_inference_yml
from ppcls_light.bundle.metadata import describe, put_threshold
from ppcls_light.bundle.onnx import to_onnx
from ppcls_light.config.postprocess import ThreshOutput, Topk
from ppcls_light.data.decode import read_image
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.errors import ConfigError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.preprocess import Preprocessing
from ppcls_light.export.resample import FILTERS
from ppcls_light.export.static import save_static
from ppcls_light.export.verify import prepared
from ppcls_light.models import create_model
from ppcls_light.models.embedding import logits_and_embeddings
from ppcls_light.prediction import Predictor
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions
from tools.benchmarks.formats import settle

PADDLE_3 = pytest.mark.skipif(
    not hasattr(paddle.inference.Config, "enable_new_ir"), reason="Paddle 2 saves no graph of photos"
)
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
    """Photos that scikit-image brings, as JPEG, and one in each form that a file may have."""
    skimage = pytest.importorskip("skimage", reason="its photos are those of the test")
    folder, source = tmp_path_factory.mktemp("photos"), Path(skimage.__file__).parent / "data"
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        Image.open(source / name).save(folder / f"{Path(name).stem}.jpg", quality=90)
    small = Image.open(source / "coffee.png").resize((150, 100))
    grey, turned = small.convert("L"), Image.Exif()
    turned[0x112] = 6
    grey.save(folder / "grey.png")
    small.convert("RGBA").save(folder / "rgba.png")
    small.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(grey).astype("uint16") * 257).save(folder / "16_bit.png")
    small.save(folder / "turned.jpg", exif=turned)
    small.resize((1, 1)).save(folder / "pixel.png")
    small.resize((2000, 9)).save(folder / "strip.png")
    return sorted(folder.iterdir())


def _need_paddle_3():
    if PADDLE_3.args[0]:
        pytest.skip(PADDLE_3.kwargs["reason"])
    pytest.importorskip("paddle2onnx")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """A graph whose answers are the pixels of all filters, and the transforms of each."""
    _need_paddle_3()
    folder, filters = tmp_path_factory.mktemp("pixels"), [ops for name, ops in resizes() if "-" in name][:6]
    layers = nn.LayerList([Preprocessing([*ops, *CROP], (3, 40, 40)) for ops in filters])
    save_static(Pixels(), folder, (3, 40, 40), softmax=False, preprocessing=Together(layers))
    write_inference_yml(
        folder, [*filters[0], *CROP], Topk(), None, {"arch": "", "photos": {"channels": "rgb"}}
    )
    to_onnx(read_bundle(folder), folder / "inference.onnx")
    return read_bundle(folder), [build_transforms([*ops, *CROP]) for ops in filters]


class Together(nn.Layer):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, photos):
        return paddle.concat([layer(photos) for layer in self.layers], axis=1)


class Pixels(nn.Layer):
    def __init__(self):
        super().__init__()
        self.one = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x):
        return x.flatten(1) * self.one


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_pixels_of_real_photos_are_those_of_the_transforms_in_every_engine(pixels, files, engine):
    pytest.importorskip(engine)
    bundle, transforms = pixels
    run, apart = create_engine(bundle, EngineOptions(engine=engine, cpu_threads=1)).run, []
    for path in files:
        image = read_image(path)
        expected = np.stack([prepare(image) for prepare in transforms])
        apart.append(np.abs(run(image[None]).reshape(expected.shape) - expected))
        assert (apart[-1].max(axis=(1, 2, 3)) <= ([1, 1, 1, 2, 2, 1] if engine == "openvino" else 1)).all(), (
            path
        )
    shares = (np.stack(apart) > 0.5).mean(axis=(0, 2, 3, 4))
    exact = 0.01 if engine == "openvino" else 0
    assert (shares <= [1e-4, 0.01, 2e-3, exact, exact, 2e-3]).all()


def own_ops(family):
    """The transforms of the family's recipe, on small images."""
    own = {"resize_short": 72}
    if family != "PPLCNet_x0_25":
        own.update(interpolation="bilinear" if family == "MicroNet_M0" else "bicubic", backend="pil")
    return [("ResizeImage", own), ("CropImage", {"size": 64}), ("NormalizeImage", {"order": ""})]


@pytest.fixture(scope="module", params=["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"])
def exported(request, tmp_path_factory, files):
    """The export of a network of each family, and the network's answers to what the transforms make of the photos."""
    _need_paddle_3()
    ops, folder = own_ops(request.param), tmp_path_factory.mktemp(request.param)
    images = np.stack(list(prepared(ops, (3, 64, 64), files)))
    paddle.seed(0)
    network = settle(create_model(request.param, class_num=3), images)
    options = {"images": files[::6], "onnx": True, "embedding": True, "preprocess": True}
    limit = ThreshOutput(threshold=0.8)
    export_model(network, folder, (3, 64, 64), ops, ["a", "b", "犬"], postprocess=limit, **options)
    with paddle.no_grad():
        logits, embeddings = logits_and_embeddings(network, paddle.to_tensor(images))
    return folder, softmax(logits.numpy()), embeddings.numpy()


def test_engines_answer_photos_as_the_network_answers_prepared_images(exported, files):
    folder, probs, embeddings = exported
    assert len(set(probs.argmax(axis=1))) > 1
    for engine in ("paddle", "onnxruntime", "openvino"):
        if importlib.util.find_spec(engine) is None:
            continue
        predictor = Predictor(folder, engine=engine, batch_size=3, topk=3)
        for row, expected in zip(predictor.predict(files), probs):
            if np.diff(np.sort(expected)[-2:]) > 0.02:
                assert row["class_ids"][0] == expected.argmax()
            np.testing.assert_allclose(row["scores"], -np.sort(-expected), atol=0.02)
        apart = np.linalg.norm(predictor.embed(files[:3]) - embeddings[:3], axis=1)
        assert (apart <= 0.02 * np.linalg.norm(embeddings[:3], axis=1)).all()


@pytest.fixture
def folder(exported):
    return exported[0]


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


def test_a_later_threshold_is_in_all_descriptions(folder, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    shutil.copytree(folder, tmp_path / "copy")
    describe(tmp_path / "copy", beside=True)
    put_threshold(tmp_path / "copy", ThreshOutput(threshold=0.3), Chosen("f1", 0.3, [{}]))
    file = tmp_path / "copy" / "inference.onnx"
    told = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_modelmeta()
    assert json.loads(told.custom_metadata_map["postprocess"])["threshold"] == 0.3
    beside = tmp_path / "copy" / "inference.metadata.json"
    assert json.loads(beside.read_text(encoding="utf-8"))["postprocess"]["threshold"] == 0.3
    bundle = read_bundle(tmp_path / "copy")
    assert bundle.postprocess == ThreshOutput(threshold=0.3)
    bundle.verify_checksums(str(file), str(beside))


def test_folder_says_what_its_graph_takes(folder):
    bundle = read_bundle(folder)
    assert bundle.photos.channels == bundle.input == "rgb"
    content = yaml.safe_load((folder / "inference.yml").read_text())
    assert content["PreProcess"]["transform_ops"] == []  # no other tool prepares an image twice
    assert content["ppcls_light"]["parity"]["preprocessing"]["grey_levels"] <= 1
    assert [op.name for op in bundle.transform_ops] == [*(name for name, _ in own_ops("")), "ToCHWImage"]


def test_what_would_change_the_pixels_is_refused(folder):
    with pytest.raises(ConfigError, match="bf16 would round"):
        Predictor(folder, engine="paddle", precision="bf16")
    with pytest.raises(ConfigError, match="leave PreProcess"):
        Predictor(folder, transform_ops=[("ResizeImage", {"size": 32}), ("ToCHWImage", {})])


def test_paddle_2_is_refused(tmp_path, monkeypatch):
    """It has no graph of sizes that are computed, and says so in many lines."""
    monkeypatch.delattr(paddle.inference.Config, "enable_new_ir", raising=False)
    with pytest.raises(ExportError, match="install Paddle 3"):
        export_model(nn.Flatten(), tmp_path, (3, 32, 32), own_ops(""), preprocess=True)


@PADDLE_3
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
