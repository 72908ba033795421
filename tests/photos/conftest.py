"""Folders of photos, and one training of the whole way that several tests look at."""

import contextlib
import io
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ppcls_light.photos import train_photos

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
SMALL = {"network": "pplcnet_x0_25", "size": 32, "epochs": 2}


def write_photos(folder, counts, seed=0):
    """Write `counts`, {class: photos}, of 40 x 36 pixels into `folder`; each class has a colour, and noise in it."""
    rng = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            noise = rng.integers(-40, 55, (36, 40, 3))
            pixels = (np.array(COLOURS[label % 3]) + noise).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The whole way of 32 photos, some of them at fault, whose folder has a name that a shell must have quoted."""
    place = tmp_path_factory.mktemp("whole")
    folder = write_photos(place / "my 'fotos' ü", {"red": 10, "green ones": 10, "blue": 10})
    (folder / "red" / "empty.jpg").write_bytes(b"")
    (folder / "blue" / "cut.png").write_bytes((folder / "blue/00.png").read_bytes()[:300])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.chdir(place)
        patch.setenv("PPCLS_LIGHT_HOME", str(place / "weights"))  # where there are none
        out = train_photos(folder.name, say=lambda line: print(line, flush=True), **SMALL)
    return SimpleNamespace(
        place=place, folder=folder, before=before, out=place / out, relative=out, text=text.getvalue()
    )


@pytest.fixture
def in_place(whole, monkeypatch):
    """`whole`, seen from the folder that its command ran in."""
    monkeypatch.chdir(whole.place)
    monkeypatch.setenv("PPCLS_LIGHT_HOME", os.fspath(whole.place / "weights"))
    return whole
