"""Test top-1 from a few photos per class: nearest neighbours and a linear classifier on embeddings, and fine-tuning.

    python tools/benchmarks/neighbours.py --data dataset/clothing10 --model output/few_photos_teacher \\
        --weights PP-LCNet_x1_0_textline_ori.pdparams --labelled 5 20 60 --seeds 0 1 2

DATA is the folder of clothing-dataset-small with the lists of tools/make_list.py. A MODEL is an exported folder with
embeddings, here the one of tools/fit_teacher.py (configs/quick_start/few_photos.yaml), whose classifier is not used.
WEIGHTS of PPLCNet_x1_0 give embeddings at 64 pixels, too, and are what configs/quick_start/clothing10_few.yaml
fine-tunes, for as many epochs as tools/make_list.py chooses. A seed draws the photos of each class; neighbours vote as
in tools/similar.py --classify. Rows that are in OUT/runs.csv are not measured again.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import numpy as np

from ppcls_light.bench import harness
from ppcls_light.photos.recipe import PRETRAINED
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.neighbours import Index, votes
from ppcls_light.prediction.similar import VOTERS, network_checksum
from tools.benchmarks import other_python
from tools.benchmarks.seeds import run_all

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs/quick_start/clothing10_few.yaml"
NETWORK = "PPLCNet_x1_0"
CLASSES = 10


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="see above")
    parser.add_argument(
        "--model", nargs="*", default=[], metavar="FOLDER", help="exported folders with embeddings"
    )
    parser.add_argument("--weights", metavar="FILE", help=f"of {NETWORK}, to embed with and to fine-tune")
    parser.add_argument("--labelled", type=cli.positive, nargs="+", default=[5, 20, 60], help="per class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", metavar="FOLDER", default="output/neighbours_runs")
    return parser.parse_args()


def read_list(data, name):
    """Return (paths, labels (N,)) of a list of DATA."""
    lines = Path(data, name).read_text(encoding="utf-8").splitlines()
    paths, labels = zip(*(line.rsplit(" ", 1) for line in lines))
    return list(paths), np.array(labels, int)


def drawn(labels, count, seed):
    """Return the places of `count` photos of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in range(CLASSES)]
    return np.sort(np.concatenate(chosen))


class Embeddings:
    """Embeddings of the photos of DATA by a model, each computed once; `name` is the network's."""

    def __init__(self, folder, data):
        engine = "paddle" if list(Path(folder).glob("inference.pdiparams")) else "onnxruntime"
        self._predictor, self._data, self._known = Predictor(folder, engine=engine, batch_size=8), data, {}
        self.name, self.network = self._predictor.bundle.model_name, network_checksum(self._predictor)

    def __call__(self, paths):
        missing = [path for path in paths if path not in self._known]
        if missing:
            rows = self._predictor.embed([os.path.join(self._data, path) for path in missing])
            self._known.update(zip(missing, rows))
        return np.stack([self._known[path] for path in paths])


def by_neighbours(embeddings, train, test):
    (paths, labels), (asked, right) = train, test
    index = Index(embeddings(paths), paths, "", embeddings.network)
    ids, cosines = index.search(embeddings(asked), VOTERS)
    return 100 * float((votes(labels[ids], cosines, CLASSES).argmax(axis=1) == right).mean())


def by_linear_classifier(embeddings, train, test):
    from ppcls_light.engine.linear_teacher import fit

    (paths, labels), (asked, right) = train, test
    return 100 * fit(embeddings(paths), labels, CLASSES).accuracy(embeddings(asked), right)


def by_fine_tuning(arguments, train, seed):
    """Train in a process of its own, and return the test top-1 in percent of the last epoch."""
    from ppcls_light import jobs, load_config

    paths, labels = train
    folder = os.path.join(arguments.out, f"{len(paths) // CLASSES}_{seed}")
    photos = f"{folder}.txt"
    Path(photos).write_text("".join(f"{path} {label}\n" for path, label in zip(paths, labels)))
    epochs = PRETRAINED.epochs(len(paths))
    values = {
        "Global.output_dir": folder,
        "Global.overwrite": True,
        "Global.epochs": epochs,
        "Global.save_interval": epochs,
        "Global.seed": seed,
        "Global.eval_during_train": False,
        "Arch.pretrained": arguments.weights,
        "DataLoader.Train.dataset.image_root": arguments.data,
        "DataLoader.Train.dataset.cls_label_path": photos,
        "DataLoader.Eval.dataset.image_root": arguments.data,
        "DataLoader.Eval.dataset.cls_label_path": os.path.join(arguments.data, "test_list.txt"),
        "Infer.PostProcess.class_id_map_file": os.path.join(arguments.data, "labels.txt"),
    }
    options = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", str(RECIPE), "-o", *options]
    other_python.run_python(command, "train.py failed")
    config = load_config(
        os.path.join(folder, "config.yaml"), [f"Global.checkpoints={json.dumps(folder + '/latest')}"]
    )
    return 100 * jobs.evaluate(config)["top1"]


def exported_weights(arguments):
    """Return the folder of an export of WEIGHTS with embeddings; it is made when it is missing."""
    from ppcls_light import create_model, load_config
    from ppcls_light.engine.readers import inference_transforms
    from ppcls_light.export import export_model
    from ppcls_light.weights import read_weights

    folder = os.path.join(arguments.out, "weights")
    if not os.path.isdir(folder):
        config = load_config(str(RECIPE))
        class_num = len(read_weights(arguments.weights)["fc.bias"])
        model = create_model(NETWORK, class_num=class_num, pretrained=arguments.weights)
        export_model(model, folder, config.Global.image_shape, inference_transforms(config), embedding=True)
    return folder


def runs(arguments):
    """Yield (key, seed, function that measures) of every row."""
    train, test = (read_list(arguments.data, f"{name}_list.txt") for name in ("train", "test"))
    weights = [exported_weights(arguments)] if arguments.weights else []
    models = [Embeddings(folder, arguments.data) for folder in (*arguments.model, *weights)]
    for count in arguments.labelled:
        for seed in arguments.seeds:
            places = drawn(train[1], count, seed)
            few = [train[0][place] for place in places], train[1][places]
            for model in models:
                for how in (by_neighbours, by_linear_classifier):
                    name = how.__name__[3:].replace("_", " ")
                    yield (str(count), name, model.name), seed, timed(how, model, few, test)
            if arguments.weights:
                key = (str(count), "fine-tuning", NETWORK)
                yield key, seed, timed(by_fine_tuning, arguments, few, seed)


def timed(measure, *arguments):
    """Return a function that returns (top-1 in percent, minutes)."""

    def run():
        start = time.monotonic()
        return measure(*arguments), (time.monotonic() - start) / 60

    return run


def main():
    arguments = parse_arguments()
    arguments.data = os.path.abspath(arguments.data)
    if arguments.weights:
        arguments.weights = os.path.abspath(arguments.weights)
    os.makedirs(arguments.out, exist_ok=True)
    columns = ("photos per class", "method", "network")
    run_all(os.path.join(arguments.out, "runs.csv"), columns, runs(arguments))


if __name__ == "__main__":
    cli.run(main)
