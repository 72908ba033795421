"""inference.yml says the same to PaddleX and to us, though PaddleX knows fewer ways to say it."""

import pytest
import yaml

from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import Topk


def written(folder, ops, class_names):
    for name in ("inference.json", "inference.pdiparams"):
        (folder / name).write_text("")
    write_inference_yml(folder, ops, Topk(), class_names, {"arch": "PPLCNet_x0_25", "class_num": 3})
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
