"""Fixtures for all tests."""

import gc
import logging
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from ppcls_light.base import call
from ppcls_light.base.machine import supports
from ppcls_light.base.processes import Child
from tests.forked import ForkedChild

ROOT = Path(__file__).resolve().parents[1]

# MKL rounds by the place of an array in memory, which depends on what a process did before: two trainings in one worker
# would differ in the last bits. Runs in processes of their own are compared without this in test_killed.py.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ["PPCLS_LIGHT_OFFLINE"] = "1"  # no test asks the internet for weights; `weights_home` has a server
gc.disable()  # while the tests are collected, see below


def pytest_collection_finish():
    """Let the collector pass over the modules and tests: they stay, and to look through them takes half of a start."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _children_are_forked():
    """See forked.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call, "Child", ForkedChild)
        yield


@pytest.fixture
def fresh_children(monkeypatch):
    """The processes of `base.call` are started as in use, from nothing."""
    monkeypatch.setattr(call, "Child", Child)


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture
def run_tool(monkeypatch):
    """A function that runs tools/NAME.py in this process: run_tool(NAME, *arguments)."""

    def run(name, *arguments):
        path = str(ROOT / "tools" / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")

    return run


@pytest.fixture
def file_server(monkeypatch):
    """A server of files, see file_server.py; `file_server.kinds` has its faults."""
    kinds = runpy.run_path(str(ROOT / "tests/file_server.py"))
    server = kinds["FileServer"]()
    server.kinds = SimpleNamespace(**kinds)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def weights_home(tmp_path, monkeypatch, file_server):
    """An empty cache of weights; `file_server`, under the hosts' names, stands in for the internet."""
    home = tmp_path / "weights"
    for variable in ("PPCLS_LIGHT_OFFLINE", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("ppcls_light.weights.cache.PADDLECLAS", str(tmp_path / "paddleclas"))
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(home))
    monkeypatch.setenv("PPCLS_LIGHT_MIRROR", file_server.address)
    monkeypatch.setattr("ppcls_light.base.download.WAIT", 0.01)
    return home


@pytest.fixture(autouse=True)
def _logging_as_found():
    """Undo what a tool run in this process does to the package's logger."""
    logger = logging.getLogger("ppcls_light")
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _operators_as_found():
    """Undo what a training in this process does to the layers."""
    yield
    if "ppcls_light.ops.training" in sys.modules:
        sys.modules["ppcls_light.ops.training"].disable()


@pytest.fixture
def own_operators():
    """The project's operators for CPU, in use; tests that need them skip, with the reason, without a compiler."""
    from ppcls_light.ops import training
    from ppcls_light.ops.build import BuildError

    try:
        training.enable()
    except BuildError as problem:
        pytest.skip(f"the operators do not build here: {problem}")
    return training


@pytest.fixture(scope="session")
def native():
    """The library that runs plans; tests that need it skip, with the reason, without a compiler."""
    from ppcls_light.ops.build import BuildError
    from ppcls_light.ops.network import library

    try:
        return library()
    except BuildError as problem:
        pytest.skip(f"the library does not build here: {problem}")


@pytest.fixture
def zero_weights(monkeypatch):
    """New networks are all zeros: where sizes alone count, drawing millions of numbers is most of the time."""
    from paddle.nn import initializer

    def zeros(_, parameter, block=None):
        return initializer.Constant(0.0)(parameter, block)

    for name in ("Normal", "TruncatedNormal", "Uniform", "KaimingNormal", "XavierNormal", "XavierUniform"):
        monkeypatch.setattr(getattr(initializer, name), "forward", zeros)


@pytest.fixture
def on_processor(monkeypatch):
    """A function that makes this machine pass for one with these instruction sets, all of them usable."""

    def apply(*flags):
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("ppcls_light.base.machine.processor_flags", lambda: frozenset(flags))

    return apply


@pytest.fixture
def int8_instructions():
    """Skip a test that computes in int8 where that is refused; the refusal has tests that run everywhere."""
    if not supports("int8"):
        pytest.skip("int8 needs VNNI or AMX, which this processor does not have or may not use")


@pytest.fixture(scope="session")
def shared():
    """The folder of real photos and weights beside the checkout; tests that need it skip without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real photos and weights in ../shared, which are not there")
    return folder


@pytest.fixture
def without_checksums():
    """A function that lets inference.yml of a folder forget the checksums of the other files; it returns the folder."""

    def forget(folder):
        path = Path(folder) / "inference.yml"
        described = yaml.safe_load(path.read_text())
        described["ppcls_light"].pop("files", None)
        path.write_text(yaml.safe_dump(described))
        return folder

    return forget


CLASSES = ("dark", "bright", "striped")


def picture(label, rng):
    """Return a uint8 (40, 40, 3) image that shows what its class is called."""
    noise = rng.integers(0, 60, (40, 40, 3))
    if label == 0:
        image = noise
    elif label == 1:
        image = 255 - noise
    else:
        image = noise + 190 * (np.arange(40)[:, None, None] // 5 % 2)
    return image.astype("uint8")


def write_photos(tmp_path):
    """Write the folder `photos` into `tmp_path` and return its path."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for split, count in (("train", 26), ("val", 11)):
        lines = []
        for index in range(count):
            label = index % 3
            name = f"{split}/{index:02d}.png"
            (folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(label, rng)).save(folder / name)
            lines.append(f"{name} {label}\n")
        (folder / f"{split}_list.txt").write_text("".join(lines))
    (folder / "labels.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(CLASSES)))
    return folder


@pytest.fixture
def photos(tmp_path):
    """A folder with 26 training and 11 evaluation images of 3 classes, their lists and the label map."""
    return write_photos(tmp_path)


TAGS = ("bright", "striped")
TAGS_OF_CLASS = ("0,0", "1,0", "1,1")  # dark, bright, striped


def write_tags(photos):
    """Write lists of numbers, train_tags.txt and val_tags.txt, and the names, tags.txt, into `photos`."""
    for split in ("train", "val"):
        lines = [line.split() for line in (photos / f"{split}_list.txt").read_text().splitlines()]
        text = "".join(f"{name}\t{TAGS_OF_CLASS[int(label)]}\n" for name, label in lines)
        (photos / f"{split}_tags.txt").write_text(text)
    (photos / "tags.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(TAGS)))
    return photos


@pytest.fixture
def tagged_photos(photos):
    """`photos` with the tags of `TAGS`, see `write_tags`."""
    return write_tags(photos)


def write_tagged_config(config_file, photos):
    """Write tagged.yaml, `config_file` for the tags of `photos`, beside it and return its path."""
    content = yaml.safe_load(config_file.read_text())
    content["Global"]["use_multilabel"] = True
    content["Arch"]["class_num"] = len(TAGS)
    for split, name in (("Train", "train"), ("Eval", "val")):
        content["DataLoader"][split]["dataset"].update(
            name="MultiLabelDataset", cls_label_path=f"{photos}/{name}_tags.txt"
        )
    content["Infer"]["PostProcess"] = {"class_id_map_file": f"{photos}/tags.txt"}
    content["Loss"] = {split: [{"MultiLabelLoss": {"weight": 1.0}}] for split in ("Train", "Eval")}
    content["Metric"] = {"Eval": [{"MultiLabelMAP": {}}, {"ATTRMetric": {}}]}
    path = config_file.with_name("tagged.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def tagged_config(config_file, tagged_photos):
    """`config_file` for the tags of `tagged_photos`, with the losses and metrics of a multi-label config."""
    return write_tagged_config(config_file, tagged_photos)


def write_config(tmp_path, photos):
    """Write the file `config_file` into `tmp_path` and return its path."""
    normalize = {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}}
    reader = {"num_workers": 0}
    content = {
        "Global": {
            "output_dir": str(tmp_path / "output"),
            "save_inference_dir": str(tmp_path / "inference"),
            "device": "cpu",
            "epochs": 4,
            "print_batch_step": 3,
            "image_shape": [3, 32, 32],
        },
        "Arch": {"name": "PPLCNet_x0_25", "class_num": 3, "stride_list": [1, 2, 2, 2, 2]},
        "Loss": {
            "Train": [{"CELoss": {"weight": 1.0, "epsilon": 0.1}}],
            "Eval": [{"CELoss": {"weight": 1.0}}],
        },
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.05, "warmup_epoch": 1},
            "regularizer": {"name": "L2", "coeff": 0.00003},
        },
        "DataLoader": {
            "Train": {
                "dataset": {
                    "image_root": str(photos),
                    "cls_label_path": str(photos / "train_list.txt"),
                    "transform_ops": [
                        {"DecodeImage": None},
                        {"RandCropImage": {"size": 32}},
                        {"RandFlipImage": {"flip_code": 1}},
                        normalize,
                    ],
                },
                "sampler": {"batch_size": 4, "drop_last": True, "shuffle": True},
                "loader": reader,
            },
            "Eval": {
                "dataset": {
                    "image_root": str(photos),
                    "cls_label_path": str(photos / "val_list.txt"),
                    "transform_ops": [{"DecodeImage": None}, {"ResizeImage": {"size": 32}}, normalize],
                },
                "sampler": {"batch_size": 4},
                "loader": reader,
            },
        },
        "Infer": {
            "infer_imgs": str(photos / "val"),
            "batch_size": 4,
            "PostProcess": {"name": "Topk", "topk": 2, "class_id_map_file": str(photos / "labels.txt")},
        },
        "Metric": {"Train": [{"TopkAcc": {"topk": [1, 2]}}], "Eval": [{"TopkAcc": {"topk": [1, 2]}}]},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def config_file(tmp_path, photos):
    """A YAML that trains PPLCNet_x0_25 on `photos` for 4 epochs of 6 steps on CPU, with all randomness on."""
    return write_config(tmp_path, photos)
