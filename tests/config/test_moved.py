"""The config of a run in a folder that was moved or copied."""

import shutil

import pytest

from ppcls_light import cli
from ppcls_light.commands.dispatch import command_parser
from ppcls_light.config import load_config, load_run, relocate_run

TEXT = """\
Global:
  output_dir: {run}
  save_inference_dir: {run}/inference
  checkpoints: auto
Arch: {{name: PPLCNet_x0_25, class_num: 2, pretrained: {run}/first}}
DataLoader:
  Train:
    dataset: {{name: ImageNetDataset, image_root: {run}/photos, cls_label_path: {run}/lists/train_list.txt}}
    sampler: {{batch_size: 2}}
Infer:
  PostProcess: {{name: Topk, class_id_map_file: {outside}/labels.txt}}
"""


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose list of photos and names are there."""
    (tmp_path / "run/lists").mkdir(parents=True)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "run/lists/train_list.txt").write_text("a/1.jpg 0\nb/1.jpg 1\n")
    text = TEXT.format(run=tmp_path / "run", outside=tmp_path)
    (tmp_path / "run/config.yaml").write_text(text)
    return tmp_path / "run"


def paths(config):
    dataset = config.reader("Train").dataset
    return (
        *(config.Global.output_dir, config.Global.save_inference_dir, config.Arch.pretrained),
        *(dataset.image_root, dataset.cls_label_path, config.Infer.PostProcess.class_id_map_file),
    )


def test_a_run_in_its_place_is_read_as_it_stands(run):
    assert load_run(run / "config.yaml") == load_config(run / "config.yaml")


@pytest.mark.parametrize("copied", [False, True])
def test_what_lay_in_the_old_folder_lies_in_the_new_one(run, tmp_path, copied):
    there = tmp_path / "else where"
    (shutil.copytree if copied else shutil.move)(run, there)
    config = load_run(there / "config.yaml", ["Global.epochs=3"])
    assert paths(config) == (
        *(str(there), str(there / "inference"), str(there / "first")),
        *(str(run / "photos"), str(there / "lists/train_list.txt"), str(tmp_path / "labels.txt")),
    )
    assert config.Global.checkpoints == "auto"
    assert config.Global.epochs == 3


def test_what_is_read_and_was_left_behind_is_read_there(run, tmp_path):
    there = tmp_path / "alone"
    there.mkdir()
    shutil.copy(run / "config.yaml", there)
    config = load_run(there / "config.yaml")
    assert config.reader("Train").dataset.cls_label_path == str(run / "lists/train_list.txt")
    assert config.Global.save_inference_dir == str(there / "inference")


def test_a_folder_with_the_name_of_a_number_is_one(run):
    text = (run / "config.yaml").read_text().replace(f"output_dir: {run}", "output_dir: 5")
    (run / "config.yaml").write_text(text)
    assert load_run(run / "config.yaml").Global.output_dir == str(run)


def test_a_command_of_a_copy_exports_into_the_copy(run, tmp_path):
    there = shutil.copytree(run, tmp_path / "copy")
    config = cli.parse_config(command_parser("export", "export").parse_args([str(there)]))
    assert config.Global.save_inference_dir == str(there / "inference")
    (there / "inference").mkdir()
    (run / "inference").mkdir()
    assert cli.exported(str(there)) == str(there / "inference")


def test_the_file_is_written_anew_only_where_its_folder_has_moved(run, tmp_path, monkeypatch):
    before = (run / "config.yaml").stat().st_mtime_ns
    relocate_run(run / "config.yaml")
    assert (run / "config.yaml").stat().st_mtime_ns == before
    run.rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    relocate_run("new/config.yaml")
    assert load_config("new/config.yaml").Global.output_dir == str(tmp_path / "new")
    assert str(run / "lists") not in (tmp_path / "new/config.yaml").read_text()
