"""Every recipe and deploy file of PaddleClas that runs here, by its keys: a dry run, or a row, on small images."""

import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.config import load_config
from tests.paddleclas_deploys import CLASSES, DEPLOYS, deploy
from tests.paddleclas_trainings import TRAININGS, training
from tools.benchmarks import paddleclas_sweep

LARGE = ("FasterNet_S", "FasterNet_M", "FasterNet_L")
WHOLE = "PULC/car_exists_distillation"  # has the whole ResNet101_vd as its teacher


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Images, lists, random weights and exports that all of a process' tests share."""
    return paddleclas_sweep.Scratch(tmp_path_factory.mktemp("sweep"), side=48)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with the label maps that the files name, where a checkout of PaddleClas has them."""
    root = tmp_path_factory.mktemp("checkout")
    for name, count in CLASSES.items():
        path = root / "ppcls" / "utils" / f"{name}_label_list.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{index} class {index}\n" for index in range(count)))
    (root / "deploy").mkdir()
    return root


@pytest.fixture
def in_this_process(monkeypatch):
    """The exported graph is compared in this process: a start of Paddle for each recipe is most of the time."""
    monkeypatch.setattr(
        "ppcls_light.export.verify.call_in_process", lambda function, *arguments, task: function(*arguments)
    )


def smaller(name, sections):
    """Return options that make large networks narrow or shallow, which changes no operator: they take a minute."""
    if name.endswith(LARGE):
        return ["Arch.embed_dim=48"]
    teacher = sections["Arch"].get("models", [{}])[0].get("Teacher", {})
    shallow = teacher.get("name", "").startswith("ResNet") and name != WHOLE
    return ["Arch.models.0.Teacher.depths=[1, 2, 1, 1]"] if shallow else []


def names(entries):
    return [next(iter(entry)) for entry in entries or ()]


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_with_paddleclas_keys(name, scratch, checkout, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    sections = training(name)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    options = smaller(name, sections)
    overrides = paddleclas_sweep.training_overrides(load_config(path, options), scratch)
    found = load_config(path, [*options, *overrides])
    jobs.dry_run(found)
    log = capsys.readouterr().out
    assert "dry run: everything works" in log
    (trained,) = (line for line in log.splitlines() if "dry run: a batch of" in line)
    for loss in names(sections["Loss"]["Train"]):
        assert f"{loss}: " in trained
    scored = [line for line in log.splitlines() if "[Eval]" in line and "[Avg]" in line]
    assert len(scored) == found.Global.eval_during_train  # not in FasterNet's
    for text in [*names(sections["Loss"]["Eval"]), found.Metric.best]:
        assert all(f"{text}: " in line for line in scored)
    assert type(found.Infer.PostProcess).__name__ == sections["Infer"]["PostProcess"]["name"]


@pytest.mark.parametrize("name", DEPLOYS)
def test_a_deploy_file_with_paddleclas_keys(name, scratch, checkout, tmp_path):
    sections = deploy(name)
    path = tmp_path / "deploy.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    (row,) = paddleclas_sweep.deploy(path, scratch, checkout)
    assert "error" not in row
    assert row["file_name"].endswith("0.png")


def test_they_are_as_many_as_the_documents_say():
    assert (len(TRAININGS), len(DEPLOYS)) == (63, 19)
