"""The whole check: report, lines for the terminal, cleaned lists and exit codes, on planted faults."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ppcls_light.check.job import check_data
from ppcls_light.check.kinds import Limits
from ppcls_light.check.splits import Split, Splits, splits_of_folder
from ppcls_light.data import read_image_list
from ppcls_light.data.cifar import CifarImages
from ppcls_light.errors import ConfigError


@pytest.fixture
def faulty(listed):
    """The folder with a leak, a conflict, a duplicate, a damaged and a missing file, and a class of an evil name."""
    shutil.copy(listed / "val/cat/0.jpg", listed / "train/cat/0.jpg")
    shutil.copy(listed / "train/cat/1.jpg", listed / "train/dog/1.jpg")
    shutil.copy(listed / "train/dog/2.jpg", listed / "train/dog/3.jpg")
    (listed / "train/cat/4.jpg").write_bytes(b"\xff\xd8\xff no more")
    (listed / "val/dog/1.jpg").unlink()
    (listed / "labels.txt").write_text('["<script>alert(1)</script>", "dog & co"]')
    return listed


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_report_and_lines(faulty, tmp_path, run_tool, capsys):
    before = {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()}
    out = tmp_path / "report"
    run_tool("check_data", faulty, "--out", out)
    said = capsys.readouterr().out.splitlines()
    counts = {"missing": 1, "damaged": 1, "leak": 1, "conflict": 1, "duplicate": 1}
    for kind, count in counts.items():
        (line,) = [line for line in said if line.startswith(f"{kind}: ")]
        assert line.startswith(f"{kind}: {count} ")
    assert (
        "leak: 1 image is in two splits: train/cat/0.jpg of train = val/cat/0.jpg of val (same content)"
        in "\n".join(said)
    )
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["findings"] == counts
    assert summary["images"] == 18
    assert summary["classes"][1] == {"name": "dog & co", "images": {"train": 6, "val": 3}}
    findings = rows(out / "findings.csv")
    assert [row["kind"] for row in findings] == list(counts)
    assert [row["other_file"] for row in findings] == [
        "",
        "",
        "val/cat/0.jpg",
        "train/cat/1.jpg",
        "train/dog/2.jpg",
    ]
    images = rows(out / "images.csv")
    assert len(images) == 18
    assert images[0]["width"] == "96"
    assert images[4]["width"] == ""
    assert before == {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()}


def test_the_page_holds_its_pictures_and_no_script(faulty, tmp_path, run_tool):
    run_tool("check_data", faulty, "--out", tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "dog &amp; co" in page
    assert not re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page)
    # leak, conflict and duplicate have two pictures each; a contact sheet per class
    assert page.count("data:image/jpeg") == 3 * 2 + 2
    for kind in ("missing", "damaged", "leak", "conflict", "duplicate"):
        assert f'href="#{kind}"' in page
        assert f'id="{kind}"' in page


def test_fix_leaves_images_out_of_new_lists_and_says_why(faulty, tmp_path, run_tool, capsys):
    run_tool("check_data", faulty, "--out", tmp_path, "--fix")
    gone = {"cat/0.jpg", "cat/1.jpg", "cat/4.jpg", "dog/1.jpg", "dog/3.jpg"}
    left = [line for line in lines_of(faulty / "train_list.txt") if line[6:].split()[0] not in gone]
    assert lines_of(tmp_path / "lists/train_list.txt") == left
    assert len(left) == 7
    assert len(read_image_list(tmp_path / "lists/val_list.txt", faulty)) == 5
    reasons = rows(tmp_path / "lists/dropped.csv")
    assert [(row["file"], row["reason"]) for row in reasons] == [
        ("train/cat/0.jpg", "image is in two splits"),
        ("train/cat/1.jpg", "image has two labels"),
        ("train/cat/4.jpg", "file cannot be read"),
        ("train/dog/1.jpg", "image has two labels"),
        ("train/dog/3.jpg", "image repeats another"),
        ("val/dog/1.jpg", "file is not there"),
    ]
    assert "lists without 6 images" in capsys.readouterr().out
    run_tool("check_data", faulty, "--out", tmp_path / "other", "--fix", "damaged")
    assert len(lines_of(tmp_path / "other/lists/train_list.txt")) == 11


def test_cleaned_lists_of_a_config_take_the_place_of_its_lists(faulty, tmp_path, run_tool, capsys, root):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
_base_: {root}/configs/quick_start/photos_scratch.yaml
Global: {{output_dir: {tmp_path}/output}}
Arch: {{class_num: 2}}
DataLoader:
  Train:
    dataset: {{image_root: {faulty}, cls_label_path: {faulty}/train_list.txt}}
  Eval:
    dataset: {{image_root: {faulty}, cls_label_path: {faulty}/val_list.txt}}
Metric: {{Train: [{{TopkAcc: {{topk: [1]}}}}], Eval: [{{TopkAcc: {{topk: [1]}}}}]}}
"""
    )
    (faulty / "labels.txt").unlink()
    run_tool("check_data", "-c", config, "--fix")
    said = capsys.readouterr().out
    assert f"report: {tmp_path}/output/check_data/index.html" in said
    overrides = said.split("to train with them: -o ")[1].split()
    assert [pair.split("=")[0] for pair in overrides] == [
        "DataLoader.Train.dataset.cls_label_path",
        "DataLoader.Eval.dataset.cls_label_path",
    ]
    run_tool("check_data", "-c", config, "-o", *overrides, "--out", tmp_path / "again", "--strict")
    assert "no findings" in capsys.readouterr().out


def test_lists_of_one_name_and_their_delimiter_are_kept_apart(faulty, tmp_path):
    for split in ("train", "val"):
        lines = (faulty / f"{split}_list.txt").read_text().replace(" ", ";")
        (faulty / split / "list.txt").write_text(lines)
    parts = []
    for split in ("train", "val"):
        images = read_image_list(faulty / split / "list.txt", faulty, delimiter=";", check_files=False)
        parts.append(Split(split, images, f"DataLoader.{split}.dataset", ";"))
    check_data(Splits(parts, None), str(tmp_path / "out"), Limits(), "title", fix=["damaged"])
    lines = lines_of(tmp_path / "out/lists/train_list.txt")
    assert len(lines) == 11
    assert lines[0] == "train/cat/0.jpg;0"
    assert len(lines_of(tmp_path / "out/lists/val_list.txt")) == 6


def test_cifar_has_no_lists_to_clean(tmp_path):
    images = CifarImages("cifar.tar.gz", np.zeros((2, 3072), np.uint8), [0, 1], ["a", "b"])
    with pytest.raises(ConfigError, match="these images are no files that a list could name"):
        check_data(Splits([Split("Train", images)], None), str(tmp_path), Limits(), "title", fix=["blank"])


def test_data_without_a_readable_image_have_a_report(listed, tmp_path, run_tool, capsys):
    for path in listed.glob("*/*/*.jpg"):
        path.write_bytes(b"\xff\xd8\xff")
    run_tool("check_data", listed, "--out", tmp_path)
    assert "damaged: 18 files cannot be read" in capsys.readouterr().out
    assert json.loads((tmp_path / "summary.json").read_text())["sizes"] == {}


def test_class_folders_get_lists_and_the_names_of_their_labels(faulty, tmp_path, run_tool):
    for name in ("train_list.txt", "val_list.txt", "labels.txt"):
        (faulty / name).unlink()
    run_tool("check_data", faulty / "train", "--out", tmp_path, "--fix")
    assert lines_of(tmp_path / "lists/labels.txt") == ["0 cat", "1 dog"]
    kept = read_image_list(tmp_path / "lists/all_list.txt", faulty / "train")
    assert np.bincount(kept.labels).tolist() == [4, 4]


@pytest.mark.parametrize(("kinds", "code"), [([], 1), (["leak"], 1), (["blurred,dark"], None)])
def test_strict_ends_with_exit_code_1(faulty, tmp_path, run_tool, kinds, code):
    if code is None:
        run_tool("check_data", faulty, "--out", tmp_path, "--strict", *kinds)
        return
    with pytest.raises(SystemExit) as ended:
        run_tool("check_data", faulty, "--out", tmp_path, "--strict", *kinds)
    assert ended.value.code == code
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--strict", "leaks"],
            "--strict leaks: there is no such kind of finding; use missing, damaged, leak",
        ),
        (["--fix", "leaks"], "--fix leaks: there is no such kind of finding"),
        (["--hash-distance", "12"], "--hash-distance 12 is not from 0 to 11"),
        (["--color-correlation", "1.5"], "--color-correlation 1.5 is not from -1 to 1"),
        (["-o", "Global.epochs=1"], "-o changes a config"),
        (["--workers", "-1"], "--workers -1"),
        (["--label-share", "0.1"], "--label-share is about embeddings; give a model by --embeddings"),
        (["--dark", "nan"], "a threshold is no number"),
        (["--embeddings", "weights.pdparams"], "weights need the config of their network"),
    ],
)
def test_user_errors_are_one_line_and_nothing_is_written(
    listed, tmp_path, run_tool, capsys, arguments, message
):
    with pytest.raises(SystemExit) as ended:
        run_tool("check_data", listed, "--out", tmp_path / "report", *arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "report").exists()


def test_a_list_that_would_be_empty_is_refused(listed, tmp_path, run_tool, capsys):
    for path in listed.glob("val/*/*.jpg"):
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SystemExit) as ended:
        run_tool("check_data", listed, "--out", tmp_path, "--fix")
    assert ended.value.code == 2
    assert "val: no labelled image is left" in capsys.readouterr().err
    assert not (tmp_path / "lists/train_list.txt").exists()


def test_notes_about_classes_and_thresholds(listed, tmp_path, run_tool, capsys):
    (listed / "val_list.txt").write_text("val/cat/0.jpg 0\n")
    for path in listed.glob("train/dog/*.jpg"):
        noise = np.random.default_rng(len(str(path))).integers(0, 30, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    run_tool("check_data", listed, "--out", tmp_path)
    said = capsys.readouterr().out
    assert "val has no image of 1 class: dog" in said
    assert "train has fewer than 10 images of 2 classes: cat 6, dog 6" in said
    assert "46% are dark: --dark may not suit these images" in said


def test_labels_beyond_the_names_and_names_of_several_lines_are_in_one_line(listed, tmp_path):
    (listed / "labels.txt").write_text('["a\\nb"]')
    _, lines = check_data(splits_of_folder(str(listed)), str(tmp_path / "out"), Limits(), "", workers=0)
    assert "9 images have labels beyond the class names: 1" in lines
    assert any("a\\nb 6" in line for line in lines)
    assert not any("\n" in line for line in lines)
