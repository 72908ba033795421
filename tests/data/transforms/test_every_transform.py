"""Every registered op with PaddleClas' defaults and YAML: it binds, runs, is repeatable and keeps its promises."""

import io
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from ppcls_light.config.bind import bind
from ppcls_light.config.tree import read_tree
from ppcls_light.config.values import TransformOps
from ppcls_light.data import build_transforms
from ppcls_light.errors import ConfigError
from ppcls_light.registry import TRANSFORMS

OPS_OF_PADDLECLAS = """
DecodeImage ResizeImage CropImage RandCropImage RandFlipImage NormalizeImage ToCHWImage AutoAugment TimmAutoAugment
RandomErasing RandAugment RandAugmentV2 RandAugmentV3 RandAugmentV4 Cutout HideAndSeek GridMask AugMix ColorJitter
RandomRotation Pad Padv2 RandomGrayscale RandomCropImage RandCropImageV2 CropImageAtRatio CropWithPadding
RandomInterpolationAugment RandomRot90 PCALighting BlurImage ToTensor Normalize Resize CenterCrop
RandomHorizontalFlip RandomResizedCrop
"""
# What an op needs besides its defaults.
REQUIRED = {
    "RandCropImage": {"size": 32},
    "RandomCropImage": {"size": 32},
    "ResizeImage": {"size": 32},
    "CropImage": {"size": 32},
    "CropImageAtRatio": {"size": 32, "pad": 4},
    "RandomInterpolationAugment": {"prob": 0.5},
    "RandomRotation": {"degrees": 90},
    "Pad": {"padding": 4},
    "Resize": {"size": 32},
    "CenterCrop": {"size": 32},
    "RandomResizedCrop": {"size": 32},
    "BlurImage": {},
}
CHANGE_THE_SIZE = {*REQUIRED, "RandomRot90", "Padv2"} - {
    "RandomInterpolationAugment",
    "RandomRotation",
    "BlurImage",
}
DETERMINISTIC = {
    "DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage", "CropImageAtRatio",
    "Pad", "Padv2", "ToTensor", "Normalize", "Resize", "CenterCrop",
}  # fmt: skip
FLOAT = {"NormalizeImage", "Normalize", "Padv2", "ToTensor"}
FOR_8_BITS = ["AutoAugment", "TimmAutoAugment", *(f"RandAugment{v}" for v in ("", "V2", "V3", "V4"))]
FOR_8_BITS += ["RandomGrayscale", "RandomRotation"]
UNCHANGED_BY_DEFAULT = {"ColorJitter"}  # as in PaddleClas, every amount is 0


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 15, 3), dtype=np.uint8))
    return np.asarray(image.resize((60, 48), Image.Resampling.BICUBIC))


def build(name, **params):
    return build_transforms([(name, {**REQUIRED.get(name, {}), **params})]).ops[0]


def test_the_ops_are_all_of_paddleclas():
    assert {TRANSFORMS.canonical(name) for name in OPS_OF_PADDLECLAS.split()} == set(TRANSFORMS.names())


@pytest.mark.parametrize("name", [name for name in TRANSFORMS.names() if name != "DecodeImage"])
def test_one_op(photo, name):
    op = build(name)
    sent = pickle.loads(pickle.dumps(op))  # as the loader's worker processes get it
    images = [photo, Image.fromarray(photo)]
    if name in ("NormalizeImage", "Normalize"):  # their default is channels first
        images = [photo.transpose(2, 0, 1)]
    for image in images:
        before = np.array(image)
        outs = []
        for seed in range(25):
            out = op(image, np.random.default_rng(seed))
            assert np.array_equal(np.asarray(out), np.asarray(sent(image, np.random.default_rng(seed))))
            outs.append(np.asarray(out))
        assert np.array_equal(np.array(image), before)
        assert {out.dtype for out in outs} == {np.dtype(np.float32 if name in FLOAT else np.uint8)}
        if name not in CHANGE_THE_SIZE | {"ToCHWImage", "ToTensor"}:
            assert {out.shape for out in outs} == {before.shape}
        assert (len({out.tobytes() for out in outs}) == 1) == (name in DETERMINISTIC | UNCHANGED_BY_DEFAULT)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS.names() if name != "DecodeImage"])
def test_only_random_ops_look_at_the_generator(photo, name):
    image = photo.transpose(2, 0, 1) if name in ("NormalizeImage", "Normalize") else photo
    compose = build_transforms([(name, REQUIRED.get(name, {}))])
    if name in DETERMINISTIC | UNCHANGED_BY_DEFAULT:
        compose(image)
    else:
        with pytest.raises(
            ConfigError, match=f"{name} is random and has no place where images are classified"
        ):
            compose(image)


@pytest.mark.parametrize("name", FOR_8_BITS)
@pytest.mark.parametrize("place", ["NormalizeImage", "ToCHWImage"])
def test_ops_for_8_bits_after_normalisation_say_where_they_belong(photo, name, place):
    params = {"NormalizeImage": {"order": ""}, "ToCHWImage": {}}[place]
    extra = {"RandomGrayscale": {"p": 1}, "RandomRotation": {"degrees": 9, "prob": 1}}.get(name, {})
    compose = build_transforms([(place, params), (name, extra)])
    with pytest.raises(ConfigError, match=r"needs an image of 8-bit values .* move it before NormalizeImage"):
        compose(photo, np.random.default_rng(0))


# From PaddleClas' documentation of data augmentation and its configs.
BEFORE = """
- DecodeImage:
    to_rgb: True
    channel_first: False
- RandCropImage:
    size: 224
- RandFlipImage:
    flip_code: 1
"""
NORMALIZE = """
- NormalizeImage:
    scale: 1.0/255.0
    mean: [0.485, 0.456, 0.406]
    std: [0.229, 0.224, 0.225]
    order: ''
"""
SNIPPETS = {
    "autoaugment": BEFORE + "- AutoAugment:\n" + NORMALIZE,
    "randaugment": BEFORE + "- RandAugment: {num_layers: 2, magnitude: 5}\n" + NORMALIZE,
    "randaugment-v2": BEFORE + "- RandAugmentV2: {num_layers: 2, magnitude: 5.0}\n" + NORMALIZE,
    "randaugment-v3": BEFORE
    + "- RandAugmentV3: {num_layers: 2, magnitude: 3, interpolation: bicubic}"
    + NORMALIZE,
    "randaugment-v4": BEFORE + "- RandAugmentV4:\n" + NORMALIZE,
    "timm": BEFORE
    + "- TimmAutoAugment: {config_str: rand-m9-mstd0.5-inc1, interpolation: bicubic, img_size: 224}\n"
    + NORMALIZE
    + "- RandomErasing: {EPSILON: 0.25, sl: 0.02, sh: 1.0/3.0, r1: 0.3, attempt: 10, use_log_aspect: True, "
    + "mode: pixel}\n",
    "cutout": BEFORE + NORMALIZE + "- Cutout: {n_holes: 1, length: 112}\n",
    "erasing": BEFORE + NORMALIZE + "- RandomErasing: {EPSILON: 0.5, sl: 0.02, sh: 0.4, r1: 0.3, "
    "mean: [0., 0., 0.]}\n",
    "hide-and-seek": BEFORE + NORMALIZE + "- HideAndSeek:\n",
    "gridmask": BEFORE + NORMALIZE + "- GridMask: {d1: 96, d2: 224, rotate: 1, ratio: 0.5, mode: 0}\n",
    "augmix": BEFORE + "- AugMix: {prob: 0.5}\n" + NORMALIZE,
    "jitter": BEFORE
    + "- ColorJitter: {prob: 0.5, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1}\n"
    "- RandomRotation: {prob: 0.5, degrees: 90, interpolation: 'bilinear'}\n"
    "- RandomGrayscale: {p: 0.2}\n" + NORMALIZE,
    "ratio": "- DecodeImage:\n- CropImageAtRatio: {size: 224, pad: 32}\n" + NORMALIZE,
    "padding": "- DecodeImage:\n- ResizeImage: {size: 224}\n- CropWithPadding: {prob: 0.5}\n- RandomRot90:\n"
    "- BlurImage: {ratio: 0.5}\n- PCALighting:\n- RandomInterpolationAugment: {prob: 0.1}\n" + NORMALIZE,
    "pad": "- DecodeImage: {to_np: False, backend: pil}\n- ResizeImage: {size: 216, return_numpy: False, "
    "backend: pil}\n- Pad: {padding: 16}\n- RandCropImageV2: {size: 224}\n- RandFlipImage: {flip_code: -1}\n"
    "- ColorJitter: {brightness: 0.1}\n" + NORMALIZE,
    "padv2": "- DecodeImage:\n- ResizeImage: {size: 200}\n- Padv2: {size: [224, 224], pad_mode: 1, "
    "fill_value: [0, 0, 0]}\n- RandomCropImage: {size: 224}\n" + NORMALIZE,
    "paddle.vision": "- DecodeImage: {to_np: False, backend: pil}\n- Resize: {size: 256}\n- CenterCrop: {size: 240}\n"
    "- RandomResizedCrop: {size: 224, scale: [0.08, 1.0]}\n- RandomHorizontalFlip: {prob: 0.5}\n- ToTensor:\n"
    "- Normalize: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n",
}


@dataclass
class Section:
    transform_ops: TransformOps


@pytest.mark.parametrize("name", SNIPPETS)
def test_paddleclas_yaml_snippets(tmp_path, photo, name):
    path = tmp_path / "ops.yaml"
    indented = SNIPPETS[name].replace("\n", "\n  ")
    path.write_text(f"transform_ops:\n  {indented}\n")
    compose = build_transforms(bind(Section, read_tree(str(path))).transform_ops)
    buffer = io.BytesIO()
    Image.fromarray(photo).resize((400, 300)).save(buffer, "JPEG")
    for seed in range(4):
        out = compose(buffer.getvalue(), np.random.default_rng(seed))
        assert out.shape == (3, 224, 224)
        assert out.dtype == np.float32
        assert np.abs(out).max() < 6  # normalised
        assert np.array_equal(out, compose(buffer.getvalue(), np.random.default_rng(seed)))
