import cv2
import numpy as np
import pytest
from paddle import nn

from ppcls_light.export import export_model

OPS = [
    ("ResizeImage", {"size": [40, 32]}),
    ("CropImage", {"size": 32}),
    ("NormalizeImage", {"order": ""}),
    ("ToCHWImage", {}),
]


class Colours(nn.Layer):
    """Logits that grow with the mean of the red, green and blue channel."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(3, 3)
        self.fc.weight.set_value(4 * np.eye(3, dtype="float32"))

    def forward(self, x):
        return self.fc(self.pool(x).flatten(1))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """An exported folder whose classes are red, green and blue."""
    folder = tmp_path_factory.mktemp("colours") / "inference"
    export_model(Colours(), folder, (3, 32, 32), OPS, ["red", "green", "blue"], "Colours", topk=2)
    return folder


def picture(channel, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 80, (50, 60, 3)).astype("uint8")
    pixels[:, :, channel] += 150
    return pixels


@pytest.fixture
def photos(tmp_path):
    """Paths of a blue, a broken, a red, a missing and a green picture, in this order."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, channel in (("0_blue.jpg", 2), ("2_red.bmp", 0), ("4_green.jpg", 1)):
        path = folder / name
        data = cv2.imencode(path.suffix, cv2.cvtColor(picture(channel), cv2.COLOR_RGB2BGR))[1]
        path.write_bytes(data.tobytes())
    (folder / "1_broken.jpg").write_bytes(b"no picture")
    return [
        *(
            folder / name
            for name in ("0_blue.jpg", "1_broken.jpg", "2_red.bmp", "3_missing.jpg", "4_green.jpg")
        )
    ]
