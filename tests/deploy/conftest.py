from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.data.transforms.core import IMAGENET_MEAN, IMAGENET_STD
from ppcls_light.export import export_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """An exported network of three classes."""
    paddle.seed(0)
    network = nn.Sequential(
        nn.Conv2D(3, 6, 5), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(6, 3)
    )
    network[-1].weight.set_value(network[-1].weight * 4)
    folder = tmp_path_factory.mktemp("model") / "inference"
    ops = [
        ("ResizeImage", {"resize_short": 40}),
        ("CropImage", {"size": 32}),
        ("NormalizeImage", {"scale": 1 / 255, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "order": ""}),
    ]
    export_model(network, folder, (3, 32, 32), ops, ["blobs", "rings", "dots and dashes"], topk=2)
    return folder


@pytest.fixture
def images(tmp_path):
    folder, rng = tmp_path / "my photos", np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", "sub/c.bmp"):
        cells = rng.integers(0, 256, (4, 4, 3)).astype("uint8")
        data = cv2.imencode(Path(name).suffix.lower(), cv2.resize(cells, (64, 48)))[1]
        (folder / name).write_bytes(data.tobytes())
    return folder
