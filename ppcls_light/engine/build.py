"""From a checked config to the objects of a run; everything that two of them must agree on is checked here."""

import os
from typing import NamedTuple, Optional

from ..accuracy import part
from ..config.check import located
from ..config.reading import CifarConfig, DatasetConfig
from ..data import (
    BatchLoader,
    CifarDataset,
    ImageDataset,
    build_batch_transforms,
    build_transforms,
    read_cifar,
    read_class_names,
    read_image_list,
    scan_image_folder,
)
from ..errors import ConfigError, DataError
from ..weights import load_plain_pickle
from .checkpoint import strip_suffix
from .log import LOGGER
from .sampling import build_sampler


class Reader(NamedTuple):
    """One split of the data: its list, its batches in order, and the names of its classes if they are known."""

    images: object
    loader: BatchLoader
    class_names: Optional[list]


def build_reader(config, split, runtime):
    """Build the reader of `split` ("Train" or "Eval") for this process.

    Raises:
        ConfigError: the section is missing. DataError: see `read_image_list`.
    """
    section = getattr(config.DataLoader, split)
    if section is None:
        without = ", or set Global.eval_during_train=false" if split == "Eval" else ""
        raise ConfigError(
            f"DataLoader.{split} is missing; add its dataset (image_root, cls_label_path) and sampler{without}"
        )
    training = split == "Train"
    path = f"DataLoader.{split}.dataset"
    with located(config.where(path), path):
        images, names = _read_images(config, section.dataset, split)
    if names is None:
        names = _map_if_there(config)
    if training:
        _warn_of_unused_classes(images, config.Arch.class_num)
    transforms = build_transforms(_from_bytes(config, f"{path}.transform_ops", section.dataset.transform_ops))
    mix = _batch_transforms(config) if training else None
    as_dataset = CifarDataset if isinstance(section.dataset, CifarConfig) else ImageDataset
    loader = BatchLoader(
        as_dataset(images, transforms, config.Global.seed),
        build_sampler(config, split, images, transforms, runtime),
        num_workers=_worker_count(section.loader.num_workers),
        batch_transforms=mix,
        on_bad="skip" if training else "raise",
        max_bad=section.loader.max_bad,
    )
    if len(images) < runtime.world_size:
        raise DataError(
            f"DataLoader.{split}.dataset: {len(images)} images for {runtime.world_size} processes; start fewer"
        )
    return Reader(images, loader, names)


def _batch_transforms(config):
    path = "DataLoader.Train.dataset.batch_transform_ops"
    with located(config.where(path), path):
        mix = build_batch_transforms(
            config.DataLoader.Train.dataset.batch_transform_ops, config.Arch.class_num
        )
    epsilon = max(getattr(loss, "epsilon", None) or 0.0 for loss in config.Loss.Train)
    if mix and mix.label_smoothing and epsilon:
        LOGGER.warning(
            "%s: labels are smoothed twice, by label_smoothing %g and CELoss.epsilon %g; set one of them to 0",
            path,
            mix.label_smoothing,
            epsilon,
        )
    return mix


def inference_transforms(config):
    """Return the ops that prepare an image for infer and export: `Infer.transforms`, else those of Eval.

    Raises:
        ConfigError: neither is given, or they do not begin with DecodeImage.
    """
    evaluation = config.DataLoader.Eval.dataset.transform_ops if config.DataLoader.Eval else []
    own = config.Infer.transforms
    if own and evaluation and _comparable(own) != _comparable(evaluation):
        LOGGER.warning(
            "Infer.transforms differ from those of DataLoader.Eval: results will differ from the evaluation; "
            "leave Infer.transforms out to use one definition"
        )
    if not (own or evaluation):
        raise ConfigError(
            "Infer.transforms is missing, and there is no DataLoader.Eval to take transform_ops from"
        )
    if own:
        return _from_bytes(config, "Infer.transforms", own)
    return _from_bytes(config, "DataLoader.Eval.dataset.transform_ops", evaluation)


def _from_bytes(config, path, ops):
    """Return `ops`, written at the dotted `path`, if they take the bytes of an image file."""
    if [index for index, op in enumerate(ops) if op.name == "DecodeImage"] != [0]:
        raise ConfigError(
            f"{config.where(path)}: {path}: DecodeImage has to be the first op, once; "
            "for example [{DecodeImage: null}, {ResizeImage: {size: 224}}]"
        )
    return ops


def sample_images(config, count=16):
    """Return up to `count` image files of DataLoader.Eval, spread over its list; None when there are none."""
    images = _image_files(config, "Eval")
    if images is None:
        return None
    step = max(1, len(images) // count)
    return [images.path(index) for index in range(0, len(images), step)][:count]


def labelled_images(config):
    """Return the `Labelled` images that int8 is calibrated with and scored on.

    Those of DataLoader.Train calibrate, prepared as for evaluation; without them part of those of Eval.

    Raises:
        ConfigError: there are no image files of DataLoader.Eval. DataError: too few images.
    """
    images = _image_files(config, "Eval")
    if images is None:
        raise ConfigError(
            f"{config.where('Global.export_precision')}: Global.export_precision: int8 is compared with fp32 on "
            "labelled image files, and DataLoader.Eval.dataset has none here; give its image_root and cls_label_path"
        )
    return part(images, config.Global.calibration_images, _image_files(config, "Train"))


def _image_files(config, split):
    """Return the ImageList of a split; None when it is not of files, or they are not here."""
    section = getattr(config.DataLoader, split)
    if section is None or isinstance(section.dataset, CifarConfig):
        return None
    if not os.path.isdir(section.dataset.image_root):
        return None
    if section.dataset.cls_label_path and not os.path.isfile(section.dataset.cls_label_path):
        return None
    return _read_images(config, section.dataset, split)[0]


def _comparable(ops):
    return [op for op in ops if op.name != "ToCHWImage"]


def class_names(config, weights=None):
    """Return the names of the classes by id, or None when nothing says them.

    The first that applies: `Infer.PostProcess.class_id_map_file`, the checkpoint states beside the weights
    file, the class folders of the data.

    Raises:
        ConfigError, DataError: the map is missing, unreadable, or does not name every class.
    """
    class_num = config.Arch.class_num
    path = config.Infer.PostProcess.class_id_map_file
    if path:
        key = "Infer.PostProcess.class_id_map_file"
        with located(config.where(key), key):
            names = read_class_names(path)
            unnamed = [label for label in range(class_num) if label not in names]
            if unnamed or len(names) > class_num:
                raise ConfigError(
                    f"{path} names {len(names)} classes, Arch.class_num is {class_num}"
                    + (f" (no name for {unnamed[0]})" if unnamed else "")
                    + "; give the map of this network, or null for ids only"
                )
        return [names[label] for label in range(class_num)]
    if weights:
        states = f"{strip_suffix(weights)}.pdstates"
        if os.path.isfile(states):
            saved = load_plain_pickle(states)
            names = saved.get("class_names") if isinstance(saved, dict) else None
            if isinstance(names, list) and len(names) == class_num and all(isinstance(n, str) for n in names):
                return names
    return _folder_classes(config)


def _read_images(config, dataset, split):
    """Return the images of `dataset` and the names of their classes, None for those of a list file."""
    class_num = config.Arch.class_num
    if isinstance(dataset, CifarConfig):
        if class_num != dataset.class_num:
            raise ConfigError(
                f"{dataset.name} has {dataset.class_num} classes, Arch.class_num is {class_num}; "
                f"use -o Arch.class_num={dataset.class_num}"
            )
        mode = dataset.mode or {"Train": "train", "Eval": "test"}[split]
        return read_cifar(dataset.data_file, mode, dataset.class_num)
    if dataset.cls_label_path is not None:
        images = read_image_list(
            dataset.cls_label_path, dataset.image_root, class_num=class_num, delimiter=dataset.delimiter
        )
        return images, None
    names = _folder_classes(config)
    images, names = scan_image_folder(dataset.image_root, names)
    if len(names) != class_num:
        raise ConfigError(
            f"{dataset.image_root} has {len(names)} class folders, Arch.class_num is {class_num}; "
            f"use -o Arch.class_num={len(names)}"
        )
    return images, names


def _folder_classes(config):
    """Return the class names of the first split that is a folder of class folders: they fix the labels."""
    for section in (config.DataLoader.Train, config.DataLoader.Eval):
        dataset = section and section.dataset
        in_folders = isinstance(dataset, DatasetConfig) and dataset.cls_label_path is None
        if in_folders and os.path.isdir(dataset.image_root):
            return scan_image_folder(dataset.image_root)[1]
    return None


def _map_if_there(config):
    """Return the class names of the label map when the file exists: training can do without them."""
    path = config.Infer.PostProcess.class_id_map_file
    if path and not os.path.isfile(path):
        LOGGER.warning(
            "Infer.PostProcess.class_id_map_file: no such file: %s; classes stay without names", path
        )
        return None
    return class_names(config)


def _warn_of_unused_classes(images, class_num):
    used = int(images.labels.max()) + 1
    if used < class_num:
        LOGGER.warning(
            "the training labels end at %d but Arch.class_num is %d; use -o Arch.class_num=%d if that is all there is",
            used - 1,
            class_num,
            used,
        )


def _worker_count(wanted):
    if wanted != "auto":
        return wanted
    # Windows starts processes slowly and people there run from notebooks; they ask for workers by number.
    return (
        0
        if os.name == "nt"
        else min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    )
