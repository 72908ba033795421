"""Images of no class: their scores, and every way in which an export that knows them is used."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ppcls_light import Predictor
from ppcls_light.bundle import read_bundle
from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.export import export_model
from ppcls_light.export.unknown import UnknownFit
from ppcls_light.prediction.neighbours import Index
from ppcls_light.prediction.results import format_row
from ppcls_light.prediction.rows import Parts
from ppcls_light.prediction.unknown import at_temperature, distance, energy
from tests.serve.conftest import running

from .conftest import OPS, Colours, picture

special = pytest.importorskip("scipy.special", reason="needs scipy, which scikit-learn brings")
RNG = np.random.default_rng(0)
NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Paths of 24 pictures and their labels: red, green and blue ones in turn."""
    folder, labels = tmp_path_factory.mktemp("colours"), np.arange(24) % 3
    for seed, channel in enumerate(labels):
        pixels = cv2.cvtColor(picture(channel, seed), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{seed:02}.png"), pixels)
    return sorted(map(str, folder.iterdir())), labels


@pytest.fixture(scope="module", params=["energy", "distance"])
def known(request, colours, tmp_path_factory):
    """An export of `Colours` that was fitted on those pictures."""
    paths, labels = colours
    wanted = UnknownFit(request.param, 0.9, request.param == "distance", paths, labels, paths)
    folder = tmp_path_factory.mktemp("known") / "inference"
    export_model(Colours(), folder, (3, 32, 32), OPS, NAMES, "Colours", topk=2, unknown=wanted)
    return folder


@pytest.fixture
def new(tmp_path):
    """A folder of a green picture, one that is black all over, and one that is none."""
    folder = tmp_path / "new"
    folder.mkdir()
    cv2.imwrite(str(folder / "a_green.png"), picture(1, 3))
    cv2.imwrite(str(folder / "b_black.png"), np.zeros((50, 60, 3), "uint8"))
    (folder / "c_torn.png").write_bytes(b"no picture")
    return folder


def test_thresholds_are_for_the_precision_they_were_fitted_in(known):
    assert Predictor(known, precision="auto").engine_options.precision == "fp32"
    for precision in ("bf16", "int8"):
        with pytest.raises(ConfigError, match=rf"precision {precision}: its thresholds .* fitted in fp32"):
            Predictor(known, precision=precision)


def test_a_temperature_divides_the_logits():
    logits = RNG.normal(0, 3, (50, 7)).astype("float32")
    probs = special.softmax(logits, axis=1)
    for value in (0.3, 1, 2.5):
        cooled = at_temperature(probs, value)
        np.testing.assert_allclose(cooled, special.softmax(logits / value, axis=1), atol=1e-5)
        np.testing.assert_array_equal(cooled.argmax(axis=1), probs.argmax(axis=1))
    assert at_temperature(np.float32([[1, 0, 0]]), 2)[0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert np.isnan(at_temperature(np.float32([[np.nan, 0.5]]), 2)).all()


def test_scores_are_those_of_scipy_and_scikit_learn():
    logits = RNG.normal(0, 300, (20, 5))
    np.testing.assert_allclose(energy(logits), -special.logsumexp(logits, axis=1))
    neighbors = pytest.importorskip("sklearn.neighbors")
    reference, asked = RNG.normal(size=(30, 4)), RNG.normal(size=(9, 4))
    distances, _ = neighbors.NearestNeighbors(n_neighbors=5, metric="cosine").fit(reference).kneighbors(asked)
    index = Index(np.float32(reference), list(map(str, range(30))), "", "")
    for class_num, place in ((2, 4), (3, 4), (5, 2), (40, 0)):
        found = distance(index, np.float32(asked), class_num)
        np.testing.assert_allclose(found, distances[:, place], atol=1e-5)


def test_a_picture_of_no_class_is_unknown(known, new, colours):
    predictor, section = Predictor(known, batch_size=2), read_bundle(known).unknown
    green, black, torn = predictor.predict(sorted(new.iterdir()))
    assert (green["unknown"], black["unknown"]) == (False, True)
    assert black["unknown_score"] > max(section.thresholds) >= green["unknown_score"]
    assert set(torn) == {"file_name", "error"}
    assert green["label_names"][0] == "green"
    rows = predictor.predict(colours[0])
    assert 0.9 <= np.mean([not row["unknown"] for row in rows]) < 1  # the share that was asked for
    assert format_row("b", black).startswith(f"b:\tunknown ({black['unknown_score']:.3g}), class id(s): [")
    assert format_row("a", green).startswith("a:\tclass id(s): [1")


def test_the_order_of_the_classes_stays_and_their_scores_are_at_the_temperature(known, exported, new):
    rows, before = (Predictor(folder).predict(sorted(new.iterdir())[:2]) for folder in (known, exported))
    value = read_bundle(known).unknown.temperature
    assert value != 1
    for row, old in zip(rows, before):
        assert [row[key] for key in ("class_ids", "label_names")] == [
            old[key] for key in ("class_ids", "label_names")
        ]
        assert set(row) - set(old) == {"unknown", "unknown_score"}
    pictures = np.stack([Predictor(exported).preprocess(path) for path in sorted(new.iterdir())[:2]])
    logits = np.log(Predictor(exported).run(pictures))
    found = Predictor(known).run(pictures)
    np.testing.assert_allclose(found, special.softmax(logits / value, axis=1), atol=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_say_the_same(known, new, engine):
    for library in (engine, "paddle2onnx"):
        pytest.importorskip(library)
    rows, expected = (
        Predictor(known, engine=name).predict(sorted(new.iterdir())[:2]) for name in (engine, "paddle")
    )
    for row, other in zip(rows, expected):
        assert row["unknown"] == other["unknown"]
        assert row["unknown_score"] == pytest.approx(other["unknown_score"], abs=1e-3)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_predict_cls_says_so_and_goes_on(known, new, name, tmp_path, root, run_script, capsys):
    options = ["-o", f"Global.inference_model_dir={known}", f"Global.infer_imgs={new}"]
    output = tmp_path / name
    for resume in ([], ["--resume"]):
        with pytest.raises(SystemExit) as ended:
            run_script("deploy/python/predict_cls.py", "--output", output, *resume, *options)
        assert ended.value.code == 1
    assert "b_black.png:\tunknown (" in capsys.readouterr().out
    if name == "rows.csv":
        with open(output, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["unknown"] for row in rows] == ["False", "True", ""]
        assert float(rows[1]["unknown_score"]) > float(rows[0]["unknown_score"])
    else:
        rows = [json.loads(line) for line in Path(output).read_text().splitlines()]
        assert [row.get("unknown") for row in rows] == [False, True, None]


@pytest.fixture
def run_script(root, monkeypatch):
    """A function that runs a script of the checkout in this process."""
    import runpy
    import sys

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(root / script), run_name="__main__")

    return run


def test_the_server_says_so(known, new):
    for library in ("fastapi", "httpx"):
        pytest.importorskip(library, reason="needs the extra `serving`, and httpx")
    import httpx

    expected = Predictor(known).predict(sorted(new.iterdir())[:2])
    with running(known) as server:
        for path, row in zip(sorted(new.iterdir()), expected):
            answer = httpx.post(f"{server.url}/predict?topk=1", files={"file": path.read_bytes()}, timeout=60)
            (result,) = answer.json()["results"]
            assert len(result["class_ids"]) == 1
            assert result["unknown"] == row["unknown"]
            assert result["unknown_score"] == pytest.approx(row["unknown_score"], abs=1e-3)


def test_parquet_parts_have_the_two_columns(known, new, exported, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: the extra batch")
    for folder, columns in ((known, ["unknown", "unknown_score"]), (exported, [])):
        predictor = Predictor(folder)
        parts = Parts(str(tmp_path), "parquet", 3, 3, predictor.bundle.unknown is not None)
        parts.write(0, predictor.predict(sorted(new.iterdir())))
        table = parquet.read_table(tmp_path / "part-00000.parquet")
        assert table.column_names[6:] == columns
    assert table.num_rows == 3


def test_a_folder_that_was_taken_apart_is_one_line(known, tmp_path):
    folder = shutil.copytree(known, tmp_path / "inference")
    path = folder / "inference.yml"
    described = yaml.safe_load(path.read_text())
    section = described["ppcls_light"]["unknown"]
    if section["score"] == "distance":
        reference = folder / "inference.unknown.npz"
        data = reference.read_bytes()
        reference.write_bytes(data[:-1] + b"x")
        with pytest.raises(WeightsError, match=r"inference\.unknown\.npz is damaged, or not of the export"):
            Predictor(folder)
        reference.unlink()
        with pytest.raises(WeightsError, match=r"inference\.unknown\.npz: no such file, though the section"):
            Predictor(folder)
    described["ppcls_light"]["unknown"] = {**section, "thresholds": [1.0, 2.0]}
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match=r"the section unknown of inference\.yml is not of this graph"):
        Predictor(folder)
    described["ppcls_light"]["unknown"] = {**section, "thresholds": []}
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match=r"inference\.yml:\d+: .*thresholds is empty"):
        read_bundle(folder)
