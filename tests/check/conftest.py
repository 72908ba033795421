"""Small pictures that differ as photos do, and folders of them."""

import pytest

from tools.benchmarks import check_data


@pytest.fixture(scope="session")
def make_picture():
    return check_data.make_picture


@pytest.fixture
def listed(tmp_path):
    """A folder with train_list.txt and val_list.txt: 6 and 3 pictures of each of 2 classes."""
    folder, seed = tmp_path / "listed", 0
    for split, count in (("train", 6), ("val", 3)):
        lines = []
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = f"{split}/{name}/{number}.jpg"
                check_data.make_picture(seed, 96).save(folder / path, quality=90)
                lines.append(f"{path} {label}")
                seed += 1
        (folder / f"{split}_list.txt").write_text("\n".join(lines) + "\n")
    return folder
