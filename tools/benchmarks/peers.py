"""Write what tools/benchmarks/models.py compares with: the networks in the code of PaddleClas and of their authors.

    python tools/benchmarks/peers.py paddleclas --repo ../PaddleClas --out peers MicroNet_M0
    python tools/benchmarks/peers.py paddleclas --repo ../PaddleClas --out peers --onnx PPLCNet_x0_25
    python tools/benchmarks/peers.py timm --python ../torch/bin/python --out peers FasterNet_T0 PPLCNet_x1_0
    python tools/benchmarks/peers.py authors --repo ../micronet --python ../torch/bin/python --out peers MicroNet_M0

Nothing of theirs is in this project: --repo is a checkout of yours (for PaddleClas also an unpacked wheel), and
--python an interpreter that has torch, timm and onnx. Random weights, so times only. Written are
OUT/paddleclas/NAME/inference.{json,pdiparams}, as PaddleClas' tools/export_model.py saves it, and
OUT/onnx/NAME.onnx, opset 17, with any number of images; with --onnx the latter by paddle2onnx, for networks that
were published in Paddle and that timm does not have.
"""

import importlib
import re
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.files import atomic_path, require_writable
from ppcls_light.bench import harness
from ppcls_light.errors import ConfigError, ExportError
from tools.benchmarks import other_python

# Packages of PaddleClas whose __init__.py imports much that has nothing to do with a network.
_SKIPPED = ("ppcls", "ppcls.utils", "ppcls.arch", "ppcls.arch.backbone")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("source", choices=("paddleclas", "timm", "authors"))
    parser.add_argument("names", nargs="+", metavar="NAME", help="as in this project: MicroNet_M0")
    parser.add_argument("--repo", metavar="DIR", help="checkout of PaddleClas or of the authors")
    parser.add_argument("--python", metavar="FILE", help="interpreter with torch, timm and onnx")
    parser.add_argument("--onnx", action="store_true", help="paddleclas: write OUT/onnx/NAME.onnx as well")
    parser.add_argument("--out", metavar="DIR", default="peers", help="default: peers")
    parser.add_argument(
        "--size", type=cli.positive, help="height and width in pixels; default: EdgeNeXt 256, else 224"
    )
    arguments = parser.parse_args()
    for option, sources in (("repo", ("paddleclas", "authors")), ("python", ("timm", "authors"))):
        if arguments.source in sources and getattr(arguments, option) is None:
            parser.error(f"{arguments.source} needs --{option}")
    return arguments


def paddleclas_network(repo, name):
    """Return the network `name` of the PaddleClas checkout `repo`, with a softmax as its export has it.

    Raises ConfigError: no such network there, or a package that its code needs is missing.
    """
    from paddle import nn

    root = Path(repo, "ppcls")
    backbone = root / "arch" / "backbone"
    defines = re.compile(rf"^def {re.escape(name)}\(", re.MULTILINE)
    found = [path for path in backbone.rglob("*.py") if defines.search(path.read_text("utf-8", "replace"))]
    if not found:
        raise ConfigError(f"{backbone}: no file here defines {name}; give a PaddleClas checkout that has it")
    for package in _SKIPPED:
        module = types.ModuleType(package)
        module.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
        sys.modules[package] = module
    parts = found[0].relative_to(root.parent).with_suffix("").parts
    try:
        network = getattr(importlib.import_module(".".join(parts)), name)()
    except ImportError as error:
        raise ConfigError(f"{found[0]} needs {error.name}; pip install it") from None
    except Exception as error:  # whatever goes wrong in code of others
        raise ConfigError(
            f"{found[0]} cannot make {name} ({type(error).__name__}: {error}); give a whole PaddleClas checkout"
        ) from error
    return nn.Sequential(network, nn.Softmax(axis=-1))


def export_paddleclas(arguments, name, size):
    """Save PaddleClas' network in OUT/paddleclas/NAME and, with `--onnx`, as OUT/onnx/NAME.onnx."""
    import paddle

    from ppcls_light.bundle.folder import read_bundle
    from ppcls_light.bundle.onnx import to_onnx

    network = paddleclas_network(arguments.repo, name)
    network.eval()
    folder = Path(arguments.out, "paddleclas", name)
    require_writable(folder / "inference.json", ExportError)
    spec = paddle.static.InputSpec([None, 3, size, size], "float32")
    paddle.jit.save(network, str(folder / "inference"), input_spec=[spec])
    print(folder, flush=True)
    if arguments.onnx:
        path = Path(arguments.out, "onnx", f"{name}.onnx")
        to_onnx(read_bundle(folder), path)
        print(path, flush=True)


def export_torch(arguments, name, size):
    """Save the network of timm or of the authors' checkout as OUT/onnx/NAME.onnx."""
    path, script = Path(arguments.out, "onnx", f"{name}.onnx"), Path(__file__).with_name("torch_side.py")
    repo = [arguments.repo] if arguments.source == "authors" else []
    with atomic_path(path, ExportError) as temporary:
        command = [arguments.python, str(script), "onnx", arguments.source, name, str(size), temporary, *repo]
        other_python.run_python(command, f"cannot export {name}")
    print(path, flush=True)


def main():
    arguments = parse_arguments()
    export = export_paddleclas if arguments.source == "paddleclas" else export_torch
    for name in arguments.names:
        export(arguments, name, arguments.size or (256 if name.startswith("EdgeNeXt") else 224))


if __name__ == "__main__":
    cli.run(main)
