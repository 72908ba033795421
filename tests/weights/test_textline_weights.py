"""The vendor's trained PP-LCNet weights, which tell upright text lines from those rotated by 180 degrees."""

import io
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor

MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")
NETWORKS = {
    "PP-LCNet_x0_25_textline_ori": (
        "PPLCNet_x0_25",
        {"stride_list": [[1, 2], [2, 1], [2, 1], [2, 1], [2, 1]], "use_last_conv": False},
    ),
    "PP-LCNet_x1_0_textline_ori": ("PPLCNet_x1_0", {"stride_list": [2, [2, 1], [2, 1], [2, 1], [2, 1]]}),
}


def rotated(data):
    """Rotate a JPEG and save it at the quality of the crops, 90.

    The x1_0 network hears the compression: rotated pixels that are not compressed again, or at quality 95,
    cost it 1 % and more of the crops.
    """
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_180).save(out, "JPEG", quality=90)
    return out.getvalue()


def preprocess(data):
    bgr = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR)
    rgb = cv2.resize(bgr, (160, 80))[:, :, ::-1] / np.float32(255)
    return ((rgb - MEAN) / STD).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def crops(shared):
    with zipfile.ZipFile(shared / "data" / "textline_crops.zip") as archive:
        upright = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".jpg")]
    assert len(upright) == 1834
    images = np.stack([preprocess(data) for data in upright + [rotated(data) for data in upright]])
    return images, np.repeat([0, 1], len(upright))


@pytest.mark.slow
@pytest.mark.parametrize("file", NETWORKS)
def test_trained_weights_classify_text_lines(file, crops, shared, tmp_path):
    """PaddleClas' own network scores 99.43 % (x0_25) and 99.37 % (x1_0) on these crops."""
    name, options = NETWORKS[file]
    model = create_model(name, class_num=2, pretrained=shared / "weights" / file, **options)
    save_static(fold(model), tmp_path, (3, 80, 160))
    predictor = Predictor(tmp_path, transform_ops=[])
    images, labels = crops
    if "x1_0" in name:  # four times the time: every fourth crop
        images, labels = images[::4], labels[::4]
    answers = [predictor.run(images[i : i + 64]).argmax(axis=1) for i in range(0, len(images), 64)]
    accuracy = np.mean(np.concatenate(answers) == labels)
    print(f"{name}: {accuracy:.4%}")
    assert accuracy >= 0.99
