# %% [markdown]
# # FasterNet on CIFAR-10
#
# [FasterNet](https://arxiv.org/abs/2303.03667) (Chen et al., CVPR 2023) replaces the depthwise convolutions of small
# networks by *partial* convolutions (PConv): a 3x3 convolution of a quarter of the channels, while the others pass
# untouched. It has more multiply-adds than a depthwise convolution (DWConv), and still takes less time, because it
# reads and writes less memory.
#
# This notebook trains FasterNet-T0 both ways, with the augmentations of the well-known tutorial, and compares accuracy
# and speed. It shows the steps at a size for two CPU cores. The whole training is
# `ppcls-light train ppcls_light:quick_start/cifar10_224.yaml`, for a GPU.

# %%
import importlib.util
import subprocess
import sys

if (
    importlib.util.find_spec("ppcls_light") is None
):  # Colab, AI Studio: a wheel's path or address will do, too
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "ppcls_light[cpu,explain]"], check=True)

# %%
import os
import random
import time

import matplotlib.pyplot as plt
import numpy as np

import ppcls_light
from ppcls_light.data import read_class_names, read_image

SMALL = os.environ.get("PPCLS_LIGHT_TUTORIAL") == "small"  # for tests: seconds, and nothing is downloaded
TRAIN, TEST, SIZE, EPOCHS, ROUNDS = (96, 40, 32, 1, 1) if SMALL else (1600, 500, 48, 4, 9)
plt.rcParams.update({"figure.dpi": 72, "axes.grid": True, "image.interpolation": "nearest"})

# %% [markdown]
# ## Images
#
# `sample_data("cifar10")` downloads CIFAR-10 once (170 MB, from its authors' page) and returns a folder with
# `train/CLASS/` and `test/CLASS/`. For the output that you see here, JPEG copies of 20,000 of the images were put there
# instead, since the machine had no network. 1,600 of them are for training, 500 for testing.

# %%
photos = ppcls_light.sample_data("clothing10" if SMALL else "cifar10")


def some(split, count):
    """Write a list of `count` images of a split, chosen at random, and return (path, label) of each."""
    with open(f"{photos}/{split}_list.txt") as file:
        lines = random.Random(0).sample(file.read().splitlines(), count)
    with open(f"{split}.txt", "w") as file:
        file.write("\n".join(lines) + "\n")
    return [(f"{photos}/{path}", int(label)) for path, label in (line.rsplit(" ", 1) for line in lines)]


train, test = some("train", TRAIN), some("test", TEST)
names = read_class_names(f"{photos}/labels.txt")
print(len(train), "training images,", len(test), "test images:", ", ".join(names))


# %%
def show(pictures, titles, columns, size=1.1):
    """Show RGB pictures in a grid; a title is (text, colour)."""
    rows = -(-len(pictures) // columns)
    lines = max(text.count("\n") + 1 for text, _ in titles)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.2 * lines) * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, (text, colour) in zip(axes.flat, pictures, titles):
        axis.imshow(picture)
        axis.set_title(text, fontsize=8, color=colour)
    figure.tight_layout(pad=0.3)
    plt.show()


by_class = [[path for path, label in train if label == kind] for kind in range(len(names))]
grid = [paths[row] for row in range(2 if SMALL else 5) for paths in by_class]
titles = [(names[place] if place < len(names) else "", "black") for place in range(len(grid))]
show([read_image(path) for path in grid], titles, columns=len(names))

# %% [markdown]
# ## Networks
#
# The six published variants differ in width and depth. Top-1 is ImageNet's, as published with the weights.

# %%
from ppcls_light.models.profile import profile

for row in ppcls_light.list_pretrained("FasterNet_*")[: 2 if SMALL else None]:
    if row.is_default:
        cost = profile(ppcls_light.create_model(row.network), [3, 224, 224])
        millions = f"{cost.params / 1e6:6.1f} M parameters, {cost.multiply_adds / 1e6:8,.0f} M multiply-adds"
        print(f"{row.network:12} {millions}, top-1 {row.top1} %")

# %% [markdown]
# ## Recipe
#
# A config says everything about a training. This one takes that of the whole training, `cifar10_224.yaml`, and changes
# images and sizes. An image is decoded, a random part of it is cut out (RandomResizedCrop), perhaps mirrored, its
# colours are jittered, and it is turned by up to 15 degrees. Mixup then blends pairs of images, and of their labels.

# %%
colours = "mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616]"
recipe = f"""\
_base_: ppcls_light:quick_start/cifar10_224.yaml
Global:
  epochs: {EPOCHS}
  image_shape: [3, {SIZE}, {SIZE}]
  print_batch_step: 1000
Optimizer:
  lr: {{warmup_epoch: 1}}
DataLoader:
  Train:
    dataset:
      name: ImageNetDataset
      image_root: {photos}
      cls_label_path: train.txt
      transform_ops:
        - DecodeImage:
        - RandCropImage: {{size: {SIZE}, scale: [0.6, 1.0]}}
        - RandFlipImage: {{flip_code: 1}}
        - ColorJitter: {{brightness: 0.2, contrast: 0.2, saturation: 0.2}}
        - RandomRotation: {{degrees: 15, prob: 1.0}}
        - NormalizeImage: {{scale: 1.0/255.0, {colours}, order: ''}}
      batch_transform_ops:
        - MixupOperator: {{alpha: 0.2}}
    sampler: {{batch_size: {32 if SMALL else 64}}}
  Eval:
    dataset:
      name: ImageNetDataset
      image_root: {photos}
      cls_label_path: test.txt
      transform_ops:
        - DecodeImage:
        - ResizeImage: {{size: {SIZE}}}
        - NormalizeImage: {{scale: 1.0/255.0, {colours}, order: ''}}
"""
with open("recipe.yaml", "w") as file:
    file.write(recipe)
config = ppcls_light.load_config("recipe.yaml")

# %% [markdown]
# The random operations of the config, a row each, on the same training image; the last row is Mixup of five images.
# Every time an image is seen, they are drawn anew.

# %%
from ppcls_light.data import build_batch_transforms, build_transforms

dataset, rng = config.DataLoader.Train.dataset, np.random.default_rng(1)
decode, *changes, normalise = dataset.transform_ops


def changed(path, ops):
    """Return the image of a file after some operations, RGB (H, W, 3)."""
    with open(path, "rb") as file:
        return build_transforms([decode, *ops])(file.read(), rng).transpose(1, 2, 0)


pictures = [changed(grid[7], [op]) for op in changes for _ in range(5)]
batch = np.stack([changed(path, changes[:1]) for path in grid[:5]])
pictures += list(
    build_batch_transforms(dataset.batch_transform_ops, len(names))(batch, np.zeros(5, int), rng)[0]
)
titles = [
    (op.name if column == 0 else "", "black")
    for op in [*changes, *dataset.batch_transform_ops]
    for column in range(5)
]
show([picture.astype("uint8") for picture in pictures], titles, columns=5)

# %% [markdown]
# ## Training
#
# Two networks, the same recipe: FasterNet-T0 as published, with PConv, and with DWConv in its place.

# %%
runs = {
    kind: ppcls_light.train("recipe.yaml", [f"Arch.spatial_mixing={kind}"], output_dir=kind)
    for kind in ("pconv", "dwconv")
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
for kind, run in runs.items():
    curves = run.curves
    (line,) = axes[0].plot(curves["epoch"], curves["train_loss"], marker=".", label=f"{kind}, training")
    axes[0].plot(
        curves["epoch"], curves["loss"], "--", marker=".", color=line.get_color(), label=f"{kind}, test"
    )
    axes[1].plot(curves["epoch"], np.array(curves["top1"]) * 100, marker=".", label=kind)
axes[0].set(xlabel="epoch", ylabel="loss")
axes[1].set(xlabel="epoch", ylabel="test top-1 (%)")
for axis in axes:
    axis.legend()
plt.show()

# %% [markdown]
# The training loss is higher than that of the test, since Mixup and label smoothing make its targets harder.

# %% [markdown]
# ## Speed
#
# The same two networks at 224 pixels as in the tutorial's table. They take turns, and
# medians are compared, so that whatever else the machine does meets both. This is a look, not a benchmark:
# docs/benchmarks.md has those. In the output here, of two CPU cores and of networks before an export, DWConv was the
# faster one; the order of the tutorial's table is that of its GPU.

# %%
import paddle

images = paddle.to_tensor(np.random.default_rng(0).normal(size=(8, 3, 224, 224)).astype("float32"))
networks = {
    kind: ppcls_light.create_model("FasterNet_T0", class_num=10, spatial_mixing=kind) for kind in runs
}
times = {kind: [] for kind in networks}
with paddle.no_grad():
    for turn in range(ROUNDS + 1):
        for kind, network in networks.items():
            network.eval()
            begin = time.perf_counter()
            network(images).numpy()
            if turn:  # the first warms up
                times[kind].append(time.perf_counter() - begin)

print(f"{'':8} {'top-1 here':>10} {'images/s here':>14} {'(slowest, fastest)':>19}    tutorial, on its GPU")
published = {"pconv": "92.8 %, 982 images/s", "dwconv": "93.2 %, 580 images/s"}
for kind, run in runs.items():
    middle, slowest, fastest = (len(images) / of(times[kind]) for of in (np.median, max, min))
    spread = f"({slowest:.1f}, {fastest:.1f})"
    print(f"{kind:8} {run.metrics['best']['top1']:10.1%} {middle:14.1f} {spread:>19}    {published[kind]}")

# %% [markdown]
# ## Predictions
#
# The trained network is exported, which proves that the export equals it, and classifies test images. Wrong answers are
# red, with the truth in brackets.

# %%
predictor = runs["pconv"].export()
shown = test[:20]
rows = predictor.predict([path for path, _ in shown])
titles = []
for row, (_, label) in zip(rows, shown):
    guess, score = row["class_ids"][0], row["scores"][0]
    truth = "" if guess == label else f"\n({names[label]})"
    titles.append((f"{names[guess]} {score:.0%}{truth}", "black" if guess == label else "crimson"))
show([read_image(path) for path, _ in shown], titles, columns=10)

# %% [markdown]
# ## LIME
#
# [LIME](https://arxiv.org/abs/1602.04938) covers segments of an image in many combinations, asks the network about
# each, and fits a linear model to the answers: its weights are what every segment speaks for the class. Yellow speaks
# most for the class that the network has chosen. At few pixels the segments are coarse.

# %%
from ppcls_light.explanation.overlay import overlay

explained = [path for path, _ in shown[: 1 if SMALL else 5]]
found = ppcls_light.explain(predictor, explained, method="lime")
pictures = [one.image for one in found] + [overlay(one.image, one.heat) for one in found]
show(pictures, [*titles[: len(found)], *[("", "black")] * len(found)], columns=len(found), size=1.6)
