# %% [markdown]
# # MicroNet in pictures
#
# MicroNet (Li et al., ICCV 2021, [arXiv 2108.05894](https://arxiv.org/abs/2108.05894)) classifies images with a
# few million multiply-adds, about a hundredth of a ResNet-18. Two ideas make that possible:
#
# 1. **Micro-factorized convolution** (section 3): sparse connections between channels pay for many channels.
# 2. **Dynamic Shift-Max** (section 4): an activation that mixes channels makes up for the few layers.
#
# This notebook draws both from the layers of `ppcls_light`, checks every formula against a count, and then trains
# MicroNet-M0 on photos of clothes, evaluates, classifies, exports and predicts.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("ppcls_light") is None:  # Colab, AI Studio; a wheel's path will do, too
    extras = "cpu,explain"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"ppcls_light[{extras}]"], check=True)

# %%
import os

import ppcls_light

SMALL = os.environ.get("PPCLS_LIGHT_TUTORIAL") == "small"  # for tests: seconds

# %%
import contextlib
import glob
import io
import os
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import paddle
from IPython.display import Image

from ppcls_light.models import published
from ppcls_light.models.micronet import (
    LAYOUTS,
    ChannelShuffle,
    DYShiftMax,
    FactorizedConv,
    GroupConv,
    MicroBlock,
)
from ppcls_light.models.profile import profile
from ppcls_light.weights import load_weights

paddle.seed(0)
plt.rcParams.update({"figure.dpi": 72, "image.cmap": "Blues"})

# %% [markdown]
# ## Four variants
#
# The published ones differ in width and depth. Multiply-adds are counted on the network itself, for one image of
# 224 x 224 and 1,000 classes, Dynamic Shift-Max included; top-1 on ImageNet is the authors'.

# %%
print(f"{'network':12} {'parameters':>10} {'multiply-adds':>13} {'top-1':>9}")
for name in ppcls_light.list_models("MicroNet*"):
    cost, top1 = profile(ppcls_light.create_model(name)), published()[name]
    print(f"{name:12} {cost.params / 1e6:8.2f} M {cost.multiply_adds / 1e6:11.2f} M {top1:7.1f} %")

# %% [markdown]
# ## A pointwise convolution is a matrix
#
# A 1x1 convolution multiplies the C channels of each pixel with a C x C matrix W. MicroNet factorizes it
# (equation 1):
#
# $$W = P\,\Phi\,Q^T$$
#
# $Q^T$ compresses C channels to C/R in G groups, the permutation $\Phi$ shuffles them, and P expands them to C
# again, also in G groups. A group convolution is a matrix of G blocks on the diagonal. The layers are linear, so
# pushing the identity matrix through a layer gives its matrix. Below: C = 18, R = 2, G = 3, with random weights.


# %%
def matrix(layer, channels):
    """Return the matrix (outputs, channels) of a linear layer: its answers to the unit vectors."""
    layer.eval()
    with paddle.no_grad():
        return layer(paddle.eye(channels).reshape([channels, channels, 1, 1])).numpy()[:, :, 0, 0].T


def show_matrices(matrices, **options):
    """Draw {title: matrix} side by side."""
    figure, axes = plt.subplots(1, len(matrices), figsize=(9.5, 3.2), layout="constrained")
    for axis, (title, values) in zip(axes, matrices.items()):
        image = axis.imshow(values, **options)
        axis.set(title=title, xlabel="from channel")
        axis.locator_params(integer=True)
    axes[0].set(ylabel="to channel")
    figure.colorbar(image, ax=axes, shrink=0.7)
    plt.show()


C, R, G = 18, 2, 3
Q, shuffle, P = GroupConv(C, C // R, G), ChannelShuffle(C // R, G), GroupConv(C // R, C, G)
q, phi, p = matrix(Q, C), matrix(shuffle, C // R), matrix(P, C // R)
w = matrix(paddle.nn.Sequential(Q, shuffle, P), C)
assert np.allclose(w, p @ phi @ q, atol=1e-6)
show_matrices({"$Q^T$": q, "$\\Phi$": phi, "P": p, "W = P $\\Phi$ $Q^T$": w}, cmap="RdBu", vmin=-1, vmax=1)

# %% [markdown]
# W is full: each output channel hears from each input channel. It has no more freedom than its factors, though.
# Cut by the groups of P (rows) and of Q (columns) it has G x G blocks, and each has rank 1 (figure 2 of the
# paper, left).

# %%
blocks = w.reshape(G, C // G, G, C // G).swapaxes(1, 2)
print("rank of each block:", np.linalg.matrix_rank(blocks, tol=1e-5).tolist())
print("rank of W:", np.linalg.matrix_rank(w, tol=1e-5), "=", "C/R")

# %% [markdown]
# ## The square root
#
# With all weights 1 an entry of the matrix *counts the paths* from an input to an output. Few groups give several
# paths for each pair, which is redundant. Many groups leave pairs without a path. At
#
# $$G = \sqrt{C / R}$$
#
# there is exactly one path each (equation 2).


# %%
def with_ones(*layers):
    """Set the weights of group convolutions to 1, so that their matrix counts paths."""
    for layer in layers:
        conv = layer.conv[0]
        conv.weight.set_value(paddle.ones_like(conv.weight))
    return layers


def factorized_pointwise(channels, reduction, groups):
    hidden = channels // reduction
    compress, expand = with_ones(GroupConv(channels, hidden, groups), GroupConv(hidden, channels, groups))
    return paddle.nn.Sequential(compress, ChannelShuffle(hidden, groups), expand)


C, R = 32, 2
paths = {groups: matrix(factorized_pointwise(C, R, groups), C).round() for groups in (2, 4, 8)}
show_matrices({f"G = {groups}": counted for groups, counted in paths.items()}, vmin=0, vmax=4)
for groups, counted in paths.items():
    least, most, connected = counted.min(), counted.max(), (counted > 0).mean()
    print(f"G = {groups}: {least:.0f} to {most:.0f} paths, {connected:.0%} of the pairs connected")

# %% [markdown]
# For a fixed budget O of multiply-adds per pixel the two properties pull in opposite directions. From $O = 2 C^2
# / (R G)$ follow the number of channels $C = \sqrt{O R G / 2}$, which grows with G, and the paths that reach one
# output, $E = O / (2 G)$, which shrink with G. They meet at the square root (figure 3 of the paper). Lines are
# the formulas; dots are layers that were built, counted and weighed.

# %%
R, budget = 2, 4096
g = np.linspace(1, 64, 256)
plt.figure(figsize=(5, 3.4))
plt.plot(g, np.sqrt(budget * R * g / 2), label="channels C")
plt.plot(g, budget / (2 * g), label="paths per output E")
print("  G    C    E  multiply-adds: formula, counted, and dense")
for groups in (1, 4, 16, 64):
    channels = round(np.sqrt(budget * R * groups / 2))
    chain = factorized_pointwise(channels, R, groups)
    reached = matrix(chain, channels).round().sum(1).mean()
    formula, counted = 2 * channels**2 // (R * groups), profile(chain, (channels, 1, 1)).multiply_adds
    assert counted == formula
    print(f"{groups:3} {channels:4} {reached:4.0f} {formula:23} {counted:8} {channels**2:10}")
    plt.plot(groups, channels, "C0o")
    plt.plot(groups, reached, "C1o")
plt.axvline(best := (budget / (2 * R)) ** (1 / 3), color="grey", linestyle=":")
plt.annotate("G = $\\sqrt{C/R}$", (best, 1500), xytext=(8, 0), textcoords="offset points")
plt.gca().set(xlabel="groups G", ylabel="number", xscale="log", yscale="log")
plt.title(f"budget of {budget} multiply-adds per pixel")
plt.legend()
plt.show()

# %% [markdown]
# ## The same in the real network
#
# The authors' code cuts the network after a shuffle: Q is at the end of one block, P at the beginning of the
# next. Between them stand Dynamic Shift-Max and *two* shuffles that make one permutation. Drawn below: the paths
# from block 5 to block 6 of MicroNet-M0.
#
# - With one shuffle, as in equation 1, each pair of channels has one path.
# - With the network's own two shuffles half of the pairs have two paths, and the others none.
# - Dynamic Shift-Max adds to each channel one of the next group. With it no pair is left out.

# %%
network = ppcls_light.create_model("MicroNet_M0", class_num=10)
network.eval()
*_, Q, shift_max, shuffle = network.features[5].layers
P = network.features[6].layers[0]
with_ones(Q, P)
hidden, outputs = (layer.conv[0].weight.shape[0] for layer in (Q, P))
groups = LAYOUTS["M0"].blocks[4].out_groups
inputs = Q.conv[0].weight.shape[1] * groups


class Shift(paddle.nn.Layer):
    """The pairs that Dynamic Shift-Max fuses: each channel, and the one that is shifted to its place."""

    def forward(self, x):
        return x + paddle.index_select(x, shift_max.shift, axis=1)


chains = {
    "one shuffle": [Q, ChannelShuffle(hidden, groups), P],
    "the network's shuffles": [Q, shuffle, P],
    "and Shift-Max": [Q, Shift(), shuffle, P],
}
print(f"{inputs} channels -> Q in {groups} groups -> {hidden} -> P in {groups} groups -> {outputs}")
counts = {title: matrix(paddle.nn.Sequential(*layers), inputs).round() for title, layers in chains.items()}
show_matrices(counts, vmin=0, vmax=2)

# %% [markdown]
# ## A depthwise convolution of rank one
#
# A k x k depthwise kernel becomes a k x 1 one and a 1 x k one (section 3.2): 2 k instead of k^2 multiply-adds per
# pixel and channel. The answer to a single bright pixel is the kernel that the two have together, an outer
# product.

# %%
channels, k = 6, 5
factorized = FactorizedConv(channels, channels, channels, k, stride=1, groups=channels)
factorized.eval()
pixel = paddle.zeros([1, channels, 2 * k - 1, 2 * k - 1])
pixel[:, :, k - 1, k - 1] = 1
with paddle.no_grad():
    kernels = factorized(pixel)[0].numpy()[:, k // 2 : -(k // 2), k // 2 : -(k // 2)]
column, row = (factorized.conv[i].weight.numpy().squeeze() for i in (0, 2))
products = column[:, ::-1, None] * row[:, None, ::-1]  # a convolution's answer is its kernel, mirrored
assert np.allclose(kernels, products, atol=1e-4)
figure, axes = plt.subplots(1, channels, figsize=(9, 1.9), layout="constrained")
for i, axis in enumerate(axes):
    limit = abs(kernels[i]).max()
    axis.imshow(kernels[i], cmap="RdBu", vmin=-limit, vmax=limit)
    axis.set(title=f"rank {np.linalg.matrix_rank(kernels[i], tol=1e-5)}", xticks=[], yticks=[])
plt.show()
for k in (3, 5):
    layer = FactorizedConv(channels, channels, channels, k, stride=1, groups=channels)
    size = (channels, 14, 14)
    counted, values = profile(layer, size).multiply_adds, np.prod(size)
    assert counted == 2 * k * values
    print(f"k = {k}: {counted:,} multiply-adds, 2 k for each value; k x k would take {k * k * values:,}")

# %% [markdown]
# ## The lite combination
#
# A usual bottleneck expands channels by a pointwise convolution, filters them depthwise and compresses them
# again. MicroNet does so in its deeper blocks (*regular*, Micro-Block-C). In its first blocks, where maps are
# large, the depthwise convolution itself expands: it makes several filters of each channel, and only the
# compressing pointwise convolution is left (*lite*, Micro-Block-A, section 3.3). Here is what the first three
# blocks of MicroNet-M0 cost, and what regular ones of the same widths would.

# %%


def cost_by_part(layer, shape):
    """Return the multiply-adds of convolutions by kind, and of the linear layers of Dynamic Shift-Max."""
    kinds, layers = {"depthwise": 0, "pointwise": 0, "Shift-Max": 0}, dict(layer.named_sublayers())
    for row in profile(layer, shape).rows:
        weight = layers[row.name].weight.shape
        kind = "Shift-Max" if row.kind == "Linear" else "pointwise" if weight[2:] == [1, 1] else "depthwise"
        kinds[kind] += row.multiply_adds
    return kinds


stem, init, blocks = LAYOUTS["M0"]
shape, labels, costs = (stem[0] * stem[1], 112, 112), [], []
for number, block in enumerate(blocks, 1):
    if block.kind == "lite":
        regular = block._replace(kind="regular", fusions=(0, 2, 1), groups=4)
        for kind in (block, regular):
            labels.append(f"block {number}\n{kind.kind}")
            costs.append(cost_by_part(MicroBlock(shape[0], kind, init), shape))
    elif block.kind == "regular":
        labels.append(f"block {number}\n{block.kind}")
        costs.append(cost_by_part(MicroBlock(shape[0], block, init), shape))
    shape = (block.out_channels, shape[1] // block.stride, shape[2] // block.stride)
bottom = np.zeros(len(labels))
plt.figure(figsize=(8.5, 3))
for kind in costs[0]:
    heights = np.array([cost[kind] for cost in costs])
    plt.bar(labels, heights / 1e3, bottom=bottom / 1e3, label=kind)
    bottom += heights
plt.gca().set(ylabel="thousand multiply-adds")
plt.legend()
plt.show()
for label, total in zip(labels, bottom):
    print(f"{label.replace(chr(10), ' '):18} {total:9,.0f}")

# %% [markdown]
# ## Dynamic Shift-Max
#
# An activation like ReLU treats each channel alone. Dynamic Shift-Max (section 4) takes for each channel i the
# largest of K fusions of the channel itself and of one that is shifted by a group:
#
# $$y_i = \max_k \left( a^k_{i,0}(x)\,x_i + a^k_{i,1}(x)\,x_{s(i)} \right)$$
#
# The coefficients depend on the image: they come from the map's mean through two linear layers and a hard
# sigmoid. First the shift $s$, for 12 channels in 3 groups, and the whole layer in numpy.


# %%
def shift_max_numpy(layer, x, groups):
    """The formula, one operation per line; x is (N, C, H, W)."""
    channels = x.shape[1]
    first, _, second, _ = layer.fc
    pooled = x.mean(axis=(2, 3))
    units = np.maximum(pooled @ first.weight.numpy() + first.bias.numpy(), 0)
    gates = np.clip((units @ second.weight.numpy() + second.bias.numpy()) / 6 + 0.5, 0, 1)
    a = gates.reshape(-1, layer.count // 2, 2, channels) * 4 - 2  # within 2 of ...
    a += np.array([1, 0])[:, None]  # ... where they start: a_0 = 1, a_1 = 0
    group, position = np.divmod(np.arange(channels), channels // groups)
    shifted = x[:, (group + 1) % groups * (channels // groups) + (position + 1) % (channels // groups)]
    fusions = [a[:, k, 0, :, None, None] * x + a[:, k, 1, :, None, None] * shifted for k in range(a.shape[1])]
    return np.maximum.reduce(fusions)


layer = DYShiftMax(12, groups=3)
x = paddle.randn([2, 12, 4, 4])
with paddle.no_grad():
    assert np.allclose(layer(x).numpy(), shift_max_numpy(layer, x.numpy(), groups=3), atol=1e-5)
    x, first = paddle.randn([2, 128, 7, 7]), network.features[5].layers[1]
    change = float((first(x) - x).abs().max())
print(f"in a new network the layer starts near the identity: it changes x by at most {change:.3f}")
print("channel    ", " ".join(f"{i:2}" for i in range(12)))
print("fused with ", " ".join(f"{i:2}" for i in layer.shift.numpy()))

# %% [markdown]
# ### What K = 2 fusions can be
#
# For fixed coefficients the response is piecewise linear. ReLU, the absolute value and the maximum of two
# channels are special cases. The pictures are the layer's own answers: its last bias is set to give the
# coefficients named above each.


# %%
def with_coefficients(pairs):
    """Return a DYShiftMax of two channels whose (a_0, a_1) of each k are `pairs` for every image."""
    layer = DYShiftMax(2, groups=2, init=((1.0, 0.0),) * len(pairs))
    wanted = np.repeat(np.float32(pairs).ravel(), 2)  # the same for both channels
    bias = ((wanted - layer.lowest.numpy()) / 4 - 0.5) * 6  # inverse of the hard sigmoid
    layer.fc[2].weight.set_value(paddle.zeros_like(layer.fc[2].weight))
    layer.fc[2].bias.set_value(paddle.to_tensor(bias.astype("float32")))
    return layer


axis_values = np.linspace(-2, 2, 101, dtype="float32")
own, other = np.meshgrid(axis_values, axis_values)
cases = {
    "ReLU\n(1, 0), (0, 0)": [(1, 0), (0, 0)],
    "absolute value\n(1, 0), (-1, 0)": [(1, 0), (-1, 0)],
    "maximum of two channels\n(1, 0), (0, 1)": [(1, 0), (0, 1)],
    "neither\n(1, 0.5), (-0.5, 1)": [(1, 0.5), (-0.5, 1)],
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for axis, (title, pairs) in zip(axes, cases.items()):
    with paddle.no_grad():
        y = with_coefficients(pairs)(paddle.to_tensor(np.stack([own, other])[None]))[0, 0].numpy()
    expected = np.max([a_0 * own + a_1 * other for a_0, a_1 in pairs], axis=0)
    assert np.allclose(y, expected, atol=1e-5)
    image = axis.contourf(own, other, y, levels=np.linspace(-3, 3, 13), cmap="RdBu", extend="both")
    axis.set(title=title, xlabel="the channel $x_i$", aspect="equal")
axes[0].set(ylabel="the shifted channel $x_{s(i)}$")
figure.colorbar(image, ax=axes, label="$y_i$", shrink=0.8)
plt.show()

# %% [markdown]
# ## Training on photos
#
# MicroNet-M0 learns to tell ten kinds of clothes apart at 96 pixels. A `Run` is the folder of a training.
#
# The 280 photos to learn and 120 to test come with the package. So few, in a few epochs, teach a network from
# random weights little: chance is 10 %. `sample_data("clothing10-full")` downloads all 3,781 photos (106 MB,
# [clothing-dataset-small](https://github.com/alexeygrigorev/clothing-dataset-small), CC0). The test photos are
# looked at once, after the last epoch, so that they choose nothing.

# %%
PHOTOS = ppcls_light.sample_data("clothing10")
EPOCHS = 1 if SMALL else 40
run = ppcls_light.train(
    "ppcls_light:quick_start/photos_scratch.yaml",
    [
        *(f"DataLoader.{split}.dataset.image_root={PHOTOS}" for split in ("Train", "Eval")),
        f"DataLoader.Train.dataset.cls_label_path={PHOTOS}/train_list.txt",
        f"DataLoader.Eval.dataset.cls_label_path={PHOTOS}/test_list.txt",
        f"Infer.PostProcess.class_id_map_file={PHOTOS}/labels.txt",
        "DataLoader.Train.loader.num_workers=0",
        f"Optimizer.lr.warmup_epoch={EPOCHS // 5}",
        f"Global.eval_interval={EPOCHS}",
        "Global.print_batch_step=1000",
    ],
    network="MicroNet_M0",
    learning_rate=0.003,
    batch_size=16,
    epochs=EPOCHS,
    output_dir="micronet",
)
print(run)

# %%
run.plot()

# %% [markdown]
# ## Evaluation

# %%
test = run.evaluate()
print(f"top-1 {test['top1']:.1%}, top-3 {test['top3']:.1%} of the test photos; chance is 10 % and 30 %")

# %% [markdown]
# ## Inference
#
# `infer` logs a list for each batch: class ids with scores, best first, the file, and the names of the classes.
# It is the job of `ppcls-light infer`.

# %%
samples = []
for folder in sorted(glob.glob(f"{PHOTOS}/test/*")):  # the first photo of each class
    kind = os.path.basename(folder)
    os.makedirs(f"samples/{kind}", exist_ok=True)
    samples.append(shutil.copy(sorted(glob.glob(f"{folder}/*.jpg"))[0], f"samples/{kind}/{kind}.jpg"))
overrides = ["Global.checkpoints=auto", "Infer.infer_imgs=samples", "Infer.batch_size=2"]
config = ppcls_light.load_config(f"{run.folder}/config.yaml", overrides)
with contextlib.redirect_stdout(io.StringIO()) as log:
    rows = ppcls_light.jobs.infer(config, picture="samples.png")
for line in log.getvalue().splitlines():
    if "class_ids" in line:
        print(line[line.index("ppcls") :])  # without the time

# %%
Image(filename="samples.png")

# %% [markdown]
# ## Export
#
# The exported folder needs no training code. Its answers are compared with the network's before it is kept.
# `Predictor` takes paths, bytes, arrays and Pillow images.

# %%
with contextlib.redirect_stdout(io.StringIO()) as log:
    predictor = run.export("micronet/inference")
print(re.search("Exported and original.*", log.getvalue())[0])
for row, expected in zip(predictor.predict(samples), rows):
    assert np.allclose(row["scores"], expected["scores"], atol=1e-4)
    print(f"{row['file_name'].split('/')[-2]:12} -> {row['label_names'][0]:12} {row['scores'][0]:.2f}")

# %% [markdown]
# ## Dynamic, after training
#
# The coefficients of one Dynamic Shift-Max of block 5, for all channels and the ten photos above. Before training
# they were (1, 0) for every photo; training moves them, and differently for each photo. On the right the response
# of the channel whose coefficients differ most, the shifted channel held at its mean: a line for each photo.

# %%
network = ppcls_light.create_model("MicroNet_M0", class_num=10)
load_weights(network, run.weights)
network.eval()
layer, seen = network.features[5].layers[5], {}
hooks = [
    layer.fc.register_forward_post_hook(lambda _, x, gates: seen.update(gates=gates)),
    layer.register_forward_post_hook(lambda _, x, y: seen.update(x=x[0])),
]
with paddle.no_grad():
    network(paddle.to_tensor(np.stack([predictor.preprocess(path) for path in samples])))
for hook in hooks:
    hook.remove()
channels = layer.shift.shape[0]
a = (seen["gates"] * 4 + layer.lowest).numpy()
a = a.reshape(len(samples), 2, 2, channels)  # photo, k, a_0 or a_1, channel
x = seen["x"].numpy()
channel = a.std(axis=0).sum(axis=(0, 1)).argmax()
shifted = x[:, layer.shift.numpy()[channel]].mean()
own = np.linspace(x[:, channel].min(), x[:, channel].max(), 200)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
axes[0].plot(a[:, :, 0].ravel(), a[:, :, 1].ravel(), ".", markersize=3, alpha=0.3)
axes[0].plot(1, 0, "kx", markersize=9)
axes[0].set(xlabel="$a_0$, of the channel itself", ylabel="$a_1$, of the shifted channel")
axes[0].set(title="coefficients; x: before training")
for path, (first, second) in zip(samples[:4], a[:4, :, :, channel]):
    response = np.maximum(first[0] * own + first[1] * shifted, second[0] * own + second[1] * shifted)
    axes[1].plot(own, response, label=path.split("/")[-2])
axes[1].set(xlabel="$x_i$", ylabel="$y_i$", title=f"response of channel {channel}")
axes[1].legend()
plt.show()
