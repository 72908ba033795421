"""Small pictures that differ as photos do, and folders of them."""

import numpy as np
import pytest
from PIL import Image, ImageDraw


def picture(seed, side=96):
    """Return a Pillow image of coloured shapes; another `seed` gives another picture."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        box = np.sort(rng.integers(0, side, (2, 2)), axis=0)
        color = tuple(rng.integers(0, 256, 3).tolist())
        draw.rectangle([*box[0].tolist(), *box[1].tolist()], outline=color, width=2)
    return image


@pytest.fixture(scope="session")
def make_picture():
    return picture


@pytest.fixture
def photos(tmp_path):
    """A folder with train_list.txt and val_list.txt: 6 and 3 pictures of each of 2 classes."""
    folder, seed = tmp_path / "photos", 0
    for split, count in (("train", 6), ("val", 3)):
        lines = []
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = f"{split}/{name}/{number}.jpg"
                picture(seed).save(folder / path, quality=90)
                lines.append(f"{path} {label}")
                seed += 1
        (folder / f"{split}_list.txt").write_text("\n".join(lines) + "\n")
    return folder
