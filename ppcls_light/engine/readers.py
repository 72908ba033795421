"""From a checked config to the objects of a run; everything that two of them must agree on is checked here."""

import os
from typing import NamedTuple, Optional

from ..config.bind import located
from ..config.reading import CifarConfig, MultiScaleSamplerConfig
from ..data import (
    BatchLoader,
    BatchSampler,
    CifarDataset,
    ClassNames,
    ImageDataset,
    MultiScaleSampler,
    SizeSchedule,
    build_batch_transforms,
    build_transforms,
    read_cifar,
    read_image_list,
    scan_image_folder,
)
from ..errors import ConfigError, DataError
from ..export.accuracy import part
from .classes import MAP_KEY, in_class_folders, training_names
from .log import LOGGER


class Reader(NamedTuple):
    """One split of the data: its list, its batches in order, and the names of its classes if they are known."""

    images: object
    loader: BatchLoader
    class_names: Optional[ClassNames]


def build_reader(config, split, runtime, names=None):
    """Build the reader of `split` ("Train" or "Eval") for this process.

    Args:
        names: ClassNames of the training, which number the images of Eval; those of Train have their own.

    Raises:
        ConfigError: the section is missing. DataError: see `read_image_list` and `ClassNames`.
    """
    section = getattr(config.DataLoader, split)
    if section is None:
        without = ", or set Global.eval_during_train=false" if split == "Eval" else ""
        raise ConfigError(
            f"DataLoader.{split} is missing; add its dataset (image_root, cls_label_path) and sampler{without}"
        )
    training = split == "Train"
    path = f"DataLoader.{split}.dataset"
    images, names = _read_images(config, split, names)
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
            f"{config.place(path)}: DecodeImage has to be the first op, once; "
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


def labelled_images(config, names):
    """Return the `Labelled` images that int8 is calibrated with and scored on.

    Those of DataLoader.Train calibrate, prepared as for evaluation; without them part of those of Eval, which are
    numbered by `names`, the ClassNames of the training, or None.

    Raises:
        ConfigError: there are no image files of DataLoader.Eval. DataError: too few images.
    """
    if _image_files(config, "Eval") is None:
        raise ConfigError(
            f"{config.place('Global.export_precision')}: int8 is compared with fp32 on "
            "labelled image files, and DataLoader.Eval.dataset has none here; give its image_root and cls_label_path"
        )
    images, _ = _read_images(config, "Eval", names)
    return part(images, config.Global.calibration_images, _image_files(config, "Train"))


def _image_files(config, split):
    """Return the ImageList of a split, whatever its labels; None when it is not of files, or they are not here."""
    section = getattr(config.DataLoader, split)
    if section is None or isinstance(section.dataset, CifarConfig):
        return None
    if not os.path.isdir(section.dataset.image_root):
        return None
    if section.dataset.cls_label_path and not os.path.isfile(section.dataset.cls_label_path):
        return None
    return _listed(config, section.dataset, split)[0]


def _comparable(ops):
    """Return (name, params) of `ops` without what is the same in other words."""
    return [
        (
            op.name,
            {key: "" if (key, value) == ("order", "hwc") else value for key, value in op.params.items()},
        )
        for op in ops
        if op.name != "ToCHWImage"
    ]


def _read_images(config, split, names=None):
    """Return the images of a split and the ClassNames that number them, None where nothing says them.

    `names` are those of the training; for Train itself None.
    """
    dataset, class_num = getattr(config.DataLoader, split).dataset, config.Arch.class_num
    if split == "Eval" and names is None and in_class_folders(dataset):
        raise ConfigError(
            f"the labels of the class folders in {dataset.image_root} cannot be told: the training was from a list "
            f"without names; give its label map by {MAP_KEY}, or a list (cls_label_path) of these images"
        )
    path = f"DataLoader.{split}.dataset"
    with located(config.where(path), path):
        images, found = _listed(config, dataset, split, names)
        if found is not None and len(found) != class_num:
            raise ConfigError(
                f"{found.source}: {len(found)} classes, but Arch.class_num is {class_num}; use -o "
                f"Arch.class_num={len(found)}"
            )
    if split == "Train":
        names = training_names(config, found)
    elif names is not None and found is not None:
        names.require_same(found, "evaluate on the classes of the training")
    if names is not None and found is None:
        names.check_list(images)
    return images, names


def _listed(config, dataset, split, names=None):
    """Return the images of `dataset` and the ClassNames of its folders or of CIFAR, None for a list file."""
    if isinstance(dataset, CifarConfig):
        mode = dataset.mode or {"Train": "train", "Eval": "test"}[split]
        return read_cifar(dataset.data_file, mode, dataset.class_num)
    if in_class_folders(dataset):
        return scan_image_folder(dataset.image_root, names)
    class_num, delimiter = config.Arch.class_num, dataset.delimiter
    return read_image_list(dataset.cls_label_path, dataset.image_root, class_num, delimiter), None


def _worker_count(wanted):
    if wanted != "auto":
        return wanted
    # Windows starts processes slowly and people there run from notebooks; they ask for workers by number.
    return (
        0
        if os.name == "nt"
        else min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    )


def build_sampler(config, split, images, transforms, runtime):
    """Build the sampler of `split` ("Train" or "Eval") of `images` for this process.

    Args:
        transforms: the `Compose` that will be given the sizes of batches.

    Raises:
        ConfigError: the settings contradict each other, the transforms or the number of images.
    """
    section, path = getattr(config.DataLoader, split).sampler, f"DataLoader.{split}.sampler"
    with located(config.where(path), path):
        training = split == "Train"
        if not training:
            _check_scores_every_image_once(section)
        common = {
            "seed": config.Global.seed,
            "rank": runtime.rank,
            "world_size": runtime.world_size,
            "balance": images.labels if section.balanced else None,
        }
        if isinstance(section, MultiScaleSamplerConfig) and section.is_training:
            _check_takes_size(transforms, "scales", split)
            if section.seed is not None:
                common["seed"] = section.seed
            return MultiScaleSampler(
                len(images),
                section.scales,
                section.first_bs,
                divided_factor=section.divided_factor,
                shuffle=section.shuffle,
                **common,
            )
        return BatchSampler(
            len(images),
            section.batch_size,
            shuffle=section.shuffle and getattr(section, "is_training", True),
            drop_last=getattr(section, "drop_last", False),
            pad=training,
            size_schedule=_size_schedule(config, section, transforms, split),
            **common,
        )


def _check_scores_every_image_once(section):
    for key in ("drop_last", "balanced"):
        if getattr(section, key, False):
            raise ConfigError(f"{key}: an evaluation scores every image; write {key}: false")
    if isinstance(section, MultiScaleSamplerConfig) and section.is_training:
        raise ConfigError("MultiScaleSampler is for training; write is_training: false")
    if getattr(section, "size_schedule", None):
        raise ConfigError("size_schedule is for training; leave it out")


def _check_takes_size(transforms, key, split):
    ops = f"DataLoader.{split}.dataset.transform_ops"
    if not transforms.takes_size:
        raise ConfigError(
            f"{key} sets the size of each batch, but none of {ops} can cut images to it; use RandCropImage"
        )
    for op in reversed(transforms.ops):
        if getattr(op, "takes_size", False):
            return
        if getattr(op, "size", None) is not None:
            raise ConfigError(
                f"{key} sets the size of each batch, but {type(op).__name__} in {ops} changes it again; leave it out"
            )


def _size_schedule(config, section, transforms, split):
    text = getattr(section, "size_schedule", None)
    if text is None:
        return None
    _check_takes_size(transforms, "size_schedule", split)
    schedule, epochs = SizeSchedule.parse(text), config.Global.epochs
    if epochs <= schedule.until:
        LOGGER.warning(
            "sampler.size_schedule %s: all %d epochs are at %d pixels; move its second number below Global.epochs",
            text,
            epochs,
            schedule.size,
        )
    return schedule
