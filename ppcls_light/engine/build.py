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
    """Create the network of `config.Arch`, to be trained or with trained weights.

    Args:
        config: schema.Config.
        weights: trained weights (see `trained_weights`), of which every key must fit. None, for training:
            `Arch.pretrained` and `Global.pretrained_model`, whose head may be replaced when that is asked for.

    Raises:
        ConfigError, WeightsError: naming the key to change.
    """
    arch, settings = config.Arch, config.Global
    pretrained = None if weights else arch.pretrained or None
    with located(config.where("Arch.pretrained"), "Arch"):
        model = create_model(arch.name, class_num=arch.class_num, pretrained=pretrained, **arch.params)
    path = weights or settings.pretrained_model
    if path:
        load_weights(model, path, reset_head=settings.reset_head and not weights)
        LOGGER.info("Finish load pretrained model from %s", path)
    return model


def trained_weights(config):
    """Return the weights file that eval, infer and export are about.

    `Global.checkpoints` counts as much as `Global.pretrained_model`: PaddleClas ignores it there and scores
    random weights. The config of a fine-tuning run names the weights that it began with, so of two keys the
    one given by `-o` counts.

    Raises:
        ConfigError: both keys are given in the same place.
        WeightsError: no weights are given; results of random weights would look like results.
    """
    settings = config.Global
    given = [key for key in ("checkpoints", "pretrained_model") if getattr(settings, key)]
    if len(given) == 2:
        given = [key for key in given if config.where(f"Global.{key}").startswith("-o ")]
        if len(given) != 1:
            raise ConfigError(
                "Global.checkpoints and Global.pretrained_model are both given; name the weights that are meant by "
                "one of them: -o Global.checkpoints=null or -o Global.pretrained_model=null"
            )
    if given == ["pretrained_model"]:
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
    if isinstance(config.Arch.pretrained, str):
        return config.Arch.pretrained
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
        without = ", or set Global.eval_during_train=false" if split == "Eval" else ""
        raise ConfigError(
            f"DataLoader.{split} is missing; add its dataset (image_root, cls_label_path) and sampler{without}"
        )
    training = split == "Train"
    path = f"DataLoader.{split}.dataset"
    with located(config.where(path), path):
        images, names = _read_images(config, section.dataset)
    if section.dataset.cls_label_path is not None:
        names = _map_if_there(config)
    if training:
        _warn_of_unused_classes(images, config.Arch.class_num)
    transforms = build_transforms(_from_bytes(config, f"{path}.transform_ops", section.dataset.transform_ops))
    seed = config.Global.seed
    path = f"DataLoader.{split}.sampler"
    with located(config.where(path), path):
        if section.sampler.drop_last and not training:
            raise ConfigError("drop_last: an evaluation scores every image; write drop_last: false")
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
            f"DataLoader.{split}.dataset: {len(images)} images for {runtime.world_size} processes; start fewer"
        )
    return Reader(images, loader, names)


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
            if isinstance(names, list) and len(names) == class_num and all(isinstance(n, str) for n in names):
                return names
    return _folder_classes(config)


def _read_images(config, dataset):
    """Return the images of `dataset` and, when they are in class folders, the names of those."""
    class_num = config.Arch.class_num
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
