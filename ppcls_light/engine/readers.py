"""`Reader` and `build_reader`: dataset, sampler, loader and class names of a split of the config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Sequence

import numpy as np

from ..config import Config
from ..config.arch import DistillationArch
from ..config.bind import located
from ..config.dataloader import AnyDataset, CifarConfig, CustomLabelConfig, DatasetConfig
from ..config.losses import SMOOTHING
from ..data.cifar import CifarDataset, read_cifar
from ..data.classes import ClassNames, folder_labels, require_same_folders
from ..data.dataset import ImageDataset
from ..data.image_list import read_image_list
from ..data.loader import BatchLoader
from ..data.mix import build_batch_transforms
from ..data.scan import scan_image_folder
from ..data.tags import read_tag_list
from ..data.transforms.compose import build_transforms
from ..errors import ConfigError, DataError, listed
from ..export.accuracy import part
from ..export.unknown import UnknownFit
from .checkpoint import Checkpoint
from .classes import (
    MAP_KEY,
    check_first_weights,
    classes_in,
    in_class_folders,
    stored_classes,
    training_names,
    warn_of_labels,
)
from .distributed import Runtime
from .log import LOGGER
from .samplers import build_sampler
from .unlabelled import check_unlabelled, with_unlabelled

if TYPE_CHECKING:
    from ..config.types import Op
    from ..data.image_list import ImageList
    from ..data.mix import BatchTransforms
    from ..export.accuracy import Labelled


class Reader(NamedTuple):
    """Split of the data: its list, its batches in order, and the names of its classes if they are known."""

    images: ImageList  # or CifarImages, which has the same methods
    loader: BatchLoader
    class_names: ClassNames | None


def build_reader(config: Config, split: str, runtime: Runtime, names: ClassNames | None = None) -> Reader:
    """Build the reader of `split` ("Train" or "Eval") for this process.

    `names` of the training number the images of Eval; those of Train have their own.
    Raises ConfigError: the section is missing. DataError: see `read_image_list` and `ClassNames`.
    """
    section, training = config.reader(split), split == "Train"
    path = f"DataLoader.{split}.dataset"
    images, names = split_images(config, split, names)
    transforms = build_transforms(_from_bytes(config, f"{path}.transform_ops", section.dataset.transform_ops))
    as_dataset = CifarDataset if isinstance(section.dataset, CifarConfig) else ImageDataset
    loader = BatchLoader(
        as_dataset(
            images,
            transforms,
            config.Global.seed,
            *(getattr(section.dataset, key, None) for key in ("views", "label_key")),
        ),
        build_sampler(config, split, images, transforms, runtime),
        num_workers=worker_count(section.loader.num_workers),
        batch_transforms=_batch_transforms(config) if training else None,
        on_bad="skip" if training else "raise",
        max_bad=section.loader.max_bad,
    )
    if len(images) < runtime.world_size:
        raise DataError(
            f"DataLoader.{split}.dataset: {len(images)} images for {runtime.world_size} processes; start fewer"
        )
    return Reader(images, loader, names)


def _batch_transforms(config: Config) -> BatchTransforms | None:
    path = "DataLoader.Train.dataset.batch_transform_ops"
    with located(config.where(path), path):
        ops = config.reader("Train").dataset.batch_transform_ops
        mix = build_batch_transforms(ops, config.Arch.class_num, config.multilabel)
    for loss in config.Loss.of("Train"):
        epsilon = loss.epsilon if isinstance(loss, SMOOTHING) else None
        if mix and mix.label_smoothing and epsilon:
            LOGGER.warning(
                "%s: labels are smoothed twice, by label_smoothing %g and %s.epsilon %g; set one of them to 0",
                *(path, mix.label_smoothing, type(loss).__name__, epsilon),
            )
    return mix


def inference_transforms(config: Config) -> Sequence[Op]:
    """Return the ops that prepare an image for infer and export: `Infer.transforms`, else those of Eval.

    Raises ConfigError: neither is given, or they do not begin with DecodeImage.
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


def _from_bytes(config: Config, path: str, ops: Sequence[Op]) -> Sequence[Op]:
    """Return `ops`, written at the dotted `path`, if they take the bytes of an image file."""
    if [index for index, op in enumerate(ops) if op.name == "DecodeImage"] != [0]:
        raise ConfigError(
            f"{config.place(path)}: DecodeImage has to be the first op, once; "
            "for example [{DecodeImage: null}, {ResizeImage: {size: 224}}]"
        )
    return ops


def sample_images(config: Config, count: int = 16) -> list[str] | None:
    """Return up to `count` image files of DataLoader.Eval, spread over its list; None when there are none."""
    images = _image_files(config, "Eval")
    if images is None:
        return None
    step = max(1, len(images) // count)
    return [images.path(index) for index in range(0, len(images), step)][:count]


def listed_files(config: Config) -> set[str]:
    """Return the absolute paths of the image files in the lists of the config, as far as they are here."""
    lists = (_image_files(config, split) for split in ("Train", "Eval"))
    return {
        os.path.abspath(images.path(index))
        for images in lists
        if images is not None
        for index in range(len(images))
    }


def labelled_images(config: Config, names: ClassNames | None) -> Labelled:
    """Return the `Labelled` images that int8 is calibrated with and scored on.

    Those of DataLoader.Train calibrate, prepared as for evaluation; without them part of those of Eval, which are
    numbered by `names`, those of the training.

    Raises ConfigError: there are no image files of DataLoader.Eval. DataError: too few images.
    """
    if _image_files(config, "Eval") is None:
        raise ConfigError(
            f"{config.place('Global.export_precision')}: int8 is compared with fp32 on "
            "labelled image files, and DataLoader.Eval.dataset has none here; give its image_root and cls_label_path"
        )
    images, _ = split_images(config, "Eval", names)
    return part(images, config.Global.calibration_images, _image_files(config, "Train"))


def unknown_images(config: Config, names: ClassNames | None) -> UnknownFit:
    """Return the images, and the wishes of `Global`, that the export fits the section `unknown` with.

    Those of Eval are numbered by `names`, those of the training.

    Raises ConfigError: there are no image files of DataLoader.Eval, or for `distance` none of DataLoader.Train.
    """
    settings = config.Global
    assert settings.unknown is not None
    wanted = {"Eval": "its thresholds are fitted on labelled image files"}
    if settings.unknown == "distance":
        wanted["Train"] = "the distance is to its image files"
    for split, why in wanted.items():
        if _image_files(config, split) is None:
            raise ConfigError(
                f"{config.place('Global.unknown')}: {why}, and DataLoader.{split}.dataset has none here; give its "
                "image_root and cls_label_path"
            )
    images, _ = split_images(config, "Eval", names)
    training = _image_files(config, "Train") if "Train" in wanted else None
    return UnknownFit(
        *(settings.unknown, settings.unknown_coverage, settings.unknown_by_class),
        *([images.path(index) for index in range(len(images))], images.labels),
        [] if training is None else [training.path(index) for index in range(len(training))],
    )


def _image_files(config: Config, split: str) -> ImageList | None:
    """Return the ImageList of a split, whatever its labels; None when it is not of files, or they are not here."""
    section = getattr(config.DataLoader, split)
    if section is None or isinstance(section.dataset, CifarConfig):
        return None
    if not os.path.isdir(section.dataset.image_root):
        return None
    listed = getattr(section.dataset, "cls_label_path", None) or getattr(
        section.dataset, "sample_list_path", None
    )
    if listed and not os.path.isfile(listed):
        return None
    return _listed(config, section.dataset, split)[0]


def _comparable(ops: Sequence[Op]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, params) of `ops` in one spelling, without ops that only move axes."""
    return [
        (
            op.name,
            {key: "" if (key, value) == ("order", "hwc") else value for key, value in op.params.items()},
        )
        for op in ops
        if op.name != "ToCHWImage"
    ]


def split_images(
    config: Config, split: str, names: ClassNames | None = None, check_files: bool = True
) -> tuple[Any, ClassNames | None]:
    """Return the images of a split and the names that number them, None where nothing says them.

    `names` are those of the training; for Train itself None. Without `check_files` a list may name files that are not
    there. Raises ConfigError, DataError: see `read_image_list`, `scan_image_folder` and `ClassNames`.
    """
    dataset, class_num = config.reader(split).dataset, config.Arch.class_num
    if split == "Eval" and names is None and in_class_folders(dataset):
        raise ConfigError(
            f"the labels of the class folders in {dataset.image_root} cannot be told: the training was from a list "
            f"without names; give its label map by {MAP_KEY}, or a list (cls_label_path) of these images"
        )
    if split == "Train" and config.multilabel:
        names = training_names(config, None)
    path = f"DataLoader.{split}.dataset"
    with located(config.where(path), path):
        images, found = _listed(config, dataset, split, names, check_files)
        if split == "Eval" and config.multilabel and names is None and found is not None:
            raise ConfigError(
                f"the tags of {found.source} cannot be numbered: the training was from lists of numbers without names; "
                f"give its label map by {MAP_KEY}, or a list of numbers"
            )
        if found is not None and len(found) != class_num:
            kind = "tags" if config.multilabel else "classes"
            raise ConfigError(
                f"{found.source}: {len(found)} {kind} ({listed(found, 5)}), but Arch.class_num is {class_num}; use -o "
                f"Arch.class_num={len(found)}"
            )
    if split == "Train":
        names = found if config.multilabel else training_names(config, found)
    elif names is not None and found is not None:
        names.require_same(found, "evaluate on the classes of the training")
    if names is not None and found is None:
        names.check_list(images)
    if split == "Train" and isinstance(dataset, DatasetConfig) and dataset.unlabelled:
        with located(config.where(f"{path}.unlabelled"), f"{path}.unlabelled"):
            images = with_unlabelled(images, dataset.unlabelled, dataset.image_root)
    return images, names


def _listed(
    config: Config,
    dataset: AnyDataset,
    split: str,
    names: ClassNames | None = None,
    check_files: bool = True,
) -> tuple[Any, ClassNames | None]:
    """Return the images of `dataset` and the names of its folders, tags or of CIFAR, None for a list of numbers."""
    if isinstance(dataset, CifarConfig):
        mode = dataset.mode or {"Train": "train", "Eval": "test"}[split]
        return read_cifar(dataset.data_file, mode, dataset.class_num)
    if isinstance(dataset, CustomLabelConfig):
        path = dataset.sample_list_path
        return read_image_list(
            path, dataset.image_root, delimiter=dataset.delimiter, labelled=False, check_files=check_files
        ), None
    if in_class_folders(dataset):
        return scan_image_folder(dataset.image_root, names)
    path, class_num = dataset.cls_label_path or "", config.Arch.class_num
    if dataset.tagged:
        return read_tag_list(path, dataset.image_root, class_num, names, dataset.delimiter, check_files)
    listed = read_image_list(path, dataset.image_root, class_num, dataset.delimiter, check_files=check_files)
    return listed, None


def worker_count(wanted: int | Literal["auto"]) -> int:
    """Return the number of processes that read for `wanted` of them, the value of `loader.num_workers`."""
    if wanted != "auto":
        return wanted
    # Windows starts processes slowly and people there run from notebooks; they ask for workers by number.
    if os.name == "nt":
        return 0
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def resumed_names(config: Config, found: Checkpoint, reader: Reader) -> ClassNames | None:
    """Return the names that a resumed training goes on with: those of its data now, or else the checkpoint's.

    Raises DataError: the checkpoint's are others; says which labels moved.
    """
    stored = classes_in(found.states, f"{found.prefix}.pdstates", config.Arch.network.class_num)
    if stored is None:
        return reader.class_names
    stored.require_kind(config.multilabel)
    fix = "resume with the data as it was, or begin a training of these classes elsewhere"
    if stored.names is None and in_class_folders(config.reader("Train").dataset) and not stored.folders:
        raise DataError(
            f"{stored.source} is of a training from a list without names, and now there are folders; {fix}"
        )
    stored.require_same(reader.class_names, reader.images, fix)
    return stored.names if reader.class_names is None else reader.class_names


def check_classes(config: Config, train: Reader, evaluation: Reader | None) -> None:
    """Compare the classes of the splits, the teachers and the first weights; warn once of oddities.

    Raises DataError: two of them number the classes differently.
    """
    names, images = train.class_names, train.images
    if evaluation is not None and evaluation.class_names is None:
        scored = evaluation.images
        require_same_folders(folder_labels(images), images.source, folder_labels(scored), scored.source)
    arch = config.Arch
    if isinstance(arch, DistillationArch):
        for teacher in arch.frozen:
            stored = stored_classes(arch.weights_of(teacher), arch.network.class_num)
            if stored is not None:
                fix = f"give the teacher {teacher} weights that were trained on these classes"
                stored.require_kind(config.multilabel, fix)
                stored.require_same(names, images, fix)
    check_first_weights(config, names, images)
    labels = None if evaluation is None else evaluation.images.labels
    dataset = config.reader("Train").dataset
    if isinstance(dataset, CustomLabelConfig):
        warn_of_labels(config.Arch.network.class_num, names, np.arange(dataset.label_count), labels)
        return
    warn_of_labels(config.Arch.network.class_num, names, images.known_labels, labels)
    check_unlabelled(images, evaluation and evaluation.images)
