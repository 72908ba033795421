"""Rows of the kinds of answers, against rows computed by hand."""

import json

import numpy as np
import pytest

from ppcls_light.config.postprocess import (
    MultiLabelThreshOutput,
    PersonAttribute,
    ScoreOutput,
    TableAttribute,
    ThreshOutput,
    Topk,
    VehicleAttribute,
)
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.prediction.postprocess import PostProcessor
from ppcls_light.prediction.results import format_row


def rows(kind, probs, names=None):
    probs = np.array(probs, "float32")
    return PostProcessor(kind, names)(probs, [f"{number}.jpg" for number in range(len(probs))])


def test_of_two_classes_the_second_needs_the_threshold():
    kind = ThreshOutput(threshold=0.9, label_0="nobody", label_1="someone")
    found = rows(kind, [[0.2, 0.8], [0.1, 0.9], [0.05, 0.95]])
    assert found[0] == {
        "class_ids": [0],
        "scores": [0.2],
        "file_name": "0.jpg",
        "label_names": ["nobody"],
    }
    assert [row["label_names"] for row in found[1:]] == [["someone"], ["someone"]]  # 0.9 reaches 0.9
    assert [row["scores"] for row in found[1:]] == [[0.9], [0.95]]
    assert format_row("a.jpg", found[1]) == (
        "a.jpg:\tclass id(s): [1], score(s): [0.90], label_name(s): ['someone']"
    )


def test_of_more_classes_an_unsure_best_one_gives_way_to_the_default():
    kind = ThreshOutput(threshold=0.5, default_label_index=2)
    found = rows(kind, [[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], ["a", "b", "other"])
    assert [row["class_ids"] for row in found] == [[0], [2], [2]]
    assert [row["scores"] for row in found] == [[0.7], [0.25], [0.8]]
    assert [row["label_names"] for row in found] == [["a"], ["other"], ["other"]]


def test_names_to_show_may_be_others_but_not_those_of_the_classes_in_the_other_order():
    kind = ThreshOutput(label_0="nobody", label_1="someone")
    assert rows(kind, [[0.4, 0.6]], ["empty", "person"])[0]["label_names"] == ["someone"]
    assert rows(kind, [[0.4, 0.6]], ["nobody", "someone"])[0]["label_names"] == ["someone"]
    with pytest.raises(
        DataError, match=r"the same classes in another order: label 0 is 'someone' .* 'nobody'"
    ):
        PostProcessor(kind, ["someone", "nobody"])


def test_tags_are_all_that_reach_the_threshold_in_their_order():
    found = rows(MultiLabelThreshOutput(threshold=0.5), [[0.5, 0.49, 0.9], [0.1, 0.2, 0.3]], ["a", "b", "c"])
    assert found[0]["class_ids"] == [0, 2]
    assert found[0]["scores"] == [0.5, 0.9]
    assert found[0]["label_names"] == ["a", "c"]
    assert found[1] == {"class_ids": [], "scores": [], "file_name": "1.jpg", "label_names": []}
    each = rows(MultiLabelThreshOutput(threshold=[0.6, 0.1, 0.95]), [[0.5, 0.49, 0.9]])
    assert each[0]["class_ids"] == [1]


def person(**tags):
    places = {
        "hat": 0,
        "glasses": 1,
        "short": 2,
        "long": 3,
        "logo": 5,
        "trousers": 11,
        "boots": 14,
        "hand": 15,
        "backpack": 17,
        "holds": 18,
        "young": 19,
        "adult": 20,
        "female": 22,
        "front": 23,
        "back": 25,
    }
    probs = np.full(26, 0.05, "float32")
    for tag, value in tags.items():
        probs[places[tag]] = value
    return probs


def test_attributes_of_a_person():
    probs = [
        person(glasses=0.31, short=0.4, long=0.2, logo=0.6, boots=0.5, backpack=0.7, holds=0.6, adult=0.9, back=0.3),
        person(glasses=0.29, hat=0.6, long=0.1, trousers=0.3, hand=0.5, holds=0.7, female=0.51, young=0.2, front=0.2),
    ]  # fmt: skip
    found = rows(PersonAttribute(), probs)
    assert found[0]["attributes"] == [
        *("Male", "Age18-60", "Back", "Glasses: True", "Hat: False", "HoldObjectsInFront: False", "Backpack"),
        *("Upper: ShortSleeve UpperLogo", "Lower:  LowerStripe", "No boots"),
    ]
    assert found[1]["attributes"] == [
        *(
            "Female",
            "AgeLess18",
            "Front",
            "Glasses: False",
            "Hat: True",
            "HoldObjectsInFront: True",
            "No bag",
        ),
        *("Upper: LongSleeve", "Lower:  Trousers", "No boots"),
    ]
    assert [place for place, there in enumerate(found[0]["output"]) if there] == [1, 5, 17, 20]
    assert [place for place, there in enumerate(found[1]["output"]) if there] == [0, 18, 22]
    assert format_row("a.jpg", found[1]).startswith(
        "a.jpg:\t {'attributes': ['Female', 'AgeLess18', 'Front', "
    )
    strict = rows(PersonAttribute(threshold=0.65), probs)  # all tags, those of `output` too
    assert [place for place, there in enumerate(strict[0]["output"]) if there] == [1, 17, 20]


def test_attributes_of_a_vehicle():
    probs = np.zeros((2, 19), "float32")
    probs[0, [4, 12]] = 0.75, 0.5  # red, van
    probs[1, [9, 17]] = 0.4, 0.9
    found = rows(VehicleAttribute(color_threshold=0.75), probs)
    assert found[0]["attributes"] == "Color: (red, prob: 0.75), Type: (van, prob: 0.5)"
    assert found[1]["attributes"] == "Color unknown, Type: (truck, prob: 0.9)"
    assert found[1]["output"] == [0] * 17 + [1, 0]


def test_each_attribute_of_a_table_has_its_own_threshold():
    kind = TableAttribute(number_threshold=0.9, obstruction_threshold=0.2, angle_threshold=0.3)
    found = rows(kind, [[0.6, 0.6, 0.4, 0.4, 0.25, 0.25]])[0]
    assert found["attributes"] == [
        *("Scanned", "Numerous", "Multicolor", "Blurry", "Without-Obstacles", "Tilted")
    ]
    assert found["output"] == [1, 0, 0, 0, 1, 0]


def test_scores_are_rounded():
    found = rows(ScoreOutput(decimal_places=2), [[5.4567, -0.005]])[0]
    assert found == {"scores": [5.46, -0.0], "file_name": "0.jpg"} or found["scores"][1] == pytest.approx(
        -0.01
    )
    assert format_row("a.jpg", found).startswith("a.jpg:\tscore(s): [5.46, ")
    (finer,) = rows(ScoreOutput(decimal_places=4), [[0.12346, -7.5]])
    assert format_row("a.jpg", finer) == "a.jpg:\tscore(s): [0.1235, -7.5]"


@pytest.mark.parametrize(
    ("kind", "count"), [(ThreshOutput(), 2), (MultiLabelThreshOutput(), 3), (TableAttribute(), 6), (ScoreOutput(), 1)]
)  # fmt: skip
def test_an_answer_without_numbers_is_an_error_row(kind, count):
    found = rows(kind, [[np.nan] * count, [0.5] * count])
    assert found[0]["error"].startswith("0.jpg: the network's answer is no number")
    assert "error" not in found[1]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            PersonAttribute(),
            r"PostProcess\.name: PersonAttribute is of 26 tags, and the network has 3 classes",
        ),
        (MultiLabelThreshOutput(threshold=[0.5, 0.5]), "2 numbers, and the network has 3 tags"),
        (ThreshOutput(default_label_index=3), "3 is none of the classes 0 to 2"),
    ],
)
def test_another_number_of_classes_is_one_line(kind, message):
    with pytest.raises(ConfigError, match=message):
        rows(kind, [[0.1, 0.2, 0.7]])


def test_a_row_of_nearly_the_same_probabilities_agrees():
    for kind, probs in (
        (ThreshOutput(threshold=0.6), [0.41, 0.59]),
        (MultiLabelThreshOutput(), [0.9, 0.48, 0.1]),
        (TableAttribute(), [0.9, 0.48, 0.1, 0.6, 0.5, 0.5]),
        (ScoreOutput(decimal_places=2), [7.25]),
    ):
        processor = PostProcessor(kind)
        (row,) = processor(np.array([probs], "float32"), ["x"])
        assert processor.agrees(row, np.array(probs) - 0.03), kind
        assert not processor.agrees(row, np.array(probs) - 0.35), kind
    row = {"class_ids": [1], "scores": [0.8], "label_names": []}
    assert PostProcessor(ThreshOutput(threshold=0.82)).agrees(row, np.array([0.2, 0.8]))
    assert not PostProcessor(ThreshOutput(threshold=0.9)).agrees(row, np.array([0.2, 0.8]))


def test_a_kind_of_answer_is_one_of_the_config():
    with pytest.raises(
        ConfigError, match=r"postprocess is 'ThreshOutput'; give a kind of answer, such as Thresh"
    ):
        PostProcessor("ThreshOutput")


def test_rows_of_another_kind_do_not_agree():
    probs, scores = np.array([0.25, 0.75]), {"scores": [0.25, 0.75]}
    best = {"class_ids": [1, 0], "scores": [0.75, 0.25], "label_names": []}
    nothing = {"class_ids": [], "scores": [], "label_names": []}
    second = {"class_ids": [0], "scores": [0.25], "label_names": []}
    assert PostProcessor(Topk(topk=2)).agrees(best, probs)
    assert PostProcessor(ScoreOutput()).agrees(scores, probs)
    for kind, row in (
        (Topk(topk=2), scores),
        (ScoreOutput(), best),
        (ThreshOutput(threshold=0.74), best),
        (TableAttribute(), nothing),
        (Topk(topk=1), second),
    ):
        assert not PostProcessor(kind).agrees(row, probs), kind
