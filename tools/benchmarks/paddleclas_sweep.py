"""Try PaddleClas' own YAML files on dummy images: trainings of these networks by a dry run, deploy files by their rows.

    python tools/benchmarks/paddleclas_sweep.py --repo ../PaddleClas
    python tools/benchmarks/paddleclas_sweep.py --repo ../PaddleClas 'PULC/person_*' --out sweep.md

--repo is a checkout of yours; nothing of it is in this project, and nothing is fetched. A file is read as it is, with
these keys overridden, for what they name is not on this machine:

- trainings: Global.device, Global.output_dir; of each split dataset.image_root and its list, sampler.batch_size (or
  first_bs) 2 and loader.num_workers 0; the weights that networks start from and those of frozen teachers, by files of
  random ones;
- deploy files: Global.inference_model_dir, an export of PPLCNet_x0_25 with random weights at the size of the file's
  transforms and with the outputs of its PostProcess, as PaddleClas leaves one; Global.use_gpu, SavePreLabel.save_dir;
  and Global.infer_imgs and the answer's class_id_map_file where the checkout lacks them.

The table has a line per file: ok, refused (one line says why) or failed (a traceback, which is a bug of ours).
"""

import contextlib
import fnmatch
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
import numpy as np
import paddle
from PIL import Image

from ppcls_light import create_model, jobs
from ppcls_light.base.files import write_text
from ppcls_light.base.tables import markdown_table
from ppcls_light.bench import harness
from ppcls_light.config import load_config
from ppcls_light.config.arch import DistillationArch
from ppcls_light.config.postprocess import KINDS, OF_TAGS, TAGS, ScoreOutput, ThreshOutput
from ppcls_light.config.tree import read_tree
from ppcls_light.errors import ConfigError, UserError
from ppcls_light.export.static import Recorded, save_static
from ppcls_light.prediction.deploy import read_deploy_config
from ppcls_light.prediction.job import classify_files

_OURS = re.compile(r"""name: *["']?(PPLCNet|MicroNet|FasterNet|EdgeNeXt)_""")
_IMAGES = 8
# Outputs of the answers that have no label map; of all others the lines of their map.
_OUTPUTS = {**TAGS, ThreshOutput: 2, ScoreOutput: 1}
_IMAGENET = 1000


class Scratch:
    """Folder of images, lists, random weights and exports, each made when it is first asked for."""

    def __init__(self, folder, side=256):
        self.folder = Path(folder)
        rng = np.random.default_rng(0)
        for index in range(_IMAGES):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), "uint8")).save(self.folder / f"{index}.png")

    def listed(self, labels, delimiter):
        """Return the path of a list of all images; `labels` gives the text of an image's label by its number."""
        lines = [delimiter.join(filter(None, (f"{i}.png", labels(i)))) for i in range(_IMAGES)]
        path = self.folder / f"{abs(hash(tuple(lines)))}.txt"
        path.write_text("\n".join(lines))
        return path

    def weights(self, arch, class_num):
        """Return the path of random weights of the network that `arch`, an ArchConfig, describes, as published ones."""
        options = {key: value for key, value in arch.params.items() if key != "ml_decoder"}
        path = self.folder / f"{arch.name}_{class_num}_{abs(hash(str(options)))}.pdparams"
        if not path.exists():
            paddle.save(create_model(arch.name, class_num, **options).state_dict(), str(path))
        return path

    def export(self, class_num, shape, multilabel):
        """Return an exported folder without inference.yml."""
        folder = self.folder / f"export_{class_num}_{'x'.join(map(str, shape))}_{multilabel}"
        if not folder.exists():
            network = FirstThree(create_model("PPLCNet_x0_25", class_num))
            save_static(Recorded(network), folder, shape, multilabel=multilabel)
        return folder

    def label_map(self, class_num):
        """Return the path of a label map of so many classes."""
        path = self.folder / f"labels_{class_num}.txt"
        path.write_text("".join(f"{index} class {index}\n" for index in range(class_num)))
        return path


class FirstThree(paddle.nn.Layer):
    """A `network` on the first three channels: PaddleClas' deploy file of four adds one of zeros."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x[:, :3])


def training_overrides(config, scratch):
    """Yield the `-o` texts that a training's config needs on this machine; the module's docstring lists them."""
    yield from ("Global.device=cpu", f"Global.output_dir={scratch.folder / 'output'}")
    for split in ("Train", "Eval"):
        section = getattr(config.DataLoader, split)
        if section is not None:
            yield from _data_overrides(f"DataLoader.{split}", section, config, scratch)
    arch = config.Arch
    if config.Global.pretrained_model:
        yield f"Global.pretrained_model={scratch.weights(arch.network, arch.class_num)}"
    if not isinstance(arch, DistillationArch):
        if arch.weights:
            yield f"Arch.pretrained={scratch.weights(arch, _IMAGENET)}"
        return
    for name, own in arch.networks.items():
        if (
            arch.weights_of(name) or name in arch.frozen
        ):  # whose weights PaddleClas' documents give by an option
            # A frozen teacher has the classes of the data, the others start from weights of ImageNet.
            class_num = arch.class_num if name in arch.frozen else _IMAGENET
            yield f"{arch.path_of(name)}.pretrained={scratch.weights(own, class_num)}"
    if arch.pretrained_list:
        yield "Arch.pretrained_list=null"


def _data_overrides(path, section, config, scratch):
    dataset, class_num = section.dataset, config.Arch.class_num
    key, labels = "cls_label_path", lambda index: str(index % class_num)
    if dataset.name == "MultiLabelDataset":
        labels = lambda index: ",".join(str(int((index + tag) % 3 == 0)) for tag in range(class_num))  # noqa: E731
    if dataset.name == "CustomLabelDataset":
        key, labels = "sample_list_path", lambda index: ""
    yield f"{path}.dataset.image_root={scratch.folder}"
    yield f"{path}.dataset.{key}={scratch.listed(labels, dataset.delimiter or chr(9))}"
    yield f"{path}.sampler.{'first_bs' if hasattr(section.sampler, 'first_bs') else 'batch_size'}=2"
    yield f"{path}.loader.num_workers=0"


def train(path, scratch, repo):
    """Do a dry run of a training's YAML of the checkout `repo`. Raises UserError where it is refused."""
    with _inside(repo):  # where its relative paths begin
        jobs.dry_run(load_config(path, training_overrides(load_config(path), scratch)))


def deploy(path, scratch, repo):
    """Classify the image of a deploy YAML of the checkout `repo`. Raises UserError where it is refused."""
    with _inside(Path(repo, "deploy")):  # where its relative paths begin
        read_deploy_config(str(path), ["Global.use_gpu=False"])
        given = read_tree(path).plain()
        kind, class_num, missing = _answers(given["PostProcess"])
        shape = _shape(given["PreProcess"]["transform_ops"])
        multilabel = kind in OF_TAGS
        options = [
            f"Global.inference_model_dir={scratch.export(class_num, shape, multilabel)}",
            "Global.use_gpu=False",
        ]
        if not os.path.exists(given["Global"]["infer_imgs"]):
            options.append(f"Global.infer_imgs={scratch.folder / '0.png'}")
        if "SavePreLabel" in given["PostProcess"]:
            options.append(f"PostProcess.SavePreLabel.save_dir={scratch.folder / 'pre_label'}")
        if missing:
            options.append(f"PostProcess.{kind.__name__}.class_id_map_file={scratch.label_map(class_num)}")
        rows = []
        classify_files(read_deploy_config(str(path), options), rows.append)
    for row in rows:
        if "error" in row:
            raise ConfigError(row["error"])
    return rows


def _answers(section):
    """Return the kind of a section PostProcess, the number of outputs, and whether its label map is not there."""
    name = section["main_indicator"]
    kind, label_map = KINDS[name], (section.get(name) or {}).get("class_id_map_file")
    if kind in _OUTPUTS or label_map is None:
        return kind, _OUTPUTS.get(kind, _IMAGENET), False
    if not os.path.exists(label_map):
        return kind, section[name]["topk"], True
    return kind, len(Path(label_map).read_text("utf-8").splitlines()), False


def _shape(ops):
    """Return the (C, H, W) that transforms of a deploy YAML end in."""
    given = {key: value for op in ops for params in op.values() for key, value in (params or {}).items()}
    size = given.get("size", given.get("resize_short"))
    width, height = size if isinstance(size, list) else (size, size)
    return (given.get("channel_num", 3), height, width)


@contextlib.contextmanager
def _inside(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def outcome(attempt, *arguments):
    """Return (result, message) of a call of `attempt`."""
    try:
        attempt(*arguments)
    except UserError as problem:
        return "refused", str(problem).splitlines()[0]
    except Exception as problem:  # every other one is a bug, which the table is to show
        return "failed", f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
    return "ok", ""


def main():
    parser = harness.tool_parser(__doc__)
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="of the files below configs; default: all"
    )
    parser.add_argument("--repo", metavar="DIR", required=True, help="checkout of PaddleClas")
    parser.add_argument("--out", metavar="FILE", help="also write the tables there")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log of each run")
    arguments = parser.parse_args()
    repo = Path(arguments.repo).resolve()
    roots = {train: repo / "ppcls" / "configs", deploy: repo / "deploy" / "configs"}
    for root in roots.values():
        if not root.is_dir():
            raise ConfigError(f"{root} is no folder; give a checkout of PaddleClas by --repo")
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        for attempt, root in roots.items():
            rows = []
            for path in _files(root, attempt is train, arguments.patterns):
                quiet = contextlib.nullcontext() if arguments.verbose else _silence()
                with quiet:
                    result, message = outcome(attempt, path, scratch, repo)
                rows.append((str(path.relative_to(root)), result, _short(message, path)))
                print(*rows[-1], flush=True)
            good = sum(result == "ok" for _, result, _ in rows)
            title = f"{root.relative_to(repo)}: {good} of {len(rows)} ok"
            tables.append(f"{title}\n\n{markdown_table(('file', 'result', 'message'), rows)}\n")
    text = "\n".join(tables)
    print(f"\n{text}")
    if arguments.out:
        write_text(arguments.out, text, ConfigError)


def _short(message, path):
    """Return the beginning of a message for a cell of the table; `:16:` is line 16 of the file."""
    text = message.replace(str(path), "").partition("; known keys:")[0].replace("|", "/")
    return text if len(text) <= 240 else f"{text[:240]}..."


def _files(root, of_ours, patterns):
    """Return the YAML files below `root`, in order; `of_ours`: those that name a network of these families."""
    files = sorted(root.rglob("*.yaml")) if of_ours else sorted(root.rglob("inference*.yaml"))
    return [
        path
        for path in files
        if (not of_ours or _OURS.search(path.read_text("utf-8")))
        and any(fnmatch.fnmatch(str(path.relative_to(root)), pattern) for pattern in patterns or ("*",))
    ]


@contextlib.contextmanager
def _silence():
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


if __name__ == "__main__":
    cli.run(main)
