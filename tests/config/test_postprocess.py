"""Kinds of answers in a training config: chosen by name, by the kind of labels, and checked against the network."""

import pytest
import yaml

from ppcls_light.config import load_config
from ppcls_light.config.postprocess import MultiLabelThreshOutput, ThreshOutput, Topk
from ppcls_light.config.sections import dump_config
from ppcls_light.errors import ConfigError


def _read(kind, class_num=2, tags=False):
    return load_config(
        {
            "Arch": {"name": "PPLCNet_x0_25", "class_num": class_num},
            "Global": {"use_multilabel": tags},
            "Infer": {} if kind is None else {"PostProcess": kind},
        }
    )


def test_the_kind_is_that_of_the_labels_where_none_is_given():
    assert _read(None).postprocess == Topk(topk=5)
    kind = _read(None, tags=True).postprocess
    assert (kind, kind.limit) == (MultiLabelThreshOutput(), 0.5)
    assert _read({"topk": 3}).postprocess == Topk(topk=3)
    assert _read({"topk": 3}, tags=True).postprocess == Topk(topk=3)  # the 3 best tags


def test_paddleclas_kinds_are_read_by_name_and_survive_being_written():
    given = {"name": "ThreshOutput", "threshold": 0.9, "label_0": "nobody", "label_1": "someone"}
    config = _read(given)
    assert config.postprocess == ThreshOutput(threshold=0.9, label_0="nobody", label_1="someone")
    for kind, class_num in ((given, 2), ({"name": "MultiLabelThreshOutput", "threshold": [0.2, 0.7]}, 2)):
        config = _read(kind, class_num, tags=kind is not given)
        assert load_config(yaml.safe_load(dump_config(config))).postprocess == config.postprocess


@pytest.mark.parametrize(
    ("kind", "class_num", "tags", "message"),
    [
        ({"name": "ThreshOutput"}, 2, True, r"PostProcess\.name: ThreshOutput is of one class.*MultiLabelThreshOutput"),
        ({"name": "MultiLabelThreshOutput"}, 2, False, r"PostProcess\.name: .*use_multilabel=true"),
        ({"name": "PersonAttribute"}, 25, True, r"PostProcess\.name: PersonAttribute is of 26 tags.*25"),
        ({"name": "VehicleAttribute"}, 6, True, r"VehicleAttribute is of 19 tags"),
        ({"name": "TableAttribute"}, 19, True, r"TableAttribute is of 6 tags"),
        ({"name": "ThreshOutput", "default_label_index": 2}, 2, False, r"PostProcess\.default_label_index: 2 is none"),
        ({"name": "ThreshOutput", "label_1": "someone"}, 2, False, "label_0 is missing"),
        ({"name": "ThreshOutput", "label_0": "a", "label_1": "b"}, 3, False, "class_id_map_file"),
        ({"name": "MultiLabelThreshOutput", "threshold": [0.1, 0.2]}, 3, True, r"threshold: 2 numbers.*3 tags"),
        ({"name": "MultiLabelThreshOutput", "threshold": 1.5}, 3, True, "threshold: expected a number >= 0 and <= 1"),
        ({"name": "ThreshOutputs"}, 2, False, "did you mean 'ThreshOutput'"),
        ({"name": "ThreshOutput", "treshold": 0.5}, 2, False, "did you mean 'threshold'"),
    ],
)  # fmt: skip
def test_a_kind_that_cannot_answer_is_refused(kind, class_num, tags, message):
    with pytest.raises(ConfigError, match=message):
        _read(kind, class_num, tags)
