"""PyTorch's side of learn.py, run by an interpreter that has torch and timm.

    python tools/benchmarks/learn_torch.py versions
    python tools/benchmarks/learn_torch.py steps TASK
    python tools/benchmarks/learn_torch.py epochs TASK

TASK is the JSON file of a `learn_recipe.Task`, in whose folder the files are. `steps` trains on the batches
images_N.npy and labels_N.npy, without dropout. It writes the weights before batch N, and those after the last one, to
weights_N.npz, and to losses.json the losses of this training and of the same in float64. `epochs` trains on the images
themselves and writes metrics.jsonl, as a training of this project has it.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light.base import missing
from tools.benchmarks.learn_recipe import CROP_AREA, LOWEST_RATE, MEAN, MOMENTUM, SMOOTHING, STD, Task
from tools.benchmarks.torch_side import AUTHORS, timm_network

LCNET_DROPOUT = 0.2  # of this project's; timm takes it from its training script


class Training:
    """Network of a task with its optimizer and learning rate, for epochs of `steps` batches."""

    def __init__(self, task, steps, dropout=0.0):
        import torch
        from timm.scheduler import CosineLRScheduler

        torch.set_num_threads(task.threads)
        torch.manual_seed(task.seed)
        recipe, self.clip, self.done = task.recipe, task.recipe.clip, 0
        self.model = network(task, dropout).train()
        parameters = list(self.model.parameters())
        groups = [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ]
        if recipe.optimizer == "AdamW":
            self.optimizer = torch.optim.AdamW(groups, recipe.learning_rate)
        else:
            self.optimizer = torch.optim.SGD(groups, recipe.learning_rate, momentum=MOMENTUM)
        self.schedule = CosineLRScheduler(
            self.optimizer,
            (recipe.epochs - recipe.warmup_epochs) * steps,
            lr_min=LOWEST_RATE,
            warmup_t=recipe.warmup_epochs * steps,
            warmup_lr_init=0.0,
            warmup_prefix=True,
            t_in_epochs=False,
        )

    def step(self, images, labels):
        """Train on a batch and return its loss before the update."""
        import torch

        self.schedule.step_update(self.done)
        loss = torch.nn.functional.cross_entropy(self.model(images), labels, label_smoothing=SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.done += 1
        return loss.item()

    def save(self, path):
        import numpy as np

        np.savez(path, **{key: value.numpy() for key, value in self.model.state_dict().items()})


def network(task, dropout):
    if task.repo:
        return AUTHORS[task.model.partition("_")[0]](task.repo, task.model, num_classes=task.classes)
    return timm_network(task.model, num_classes=task.classes, drop_rate=dropout)


def run_steps(task):
    import numpy as np
    import torch

    out = Path(task.out)
    files = [out / f"images_{step}.npy" for step in range(len(list(out.glob("images_*.npy"))))]
    losses = {}
    for kind in ("float32", "float64"):
        training = Training(task, len(files) // task.recipe.epochs)
        for layer in training.model.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.eval()
        training.model.to(getattr(torch, kind))
        losses[kind] = []
        for step, file in enumerate(files):
            if kind == "float32":
                training.save(out / f"weights_{step}.npz")
            images = torch.from_numpy(np.load(file).astype(kind))
            labels = torch.from_numpy(np.load(out / file.name.replace("images", "labels")))
            losses[kind].append(training.step(images, labels))
        if kind == "float32":
            training.save(out / f"weights_{len(files)}.npz")
    (out / "losses.json").write_text(json.dumps(losses), encoding="utf-8")


def image_loader(task, file, transforms, **options):
    """Return a DataLoader of the images of a list file."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import Compose, Normalize, ToTensor

    lines = [line.rsplit(" ", 1) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    transform = Compose([*transforms, ToTensor(), Normalize(MEAN, STD)])

    class Images(Dataset):
        def __len__(self):
            return len(lines)

        def __getitem__(self, index):
            name, label = lines[index]
            with Image.open(Path(task.root, name)) as image:
                return transform(image.convert("RGB")), int(label)

    return DataLoader(Images(), task.recipe.batch, num_workers=1, persistent_workers=True, **options)


def run_epochs(task):
    from torchvision.transforms import RandomHorizontalFlip, RandomResizedCrop, Resize

    pixels = task.recipe.pixels
    augment = [RandomResizedCrop(pixels, scale=CROP_AREA, ratio=(1.0, 1.0)), RandomHorizontalFlip()]
    train = image_loader(task, task.train, augment, shuffle=True, drop_last=True)
    test = image_loader(task, task.test, [Resize((pixels, pixels))])
    lcnet = task.model.lower().startswith(("lcnet", "pplcnet"))
    training = Training(task, len(train), LCNET_DROPOUT if lcnet else 0.0)
    with open(Path(task.out, "metrics.jsonl"), "w", encoding="utf-8") as file:
        for epoch in range(1, task.recipe.epochs + 1):
            training.model.train()
            losses = [training.step(images, labels) for images, labels in train]
            rows = {
                "train_avg": {"loss": sum(losses) / len(losses)},
                "eval": {"top1": top1(training.model, test)},
            }
            for split, values in rows.items():
                row = {"split": split, "epoch": epoch, "step": training.done, "values": values}
                print(json.dumps(row), file=file, flush=True)


def top1(model, test):
    """Return the share of the test images that are classified right."""
    import torch

    model.eval()
    with torch.no_grad():
        right = [(model(images).argmax(dim=1) == labels).float() for images, labels in test]
    return torch.cat(right).mean().item()


def print_versions():
    import timm
    import torch

    print(f"torch {torch.__version__.partition('+')[0]}, timm {timm.__version__}")


if __name__ == "__main__":
    try:
        command, *paths = sys.argv[1:]
        {"versions": print_versions, "steps": run_steps, "epochs": run_epochs}[command](
            *map(Task.read, paths)
        )
    except ModuleNotFoundError as error:
        missing.leave(error)
