import csv

import pytest
from PIL import Image

from ppcls_light.data.tags import read_tag_list

CLASSES = ("dress", "hat", "pants", "shorts", "t-shirt")


@pytest.fixture
def clothes(tmp_path):
    """One photo of five of the classes in each split."""
    for split in ("train", "validation", "test"):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    return tmp_path


def test_each_photo_has_the_two_facts_of_its_class(run_tool, clothes):
    run_tool("benchmarks/clothing_tags", clothes)
    with open(clothes / "test_tags.csv", newline="") as table:
        rows = {
            row.pop("path").split("/")[1]: [tag for tag in row if row[tag] == "1"]
            for row in csv.DictReader(table)
        }
    assert rows == {
        "dress": ["one-piece"],
        "hat": ["hat"],
        "pants": ["bottom", "long"],
        "shorts": ["bottom", "short"],
        "t-shirt": ["top", "short"],
    }
    images, names = read_tag_list(clothes / "train_tags.csv", clothes, 7)
    assert images.labels[0].tolist() == [0, 0, 1, 0, 0, -1, -1]  # the length of a dress is not told
    assert names.names[-2:] == ("long", "short")


def test_other_classes_are_refused(run_tool, clothes, capsys):
    (clothes / "train/socks").mkdir()
    Image.new("RGB", (8, 8)).save(clothes / "train/socks/1.png")
    with pytest.raises(SystemExit) as ended:
        run_tool("benchmarks/clothing_tags", clothes)
    assert ended.value.code == 2
    assert "the class socks has no tags" in capsys.readouterr().err
