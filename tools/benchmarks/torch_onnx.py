"""The PyTorch side of export_peer.py, run by an interpreter that has torch, timm and onnx: one network to ONNX.

    python tools/benchmarks/torch_onnx.py timm|authors NAME SIZE FILE [REPO]

The file's input is `x`, float32 (batch, 3, SIZE, SIZE), its output `logits`.
"""

import argparse
import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light.base import missing

OPSET = 17


def timm_network(name):
    """Return timm's network of this project's `name`; it computes what the authors' computes."""
    import timm

    family, _, variant = name.partition("_")
    if family == "PPLCNet":
        return timm.create_model(f"lcnet_{int(float(variant[1:].replace('_', '.')) * 100):03d}")
    return timm.create_model(name.lower())


def edgenext(repo, name):
    """Return the network of models/model.py of mmaaz60/EdgeNeXt."""
    sys.path.insert(0, repo)
    from models import model

    return getattr(model, name.lower())(classifier_dropout=0.0)


def micronet(repo, name):
    """Return the network of liyunsheng13/micronet, as the authors' evaluation script configures it."""
    sys.path.insert(0, repo)
    from backbone.micronet import MicroNet

    paths = [
        Path(repo, folder, f"eval_{name.lower()}.sh") for folder in ("scripts", "script")
    ]  # first commits: script
    found = next(filter(Path.is_file, paths), None)
    if found is None:
        sys.exit(f"{repo} has no scripts/{paths[0].name}; give a checkout of liyunsheng13/micronet")
    script, sections = found.read_text(encoding="utf-8"), {}
    for section, key, text in re.findall(r"MODEL\.(\w+)\.(\w+) ([^\s\\]+)", script):
        sections.setdefault(section, {})[key] = literal(text)
    model = SimpleNamespace(**{name: SimpleNamespace(**values) for name, values in sections.items()})
    return MicroNet(SimpleNamespace(MODEL=model))


def literal(text):
    """Return `text` as the Python literal that it is, or as it stands."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


AUTHORS = {"EdgeNeXt": edgenext, "MicroNet": micronet}


def parse_arguments():
    parser = argparse.ArgumentParser(description="One network of PyTorch's to ONNX, for export_peer.py.")
    parser.add_argument("source", choices=("timm", "authors"))
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("size", metavar="SIZE", type=int)
    parser.add_argument("path", metavar="FILE")
    parser.add_argument("repo", metavar="REPO", nargs="?")
    return parser.parse_args()


def main(source, name, size, path, repo=None):
    import torch

    torch.manual_seed(0)
    network = timm_network(name) if source == "timm" else AUTHORS[name.partition("_")[0]](repo, name)
    images = torch.zeros(2, 3, size, size)
    torch.onnx.export(
        network.eval(),
        (images,),
        path,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )


if __name__ == "__main__":
    try:
        main(**vars(parse_arguments()))
    except ModuleNotFoundError as error:
        missing.leave(error)
