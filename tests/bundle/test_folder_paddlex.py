"""inference.yml says the same to PaddleX and to us, though PaddleX knows fewer ways to say it."""

import pytest
import yaml

from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.chosen import Chosen
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.bundle.metadata import put_threshold
from ppcls_light.config.postprocess import MultiLabelThreshOutput, PersonAttribute, ThreshOutput, Topk


def written(folder, ops, class_names, kind=None):
    for name in ("inference.json", "inference.pdiparams"):
        (folder / name).write_text("")
    write_inference_yml(folder, ops, kind or Topk(), class_names, {"arch": "PPLCNet_x0_25", "class_num": 3})
    return yaml.safe_load((folder / "inference.yml").read_text())


@pytest.mark.parametrize("names", [None, ["0", "1", "2"], ["a", "b", "c"]])
def test_paddlex_always_finds_names_and_we_find_those_that_were_given(names, tmp_path):
    content = written(tmp_path, [("ResizeImage", {"size": 32})], names)
    assert content["PostProcess"]["Topk"]["label_list"] == (names or ["0", "1", "2"])
    found = read_bundle(tmp_path).class_names
    assert (found and list(found)) == names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": 32, "interpolation": "bilinear", "backend": "cv2"}, {"size": 32, "backend": "cv2"}),
        ({"size": 32, "interpolation": "bilinear"}, {"size": 32}),
        (
            {"resize_short": 36, "interpolation": "bilinear", "backend": "pil", "return_numpy": False},
            {"resize_short": 36, "interpolation": "bilinear", "backend": "pil"},
        ),
    ],
)
def test_a_resize_is_written_in_words_that_paddlex_knows(given, expected, tmp_path):
    content = written(tmp_path, [("ResizeImage", given)], None)
    assert content["PreProcess"]["transform_ops"][0] == {"ResizeImage": expected}


CHANGES = [
    (MultiLabelThreshOutput(threshold=[0.2, 0.3, 0.5]), "MultiLabelThreshOutput", {"threshold": 0.9}),
    (PersonAttribute(), "MultiLabelThreshOutput", {"threshold": 0.9}),
    (ThreshOutput(), "Topk", {"topk": 2}),
]


@pytest.mark.parametrize(("kind", "name", "change"), CHANGES)
def test_a_change_of_what_is_for_other_tools_is_told(kind, name, change, tmp_path, caplog):
    content = written(tmp_path, [("ResizeImage", {"size": 32})], None, kind)
    assert read_bundle(tmp_path).postprocess == kind
    assert not caplog.text
    content["PostProcess"][name].update(change)
    (tmp_path / "inference.yml").write_text(yaml.safe_dump(content))
    assert read_bundle(tmp_path).postprocess == kind
    assert f"counts here, not PostProcess.{name}, which is for other tools" in caplog.text


def test_a_chosen_threshold_goes_into_a_folder_that_says_nothing_to_other_tools(tmp_path):
    content = written(tmp_path, [("ResizeImage", {"size": 32})], None)
    del content["PostProcess"]
    (tmp_path / "inference.yml").write_text(yaml.safe_dump(content))
    put_threshold(tmp_path, ThreshOutput(threshold=0.7), Chosen("f1", 0.7, [{}]))
    assert read_bundle(tmp_path).postprocess == ThreshOutput(threshold=0.7)
