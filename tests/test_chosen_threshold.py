"""A threshold from its choice on DataLoader.Eval to the answers by it."""

import json

import numpy as np
import pytest
import yaml

from ppcls_light import Run, jobs, predict
from ppcls_light.bundle.chosen import read_chosen
from ppcls_light.bundle.folder import read_bundle
from ppcls_light.config import load_config
from ppcls_light.config.postprocess import ThreshOutput
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.prediction.deploy import predictor_from_config, read_deploy_config
from ppcls_light.weights import read_weights, write_weights

TRAINED = "Global.checkpoints=auto"


@pytest.fixture
def two_classes(config_file, photos):
    """`config_file` for two classes, striped and not, trained until it tells them apart, whatever is rounded how."""
    for split in ("train", "val"):
        lines = [line.split() for line in (photos / f"{split}_list.txt").read_text().splitlines()]
        (photos / f"{split}_list.txt").write_text(
            "".join(f"{name} {int(label == '2')}\n" for name, label in lines)
        )
    (photos / "labels.txt").write_text("0 plain\n1 striped\n")
    content = yaml.safe_load(config_file.read_text())
    content["Arch"]["class_num"] = 2
    content["Global"]["epochs"] = 3
    content["Optimizer"]["lr"]["learning_rate"] = 0.01
    content["Metric"] = {"Eval": [{"TprAtFpr": {"max_fpr": 0.3}}, {"AUC": {}}]}
    config_file.write_text(yaml.safe_dump(content, sort_keys=False))
    jobs.train(load_config(config_file))
    return config_file


def rows(path):
    """Return labels, int (N,) or lists, and probabilities (N, K) of a file of predictions."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ordered = [[score for _, score in sorted(zip(row["class_ids"], row["scores"]))] for row in lines]
    return [row["label"] for row in lines], np.array(ordered)


def answers(photos, *models):
    """Return the class that each model (a function of paths, or a folder) gives to each photo of Eval."""
    paths = sorted(map(str, (photos / "val").iterdir()))
    return [[row["class_ids"] for row in predict(model, paths)] for model in models]


def test_of_two_classes(two_classes, tmp_path):
    result = jobs.evaluate(
        load_config(two_classes, [TRAINED]),
        predictions=str(tmp_path / "rows.jsonl"),
        report=str(tmp_path / "report"),
        choose_threshold="tpr@fpr=0.3",
    )
    chosen = read_chosen(tmp_path / "output" / "best_model.threshold.json")
    labels, scores = rows(tmp_path / "rows.jsonl")
    taken, positive = scores[:, 1] >= chosen.threshold, np.array(labels) == 1
    assert (positive.sum(), (~positive).sum()) == (3, 8)
    assert chosen.measured[0]["tpr"] == pytest.approx(taken[positive].mean(), abs=1e-5)
    assert chosen.measured[0]["fpr"] == pytest.approx(taken[~positive].mean(), abs=1e-5)
    assert result["threshold"] == chosen.threshold
    assert (result["tpr"], result["fpr"]) == (taken[positive].mean(), taken[~positive].mean())
    assert list(result)[-4:] == ["tpr", "fpr", "threshold", "auc"]
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["threshold"] == chosen.threshold
    assert summary["auc"] == pytest.approx(result["auc"])


def test_of_each_tag(tagged_config, tagged_photos, tmp_path):
    jobs.train(load_config(tagged_config, ["Global.epochs=1"]))
    report = tmp_path / "report"
    jobs.evaluate(load_config(tagged_config, [TRAINED]), report=str(report), choose_threshold="f1")
    chosen = read_chosen(tmp_path / "output" / "best_model.threshold.json")
    assert [found["positives"] for found in chosen.measured] == [7, 3]
    lines = (report / "per_tag.csv").read_text().splitlines()[1:]
    shown = [line.split(",") for line in lines]
    assert [float(row[2]) for row in shown] == pytest.approx(chosen.threshold)
    assert [float(row[5]) for row in shown] == [found["f1"] for found in chosen.measured]

    jobs.export(load_config(tagged_config, [TRAINED]))
    bundle = read_bundle(tmp_path / "inference")
    assert (bundle.postprocess.threshold, len(bundle.chosen.measured)) == (chosen.threshold, 2)
    first, second = answers(tagged_photos, tmp_path / "inference", tmp_path / "output/best_model")
    assert first == second
    taken = [sum(tag in row for row in first) for tag in (0, 1)]
    counts = [round(f["positives"] * f["tpr"] + f["negatives"] * f["fpr"]) for f in chosen.measured]
    assert taken == counts


def set_threshold(path, threshold):
    """Let the file say another threshold than was chosen, so that it can be told from 0.5 by the answers."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": threshold}))


def test_infer_load_and_export_answer_by_it(two_classes, tmp_path, photos, capsys):
    file, exported = tmp_path / "output/best_model.threshold.json", tmp_path / "inference"
    jobs.evaluate(load_config(two_classes, [TRAINED]), choose_threshold="tpr@fpr=0.3")
    set_threshold(file, 0.0)  # every photo is striped
    config = load_config(two_classes, [TRAINED])
    by_infer = [row["class_ids"] for row in jobs.infer(config)]
    jobs.export(config)
    assert answers(photos, exported, tmp_path / "output/best_model") == [[[1]] * 11] * 2
    assert by_infer == [[1]] * 11
    bundle = read_bundle(exported)
    assert isinstance(bundle.postprocess, ThreshOutput)
    assert (bundle.postprocess.threshold, bundle.chosen.rule) == (0.0, "tpr@fpr=0.3")
    assert bundle.chosen.measured[0]["negatives"] == 8
    assert bundle.class_names.names == ("plain", "striped")

    # The next choice goes into the export, too, and its rows are those of the Predictor again.
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    jobs.evaluate(config, choose_threshold="recall=1")
    chosen = read_chosen(file)
    after = read_bundle(exported)
    assert (after.postprocess.threshold, after.chosen.rule) == (chosen.threshold, "recall=1")
    changed = {path.name for path in exported.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"inference.yml"}
    first, second = answers(photos, exported, tmp_path / "output/best_model")
    assert first == second
    assert 3 <= sum(row == [1] for row in first) < 11

    deploy = {"Global": {"inference_model_dir": str(exported), "infer_imgs": str(photos / "val")}}
    own = {**deploy, "PostProcess": {"ThreshOutput": {"threshold": 1.0}}}
    capsys.readouterr()
    with_own = predictor_from_config(read_deploy_config(own))
    assert with_own.predict(str(photos / "val/02.png"))[0]["class_ids"] == [0]
    assert (
        f"threshold 1.0 counts, not the threshold {chosen.threshold} that recall=1" in capsys.readouterr().out
    )
    assert predictor_from_config(read_deploy_config(deploy)).postprocess == after.postprocess
    assert "counts, not the threshold" not in capsys.readouterr().out


def test_a_run_takes_it_at_once(two_classes, tmp_path, photos):
    run, photo = Run(tmp_path / "output"), str(photos / "val" / "00.png")
    assert len(run.predict(photo)[0]["class_ids"]) == 2
    numbers = run.evaluate(choose_threshold="f1")
    assert {"tpr", "auc"} <= set(numbers)
    assert len(run.predict(photo)[0]["class_ids"]) == 1


def test_what_the_config_says_counts_and_other_weights_have_none(two_classes, tmp_path):
    file = tmp_path / "output/best_model.threshold.json"
    jobs.evaluate(load_config(two_classes, [TRAINED]), choose_threshold="f1")
    set_threshold(file, 0.0)
    said = ["Infer.PostProcess={name: ThreshOutput, threshold: 1.0}"]
    log = tmp_path / "output/infer.log"
    assert {row["class_ids"][0] for row in jobs.infer(load_config(two_classes, [TRAINED, *said]))} == {0}
    option = "for the latter: -o Infer.PostProcess.threshold=null"
    assert f"Infer.PostProcess.threshold 1.0 counts, not 0.0, which f1 chose; {option}" in log.read_text()
    set_threshold(file, [0.5])
    with pytest.raises(ConfigError, match=r"chosen by f1 is of tags; choose anew: .*--choose-threshold f1"):
        jobs.infer(load_config(two_classes, [TRAINED]))
    weights = tmp_path / "output/best_model.pdparams"
    other = read_weights(weights)
    (tmp_path / "output/best_model.pdstates").unlink()
    write_weights(weights, {key: value + np.float32(1e-3) for key, value in other.items()})
    rows_of = jobs.infer(load_config(two_classes, [f"Global.pretrained_model={weights}"]))
    assert {len(row["class_ids"]) for row in rows_of} == {2}  # Topk, as before
    assert "best_model.threshold.json was chosen for other weights" in log.read_text()
    assert "--choose-threshold f1" in log.read_text()


def test_what_gives_no_threshold_is_refused_before_or_after_the_evaluation(
    config_file, two_classes, tmp_path
):
    def choose(rule, *options):
        jobs.evaluate(load_config(two_classes, [TRAINED, *options]), choose_threshold=rule)

    with pytest.raises(ConfigError, match="'best' is no rule for a threshold; give "):
        choose("best")
    with pytest.raises(DataError, match=r"of 8 negative images of striped that is none: .* 1,000 or more"):
        choose("tpr@fpr=0.001")
    with pytest.raises(ConfigError, match="of 3 classes the most probable one is the answer"):
        choose("f1", "Arch.class_num=3", "Metric.Eval=[{TopkAcc: {topk: 1}}]")
    assert not (tmp_path / "output" / "best_model.threshold.json").exists()
