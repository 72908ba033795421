"""`Predictor.embed` against the pixels, of a network whose embedding is the mean colour."""

import cv2
import numpy as np
import pytest

from ppcls_light import Predictor
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.export import export_model

from .conftest import OPS, Colours, picture


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings") / "inference"
    export_model(
        Colours(), folder, (3, 32, 32), OPS, ["red", "green", "blue"], "Colours", topk=2, embedding=True
    )
    return Predictor(folder, batch_size=2)


def mean_colour(pixels):
    """Return what the network's input holds in the mean, by the steps of `OPS`."""
    small = cv2.resize(pixels, (40, 32), interpolation=cv2.INTER_LINEAR)[:, 4:36]
    scaled = (small / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return scaled.mean(axis=(0, 1))


def test_embeddings_are_the_input_of_the_classifier_in_the_order_of_the_images(predictor):
    pictures = [picture(channel, seed) for seed, channel in enumerate((2, 0, 1))]
    found = predictor.embed(pictures)
    assert (found.dtype, found.shape) == (np.float32, (3, 3))
    np.testing.assert_allclose(found, [mean_colour(one) for one in pictures], atol=1e-3)
    np.testing.assert_array_equal(predictor.embed(pictures[1]), found[1:2])
    np.testing.assert_array_equal(predictor.embed([one[:, :, ::-1] for one in pictures], bgr=True), found)


def test_an_image_that_cannot_be_used_is_named(predictor, photos):
    rows = list(predictor.iter_embed(photos))
    assert [row["file_name"] for row in rows] == list(map(str, photos))
    assert ["error" in row for row in rows] == [False, True, False, True, False]
    for embed in (predictor.embed, lambda images: predictor.embed(iter(images))):
        with pytest.raises(DataError, match=r"1_broken\.jpg: not an image"):
            embed(photos)
    with pytest.raises(DataError, match="no images to embed; give at least one"):
        predictor.embed([])


def test_rows_of_classes_are_those_of_an_export_without(predictor, exported, photos):
    assert predictor.predict(photos[0]) == Predictor(exported).predict(photos[0])


def test_an_export_without_embeddings_is_one_line(exported):
    with pytest.raises(ConfigError, match=r"this export has no embeddings; .* -o Global\.embedding=true$"):
        Predictor(exported).embed(picture(0))
