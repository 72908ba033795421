"""Options and lists of the cases of tools/benchmarks/few_photos.py."""

from types import SimpleNamespace

import pytest

from ppcls_light.config import load_config
from tools.benchmarks import few_photos

HARD, SOFT, FEATURES = "CELoss", "DistillationKLDivLoss", "DistillationFeatureLoss"
BOTH = [HARD, SOFT, FEATURES], ["Teacher", "Embedding"]


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "train_list.txt").write_text("a b/0.jpg 0\na b/1.jpg 0\nc/2.jpg 1\na b/3.jpg 0\n")
    given = {
        "data": str(tmp_path),
        "out": str(tmp_path),
        "embedding": "lite0.onnx",
        "epochs": 3,
        "weights": None,
    }
    return SimpleNamespace(student="PPLCNet_x0_25", pixels=64, **given)


@pytest.mark.parametrize(
    ("case", "losses", "teachers"),
    [
        ("nobody", [HARD], []),
        ("soft labels", [HARD, SOFT], ["Teacher"]),
        ("embeddings", [HARD, FEATURES], ["Embedding"]),
        ("both", *BOTH),
        ("both, unlabelled photos", *BOTH),
    ],
)
def test_a_case_is_the_recipe_with_its_teachers(arguments, case, losses, teachers):
    run = few_photos.Run(arguments, 2, case, 7)
    config = load_config(few_photos.RECIPE, run.options())
    assert [type(loss).__name__ for loss in config.Loss.Train] == losses
    assert list(config.Arch.graph_teachers) == teachers
    assert config.Arch.network.name == "PPLCNet_x0_25"
    assert (config.Global.epochs, config.Global.seed, config.Global.output_dir) == (3, 7, run.folder)
    further = config.DataLoader.Train.dataset.unlabelled
    assert (further is not None) == ("unlabelled" in case)
    crop = config.DataLoader.Train.dataset.transform_ops[1].params
    assert crop["size"] == 64
    assert tuple(crop["scale"]) == (0.35, 1.0)


def test_the_other_photos_of_a_class_lose_their_labels(arguments):
    lists = few_photos.write_lists(arguments, 2)
    with open(lists["labelled"]) as labelled, open(lists["unlabelled"]) as others:
        assert labelled.read().splitlines() == ["a b/0.jpg 0", "a b/1.jpg 0", "c/2.jpg 1"]
        assert others.read().splitlines() == ["a b/3.jpg"]
