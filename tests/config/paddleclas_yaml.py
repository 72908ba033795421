"""PaddleClas' YAML files for PP-LCNet, FasterNet and MicroNet, rebuilt: sections, keys, values and notation.

`rebuild(name)` gives the content of ppcls/configs/ImageNet/{PPLCNet,FasterNet,MicroNet}/<name>.yaml, comments
and blank lines aside: parsed by PyYAML the two are equal.
"""

NORMALISE = """\
- NormalizeImage:
    scale: 1.0/255.0
    mean: [0.485, 0.456, 0.406]
    std: [0.229, 0.224, 0.225]
    order: {order}
"""
DECODE_CV2 = """\
- DecodeImage:
    to_rgb: True
    channel_first: False
"""
DECODE_PIL = """\
- DecodeImage:
    backend: pil
    to_np: False
    channel_first: False
"""
FLIP = """\
- RandFlipImage:
    flip_code: 1
"""
CROP = """\
- CropImage:
    size: 224
"""
RESIZE_256 = """\
- ResizeImage:
    resize_short: 256
"""
MIX = """\
- OpSampler:
    MixupOperator:
      alpha: {mixup}
      prob: 0.5
    CutmixOperator:
      alpha: 1.0
      prob: 0.5
"""

AMP = """\
AMP:
  use_amp: {use_amp}
  use_fp16_test: False
  scale_loss: 128.0
  use_dynamic_loss_scaling: True
  use_promote: False
  level: {level}
"""
MOMENTUM = """\
name: Momentum
momentum: 0.9
lr:
  name: Cosine
  learning_rate: {learning_rate}
{warmup}\
regularizer:
  name: 'L2'
  coeff: {coeff}
"""
ADAMW = """\
name: AdamW
beta1: 0.9
beta2: 0.999
epsilon: 1e-8
weight_decay: {weight_decay}
clip_grad: {clip_grad}
no_weight_decay_name: null
one_dim_param_no_weight_decay: True
lr:
  name: Cosine
  learning_rate: {learning_rate}
  warmup_start_lr: 0.000001
  warmup_epoch: 20
  eta_min: 0.00001
"""
FILE = """\
Global:
  checkpoints: null
  pretrained_model: null
  output_dir: ./output/
  device: gpu
  save_interval: 1
  eval_during_train: {eval_during_train}
  eval_interval: 1
  epochs: {epochs}
  print_batch_step: 10
  use_visualdl: False
{use_dali}\
  image_shape: [3, 224, 224]
  save_inference_dir: ./inference
{to_static}\
{amp}\
Arch:
  name: {arch}
  class_num: 1000
Loss:
  Train:
    - CELoss:
        weight: 1.0
{epsilon}\
  Eval:
    - CELoss:
        weight: 1.0
Optimizer:
{optimizer}\
DataLoader:
  Train:
    dataset:
      name: ImageNetDataset
      image_root: ./dataset/ILSVRC2012/
      cls_label_path: ./dataset/ILSVRC2012/train_list.txt
      transform_ops:
{train_ops}\
{batch_ops}\
    sampler:
      name: DistributedBatchSampler
      batch_size: {train_batch}
      drop_last: False
      shuffle: True
    loader:
      num_workers: {train_workers}
      use_shared_memory: True
  Eval:
    dataset:
      name: ImageNetDataset
      image_root: ./dataset/ILSVRC2012/
      cls_label_path: ./dataset/ILSVRC2012/val_list.txt
      transform_ops:
{eval_ops}\
    sampler:
      name: DistributedBatchSampler
      batch_size: {eval_batch}
      drop_last: False
      shuffle: False
    loader:
      num_workers: {eval_workers}
      use_shared_memory: True
Infer:
  infer_imgs: docs/images/inference_deployment/whl_demo.jpg
  batch_size: 10
  transforms:
{infer_ops}\
  PostProcess:
    name: Topk
    topk: 5
    class_id_map_file: ppcls/utils/imagenet1k_label_list.txt
Metric:
  Train:
    - TopkAcc:
        topk: [1, 5]
  Eval:
    - TopkAcc:
        topk: [1, 5]
"""

_PPLCNET = {
    "learning_rate": "0.8",
    "warmup": "  warmup_epoch: 5\n",
    "coeff": "0.00003",
    "train_batch": 512,
    "train_workers": 4,
    "eval_batch": 64,
    "augment": "",
    "use_dali": "",
    "amp": "",
}
_ULTRA = {"arch": "PPLCNet_x1_0", "use_dali": "  use_dali: True\n", "eval_batch": 256, "train_workers": 16}
_FASTERNET = {"learning_rate": "0.004", "clip_grad": "null"}

# What differs from file to file.
PPLCNET = {
    "PPLCNet_x0_25": {},
    "PPLCNet_x0_35": {},
    "PPLCNet_x0_5": {},
    "PPLCNet_x0_75": {},
    "PPLCNet_x1_0": {},
    "PPLCNet_x1_5": {"coeff": "0.00004"},
    "PPLCNet_x2_0": {"coeff": "0.00004"},
    "PPLCNet_x2_5": {"coeff": "0.00004", "augment": "- AutoAugment:\n"},
    "PPLCNet_x1_0_ampo2_ultra": {
        **_ULTRA,
        "learning_rate": "3.2",
        "train_batch": 1024,
        "amp": AMP.format(use_amp=True, level="O2"),
    },
    "PPLCNet_x1_0_fp32_ultra": {
        **_ULTRA,
        "learning_rate": "1.6",
        "amp": AMP.format(use_amp=False, level="O1"),
    },
}
FASTERNET = {
    "FasterNet_T0": {"weight_decay": "0.005", "randaugment": "null", "mixup": "0.05"},
    "FasterNet_T1": {"weight_decay": "0.01", "randaugment": "rand-m3-mstd0.5-inc1", "mixup": "0.05"},
    "FasterNet_T2": {"weight_decay": "0.02", "randaugment": "rand-m5-mstd0.5-inc1", "mixup": "0.1"},
    "FasterNet_S": {"weight_decay": "0.03", "randaugment": "rand-m7-mstd0.5-inc1", "mixup": "0.3"},
    "FasterNet_M": {
        "weight_decay": "0.05",
        "randaugment": "rand-m7-mstd0.5-inc1",
        "mixup": "0.5",
        "clip_grad": "1",
        "learning_rate": "0.002",
    },
    "FasterNet_L": {
        "weight_decay": "0.05",
        "randaugment": "rand-m7-mstd0.5-inc1",
        "mixup": "0.7",
        "clip_grad": "0.01",
        "learning_rate": "0.002",
    },
}

_OF_M3 = {"coeff": "4e-5", "warmup": "  warmup_epoch: 5\n", "decoder": "    backend: pil\n"}
MICRONET = {
    "MicroNet_M0": {},
    "MicroNet_M2": {},
    "MicroNet_M3": {**_OF_M3, "aspect": "    use_log_aspect: True\n"},
}


def rebuild(name):
    """Return the text of PaddleClas' <name>.yaml."""
    infer_ops = DECODE_CV2 + RESIZE_256 + CROP + NORMALISE.format(order="''") + "- ToCHWImage:\n"
    family = {"PPL": _pplcnet, "Fas": _fasternet, "Mic": _micronet}[name[:3]]
    common = {"arch": name, "epsilon": "        epsilon: 0.1\n", "to_static": "", "use_dali": ""}
    return FILE.format(**{**common, "infer_ops": _indent(infer_ops, 4), **family(name)})


def _pplcnet(name):
    facts = {**_PPLCNET, **PPLCNET[name]}
    train_ops = DECODE_CV2 + "- RandCropImage:\n    size: 224\n" + FLIP + facts["augment"]
    return {
        **facts,
        "epochs": 360,
        "eval_during_train": True,
        "optimizer": _indent(MOMENTUM.format(**facts), 2),
        "train_ops": _indent(train_ops + NORMALISE.format(order="''"), 8),
        "batch_ops": "",
        "eval_ops": _indent(DECODE_CV2 + RESIZE_256 + CROP + NORMALISE.format(order="''"), 8),
        "eval_workers": 4,
    }


def _fasternet(name):
    facts = {**_FASTERNET, **FASTERNET[name]}
    train_ops = (
        DECODE_PIL
        + "- RandCropImage:\n    size: 224\n    interpolation: bicubic\n    backend: pil\n"
        + FLIP
        + f"- TimmAutoAugment:\n    config_str: {facts['randaugment']}\n"
        + NORMALISE.format(order="''")
    )
    resize = "- ResizeImage:\n    interpolation: bicubic\n    backend: pil\n    resize_short: 248\n"
    return {
        "epochs": 300,
        "eval_during_train": False,
        "use_dali": "",
        "amp": AMP.format(use_amp=False, level="O1"),
        "optimizer": _indent(ADAMW.format(**facts), 2),
        "train_ops": _indent(train_ops, 8),
        "batch_ops": "      batch_transform_ops:\n" + _indent(MIX.format(**facts), 8),
        "train_batch": 50,
        "train_workers": 12,
        "eval_ops": _indent(DECODE_PIL + resize + CROP + NORMALISE.format(order="'hwc'"), 8),
        "eval_batch": 1,
        "eval_workers": 0,
    }


def _micronet(name):
    facts = {
        "learning_rate": "0.2",
        "coeff": "3e-5",
        "warmup": "",
        "decoder": "",
        "aspect": "",
        **MICRONET[name],
    }
    decode, by_pil = DECODE_CV2 + facts["decoder"], "    interpolation: bilinear\n    backend: pil\n"
    normalise = NORMALISE.format(order="''")
    crop = "- RandCropImage:\n    size: 224\n" + facts["aspect"] + by_pil
    eval_ops = decode + RESIZE_256 + by_pil + CROP + normalise
    return {
        "epochs": 600,
        "eval_during_train": True,
        "to_static": "  to_static: False\n",
        "amp": AMP.format(use_amp=False, level="O1"),
        "epsilon": "",
        "optimizer": _indent(MOMENTUM.format(**facts), 2),
        "train_ops": _indent(decode + crop + FLIP + normalise, 8),
        "batch_ops": "",
        "train_batch": 128,
        "train_workers": 8,
        "eval_ops": _indent(eval_ops, 8),
        "eval_batch": 256,
        "eval_workers": 8,
        "infer_ops": _indent(eval_ops + "- ToCHWImage:\n", 4),
    }


def _indent(text, spaces):
    return "".join(" " * spaces + line for line in text.splitlines(keepends=True))
