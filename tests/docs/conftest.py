import shutil
from pathlib import Path

import pytest
from PIL import Image

import ppcls_light
from ppcls_light.config import load_config
from tests.conftest import CLASSES, write_config, write_photos


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, root):
    """A folder with what the pages name: photos, a config, a training of one epoch and its export."""
    folder = tmp_path_factory.mktemp("docs")
    photos = write_photos(folder)
    config_file = write_config(folder, photos)
    for index, line in enumerate((photos / "train_list.txt").read_text().split("\n")[:-1]):
        name, label = line.split()
        path = folder / "PHOTOS" / CLASSES[int(label)] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, path)
    for name, source in (("a.jpg", "val/00.png"), ("b.jpg", "val/01.png"), ("c.png", "val/02.png")):
        Image.open(photos / source).save(folder / name)
    config_file.write_text(config_file.read_text().replace(str(folder), "."))
    settings = [
        *("Global.output_dir=output/PHOTOS", "Global.save_inference_dir=output/PHOTOS/inference"),
        *("Global.epochs=1", "Global.embedding=true"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ppcls_light.jobs.train(load_config("config.yaml", settings))
        ppcls_light.jobs.export(load_config("config.yaml", [*settings, "Global.checkpoints=auto"]))
    (folder / "inference").symlink_to(Path("output/PHOTOS/inference"))
    shutil.copytree(photos / "val", folder / "NEW")
    for part in ("tools", "deploy", "configs"):
        (folder / part).symlink_to(root / part)
    return folder
