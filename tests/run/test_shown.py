"""What a notebook shows of the objects of the API: their facts, pictures, and no markup of the names in them."""

import base64
import dataclasses
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from ppcls_light import Predictor, UserError, list_pretrained, load_config
from ppcls_light.config.postprocess import MultiLabelThreshOutput
from ppcls_light.data.classes import ClassNames
from ppcls_light.run import Run

HOSTILE = '"><script>alert(1)<img src=x onerror=alert(1)>'


class Shown(HTMLParser):
    """Tags, text and pictures of HTML as a browser sees them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.pictures = set(), "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        assert not [name for name in given if name.startswith("on")]
        if tag == "img":
            kind, data = re.fullmatch(r"data:image/(\w+);base64,(.+)", given["src"]).groups()
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))
            assert self.pictures[-1].format.lower() == kind

    def handle_data(self, data):
        self.text += data


def test_a_predictor_says_what_it_is(trained, exported):
    folder = exported.bundle.folder
    words = f"PPLCNet_x0_25, 3 classes (dark, bright, striped), 3x32x32, paddle fp32, folder {folder}"
    assert repr(exported) == f"Predictor {words}"
    assert repr(trained.predictor).endswith(f", weights {trained.weights}")
    shown = Shown(exported._repr_html_())
    for word in ("PPLCNet_x0_25", "3x32x32", "paddle fp32", folder, "striped", "probs, embedding"):
        assert word in shown.text
    many = ClassNames(tuple(f"class {label}" for label in range(3)), "here")
    bare = dataclasses.replace(
        exported.bundle, class_names=None, model_name="", image_shape=None, class_num=None
    )
    assert repr(Predictor(bare)).startswith("Predictor paddle fp32")
    assert "class 2" in repr(Predictor(dataclasses.replace(exported.bundle, class_names=many)))


def test_a_predictor_of_tags_counts_them_and_says_from_where_on_it_has_each(exported):
    kind = MultiLabelThreshOutput(threshold=[0.25, 0.5, 0.123456])
    tags = Predictor(dataclasses.replace(exported.bundle, multilabel=True, postprocess=kind))
    assert ", 3 tags (dark, bright, striped), " in repr(tags)
    assert "MultiLabelThreshOutput, threshold 0.25, 0.5, 0.1235" in Shown(tags._repr_html_()).text


def test_a_run_shows_its_metrics_and_curves(trained, tmp_path):
    shown = Shown(trained._repr_html_())
    assert shown.pictures[0].size == (1500, 520)
    assert f"{trained.metrics['best']['top1']:.4g}" in shown.text
    for word in ("PPLCNet_x0_25, 2 of 2 epochs", "best top1", "train_loss", "run.export()"):
        assert word in shown.text
    assert "resume" not in shown.text
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(f"{trained.folder}/config.yaml", begun)
    shown = Shown(Run(begun)._repr_html_())
    assert "0 of 2 epochs, stopped" in shown.text
    assert "run.resume()" in shown.text
    assert shown.pictures == []


def test_a_config_and_the_published_weights_are_shown_as_they_are(config_file):
    config = load_config(config_file)
    shown = yaml.safe_load(Shown(config._repr_html_()).text)
    assert shown["Arch"]["name"] == "PPLCNet_x0_25"
    assert shown["Global"]["epochs"] == 4
    table = Shown(list_pretrained("PPLCNet*")._repr_html_())
    assert "table" in table.tags
    assert all(row.network in table.text for row in list_pretrained("PPLCNet*"))


def test_names_are_text_wherever_they_are_shown(trained, exported, tmp_path):
    names = ClassNames((HOSTILE, "bright", "striped"), "here")
    predictor = Predictor(dataclasses.replace(exported.bundle, class_names=names))
    folder = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(trained.folder, folder)
    image = tmp_path / f"{HOSTILE}.png"
    Image.fromarray(np.zeros((32, 32, 3), "uint8")).save(image)
    run = Run(folder)
    explanations = run.explain([image])
    config = load_config(folder / "config.yaml", [f"Global.output_dir='{HOSTILE}'"])
    for one in (predictor, run, run.predictor, explanations, explanations[0], config):
        shown = Shown(one._repr_html_())
        assert "script" not in shown.tags
        assert HOSTILE in shown.text
    assert len(Shown(explanations._repr_html_()).pictures) == 1


def test_an_explanation_is_shown_without_matplotlib_by_its_words(trained, tmp_path, monkeypatch):
    image = np.zeros((32, 32, 3), "uint8")
    explanations = trained.explain(image)

    def fails(*_):
        raise UserError("there is no matplotlib")

    monkeypatch.setattr("ppcls_light.explanation.subject.Fonts", fails)
    assert explanations[0]._repr_html_() is None
    assert "Explanation of" in Shown(explanations._repr_html_()).text


def test_a_users_error_is_one_line_in_a_notebook(config_file):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactive.InteractiveShell.instance()
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        patch.setattr("sys.stderr", printed)
        done = shell.run_cell(
            f"import ppcls_light\nppcls_light.load_config({str(config_file)!r}, ['Global.epoch=1'])"
        )
    interactive.InteractiveShell.clear_instance()
    assert isinstance(done.error_in_exec, UserError)
    lines = printed.getvalue().strip().splitlines()
    assert lines == [f"ConfigError: {done.error_in_exec}"]
