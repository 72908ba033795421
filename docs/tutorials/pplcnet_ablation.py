# %% [markdown]
# # PP-LCNet's four choices
#
# [PP-LCNet](https://arxiv.org/abs/2109.15099) (Cui et al., 2021) is a stack of depthwise and pointwise convolutions,
# made for CPUs. Four choices set it apart from MobileNetV1, each of which costs little time there:
#
# 1. the activation **H-Swish** in place of ReLU;
# 2. **squeeze-and-excitation** (SE) in the last two blocks alone;
# 3. **kernels of 5 x 5** in the last seven blocks alone;
# 4. a **1 x 1 convolution of 1280 channels** between pooling and classifier.
#
# An ablation takes one of them away at a time. The authors' for PPLCNet_x0_5, on ImageNet
# ([PaddleClas](https://github.com/PaddlePaddle/PaddleClas/blob/release/2.6/docs/en/models/PP-LCNet_en.md)): top-1
# 63.14 % with all four, 61.93 % without H-Swish, 62.51 % without SE, 62.44 % with 3 x 3 kernels, 59.91 % without the
# last convolution. This notebook does it on photos of clothes, in minutes, and asks what such a small experiment
# can tell.

# %%
import importlib.util
import subprocess
import sys

if (
    importlib.util.find_spec("ppcls_light") is None
):  # Colab, AI Studio: a wheel's path or address will do, too
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "ppcls_light[cpu,plot]"], check=True)

# %%
import os
import random
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ppcls_light
from ppcls_light.data import read_class_names, read_image

SMALL = os.environ.get("PPCLS_LIGHT_TUTORIAL") == "small"  # for tests: seconds, and nothing is downloaded
TRAIN, SIZE, EPOCHS, SEEDS, ROUNDS = (64, 32, 1, 1, 1) if SMALL else (400, 64, 4, 2, 5)
plt.rcParams.update({"figure.dpi": 72, "axes.grid": True})

# %% [markdown]
# ## Photos
#
# `sample_data("clothing10-full")` downloads 3,781 photos of ten kinds of clothes once (106 MB, CC0). For the output
# that you see here, copies with a short side of 128 pixels were put into the cache instead, since the machine had no
# network. A random part of the training photos is learned; all 372 test photos are scored.

# %%
photos = Path(ppcls_light.sample_data("clothing10" if SMALL else "clothing10-full"))
names = read_class_names(photos / "labels.txt")
lines = (photos / "train_list.txt").read_text().splitlines()
Path("train.txt").write_text("\n".join(random.Random(0).sample(lines, TRAIN)) + "\n")
tested = len((photos / "test_list.txt").read_text().splitlines())
print(f"{TRAIN} photos to learn, {tested} to test: {', '.join(names)}")

# %%
figure, axes = plt.subplots(2, len(names), figsize=(11, 3.2))
for axis, (kind, number) in zip(axes.T.flat, [(kind, number) for kind in names for number in range(2)]):
    axis.imshow(read_image(str(sorted((photos / "train" / kind).iterdir())[number])))
    axis.set_title("" if number else kind, fontsize=9)
    axis.axis("off")
figure.tight_layout(pad=0.3)
plt.show()

# %% [markdown]
# ## Networks
#
# Each is the published network with an option, as it stands in the section `Arch` of a config. `lcnet_baseline` is
# PP-LCNet as FasterNet's authors have it for comparison: the same network, with ordinary dropout, which changes nothing
# at inference, where PaddleClas' scales the features down.

# %%
import paddle

from ppcls_light.models.profile import profile

options = {
    "all four": {},
    "ReLU": {"act": "relu"},
    "no SE": {"use_se": False},
    "3 x 3 kernels": {"largest_kernel": 3},
    "no last conv": {"use_last_conv": False},
    "none of them": {"act": "relu", "use_se": False, "largest_kernel": 3, "use_last_conv": False},
    "lcnet_baseline": {"name": "lcnet_baseline", "scale": 0.5},
}
published = dict(zip(options, ("63.14", "61.93", "62.51", "62.44", "59.91")))


def build(name="PPLCNet_x0_5", **settings):
    """Return a network for ten classes."""
    return ppcls_light.create_model(name, class_num=len(names), **settings)


networks = {kind: build(**settings) for kind, settings in options.items()}
image, times = paddle.zeros([1, 3, 224, 224]), {kind: [] for kind in networks}
with paddle.no_grad():
    for _ in range(ROUNDS + 1):  # in turns, so that whatever else the machine does meets all of them
        for kind, network in networks.items():
            network.eval()
            begin = time.perf_counter()
            network(image).numpy()
            times[kind].append((time.perf_counter() - begin) * 1000)

print(f"{'':16}{'parameters':>12}{'multiply-adds':>15}{'ms per image':>14}    ImageNet top-1, published")
for kind, network in networks.items():
    cost = profile(network, [3, 224, 224])
    millions = f"{cost.params / 1e6:10.2f} M{cost.multiply_adds / 1e6:13.1f} M"
    print(f"{kind:16}{millions}{np.median(times[kind][1:]):14.1f}    {published.get(kind, '')}")

# %% [markdown]
# Times are of Paddle without fusions, one image of 224 pixels at a time, on the machine that ran the notebook: a look,
# not a benchmark.
#
# ## Training
#
# The recipe for small data sets, `photos_scratch.yaml`, from random weights. Every network is trained more than once,
# with other seeds for weights, order and augmentation: the spread shows what chance does.

# %%
colours = "scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''"
Path("recipe.yaml").write_text(f"""\
_base_: ppcls_light:quick_start/photos_scratch.yaml
Global: {{epochs: {EPOCHS}, eval_interval: {EPOCHS}, image_shape: [3, {SIZE}, {SIZE}], print_batch_step: 1000}}
Arch: {{name: PPLCNet_x0_5}}
Optimizer:
  lr: {{learning_rate: 0.003, warmup_epoch: 1}}
DataLoader:
  Train:
    dataset:
      image_root: {photos}
      cls_label_path: train.txt
      transform_ops:
        - DecodeImage:
        - RandCropImage: {{size: {SIZE}, scale: [0.35, 1.0]}}
        - RandFlipImage: {{flip_code: 1}}
        - NormalizeImage: {{{colours}}}
    loader: {{num_workers: 0}}
  Eval:
    dataset:
      image_root: {photos}
      cls_label_path: {photos}/test_list.txt
      transform_ops:
        - DecodeImage:
        - ResizeImage: {{resize_short: {SIZE * 9 // 8}}}
        - CropImage: {{size: {SIZE}}}
        - NormalizeImage: {{{colours}}}
""")

runs = {kind: [] for kind in options}
for seed in range(SEEDS):
    for kind, settings in options.items():
        changes = [f"Arch.{key}={value}" for key, value in settings.items()]
        folder = f"runs/{kind.replace(' ', '_')}_{seed}"
        runs[kind].append(ppcls_light.train("recipe.yaml", changes, output_dir=folder, seed=seed))

# %% [markdown]
# ## Result
#
# The top-1 of the last epoch. A share of a few hundred photos has a standard error of its own, whatever the network.

# %%
top1 = {kind: [100 * run.metrics["last"]["top1"] for run in seeds] for kind, seeds in runs.items()}
whole = np.mean(top1["all four"])
share = whole / 100
error = 100 * np.sqrt(share * (1 - share) / tested)
print(f"{'':16}{'mean':>7}{'change':>8}    each of {SEEDS} seeds")
for kind, values in top1.items():
    each = ", ".join(f"{value:.1f}" for value in values)
    print(f"{kind:16}{np.mean(values):6.1f} %{np.mean(values) - whole:+7.1f}    {each}")
print(f"standard error of one value, by the number of test photos alone: {error:.1f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.2))
for place, (kind, values) in enumerate(top1.items()):
    axes[0].plot(values, [place] * len(values), "o", color="tab:blue")
    axes[0].plot(np.mean(values), place, "|", color="black", markersize=16)
    curves = [run.curves["train_loss"] for run in runs[kind]]
    axes[1].plot(range(1, EPOCHS + 1), np.mean(curves, axis=0), marker=".", label=kind)
axes[0].axvspan(whole - 2 * error, whole + 2 * error, color="0.9")
axes[0].set(
    yticks=range(len(top1)), yticklabels=list(top1), xlabel="test top-1 (%); grey: two standard errors"
)
axes[0].invert_yaxis()
axes[1].set(xlabel="epoch", ylabel="training loss, mean of seeds")
axes[1].legend(fontsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## What it says
#
# In the output here every network has seen 400 photos four times, with two seeds (n = 2). That is too little: none
# beats the answer "shoes" for every photo (73 of 372, 19.6 %), all dots lie in the grey band, two seeds of one network
# differ by up to 4.0 points and the means of the networks by 3.3. Nothing about accuracy follows from it.
#
# What it does show are costs: the last convolution holds more than half of the parameters of this small network and
# hardly any multiply-adds, 5 x 5 kernels are most of the multiply-adds that the four choices take, SE takes few of
# either.
#
# The effects that the authors report, 0.6 to 3.2 points of top-1 on 50,000 images, are hard to see on a few hundred
# photos even with networks that have learned. To see them, raise `TRAIN`, `EPOCHS` and `SEEDS` above, and score on many
# more images; `ppcls-light train CONFIG -o Arch.use_se=false` is one row of such an ablation.
