"""From a checked config to the objects of a run; everything that two of them must agree on is checked here."""

import os
from typing import NamedTuple, Optional

from ..config.check import located
from ..data import (
    BatchLoader,
    BatchSampler,
    ImageDataset,
    build_batch_transforms,
    build_transforms,
    read_class_names,
    read_image_list,
    scan_image_folder,
)
from ..errors import ConfigError, DataError, WeightsError
from ..models import create_model
from ..weights import load_plain_pickle, load_weights
from .checkpoint import strip_suffix
from .log import LOGGER


class Reader(NamedTuple):
    """One split of the data: its list, its batches in order, and the names of its classes if they are known."""

    images: object
    loader: BatchLoader
    class_names: Optional[list]


def build_model(config, weights=None):
    """Create the network of `config.Arch` and load its weights.

    Args:
        config: schema.Config.
        weights: a weights file to load in place of `Global.pretrained_model`.

    Raises:
        ConfigError, WeightsError: naming the key to change.
    """
    arch = config.Arch
    with located(config.where("Arch.name"), "Arch"):
        model = create_model(
            arch.name, class_num=arch.class_num, pretrained=arch.pretrained or None, **arch.params
        )
    path = weights or config.Global.pretrained_model
    if path:
        load_weights(model, path, reset_head=config.Global.reset_head)
        LOGGER.info("Finish load pretrained model from %s", path)
    return model


def trained_weights(config):
    """Return the weights file that eval, infer and export are about.

    `Global.checkpoints` counts as much as `Global.pretrained_model`: PaddleClas ignores it there and scores
    random weights.

    Raises:
        WeightsError: no weights are given; results of random weights would look like results.
    """
    settings = config.Global
    if settings.pretrained_model:
        return settings.pretrained_model
    if settings.checkpoints == "auto":
        for name in ("best_model", "latest"):
            prefix = os.path.join(settings.output_dir, name)
            if os.path.isfile(f"{prefix}.pdparams"):
                return prefix
        raise WeightsError(
            f"Global.checkpoints: auto: neither best_model nor latest in {settings.output_dir}; train first, "
            "or name the weights: -o Global.pretrained_model=FILE"
        )
    if settings.checkpoints:
        return strip_suffix(settings.checkpoints)
    if config.Arch.pretrained:
        return None
    raise WeightsError(
        "no weights are given, and random ones would look like a result; add -o Global.pretrained_model=FILE, "
        f"for example -o Global.pretrained_model={os.path.join(settings.output_dir, 'best_model')}"
    )


def build_reader(config, split, runtime):
    """Build the reader of `split` ("Train" or "Eval") for this process.

    Raises:
        ConfigError: the section is missing. DataError: see `read_image_list`.
    """
    section = getattr(config.DataLoader, split)
    if section is None:
        raise ConfigError(
            f"DataLoader.{split} is missing; add its dataset (image_root, cls_label_path) and sampler"
        )
    training = split == "Train"
    path = f"DataLoader.{split}.dataset"
    with located(config.where(path), path):
        images, class_names = _read_images(config, section.dataset)
    if training:
        _warn_of_unused_classes(images, config.Arch.class_num)
    transforms = build_transforms(section.dataset.transform_ops)
    seed = config.Global.seed
    sampler = BatchSampler(
        len(images),
        section.sampler.batch_size,
        shuffle=section.sampler.shuffle,
        drop_last=section.sampler.drop_last,
        seed=seed,
        rank=runtime.rank,
        world_size=runtime.world_size,
        pad=training,
    )
    mix = section.dataset.batch_transform_ops if training else None
    loader = BatchLoader(
        ImageDataset(images, transforms, seed),
        sampler,
        num_workers=_worker_count(section.loader.num_workers),
        batch_transforms=build_batch_transforms(mix, config.Arch.class_num) if mix else None,
        on_bad="skip" if training else "raise",
        max_bad=section.loader.max_bad,
    )
    if len(images) < runtime.world_size:
        raise DataError(
            f"{path}: {len(images)} images for {runtime.world_size} processes; start fewer processes"
        )
    return Reader(images, loader, class_names)


def inference_transforms(config):
    """Return the ops that prepare an image for infer and export: `Infer.transforms`, else those of Eval.

    Raises:
        ConfigError: neither is given.
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
    return own or evaluation


def sample_images(config, count=16):
    """Return up to `count` image files of DataLoader.Eval, spread over its list; None when there are none."""
    section = config.DataLoader.Eval
    if section is None or not os.path.isdir(section.dataset.image_root):
        return None
    if section.dataset.cls_label_path and not os.path.isfile(section.dataset.cls_label_path):
        return None
    images, _ = _read_images(config, section.dataset)
    step = max(1, len(images) // count)
    return [images.path(index) for index in range(0, len(images), step)][:count]


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
            if names and len(names) == class_num:
                return names
    return _folder_classes(config)


def _read_images(config, dataset):
    class_num = config.Arch.class_num
    if dataset.cls_label_path is not None:
        images = read_image_list(
            dataset.cls_label_path, dataset.image_root, class_num=class_num, delimiter=dataset.delimiter
        )
        return images, _map_if_there(config)
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
        if dataset and dataset.cls_label_path is None and os.path.isdir(dataset.image_root):
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
