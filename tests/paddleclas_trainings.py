"""PaddleClas' trainings of these networks, by their keys: tables of facts, and sections of YAML made of them.

`TRAININGS` has a name per file of PaddleClas, whose keys it has; images and crops are small here, so that all of them
are tried in a minute.
"""

import copy

import yaml

from tests.config import paddleclas_yaml

NORMALIZE = {
    "NormalizeImage": {
        "scale": "1.0/255.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "order": "",
    }
}
DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
CROPPED = [DECODE, {"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}, NORMALIZE]
STRIDES = [2, [2, 1], [2, 1], [2, 1], [2, 1]]  # of text lines, which keep their width
PAIRS = [["Student", "Teacher"]]
FEATURES = ["blocks3", "blocks4", "blocks5", "blocks6"]
OF_TAGS = {"weight": 1.0, "weight_ratio": True, "size_sum": True}


def _thresh(threshold, *labels):
    return {"name": "ThreshOutput", "threshold": threshold, "label_0": labels[0], "label_1": labels[1]}


def _topk(k, label_list=None):
    named = (
        {"class_id_map_file": f"ppcls/utils/PULC_label_list/{label_list}_label_list.txt"}
        if label_list
        else {}
    )
    return {"name": "Topk", "topk": k, **named}


PERSON = {"name": "PersonAttribute", "threshold": 0.5, "glasses_threshold": 0.3, "hold_threshold": 0.6}
VEHICLE = {"name": "VehicleAttribute", "color_threshold": 0.5, "type_threshold": 0.5}
TABLE = {
    "name": "TableAttribute",
    **{f"{key}_threshold": 0.5 for key in ("source", "number", "color", "clarity", "obstruction", "angle")},
}
# PULC, by scenario: classes or tags; width and height where images are not cropped from the middle; answer; what else.
# `fpr` is TprAtFpr's, None for its default; `k` are TopkAcc's; `files` the endings of its files.
PLAIN, ALL = ("",), ("", "_distillation", "_search")
PULC = {
    "car_exists": {"classes": 2, "answer": _thresh(0.9, "no_car", "contains_car"), "fpr": 0.01, "k": [1, 2]},
    "clarity_assessment": {
        "classes": 2, "answer": _topk(1), "k": [1], "label_key": "blur_image", "files": PLAIN, "epsilon": 0.1,
        "network": {"use_last_conv": False},
    },
    "code_exists": {"classes": 2, "answer": _thresh(0.5, "no_code", "contains_code"), "k": [1, 2]},
    "image_orientation": {
        "classes": 4, "answer": _topk(1), "k": [1], "label_key": "random_rot90_orientation", "files": PLAIN,
        "epsilon": 0.1, "network": {"use_last_conv": False},
    },
    "language_classification": {
        "classes": 10, "size": [64, 32], "answer": _topk(2, "language_classification"), "k": [1, 2], "epsilon": 0.1,
        "network": {"stride_list": STRIDES, "lr_mult_list": [0.0, 0.4, 0.4, 0.8, 0.8, 1.0]},
    },
    "person_attribute": {"classes": 26, "size": [36, 48], "answer": PERSON, "tags": True},
    "person_exists": {"classes": 2, "answer": _thresh(0.9, "nobody", "someone"), "fpr": None, "k": [1, 2]},
    "safety_helmet": {
        "classes": 2, "answer": _thresh(0.5, "wearing_helmet", "unwearing_helmet"), "fpr": 0.0001, "k": [1],
        "epsilon": 0.1, "teacher": "PPLCNet_x1_0",
    },
    "table_attribute": {
        "classes": 6, "size": [32, 32], "answer": TABLE, "tags": True, "padded": False, "teacher": "ResNet50_vd",
        "files": ("", "_distillation"),
    },
    "text_image_orientation": {
        "classes": 4, "answer": _topk(2, "text_image_orientation"), "k": [1, 2], "epsilon": 0.1
    },
    "textline_orientation": {
        "classes": 2, "size": [64, 32], "answer": _topk(1, "textline_orientation"), "k": [1, 2],
        "network": {"stride_list": STRIDES}, "teacher_options": {"stride_list": STRIDES},
        "files": ("", "_224x224", "_distillation", "_search"),
    },
    "traffic_sign": {"classes": 232, "answer": _topk(5, "traffic_sign"), "k": [1, 5], "delimiter": "\t"},
    "vehicle_attribute": {
        "classes": 19, "size": [48, 36], "answer": VEHICLE, "tags": True, "options": {"infer_add_softmax": False}
    },
}  # fmt: skip


def _labels(row):
    if "label_key" in row:
        return {"name": "CustomLabelDataset", "sample_list_path": "list.txt", "label_key": row["label_key"]}
    if row.get("tags"):
        return {"name": "MultiLabelDataset", "cls_label_path": "list.txt", "label_ratio": True}
    delimiter = {"delimiter": row["delimiter"]} if "delimiter" in row else {}
    return {"name": "ImageNetDataset", "cls_label_path": "list.txt", **delimiter}


def _train_ops(row):
    """Return the augmentation of PULC: of crops, lines of text, padded persons and vehicles, or drawn labels."""
    size = row.get("size")
    augment = {
        "prob": 0.5,
        "config_str": "rand-m9-mstd0.5-inc1",
        "interpolation": "bicubic",
        "img_size": size or 32,
    }
    erase = {
        "RandomErasing": {
            "EPSILON": 0.5, "sl": 0.02, "sh": "1.0/3.0", "r1": 0.3, "attempt": 10, "use_log_aspect": True,
            "mode": "pixel",
        }
    }  # fmt: skip
    first = {"RandCropImage": {"size": 32}} if size is None else {"ResizeImage": {"size": size}}
    flip = {"RandFlipImage": {"flip_code": 1}}
    if row.get("label_key") == "blur_image":
        return [DECODE, {"BlurImage": None}, {"ResizeImage": {"size": 32}}, flip, NORMALIZE]
    ops = [DECODE, first, {"TimmAutoAugment": augment}]
    if row.get("tags") and row.get("padded", True):
        pad = {"size": [side + 8 for side in size], "pad_mode": 1, "fill_value": 0}
        ops += [{"Padv2": pad}, {"RandomCropImage": {"size": size}}]
    ops += [flip, NORMALIZE, erase]
    return [*ops, {"RandomRot90": None}] if "label_key" in row else ops


def _sections(arch, row, train_losses, eval_losses, train_metrics, eval_metrics):
    size = row.get("size")
    scored = CROPPED if size is None else [DECODE, {"ResizeImage": {"size": size}}, NORMALIZE]
    width, height = size or (32, 32)
    of_list = {key: value for key, value in row.items() if key != "label_key"}
    return {
        "Global": {
            "checkpoints": None,
            "pretrained_model": None,
            "device": "gpu",
            "epochs": 20,
            "start_eval_epoch": 1,
            "image_shape": [3, height, width],
            "to_static": False,
            "use_dali": False,
            **({"use_multilabel": True} if row.get("tags") else {}),
        },
        "Arch": arch,
        "Loss": {"Train": train_losses, "Eval": eval_losses},
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.01, "warmup_epoch": 5},
            "regularizer": {"name": "L2", "coeff": 0.00004},
        },
        "DataLoader": {
            "Train": {
                "dataset": {**_labels(row), "image_root": "dataset", "transform_ops": _train_ops(row)},
                "sampler": {"name": "DistributedBatchSampler", "batch_size": 64, "shuffle": True},
                "loader": {"num_workers": 8, "use_shared_memory": True},
            },
            "Eval": {
                "dataset": {**_labels(of_list), "image_root": "dataset", "transform_ops": scored},
                "sampler": {"name": "DistributedBatchSampler", "batch_size": 64},
                "loader": {"num_workers": 4, "use_shared_memory": True},
            },
        },
        "Infer": {"transforms": [*scored, {"ToCHWImage": None}], "PostProcess": row["answer"]},
        "Metric": {"Train": train_metrics, "Eval": eval_metrics},
    }


def _pulc(scenario, ending):
    """Return the sections of PULC/SCENARIO/PPLCNet_x1_0ENDING.yaml."""
    row = PULC[scenario]
    if ending == "_224x224":  # a line of text as an ordinary picture
        row = {key: value for key, value in row.items() if key not in ("size", "network")}
    tags, classes, k = row.get("tags"), row["classes"], row.get("k")
    student = {
        "name": "PPLCNet_x1_0",
        "class_num": classes,
        "pretrained": True,
        "use_ssld": True,
        **row.get("network", {}),
        **(row.get("options", {}) if ending != "_distillation" else {}),
    }
    smoothed = {"epsilon": row["epsilon"]} if "epsilon" in row else {}
    scored = [{"MultiLabelLoss": OF_TAGS}] if tags else [{"CELoss": {"weight": 1.0}}]
    measured = [{"ATTRMetric": None}] if tags else [{"TopkAcc": {"topk": k}}]
    if "fpr" in row:
        measured.insert(0, {"TprAtFpr": None if row["fpr"] is None else {"max_fpr": row["fpr"]}})
    if ending != "_distillation":
        losses = scored if tags else [{"CELoss": {"weight": 1.0, **smoothed}}]
        return _sections(student, row, losses, scored, None if tags else [{"TopkAcc": {"topk": k}}], measured)
    teacher = {
        "name": row.get("teacher", "ResNet101_vd"),
        "class_num": classes,
        **row.get("teacher_options", {}),
    }
    frozen = teacher["name"].startswith("ResNet")
    if not frozen:  # both learn, and their features are compared
        patterns = {"return_stages": True, "return_patterns": FEATURES}
        teacher, student = {**student, **patterns}, {**student, **patterns}
        losses = [
            {"DistillationGTCELoss": {"weight": 1.0, "key": "logits", "model_names": ["Student", "Teacher"]}},
            {"DistillationDMLLoss": {"weight": 1.0, "key": "logits", "model_name_pairs": PAIRS}},
            {"DistillationDistanceLoss": {"weight": 1.0, "key": "blocks4", "model_name_pairs": PAIRS}},
        ]
    elif tags:
        weighed = (
            {} if scenario == "person_attribute" else {"weight_ratio": True, "sum_across_class_dim": False}
        )
        losses = [
            {"DistillationMultiLabelLoss": {**OF_TAGS, "model_names": ["Student"]}},
            {"DistillationDMLLoss": {"weight": 1.0, **weighed, "model_name_pairs": PAIRS}},
        ]
    else:
        losses = [{"DistillationDMLLoss": {"weight": 1.0, "model_name_pairs": PAIRS}}]
    own = {"use_ssld": True} if tags else {"use_sync_bn": True}
    arch = _distillation(teacher, student, frozen, **own)
    trained = None if tags else [{"DistillationTopkAcc": {"model_key": "Student", "topk": k}}]
    return _sections(arch, row, losses, scored, trained, measured)


def _distillation(teacher, student, frozen, **further):
    return {
        "name": "DistillationModel",
        "class_num": student["class_num"],
        "pretrained_list": None,
        "freeze_params_list": [frozen, False],
        "infer_model_name": "Student",
        "models": [{"Teacher": teacher}, {"Student": student}],
        **further,
    }


def _attribute(kind):
    """Return the sections of Attr/PPLCNet_x1_0_KIND_attribute.yaml: PULC's with tags of a label map."""
    sections = _pulc({"pedestrian": "person_attribute"}.get(kind, "vehicle_attribute"), "")
    label_map = f"ppcls/utils/{kind}_attribute_label_list.txt"
    answer = {"name": "MultiLabelThreshOutput", "threshold": 0.5, "class_id_map_file": label_map}
    sections["Infer"]["PostProcess"] = answer
    return sections


def _imagenet_distillation(teacher, student, kind):
    """Return the sections of ImageNet/Distillation: `kind` is ssld (frozen), dml (mutual) or udml (features, too)."""
    row = {"classes": 1000, "answer": {"name": "Topk", "topk": 5}, "k": [1, 5]}
    patterns = {"return_patterns": FEATURES} if kind == "udml" else {}
    key = {"key": "logits"} if kind == "udml" else {}
    of_teacher = (
        {"pretrained": True, "use_ssld": True} if kind == "ssld" else {"pretrained": False, **patterns}
    )
    arch = _distillation(
        {"name": teacher, "class_num": 1000, **of_teacher},
        {"name": student, "class_num": 1000, "pretrained": False, **patterns},
        kind == "ssld",
    )
    losses = [{"DistillationDMLLoss": {"weight": 1.0, **key, "model_name_pairs": PAIRS}}]
    if kind != "ssld":
        both = ["Student", "Teacher"]
        losses.insert(0, {"DistillationGTCELoss": {"weight": 1.0, **key, "model_names": both}})
    if kind == "udml":
        losses.append(
            {"DistillationDistanceLoss": {"weight": 1.0, "key": "blocks5", "model_name_pairs": PAIRS}}
        )
    metrics = [{"DistillationTopkAcc": {"model_key": "Student", "topk": [1, 5]}}]
    sections = _sections(arch, row, losses, [{"CELoss": {"weight": 1.0}}], metrics, metrics)
    return {
        **sections,
        "AMP": {"use_amp": True, "level": "O1", "scale_loss": 128.0, "use_dynamic_loss_scaling": True},
    }


def _ml_decoder():
    row = {
        "classes": 80,
        "size": [64, 64],
        "tags": True,
        "answer": {
            "name": "MultiLabelThreshOutput",
            "threshold": 0.5,
            "class_id_map_file": "ppcls/utils/COCO2017_label_list.txt",
        },
    }
    loss = {"weight": 1.0, "gamma_pos": 0, "gamma_neg": 4, "clip": 0.05, "disable_focal_loss_grad": True}
    losses = [{"MultiLabelAsymmetricLoss": loss}]
    arch = {"name": "PPLCNet_x1_0", "class_num": 80, "pretrained": True, "use_ml_decoder": True}
    sections = _sections(arch, row, losses, losses, None, [{"MultiLabelMAP": {"map_type": "integral"}}])
    sections["DataLoader"]["Train"]["dataset"]["transform_ops"] = [
        DECODE,
        {"ResizeImage": {"size": 64, "interpolation": "bilinear", "backend": "pil"}},
        {"Cutout": {"length": 32, "fill_value": "none"}},
        {"RandAugmentV4": None},
        NORMALIZE,
    ]
    decoder = {"query_num": 80, "class_num": 80, "in_channels": 1280}
    return {**sections, "MLDecoder": decoder, "EMA": {"decay": 0.9997}}


def _quantization():
    sections = _imagenet("PPLCNet_x1_0")
    sections["Arch"]["pretrained"] = True
    return {**sections, "Slim": {"quant": {"name": "pact"}}}


def _imagenet(name):
    """Return the sections of ImageNet/FAMILY/NAME.yaml."""
    of_m0 = name.replace("MicroNet_M1", "MicroNet_M0")
    text = paddleclas_yaml.rebuild(of_m0).replace(of_m0, name)
    for large, small in (("224", "32"), ("256\n", "36\n"), ("resize_short: 248", "resize_short: 36")):
        text = text.replace(large, small)
    return yaml.safe_load(text)


NETWORKS = [
    *paddleclas_yaml.PPLCNET,
    *paddleclas_yaml.FASTERNET,
    *(f"MicroNet_M{index}" for index in range(4)),
]
TRAININGS = {
    **{f"ImageNet/{name}": (_imagenet, name) for name in NETWORKS},
    "Distillation/PPLCNet_x1_0_ssld": (_imagenet_distillation, "ResNet50_vd", "PPLCNet_x1_0", "ssld"),
    "Distillation/PPLCNet_x2_5_ssld": (_imagenet_distillation, "ResNet50_vd", "PPLCNet_x2_5", "ssld"),
    "Distillation/PPLCNet_x2_5_dml": (_imagenet_distillation, "PPLCNet_x2_5", "PPLCNet_x2_5", "dml"),
    "Distillation/PPLCNet_x2_5_udml": (_imagenet_distillation, "PPLCNet_x2_5", "PPLCNet_x2_5", "udml"),
    "Attr/pedestrian": (_attribute, "pedestrian"),
    "Attr/vehicle": (_attribute, "vehicle"),
    "MLDecoder/PP-LCNet_x1_0_ml_decoder_448": (_ml_decoder,),
    "slim/PPLCNet_x1_0_quantization": (_quantization,),
    **{
        f"PULC/{scenario}{ending}": (_pulc, scenario, ending)
        for scenario, row in PULC.items()
        for ending in row.get("files", ALL)
    },
}


def training(name):
    """Return the sections of the training called `name`."""
    make, *arguments = TRAININGS[name]
    return copy.deepcopy(make(*arguments))
