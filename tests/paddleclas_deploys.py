"""PaddleClas' deploy files of classification, by their keys: a table of facts, and sections of YAML made of it."""

from tests.paddleclas_trainings import NORMALIZE, PERSON, TABLE, VEHICLE


def _of_list(name, k):
    return {"Topk": {"topk": k, "class_id_map_file": f"../ppcls/utils/{name}_label_list.txt"}}


def _of_threshold(*labels):
    return {"ThreshOutput": {"threshold": 0.5, "label_0": labels[0], "label_1": labels[1]}}


def _of_tags(answer):
    return {answer["name"]: {key: value for key, value in answer.items() if key != "name"}}


IMAGENET = "imagenet1k"
# A name per file: answer with its keys; width and height without a crop; the key of Global that prints the speed.
DEPLOYS = {
    "car_exists": {"answer": _of_threshold("no_car", "contains_car")},
    "clarity_assessment": {"answer": _of_threshold("clear", "blur")},
    "code_exists": {"answer": _of_threshold("no_code", "contains_code")},
    "language_classification": {
        "answer": _of_list("PULC_label_list/language_classification", 2),
        "size": [64, 32],
    },
    "person_attribute": {"answer": _of_tags(PERSON), "size": [36, 48], "speed": "benchmark"},
    "person_exists": {"answer": _of_threshold("nobody", "someone")},
    "safety_helmet": {"answer": _of_threshold("wearing_helmet", "unwearing_helmet")},
    "table_attribute": {"answer": _of_tags(TABLE), "size": [32, 32], "speed": "benchmark"},
    "text_image_orientation": {"answer": _of_list("PULC_label_list/text_image_orientation", 2)},
    "textline_orientation": {"answer": _of_list("PULC_label_list/textline_orientation", 1), "size": [64, 32]},
    "traffic_sign": {"answer": _of_list("PULC_label_list/traffic_sign", 5), "speed": "benchmark"},
    "vehicle_attribute": {"answer": _of_tags(VEHICLE), "size": [48, 36], "speed": "benchmark"},
    "inference_attr": {"answer": _of_tags(PERSON), "size": [36, 48]},
    "inference_cls": {"answer": _of_list(IMAGENET, 5)},
    "inference_cls_based_action": {"answer": _of_list("phone", 2), "crop": False},
    "inference_cls_ch4": {"answer": _of_list(IMAGENET, 5), "channels": 4},
    "inference_cls_multilabel": {
        "answer": {
            "MultiLabelThreshOutput": {
                "threshold": 0.5,
                "class_id_map_file": "../ppcls/utils/NUS-WIDE-SCENE_label_list.txt",
                "delimiter": " ",
            }
        }
    },
    "aesthetic_score_predictor": {"answer": {"ScoreOutput": {"decimal_places": 2}}},
    "watermark_exists": {"answer": _of_threshold("contains_watermark", "no_watermark")},
}
# Classes of PaddleClas' label maps, of trainings, too.
CLASSES = {
    "PULC_label_list/language_classification": 10,
    "PULC_label_list/text_image_orientation": 4,
    "PULC_label_list/textline_orientation": 2,
    "PULC_label_list/traffic_sign": 232,
    "imagenet1k": 1000,
    "phone": 2,
    "NUS-WIDE-SCENE": 33,
    "pedestrian_attribute": 26,
    "vehicle_attribute": 19,
    "COCO2017": 80,
}


def deploy(name):
    """Return the sections of the deploy file called `name`."""
    row = DEPLOYS[name]
    size = row.get("size")
    ops = [{"ResizeImage": {"size": size}}] if size else [{"ResizeImage": {"resize_short": 36}}]
    if size is None and row.get("crop", True):
        ops.append({"CropImage": {"size": 32}})
    normalize = {**NORMALIZE["NormalizeImage"], "scale": 0.00392157, "channel_num": row.get("channels", 3)}
    kind, own = next(iter(row["answer"].items()))
    kept = (
        {} if "Attribute" in kind or kind == "ScoreOutput" else {"SavePreLabel": {"save_dir": "./pre_label/"}}
    )
    return {
        "Global": {
            "infer_imgs": "./images/any.jpg",
            "inference_model_dir": "./models",
            "batch_size": 1,
            "use_gpu": True,
            "enable_mkldnn": True,
            "cpu_num_threads": 10,
            row.get("speed", "enable_benchmark"): True,
            "use_fp16": False,
            "ir_optim": True,
            "use_tensorrt": False,
            "gpu_mem": 8000,
            "enable_profile": False,
        },
        "PreProcess": {"transform_ops": [*ops, {"NormalizeImage": normalize}, {"ToCHWImage": None}]},
        "PostProcess": {"main_indicator": kind, kind: own, **kept},
    }
