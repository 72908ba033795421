import json

import numpy as np
import pytest

from ppcls_light.base.probabilities import softmax
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError
from ppcls_light.prediction.postprocess import PostProcessor
from ppcls_light.prediction.results import format_row


def test_rows_hold_the_best_classes_in_order():
    probs = np.array([[0.1, 0.2, 0.282838, 0.269694, 0.147468], [0.2] * 5], "float32")
    rows = PostProcessor(Topk(topk=2), ["a", "b", "c", "d", "e"])(probs, ["x.jpg", None])
    assert rows == [
        {
            "class_ids": [2, 3],
            "scores": [0.28284, 0.26969],
            "file_name": "x.jpg",
            "label_names": ["c", "d"],
        },
        {"class_ids": [0, 1], "scores": [0.2, 0.2], "file_name": None, "label_names": ["a", "b"]},
    ]


def test_more_wanted_than_there_are():
    assert PostProcessor(Topk(topk=5))(np.array([[0.3, 0.7]]), ["x"])[0]["class_ids"] == [1, 0]


def test_order_is_that_of_a_stable_sort():
    generator = np.random.default_rng(0)
    probs = generator.integers(0, 4, (50, 12)).astype("float32")  # many are equal
    for k in (1, 5, 12):
        wanted = np.argsort(-probs, axis=1, kind="stable")[:, :k]
        assert [row["class_ids"] for row in PostProcessor(Topk(topk=k))(probs, [""] * 50)] == wanted.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_without_numbers_is_an_error_row_of_its_own(value):
    probs = np.array([[0.3, 0.7], [0.5, value], [0.9, 0.1]], "float32")
    rows = PostProcessor(Topk(topk=1), ["a", "b"])(probs, ["x", "y", None])
    assert [row.get("label_names") for row in rows] == [["b"], None, ["a"]]
    assert rows[1]["file_name"] == "y"
    assert rows[1]["error"].startswith("y: the network's answer is no number")
    json.dumps(rows, allow_nan=False)


def test_names_by_id_and_wrong_ids():
    assert PostProcessor(Topk(topk=1), {1: "b", 0: "a"})(np.array([[0.3, 0.7]]), ["x"])[0]["label_names"] == [
        "b"
    ]
    with pytest.raises(ConfigError, match=r"ids must be 0..1, each once; 0 is missing"):
        PostProcessor(Topk(topk=1), {1: "b", 2: "c"})
    with pytest.raises(ConfigError, match="3 class names, but the network has 2 classes"):
        PostProcessor(Topk(topk=1), ["a", "b", "c"])(np.array([[0.3, 0.7]]), ["x"])


def test_the_printed_row_is_paddleclas():
    row = {"class_ids": [3, 1], "scores": [0.28284, 0.26969], "label_names": ["blobs", "rings"]}
    assert format_row("rings_0001.jpg", row) == (
        "rings_0001.jpg:\tclass id(s): [3, 1], score(s): [0.28, 0.27], label_name(s): ['blobs', 'rings']"
    )


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0 + np.log(3)]])), [[0.25, 0.75]])
