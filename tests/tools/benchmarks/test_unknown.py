"""Detection numbers by hand, and the draw from a ZIP."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from tools.benchmarks.unknown import auroc, false_positives, images_of, labelled, named


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    known, unknown = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.4, 0.8, 1.0])
    pairs = [(a < b) + 0.5 * (a == b) for a in known for b in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))


def test_false_positives_pass_where_19_of_20_known_images_do():
    known = np.arange(20.0)  # 18 is the 19th
    assert false_positives(known, np.array([17.5, 18.0, 18.5, 30.0])) == 0.5


def test_images_are_drawn_from_a_zip_and_a_folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in range(7):
        Image.fromarray(np.full((9, 9, 3), place, "uint8")).save(folder / f"{place}.png")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    with images_of(str(folder), 4) as chosen, images_of(str(tmp_path / "photos.zip"), 4) as unpacked:
        names = [[path.rsplit("/", 1)[1] for path in paths] for paths in (chosen, unpacked)]
    assert names[0] == names[1]
    assert len(set(names[0])) == 4


def test_arguments(tmp_path):
    (tmp_path / "test_list.txt").write_text("a b/1.jpg 3\nc.jpg 0\n")
    paths, labels = labelled(str(tmp_path))
    assert paths == [str(tmp_path / "a b/1.jpg"), str(tmp_path / "c.jpg")]
    assert labels.tolist() == [3, 0]
    assert named("text lines=a=b.zip") == ("text lines", "a=b.zip")
