"""One identity of classes from training to export: names fix labels, and whoever says others is refused."""

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.log import LOGGER
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import UserError
from ppcls_light.weights import read_weights

CPU = Runtime("cpu", 0, 1)
NAMES = ("circle", "square", "stripe")  # the alphabet's order, which is that of class folders
MAP = ("stripe", "square", "circle")


@pytest.fixture
def warnings(monkeypatch):
    """The texts of the engine's warnings."""
    texts = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *arguments: texts.append(text % arguments))
    return texts


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 32, 3), number, "uint8")).save(path)


@pytest.fixture
def data(tmp_path):
    """Class folders, a list and a map that number them by MAP, and a list that numbers them by NAMES."""
    for number, name in enumerate(NAMES):
        for index in range(4):
            picture(tmp_path / f"data/{name}/{index}.png", 40 + 80 * number + index)
    for file, order in (("list.txt", MAP), ("alphabet.txt", NAMES)):
        lines = [f"{name}/{index}.png {order.index(name)}\n" for name in NAMES for index in range(4)]
        (tmp_path / file).write_text("".join(lines))
    (tmp_path / "map.txt").write_text("".join(f"{label} {name}\n" for label, name in enumerate(MAP)))
    return tmp_path


@pytest.fixture
def config(data):
    """A function: config(train list or None, eval list or None, map or None, *overrides) -> a loaded config."""

    def load(train, evaluation, label_map, *overrides):
        def split(image_list):
            ops = [{"DecodeImage": None}, {"ResizeImage": {"size": 32}}, {"NormalizeImage": {"order": ""}}]
            dataset = {"image_root": str(data / "data"), "transform_ops": ops}
            dataset["cls_label_path"] = image_list and str(data / image_list)
            return {"dataset": dataset, "sampler": {"batch_size": 4}, "loader": {"num_workers": 0}}

        content = {
            "Global": {
                "output_dir": str(data / "output"),
                "save_inference_dir": str(data / "inference"),
                "device": "cpu",
                "epochs": 1,
                "image_shape": [3, 32, 32],
            },
            "Arch": {"name": "PPLCNet_x0_25", "class_num": 3},
            "Loss": {"Train": [{"CELoss": {"weight": 1.0}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
            "Metric": {"Train": [{"TopkAcc": {"topk": [1]}}], "Eval": [{"TopkAcc": {"topk": [1]}}]},
            "Optimizer": {"name": "Momentum", "lr": {"name": "ConstLR", "learning_rate": 0.01}},
            "DataLoader": {"Train": split(train), "Eval": split(evaluation)},
            "Infer": {
                "infer_imgs": str(data / "data"),
                "PostProcess": {"name": "Topk", "class_id_map_file": label_map and str(data / label_map)},
            },
        }
        path = data / "config.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_config(path, list(overrides))

    return load


def scored_labels(config, data):
    """Return {folder: label} of what an evaluation scores."""
    jobs.evaluate(config, predictions=str(data / "rows.jsonl"))
    rows = [json.loads(line) for line in (data / "rows.jsonl").read_text().splitlines()]
    return {row["file_name"].split("/")[-2]: row["label"] for row in rows}


def test_class_folders_are_scored_with_the_numbers_of_the_training(config, data):
    Trainer(config("list.txt", None, "map.txt"), CPU).fit()
    by_map = {name: label for label, name in enumerate(MAP)}
    auto = "Global.checkpoints=auto"
    assert scored_labels(config("list.txt", None, "map.txt", auto), data) == by_map
    # the checkpoint alone knows
    assert scored_labels(config(None, None, None, auto), data) == by_map
    for image in (data / "data/square").iterdir():
        image.unlink()
    (data / "data/square").rmdir()
    assert scored_labels(config(None, None, None, auto), data) == {"stripe": 0, "circle": 2}


@pytest.mark.parametrize("tool", ["evaluate", "infer", "export"])
def test_a_map_in_another_order_than_the_checkpoint_is_refused(config, data, tool):
    Trainer(config(None, None, None), CPU).fit()
    with pytest.raises(UserError) as error:
        getattr(jobs, tool)(config(None, None, "map.txt", "Global.checkpoints=auto"))
    assert "best_model.pdstates" in str(error.value)
    assert "map.txt" in str(error.value)
    assert "label 0 is 'circle' in the first and 'stripe' in the second" in str(error.value)
    assert not (data / "inference").exists()


@pytest.mark.parametrize(
    ("train", "evaluation", "label_map", "words"),
    [
        (None, None, "map.txt", "label 0 is 'stripe' in the first and 'circle' in the second"),
        ("alphabet.txt", "alphabet.txt", "map.txt", "'circle' label 0, which is 'stripe' in"),
        ("list.txt", "alphabet.txt", "map.txt", "alphabet.txt gives .* label 0, which is 'stripe'"),
        (None, "list.txt", None, "list.txt gives .* which is 'stripe' in the class folders of"),
        ("list.txt", "alphabet.txt", None, "list.txt and .*alphabet.txt number the classes differently"),
        ("list.txt", None, None, "cannot be told: the training was from a list without names"),
    ],
)
def test_a_training_whose_sources_contradict_each_other_is_refused(
    config, data, train, evaluation, label_map, words
):
    with pytest.raises(UserError, match=words):
        Trainer(config(train, evaluation, label_map), CPU)
    assert not (data / "output").exists()


@pytest.mark.parametrize("change", ["renamed", "swapped"])
def test_a_resume_with_moved_labels_is_refused(config, data, change):
    Trainer(config(None, None, None), CPU).fit()
    if change == "renamed":
        (data / "data/circle").rename(data / "data/zcircle")
        words = "only the first has circle; only the second has zcircle"
        now = config(None, None, None, "Global.checkpoints=auto", "Global.epochs=2")
    else:
        words = "label 0 is 'circle' in the first and 'stripe' in the second"
        now = config("list.txt", None, "map.txt", "Global.checkpoints=auto", "Global.epochs=2")
    with pytest.raises(UserError, match=words):
        Trainer(now, CPU)


def test_names_survive_a_resume_without_them_and_reach_the_export(config, data):
    lists = ("list.txt", "list.txt")
    Trainer(config(*lists, "map.txt"), CPU).fit()
    resume = ("Global.checkpoints=auto", "Global.epochs=2", "Global.resume_schedule=new")
    Trainer(config(*lists, None, *resume), CPU).fit()
    jobs.export(config(*lists, None, "Global.checkpoints=auto"))
    described = yaml.safe_load((data / "inference/inference.yml").read_text())
    assert described["PostProcess"]["Topk"]["label_list"] == list(MAP)


def test_a_teacher_that_learned_another_order_is_refused(config, data):
    Trainer(config(None, None, None), CPU).fit()
    pair = (
        "Arch={name: DistillationModel, freeze_params_list: [true, false], pretrained_list: "
        f"['{data}/output/best_model', null], models: [Teacher: {{name: PPLCNet_x0_25, class_num: 3}}, "
        "Student: {name: PPLCNet_x0_25, class_num: 3}]}"
    )
    loss = "Loss.Train=[{DistillationCELoss: {weight: 1.0, model_name_pairs: [[Student, Teacher]]}}]"
    elsewhere = f"Global.output_dir={data}/student"
    with pytest.raises(
        UserError, match="give the teacher Teacher weights that were trained on these classes"
    ):
        Trainer(config("list.txt", "list.txt", "map.txt", pair, loss, elsewhere), CPU)
    Trainer(config(None, None, None, pair, loss, elsewhere), CPU)


def test_gaps_empty_classes_and_unlearned_ones_are_said_once(config, data, warnings):
    lines = (data / "list.txt").read_text().splitlines()
    (data / "train.txt").write_text("".join(f"{line}\n" for line in lines if not line.endswith(" 1")))
    (data / "val.txt").write_text("".join(f"{line}\n" for line in lines if not line.endswith(" 2")))
    Trainer(config("train.txt", "val.txt", "map.txt"), CPU)
    about = [text for text in warnings if "class" in text]
    assert len(about) == 3
    assert "DataLoader.Train has no image of 1 of the 3 classes (label 1 'square')" in about[0]
    assert "DataLoader.Eval has no image of 1 of the 3 classes (label 2 'circle')" in about[1]
    assert (
        "DataLoader.Eval has 4 images of classes that DataLoader.Train never shows (label 1 'square')"
        in about[2]
    )


def test_one_class_is_said(config, data, warnings):
    lines = [line for line in (data / "list.txt").read_text().splitlines() if line.endswith(" 0")]
    (data / "one.txt").write_text("".join(f"{line}\n" for line in lines))
    Trainer(config("one.txt", "one.txt", None, "Arch.class_num=1"), CPU)
    assert sum("Arch.class_num is 1" in text for text in warnings) == 1


def test_weights_with_another_head_are_said(config, data, warnings):
    Trainer(config(None, None, None), CPU).fit()
    start = (f"Global.pretrained_model={data}/output/best_model", f"Global.output_dir={data}/tuned")
    Trainer(config(None, None, None, *start), CPU)
    assert warnings == []
    (data / "data/stripe").rename(data / "data/star")
    Trainer(config(None, None, None, *start), CPU)
    assert sum("only the first has stripe; only the second has star" in text for text in warnings) == 1


OPS = "DataLoader.Eval.dataset.transform_ops=[{DecodeImage: {%s}}, {ResizeImage: {size: 32%s}}, {NormalizeImage: {%s}}]"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (OPS % ("", "", "order: ''"), None),
        # the same numbers in other words
        (OPS % ("", "", "order: hwc, scale: 0.00392156862745098, mean: [0.485, 0.456, 0.406]"), None),
        (OPS % ("", "", "order: '', mean: [0.5, 0.5, 0.5]"), "different colours: an RGB pixel"),
        (OPS % ("", "", "order: '', std: [1.0, 1.0, 1.0]"), "different colours"),
        (OPS % ("", "", "order: '', scale: 1.0"), "different colours"),
        (OPS % ("to_rgb: false", "", "order: ''"), "different colours"),
        (
            OPS % ("", ", interpolation: nearest", "order: ''"),
            r"bilinear \(cv2\), DataLoader.Eval with nearest \(cv2\)",
        ),
        (
            OPS % ("", ", backend: pil", "order: ''"),
            r"bilinear \(cv2\), DataLoader.Eval with bilinear \(pil\)",
        ),
        (
            "Global.image_shape=[3, 64, 64]",
            r"DataLoader.Eval gives images of \[3, 32, 32\].* is \[3, 64, 64\]",
        ),
        (
            "DataLoader.Train.dataset.transform_ops.1.ResizeImage.size=48",
            r"DataLoader.Train gives images of \[3, 48, 48\]",
        ),
    ],
)
def test_preprocessing_that_cannot_be_meant_is_said_before_the_first_step(config, warnings, override, words):
    Trainer(config(None, None, None, override), CPU)
    if words is None:
        assert warnings == []
    else:
        assert re.search(words, "\n".join(warnings))


def test_weights_alone_are_compared_with_the_lists(config, data):
    Trainer(config("alphabet.txt", "alphabet.txt", None), CPU).fit()
    with pytest.raises(
        UserError, match=r"alphabet\.txt gives .*'circle' label 0, which is 'stripe' in .*map\.txt"
    ):
        jobs.export(config("alphabet.txt", "alphabet.txt", "map.txt", "Global.checkpoints=auto"))


def test_a_pruned_network_keeps_its_names(config, data):
    Trainer(config("list.txt", "list.txt", "map.txt"), CPU).fit()
    jobs.prune(
        config("list.txt", "list.txt", None, "Global.checkpoints=auto"), 0.3, "l1_norm", str(data / "pruned")
    )
    pruned = load_config(data / "pruned/config.yaml", ["DataLoader.Eval.dataset.cls_label_path=null"])
    assert scored_labels(pruned, data) == {name: label for label, name in enumerate(MAP)}


def test_an_evaluation_says_which_classes_it_has_no_image_of(config, data, warnings):
    Trainer(config(None, None, None), CPU).fit()
    del warnings[:]
    lines = [line for line in (data / "alphabet.txt").read_text().splitlines() if not line.endswith(" 2")]
    (data / "two.txt").write_text("".join(f"{line}\n" for line in lines))
    jobs.evaluate(config(None, "two.txt", None, "Global.checkpoints=auto"))
    assert warnings == ["DataLoader.Eval has no image of 1 of the 3 classes (label 2 'stripe')"]


def test_a_head_with_these_classes_in_another_order_is_no_start(config, data):
    Trainer(config(None, None, None), CPU).fit()
    start = (f"Global.pretrained_model={data}/output/best_model", f"Global.output_dir={data}/tuned")
    with pytest.raises(UserError, match=r"another order.*number the data as the first.*reset_head=true"):
        Trainer(config("list.txt", "list.txt", "map.txt", *start), CPU)


def head(model):
    """Return {name of a class: its row}, of weights and bias, of a PP-LCNet."""
    rows = np.concatenate([model["fc.weight"], model["fc.bias"][None]])
    return lambda names: {name: rows[:, label] for label, name in enumerate(names)}


@pytest.mark.parametrize(
    "start", [["Global.pretrained_model={}", "Global.reset_head=true"], ["Arch.pretrained={}"]]
)
def test_rows_of_classes_that_stay_are_kept_by_their_names(config, data, start, caplog):
    Trainer(config(None, None, None), CPU).fit()
    start = [option.format(data / "output/best_model") for option in start] + [
        f"Global.output_dir={data}/tuned"
    ]
    before = head(read_weights(data / "output/best_model"))(NAMES)

    def started(names, *arguments):
        model = Trainer(config(*arguments, *start), CPU).model
        return head({key: value.numpy() for key, value in model.state_dict().items()})(names)

    caplog.set_level("INFO", logger=LOGGER.name)
    LOGGER.propagate = True
    moved = started(MAP, "list.txt", "list.txt", "map.txt")
    for name in NAMES:
        np.testing.assert_array_equal(moved[name], before[name])
    for index in range(4):
        picture(data / f"data/blob/{index}.png", 200 + index)
    (data / "data/square").rename(data / "elsewhere")
    assert "keeps 3 rows" in caplog.text
    others = started(("blob", "circle", "stripe"), None, None, None)
    for name in ("circle", "stripe"):
        np.testing.assert_array_equal(others[name], before[name])
    assert not any(np.array_equal(others["blob"], row) for row in before.values())
    assert "keeps 2 rows" in caplog.text
    assert "(circle, stripe); new: blob; gone: square" in caplog.text
    (data / "elsewhere").rename(data / "data/square")
    added = started(("blob", *NAMES), None, None, None, "Arch.class_num=4")
    for name in NAMES:
        np.testing.assert_array_equal(added[name], before[name])


def test_a_head_without_names_is_said_to_be_taken_by_position(config, data, warnings):
    Trainer(config("list.txt", "list.txt", None), CPU).fit()
    start = (f"Global.pretrained_model={data}/output/best_model", "Global.reset_head=true")
    Trainer(config("list.txt", "list.txt", None, *start, f"Global.output_dir={data}/tuned"), CPU)
    assert sum("in the order of its classes: their names are not known" in text for text in warnings) == 1


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (
            (None, None, None),
            ("list.txt", "list.txt", None),
            "'circle' label 2, which is 'stripe' in .*best_model.pdstates",
        ),
        (
            ("list.txt", "list.txt", "map.txt"),
            ("alphabet.txt", None, None),
            "alphabet.txt gives .* in .*pdstates",
        ),
        (
            ("list.txt", "list.txt", None),
            (None, None, None),
            "pdstates .trained with a list. and the class folders of",
        ),
        (
            ("list.txt", "list.txt", None),
            ("alphabet.txt", "alphabet.txt", None),
            "alphabet.txt number the classes diff",
        ),
        (
            ("alphabet.txt", "alphabet.txt", None),
            ("alphabet.txt", "list.txt", None),
            "alphabet.txt and .*list.txt number",
        ),
    ],
)
def test_a_resume_on_a_list_is_compared_with_the_checkpoint(config, first, then, words):
    Trainer(config(*first), CPU).fit()
    with pytest.raises(UserError, match=words):
        Trainer(
            config(*then, "Global.checkpoints=auto", "Global.epochs=2", "Global.resume_schedule=new"), CPU
        )


def test_a_resume_on_a_list_takes_the_names_of_the_checkpoint_for_folders(config):
    Trainer(config(None, None, None), CPU).fit()
    resume = ("Global.checkpoints=auto", "Global.epochs=2", "Global.resume_schedule=new")
    run = Trainer(config("alphabet.txt", None, None, *resume), CPU)
    assert list(run.class_names) == list(NAMES)
    assert run.eval_reader.images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_training_without_names_gets_none_from_folders(config, data):
    Trainer(config("list.txt", "list.txt", None), CPU).fit()
    auto = "Global.checkpoints=auto"
    with pytest.raises(UserError, match="cannot be told"):
        jobs.evaluate(config(None, None, None, auto))
    with pytest.raises(UserError, match="number the classes differently"):
        jobs.evaluate(config("list.txt", "alphabet.txt", None, auto))
    jobs.export(config(None, "list.txt", None, auto))
    described = yaml.safe_load((data / "inference/inference.yml").read_text())
    assert described["ppcls_light"]["named"] is False


def test_first_weights_and_teachers_are_compared_with_a_list(config, data):
    Trainer(config(None, None, None), CPU).fit()
    start = (f"Global.pretrained_model={data}/output/best_model", f"Global.output_dir={data}/tuned")
    with pytest.raises(UserError, match=r"list\.txt gives .*'circle' label 2, which is 'stripe'"):
        Trainer(config("list.txt", "list.txt", None, *start), CPU)
    Trainer(config("alphabet.txt", "alphabet.txt", None, *start), CPU)
