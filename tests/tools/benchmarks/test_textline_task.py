"""Images and configs of tools/benchmarks/textline_task.py."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ppcls_light.config import load_config
from ppcls_light.errors import DataError
from tools.benchmarks import textline_task


def test_each_crop_and_its_mirror_image_are_on_one_side_of_the_split(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    for index in range(3):
        Image.fromarray(rng.integers(0, 255, (8, 20, 3), "uint8")).save(tmp_path / f"crops/{index}.png")
    out = tmp_path / "out"
    textline_task.write_images(tmp_path / "crops", 2, str(out))
    assert (out / "test.txt").read_text() == "plain/00002.png 0\nmirrored/00002.png 1\n"
    assert len((out / "train.txt").read_text().splitlines()) == 4
    plain, mirrored = (np.asarray(Image.open(out / f"{kind}/00001.png")) for kind in ("plain", "mirrored"))
    np.testing.assert_array_equal(plain[:, ::-1], mirrored)
    with pytest.raises(DataError, match="--train 3: there are 3 crops"):
        textline_task.write_images(tmp_path / "crops", 3, str(out))


def test_the_cases_differ_by_the_weights_alone(tmp_path):
    arguments = SimpleNamespace(out=str(tmp_path), epochs=2, weights="a.pdparams")
    scratch, taught = (
        load_config(textline_task.config_of(arguments, case, 0, str(tmp_path / "run")))
        for case in textline_task.CASES
    )
    assert (scratch.Arch.pretrained, taught.Arch.pretrained) == (None, "a.pdparams")
    assert scratch.DataLoader == taught.DataLoader
    assert scratch.Arch.params == taught.Arch.params
