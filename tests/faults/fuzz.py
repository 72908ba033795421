"""Coverage-guided fuzzing of the parsers: python tests/faults/fuzz.py TARGET [--seconds 600] [FILE ...]

A target gets bytes, and may answer or raise a UserError of one line; anything else is a finding, which atheris
writes to crash-* in the working folder. FILE runs findings again. Needs atheris (pip install atheris, Linux).
"""

import argparse
import importlib
import io
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MODULES = (
    "config.load",
    "data.classes",
    "data.image_list",
    "data.guards.header",
    "bundle.folder",
    "weights.torch_file",
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB")


def image_list(data, folder):
    """List files of images."""
    from ppcls_light.data import read_image_list

    (folder / "list.txt").write_bytes(data)
    read_image_list(str(folder / "list.txt"), str(folder), class_num=3, check_files=False)


def labels(data, folder):
    """Label maps."""
    from ppcls_light.data import read_class_names

    (folder / "labels.txt").write_bytes(data)
    read_class_names(str(folder / "labels.txt"))


def config(data, folder):
    """Training configs in YAML."""
    from ppcls_light.config import load_config

    (folder / "config.yaml").write_bytes(data)
    load_config(folder / "config.yaml")


def weights(data, folder):
    """`.pdparams` files."""
    from ppcls_light.weights import read_weights

    (folder / "model.pdparams").write_bytes(data)
    read_weights(folder / "model.pdparams")


def torch(data, folder):
    """`.pth` files."""
    from ppcls_light.weights.torch_file import load_torch_file

    (folder / "model.pth").write_bytes(data)
    load_torch_file(folder / "model.pth")


def states(data, folder):
    """`.pdstates` files without the seal, which damage cannot pass."""
    from ppcls_light.base.plain_pickle import load_plain_pickle

    (folder / "latest.pdstates").write_bytes(data)
    load_plain_pickle(folder / "latest.pdstates")


def bundle(data, folder):
    """`inference.yml` of an exported folder."""
    from ppcls_light.bundle import read_bundle

    for name in ("inference.json", "inference.pdiparams"):
        (folder / name).touch()
    (folder / "inference.yml").write_bytes(data)
    read_bundle(folder)


def header(data, folder):
    """Checks of image headers: the first byte chooses the format."""
    from ppcls_light.data.formats import format_of
    from ppcls_light.data.guards.header import check_header

    check_header(FORMATS[data[0] % len(FORMATS)] if data else "PNG", data[1:])
    format_of(data[1:])


TARGETS = {
    target.__name__: target for target in (image_list, labels, config, weights, torch, states, bundle, header)
}


def seeds(name):
    """Yield well-formed inputs of a target."""
    root = Path(__file__).resolve().parents[2]
    if name in ("image_list", "labels"):
        yield from (
            b"a/b.jpg 0\nc d.png 2\n",
            b"0 cat\n1 dog\n",
            b'["cat", "dog"]',
            b'{"0": "cat"}',
            b"cat\ndog\n",
        )
    elif name == "config":
        yield from (path.read_bytes() for path in sorted((root / "configs").rglob("*.yaml"))[:40])
    elif name in ("weights", "states"):
        content = {"fc.weight": np.ones((2, 3), "float32"), "step": 3, "names": ["a"], "sums": {"x": "y"}}
        yield from (pickle.dumps(content, protocol) for protocol in range(2, 6))
    elif name == "torch":
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", compression) as archive:
                archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": {"a": 1}}, 2))
                archive.writestr("archive/data/0", bytes(64))
            yield file.getvalue()
    elif name == "bundle":
        yield b"PreProcess:\n  transform_ops:\n  - ResizeImage: {size: 32}\n  - NormalizeImage: {order: ''}\n"
        yield b"PostProcess: {Topk: {topk: 2, label_list: [a, b]}}\nppcls_light: {class_num: 2, image_shape: [3, 8, 8]}"
    else:
        for number, form in enumerate(FORMATS):
            for settings in ({}, {"progressive": True}) if form == "JPEG" else ({},):
                file = io.BytesIO()
                Image.fromarray(np.arange(768, dtype="uint8").reshape(16, 16, 3)).save(file, form, **settings)
                yield bytes([number]) + file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("files", nargs="*", metavar="FILE", help="findings to run again")
    parser.add_argument("--seconds", type=int, default=600)
    args = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["ppcls_light"]):
        from ppcls_light.errors import UserError

        for module in MODULES:
            importlib.import_module(f"ppcls_light.{module}")
    with tempfile.TemporaryDirectory() as folder:
        scratch, corpus = Path(folder) / "scratch", Path(folder) / "corpus"
        scratch.mkdir()
        corpus.mkdir()
        for number, seed in enumerate(seeds(args.target)):
            (corpus / str(number)).write_bytes(seed)

        def one(data):
            try:
                TARGETS[args.target](data, scratch)
            except UserError as error:
                if "\n" in error.args[0]:
                    raise AssertionError("more than one line") from error

        limits = ["-timeout=10", "-rss_limit_mb=4096", f"-max_total_time={args.seconds}", "-max_len=16384"]
        atheris.Setup([sys.argv[0], *limits, *(args.files or [str(corpus)])], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
