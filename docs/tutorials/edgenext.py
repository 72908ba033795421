# %% [markdown]
# # EdgeNeXt step by step
#
# EdgeNeXt (Maaz et al., 2022, [arXiv 2206.10589](https://arxiv.org/abs/2206.10589)) joins a convolutional network
# with attention. Attention between pixels costs the square of their number. EdgeNeXt lets *channels* attend to
# each other instead, which costs only as much more as there are more pixels.
#
# This notebook runs both of its blocks by hand, line by line with shapes, and asserts that the result is the
# module's. Then it draws receptive fields and attention, counts what attention costs, and trains the smallest
# variant on photos of clothes.

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

import matplotlib.pyplot as plt
import numpy as np
import paddle
from paddle.nn import functional as F

from ppcls_light.models.edgenext import ConvEncoder, CrossCovarianceAttention, fourier_features
from ppcls_light.models.profile import profile
from ppcls_light.weights import load_weights

paddle.seed(0)
plt.rcParams.update({"figure.dpi": 64, "image.interpolation": "nearest"})

# %% [markdown]
# ## The network
#
# Four stages, each at half the resolution of the one before (figure 2 of the paper). A stage is a row of *conv
# encoders* whose kernels grow from stage to stage. The last block of stages 2 to 4 is an *SDTA encoder*: split
# depth-wise transpose attention.

# %%
SIZE = 256
network = ppcls_light.create_model("EdgeNeXt_XX_Small", class_num=10)
network.eval()


def describe(block):
    if isinstance(block, ConvEncoder):
        return "conv {0} x {0}".format(block.dwconv.weight.shape[-1])
    return f"SDTA, {len(block.widths)} groups, {block.xca.heads} heads"


print(f"{'stage':5} {'channels':>8} {'map':>9}  blocks")
x = paddle.randn([1, 3, SIZE, SIZE])
with paddle.no_grad():
    for number, (downsample, stage) in enumerate(zip(network.downsample_layers, network.stages), 1):
        x = stage(downsample(x))
        kinds = [describe(block) for block in stage]
        blocks = ", ".join(f"{kinds.count(kind)} x ({kind})" for kind in dict.fromkeys(kinds))
        print(f"{number:5} {x.shape[1]:8} {x.shape[2]:4} x {x.shape[3]:2}  {blocks}")
cost = profile(network, (3, SIZE, SIZE))
print(f"{cost.params / 1e6:.2f} M parameters, {cost.multiply_adds / 1e6:.0f} M multiply-adds")

# %% [markdown]
# ## Conv encoder, equation 1
#
# $$x + \gamma\,\mathrm{Linear}(\mathrm{GELU}(\mathrm{Linear}(\mathrm{LN}(\mathrm{Dw}_{k \times k}(x)))))$$
#
# A depthwise convolution looks around in each channel; two linear layers, the first to four times the width, mix
# the channels of each pixel. $\gamma$ is the layer scale. It starts at 1e-6, so that a new block does nothing;
# here it is set to 1 to have something to compare.


# %%
def step(note, tensor):
    """Print the shape after one operation."""
    print(f"{'x'.join(map(str, tensor.shape)):>14}  {note}")
    return tensor


block = network.stages[1][0]
block.gamma.set_value(paddle.ones_like(block.gamma))
x = paddle.randn([1, 48, 32, 32])
with paddle.no_grad():
    y = step("input", x)
    y = step("depthwise 5x5", F.conv2d(y, block.dwconv.weight, block.dwconv.bias, padding=2, groups=48))
    y = step("channels last", y.transpose([0, 2, 3, 1]))
    y = step("layer norm", F.layer_norm(y, 48, block.norm.weight, block.norm.bias, epsilon=1e-6))
    y = step("linear, 4 times as wide", y @ block.pwconv1.weight + block.pwconv1.bias)
    y = step("GELU", F.gelu(y))
    y = step("linear", y @ block.pwconv2.weight + block.pwconv2.bias)
    y = step("layer scale", block.gamma * y)
    y = step("shortcut", x + y.transpose([0, 3, 1, 2]))
    assert np.allclose(y.numpy(), block(x).numpy(), atol=1e-5)
print("equal to the module")

# %% [markdown]
# ## SDTA encoder, first half: split
#
# The channels are split into groups. A 3x3 depthwise convolution filters the first; its result is added to the
# second group before that is filtered, and so on; the last group stays as it is. Later groups thus see further
# (section 3.2 of the paper, after Res2Net). Stage 4 has four groups.

# %%
block = network.stages[3][-1]
for gamma in (block.gamma, block.gamma_xca):
    gamma.set_value(paddle.ones_like(gamma))
x = paddle.randn([1, 168, 8, 8])
with paddle.no_grad():
    step("input", x)
    *groups, last = paddle.split(x, block.widths, axis=1)
    outputs, before = [], 0
    for number, (conv, group) in enumerate(zip(block.convs, groups), 1):
        before = F.conv2d(group + before, conv.weight, conv.bias, padding=1, groups=group.shape[1])
        added = "plus the group before, " if number > 1 else ""
        outputs.append(step(f"group {number}: {added}depthwise 3x3", before))
    step(f"group {number + 1}: as it is", last)
    split = step("concatenated", paddle.concat([*outputs, last], axis=1))

# %% [markdown]
# The answer of each group to one bright pixel in all channels: 3, 5, 7 pixels wide, and 1.

# %%
pixel = paddle.zeros([1, 168, 11, 11])
pixel[:, :, 5, 5] = 1
with paddle.no_grad():
    answer = block._split_convolve(pixel) - block._split_convolve(paddle.zeros_like(pixel))
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for number, (axis, part) in enumerate(zip(axes, paddle.split(answer, block.widths, axis=1)), 1):
    seen = part[0].abs().mean(0).numpy()
    axis.imshow(np.log10(seen + 1e-6), cmap="magma")
    axis.set(title=f"group {number}: {(seen.max(0) > 1e-7).sum()} wide", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## SDTA encoder, second half: transposed attention, equation 2
#
# Q, K and V are linear in the channels, as always. Then each head compares *channels* over all L pixels:
#
# $$\mathrm{softmax}(\tau\,\hat Q\,\hat K^T)\,V \qquad \hat Q, \hat K, V \in \mathbb{R}^{(C/h) \times L}$$
#
# The rows of $\hat Q$ and $\hat K$ have length 1, so that their products are cosines between two channels' maps;
# the temperature $\tau$ of each head is learned. The attention is a (C/h) x (C/h) matrix, whatever the image's
# size (XCiT, [arXiv 2106.09681](https://arxiv.org/abs/2106.09681)).


# %%
def attention_of(xca, tokens, show=lambda note, tensor: tensor):
    """Return attention (N, heads, C/heads, C/heads) and V (N, heads, C/heads, L) of a CrossCovarianceAttention."""
    heads, dim = xca.heads, xca.dim
    qkv = show("linear to Q, K, V", tokens @ xca.qkv.weight + xca.qkv.bias)
    qkv = show("apart, in heads", qkv.reshape([0, 0, 3, heads, dim // heads]))
    qkv = show("Q, K, V; a channel is a row of L pixels", qkv.transpose([2, 0, 3, 4, 1]))
    query, key, value = qkv
    query = show("Q, rows of length 1", query / query.norm(axis=-1, keepdim=True))
    key = show("K, rows of length 1", key / key.norm(axis=-1, keepdim=True))
    cosines = show("Q K^T, cosines", query @ key.transpose([0, 1, 3, 2]))
    return show("softmax of temperature times them", F.softmax(xca.temperature * cosines, axis=-1)), value


with paddle.no_grad():
    tokens = step("pixels in a row", split.flatten(2).transpose([0, 2, 1]))
    normed = F.layer_norm(tokens, 168, block.norm_xca.weight, block.norm_xca.bias, epsilon=1e-6)
    step("layer norm", normed)
    attention, value = attention_of(block.xca, normed, step)
    mixed = step("attention times V", attention @ value)
    mixed = step("pixels in a row", mixed.transpose([0, 3, 1, 2]).reshape([0, 0, 168]))
    mixed = step("linear", mixed @ block.xca.proj.weight + block.xca.proj.bias)
    tokens = step("layer scale, shortcut", tokens + block.gamma_xca * mixed)
    y = step("channels last", tokens.reshape([1, 8, 8, 168]))
    y = step("layer norm", F.layer_norm(y, 168, block.norm.weight, block.norm.bias, epsilon=1e-6))
    y = step("linear, 4 times as wide, GELU", F.gelu(y @ block.pwconv1.weight + block.pwconv1.bias))
    y = step("linear, layer scale", block.gamma * (y @ block.pwconv2.weight + block.pwconv2.bias))
    y = step("shortcut from the input", x + y.transpose([0, 3, 1, 2]))
    assert np.allclose(y.numpy(), block(x).numpy(), atol=1e-4)
print("equal to the module")

# %% [markdown]
# Only the SDTA encoder of stage 2 adds a positional encoding before the attention: sine and cosine of the row and
# the column at 16 wavelengths each, through a learned 1x1 convolution. The fixed features, and four channels of
# what is added:

# %%
encoding = network.stages[1][-1].pos_embd

with paddle.no_grad():
    added = encoding(32, 32)[0].numpy()
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4), width_ratios=[1.6, 1, 1, 1, 1], layout="constrained")
axes[0].imshow(fourier_features(32), cmap="RdBu", aspect="auto")
axes[0].set(title="features of one axis", xlabel="position", ylabel="feature")
for channel, axis in zip((0, 12, 24, 36), axes[1:]):
    axis.imshow(added[channel], cmap="RdBu")
    axis.set(title=f"channel {channel}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Kernels that grow
#
# Conv encoders have kernels of 3, 5, 7 and 9 pixels in the four stages. Large kernels are cheap late, where maps
# are small. Below: the pixels of the image on which one unit at the middle of each stage depends, by the gradient
# at the image (layer scales at 1). The SDTA encoder at the end of stages 2 to 4 sees everything at once, because
# each entry of its attention sums over all pixels.


# %%
def all_ones(network):
    """Set each layer scale to 1, so that every block acts."""
    for name, parameter in network.named_parameters():
        if "gamma" in name:
            parameter.set_value(paddle.ones_like(parameter))
    network.eval()
    return network


def seen_by_middle_unit(network, stages, with_sdta, size):
    """Return the mean absolute gradient of one middle unit after so many stages at each pixel of an image."""
    image = paddle.randn([1, 3, size, size])
    image.stop_gradient = False
    y = image
    for downsample, stage in zip(network.downsample_layers[:stages], network.stages):
        y = downsample(y)
        for block in stage:
            if with_sdta or isinstance(block, ConvEncoder):
                y = block(y)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    return image.grad[0].abs().mean(0).numpy()


def widths(network):
    """Return how wide one unit sees after each stage by convolutions alone, from kernels and strides."""
    width, stride, result = 1, 1, []
    for downsample, stage in zip(network.downsample_layers, network.stages):
        kernels = [layer.weight.shape[-1] for layer in downsample if isinstance(layer, paddle.nn.Conv2D)]
        width += (kernels[0] - 1) * stride
        stride *= kernels[0]  # of the same size, so that patches do not overlap
        for block in stage:
            if isinstance(block, ConvEncoder):
                width += (block.dwconv.weight.shape[-1] - 1) * stride
        result.append(width)
    return result


network = all_ones(network)
size = 256
figure, axes = plt.subplots(2, 3, figsize=(8, 5.6), layout="constrained")
for with_sdta, row in zip((False, True), axes):
    for stages, axis in zip((1, 2, 3), row):
        gradient = seen_by_middle_unit(network, stages, with_sdta, size)
        seen = (gradient > 0).any(0).sum()
        if not with_sdta:
            assert seen == min(widths(network)[stages - 1], size)
        axis.imshow(np.log10(gradient / gradient.max() + 1e-6), cmap="magma", vmin=-6, vmax=0)
        kind = "with SDTA" if with_sdta else "conv encoders"
        axis.set(title=f"stage {stages}, {kind}:\n{seen} of {size} pixels", xticks=[], yticks=[])
plt.show()
for kernel_sizes in ((3, 5, 7, 9), (3, 3, 3, 3)):
    other = ppcls_light.create_model("EdgeNeXt_XX_Small", class_num=10, kernel_sizes=kernel_sizes)
    millions = profile(other, (3, 256, 256)).multiply_adds / 1e6
    print(f"kernels {kernel_sizes}: {millions:.1f} M multiply-adds, conv encoders see {widths(other)} pixels")

# %% [markdown]
# ## Cost that is linear in pixels
#
# Transposed attention takes $2 L C^2 / h$ multiply-adds for its two products, attention between pixels $2 L^2 C$.
# They are equal at L = C/h pixels. Both are counted by `profile` below, with the linear layers that both have, at
# the width of stage 3 (88 channels, 4 heads, maps of 1/16 of the image).


# %%
class SpatialAttention(CrossCovarianceAttention):
    """The usual attention, between pixels: the same linear layers, other products."""

    def forward(self, x):
        qkv = self.qkv(x).reshape([0, 0, 3, self.heads, self.dim // self.heads])
        query, key, value = qkv.transpose([2, 0, 3, 1, 4])
        attention = F.softmax(query @ key.transpose([0, 1, 3, 2]) / (self.dim // self.heads) ** 0.5, axis=-1)
        return self.proj((attention @ value).transpose([0, 2, 1, 3]).reshape([0, 0, self.dim]))

    def own_multiply_adds(self, output_shape):
        length, dim = output_shape
        return 2 * length**2 * dim


class OnTokens(paddle.nn.Layer):
    """The attention on the pixels of a map (N, C, H, W)."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x.flatten(2).transpose([0, 2, 1]))


dim, heads = 88, 4
sides = np.array([128, 256, 512, 1024])
costs = {"transposed (EdgeNeXt)": CrossCovarianceAttention, "between pixels": SpatialAttention}
plt.figure(figsize=(5, 3.4))
print(f"{'side of the image':22}" + "".join(f"{side:>10}" for side in sides))
for label, kind in costs.items():
    counted = [
        profile(OnTokens(kind(dim, heads)), (dim, side // 16, side // 16)).multiply_adds for side in sides
    ]
    plt.loglog(sides**2, counted, "o-", label=label)
    print(f"{label:22}" + "".join(f"{count / 1e6:8.1f} M" for count in counted))
plt.gca().set(xlabel="pixels of the image", ylabel="multiply-adds of one attention")
plt.legend()
plt.show()

# %% [markdown]
# ## Training on photos
#
# EdgeNeXt-XX-Small learns to tell ten kinds of clothes apart at 64 pixels. A layer scale of 1e-6 needs the 300
# epochs of ImageNet in the paper to grow; for a few epochs of few photos it starts at 0.1 here.
#
# The 280 photos to learn and 120 to test come with the package. So few, in a few epochs, teach a network from
# random weights little: chance is 10 %. `sample_data("clothing10-full")` downloads all 3,781 photos (106 MB,
# [clothing-dataset-small](https://github.com/alexeygrigorev/clothing-dataset-small), CC0). The test photos are
# looked at once, after the last epoch, so that they choose nothing.

# %%
PHOTOS = ppcls_light.sample_data("clothing10")
EPOCHS = 1 if SMALL else 8
run = ppcls_light.train(
    "ppcls_light:quick_start/photos_scratch.yaml",
    [
        *(f"DataLoader.{split}.dataset.image_root={PHOTOS}" for split in ("Train", "Eval")),
        f"DataLoader.Train.dataset.cls_label_path={PHOTOS}/train_list.txt",
        f"DataLoader.Eval.dataset.cls_label_path={PHOTOS}/test_list.txt",
        f"Infer.PostProcess.class_id_map_file={PHOTOS}/labels.txt",
        "DataLoader.Train.loader.num_workers=0",
        "Global.image_shape=[3, 64, 64]",
        "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=64",
        "DataLoader.Eval.dataset.transform_ops.1.ResizeImage.resize_short=72",
        "DataLoader.Eval.dataset.transform_ops.2.CropImage.size=64",
        "Arch.layer_scale_init_value=0.1",
        f"Optimizer.lr.warmup_epoch={EPOCHS // 5}",
        f"Global.eval_interval={EPOCHS}",
        "Global.print_batch_step=1000",
    ],
    network="EdgeNeXt_XX_Small",
    learning_rate=0.001,
    batch_size=16,
    epochs=EPOCHS,
    output_dir="edgenext",
)
print(run)

# %%
run.plot()

# %%
test = run.evaluate()
print(f"top-1 {test['top1']:.1%}, top-3 {test['top3']:.1%} of the test photos; chance is 10 % and 30 %")

# %% [markdown]
# ## Export and prediction
#
# The exported folder needs no training code. Its answers are compared with the network's before it is kept.

# %%
with contextlib.redirect_stdout(io.StringIO()) as log:
    predictor = run.export("edgenext/inference")
print(re.search("Exported and original.*", log.getvalue())[0])
samples = [sorted(glob.glob(f"{folder}/*.jpg"))[0] for folder in sorted(glob.glob(f"{PHOTOS}/test/*"))]
rows = predictor.predict(samples)
figure, axes = plt.subplots(2, 5, figsize=(9, 4.2), layout="constrained")
for axis, path, row in zip(axes.flat, samples, rows):
    axis.imshow(predictor.seen(path))
    right = row["label_names"][0] == path.split("/")[-2]
    axis.set_title(f"{row['label_names'][0]} {row['scores'][0]:.2f}", color="green" if right else "firebrick")
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Attention of channels, after training
#
# The attention of one head of each SDTA encoder for the first photo: row i says from which channels channel i is
# mixed, brighter is more. A row of one brightness would be the mean of all channels. The titles have the largest
# share; so short a training has not made the attention choose much.

# %%
load_weights(network, run.weights)
network.eval()
encoders = {number: network.stages[number - 1][-1].xca for number in (2, 3, 4)}
tokens = {}
hooks = [
    xca.register_forward_pre_hook(lambda _, inputs, number=number: tokens.update({number: inputs[0]}))
    for number, xca in encoders.items()
]
with paddle.no_grad():
    network(paddle.to_tensor(np.stack([predictor.preprocess(path) for path in samples])))
    attention, values = zip(*(attention_of(xca, tokens[number]) for number, xca in encoders.items()))
for hook in hooks:
    hook.remove()
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, number, matrices in zip(axes, encoders, attention):
    matrix = matrices[0, 0].numpy()
    axis.imshow(matrix, cmap="viridis")
    axis.set(title=f"stage {number}: {len(matrix)} x {len(matrix)}, at most {matrix.max():.0%}")
    axis.set(xlabel="from channel")
    axis.locator_params(integer=True)
axes[0].set(ylabel="to channel")
plt.show()

# %% [markdown]
# The matrices depend on the photo, and have the same size for any photo. Below: stage 3, the first head, for four
# photos; each minus the mean over all ten.

# %%
matrices = attention[1][:, 0].numpy()
deviations = matrices - matrices.mean(axis=0)
limit = abs(deviations).max()
figure, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained")
for path, deviation, (photo, picture) in zip(samples[::3], deviations[::3], axes.T):
    photo.imshow(predictor.seen(path))
    photo.set(title=path.split("/")[-2], xticks=[], yticks=[])
    picture.imshow(deviation, cmap="RdBu", vmin=-limit, vmax=limit)
    picture.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# What a channel attends to can be looked at, because channels are pictures: the map V of the channel that changes
# most from photo to photo in stage 3, and of the three channels that it takes most from, for the first photo.

# %%
to = int(deviations.std(axis=0).sum(axis=1).argmax())
weights = matrices[0, to]
sources = weights.argsort()[::-1][:3]
side = int(values[1].shape[-1] ** 0.5)
maps = values[1][0, 0].numpy().reshape(-1, side, side)
figure, axes = plt.subplots(1, 5, figsize=(9, 2.3), layout="constrained")
axes[0].imshow(predictor.seen(samples[0]))
axes[0].set(title="photo")
axes[1].imshow(maps[to], cmap="RdBu")
axes[1].set(title=f"V of channel {to}")
for axis, source in zip(axes[2:], sources):
    axis.imshow(maps[source], cmap="RdBu")
    axis.set(title=f"{weights[source]:.1%} of channel {source}")
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()
