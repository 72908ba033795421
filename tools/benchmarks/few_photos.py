"""Test top-1 of a small network taught by a large one: soft labels, embeddings and unlabelled photos, one by one.

    python tools/benchmarks/few_photos.py --embedding dataset/lite0.onnx --data dataset/clothing10 --seeds 0 1 2 \\
        --weights PP-LCNet_x1_0_textline_ori_pretrained.pdparams

The recipe is configs/quick_start/few_photos.yaml, whose header says where the ONNX file comes from; DATA is the folder
of clothing-dataset-small with the lists of tools/make_list.py. --labelled N (several will do) keeps the labels of N
photos of each class; the others are the unlabelled photos of one more case. The classifier is fitted once for each N,
on labelled photos alone. The student starts from --weights (default: random ones). best_model, by the validation
photos, is scored on the test photos. Trainings run one at a time; those in OUT/runs.csv are not run again.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import yaml

from ppcls_light.bench import harness
from tools.benchmarks import other_python
from tools.benchmarks.seeds import run_all

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs/quick_start/few_photos.yaml"
STUDENT, TEACHER, EMBEDDING = "Student", "Teacher", "Embedding"
# Name of a case: its teachers, and whether the other photos of the training list take part without labels.
CASES = {
    "nobody": ((), False),
    "soft labels": ((TEACHER,), False),
    "embeddings": ((EMBEDDING,), False),
    "both": ((TEACHER, EMBEDDING), False),
    "both, unlabelled photos": ((TEACHER, EMBEDDING), True),
}
COLUMNS = ("labelled", "taught by", "student", "weights", "pixels", "epochs")
RANDOM = "random"


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument(
        "--embedding", required=True, metavar="FILE", help="ONNX file that ends in embeddings"
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="see above")
    parser.add_argument(
        "--labelled", type=int, nargs="+", default=[0], help="per class; 0 is all (the default)"
    )
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES), metavar="CASE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--student", default="PPLCNet_x1_0", help="default: PPLCNet_x1_0")
    parser.add_argument("--weights", metavar="FILE", help="of the student to start from, a .pdparams")
    parser.add_argument("--pixels", type=cli.positive, default=128, help="default: 128")
    parser.add_argument("--epochs", type=cli.positive, help="default: the recipe's")
    parser.add_argument("--out", metavar="FOLDER", default="output/few_photos_runs")
    return parser.parse_args()


class Run:
    """Options of one training, as `-o` takes them."""

    def __init__(self, arguments, labelled, case, seed):
        self.arguments, self.labelled, self.case, self.seed = arguments, labelled, case, seed
        self.teachers, self.unlabelled = CASES[case]
        self.recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        self.epochs = arguments.epochs or self.recipe["Global"]["epochs"]
        self.classifier = os.path.join(arguments.out, f"teacher_{labelled or 'all'}")
        name = f"{labelled or 'all'}_{case}_{arguments.student}_{self.start}_{arguments.pixels}_{self.epochs}_{seed}"
        self.folder = os.path.join(arguments.out, name.replace(" ", "_").replace(",", ""))

    @property
    def start(self):
        """The weights that the student starts from, in a word."""
        return Path(self.arguments.weights).stem if self.arguments.weights else RANDOM

    def options(self):
        arguments = self.arguments
        data, lists = arguments.data, write_lists(arguments, self.labelled)
        student = {"name": arguments.student, "class_num": 10, "pretrained": arguments.weights}
        models = [{name: self.model(name)} for name in self.teachers]
        values = {
            "Global.output_dir": self.folder,
            "Global.epochs": self.epochs,
            "Global.seed": self.seed,
            "Global.save_interval": self.epochs,
            "Global.image_shape": [3, arguments.pixels, arguments.pixels],
            "Arch": {**self.recipe["Arch"], "models": [*models, {STUDENT: student}]} if models else student,
            "Loss.Train": self.losses(),
            "DataLoader.Train.dataset.image_root": data,
            "DataLoader.Train.dataset.cls_label_path": lists["labelled"],
            "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size": arguments.pixels,
            "DataLoader.Eval.dataset.image_root": data,
            "DataLoader.Eval.dataset.cls_label_path": os.path.join(data, "val_list.txt"),
            "DataLoader.Eval.dataset.transform_ops.1.ResizeImage.resize_short": arguments.pixels * 9 // 8,
            "DataLoader.Eval.dataset.transform_ops.2.CropImage.size": arguments.pixels,
            "Infer.PostProcess.class_id_map_file": os.path.join(data, "labels.txt"),
        }
        if not models:
            values["DataLoader.Train.dataset.views"] = None
        if self.unlabelled:
            values["DataLoader.Train.dataset.unlabelled"] = lists["unlabelled"]
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]

    def model(self, name):
        (own,) = (model[name] for model in self.recipe["Arch"]["models"] if name in model)
        file = {"folder": self.classifier} if name == TEACHER else {"onnx": self.arguments.embedding}
        return {**own, **file, "cache": os.path.join(self.arguments.out, "cache")}

    def losses(self):
        hard, *taught = self.recipe["Loss"]["Train"]
        if not self.teachers:
            return [{"CELoss": {**hard["CELoss"], "weight": 1.0}}]
        wanted = {f"{STUDENT}, {name}" for name in self.teachers}
        pairs = ((loss, *next(iter(loss.values()))["model_name_pairs"]) for loss in taught)
        return [hard, *(loss for loss, pair in pairs if ", ".join(pair) in wanted)]

    def call(self, tool, *others):
        command = [
            sys.executable,
            ROOT / "tools" / f"{tool}.py",
            "-c",
            RECIPE,
            *others,
            "-o",
            *self.options(),
        ]
        other_python.run_python([*map(str, command)], f"{tool}.py failed")

    def train(self):
        """Train and return (test top-1 in percent, minutes)."""
        from ppcls_light import jobs, load_config

        start = time.monotonic()
        self.call("train")
        minutes = (time.monotonic() - start) / 60
        test = os.path.join(self.arguments.data, "test_list.txt")
        options = ["Global.checkpoints=auto", f"DataLoader.Eval.dataset.cls_label_path={json.dumps(test)}"]
        config = load_config(os.path.join(self.folder, "config.yaml"), options)
        return 100 * jobs.evaluate(config)["top1"], minutes


def write_lists(arguments, labelled):
    """Write the lists of labelled and of other training photos, and return their paths."""
    lines = Path(arguments.data, "train_list.txt").read_text(encoding="utf-8").splitlines()
    counts, parts = {}, {"labelled": [], "unlabelled": []}
    for line in lines:
        path, label = line.rsplit(" ", 1)
        counts[label] = counts.get(label, 0) + 1
        known = not labelled or counts[label] <= labelled
        parts["labelled" if known else "unlabelled"].append(line if known else path)
    found = {}
    for name, part in parts.items():
        found[name] = os.path.join(arguments.out, f"{name}_{labelled or 'all'}.txt")
        Path(found[name]).write_text("\n".join(part) + "\n", encoding="utf-8")
    return found


def runs(arguments):
    """Yield (key, seed, function that trains) of every case; a classifier that is missing is fitted first."""
    for seed in arguments.seeds:
        for labelled in arguments.labelled:
            for case in arguments.cases:
                run = Run(arguments, labelled, case, seed)
                if run.unlabelled and not labelled:
                    continue
                if TEACHER in run.teachers and not os.path.isdir(run.classifier):
                    Run(arguments, labelled, "both", seed).call("fit_teacher", "--out", run.classifier)
                texts = (labelled or "all", case, arguments.student, run.start, arguments.pixels, run.epochs)
                yield tuple(map(str, texts)), seed, run.train


def main():
    arguments = parse_arguments()
    for name in ("data", "embedding", "weights"):
        if getattr(arguments, name):
            setattr(arguments, name, os.path.abspath(getattr(arguments, name)))
    os.makedirs(arguments.out, exist_ok=True)
    run_all(os.path.join(arguments.out, "runs.csv"), COLUMNS, runs(arguments))


if __name__ == "__main__":
    cli.run(main)
