"""Class names of a run: collected from label map, data and checkpoint, and checked for agreement.

| source | content |
|---|---|
| `Infer.PostProcess.class_id_map_file` or `label_list` | names in order |
| class folders of DataLoader.Train | names in order of the alphabet |
| CIFAR's own | names in order |
| the checkpoint states beside weights | names in order: those of its training |
| a list file | numbers; the folders in it may tell their names |
| a list of tags | names: the header of a table, or the tags that occur; or numbers |
| published weights by name | a scenario's as a checkpoint's; ImageNet's, where nothing above has names |
| `Infer.PostProcess.label_0` and `label_1` | names to show, where nothing above has names |

Training takes the map, or else the data, and refuses when they differ. Later jobs take the checkpoint's.
Class folders for evaluation are numbered by these names, so that a folder may lack a class.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable

import numpy as np

from ..base.hints import command
from ..base.resources import labels_path
from ..config import Config
from ..config.bind import located
from ..config.dataloader import DatasetConfig
from ..config.postprocess import ThreshOutput, label_map
from ..data.classes import (
    ClassNames,
    folder_labels,
    imagenet_names,
    paddleclas_names,
    read_class_names,
    require_same_folders,
)
from ..data.image_list import ImageList, read_image_list
from ..data.scan import scan_image_folder
from ..errors import ConfigError, DataError, listed
from ..weights import load_plain_pickle, published
from ..weights.scenarios import find_scenario
from .checkpoint import strip_suffix
from .log import LOGGER

if TYPE_CHECKING:
    from typing import TypeGuard


MAP_KEY, LIST_KEY = "Infer.PostProcess.class_id_map_file", "Infer.PostProcess.label_list"
# Ending of the student's file in a checkpoint of a distillation, whose states are the set's.
_STUDENT = "_student"
_SHOWN = 5


def class_names(config: Config, weights: str | None = None) -> ClassNames | None:
    """Return the names that a network of `config` answers with, or None when no source has them.

    The states beside trained `weights` come first.

    Raises ConfigError, DataError: a source cannot be read, does not name every class, or two say different names.
    """
    names, shown = _known_names(config, weights), _shown_names(config)
    if names is not None and shown is not None:
        names.require_order(tuple(shown), shown.source)
    return shown if names is None else names


def _shown_names(config: Config) -> ClassNames | None:
    """Return the names that a threshold of two classes shows in place of those of the classes, None without any."""
    labels = config.postprocess.labels if isinstance(config.postprocess, ThreshOutput) else None
    return None if labels is None else ClassNames(labels, config.place("Infer.PostProcess.label_0"))


def _known_names(config: Config, weights: str | None) -> ClassNames | None:
    stored = stored_classes(weights, config.Arch.network.class_num)
    if stored is not None:
        stored.require_kind(config.multilabel)
    # The training that wrote such states has chosen its names, or to have none.
    mapped = _mapped_names(config, of_imagenet=weights is not None and stored is None)
    if stored is not None and stored.names is not None:
        if mapped is not None:
            stored.names.require_same(mapped, f"use the map of the training, or {MAP_KEY}=null")
        return stored.names
    if mapped is not None:
        images = _any_list(config)
        if images is not None:
            mapped.check_list(images)
    if stored is not None:  # class folders, which that training did not have, must not name its classes
        if mapped is not None:
            stored.require_same(mapped, None, f"use the map of the training, or {MAP_KEY}=null")
        return mapped
    known = _agreed(mapped, _train_folders(config))
    return _published_names(config, weights) if known is None else known


def _published_names(config: Config, weights: str | None) -> ClassNames | None:
    """Return ImageNet's names for published weights that are named, None for all others and for class folders.

    Class folders have ImageNet's own names (n01440764), or are of other classes.
    """
    sections = config.DataLoader.Train, config.DataLoader.Eval
    if weights not in published.training_names() or any(
        in_class_folders(each and each.dataset) for each in sections
    ):
        return None
    return imagenet_names()


def _agreed(mapped: ClassNames | None, found: ClassNames | None) -> ClassNames | None:
    if mapped is not None and found is not None:
        mapped.require_same(
            found,
            f"give {MAP_KEY} with the names in that order, or null; lists by a label map of your own are written by "
            f"{command('lists')} FOLDER --labels MAP",
        )
    return found if mapped is None else mapped


def training_names(config: Config, found: ClassNames | None) -> ClassNames | None:
    """Return the names of a training, or None: the label map's, or `found` in the data.

    Raises ConfigError, DataError: the map cannot be read, does not name every class, or says other names than `found`.
    """
    names, shown = _agreed(_mapped_names(config, may_miss=True), found), _shown_names(config)
    if names is not None and shown is not None:
        names.require_order(tuple(shown), shown.source)
    return names


@dataclass(frozen=True)
class StoredClasses:
    """Classes of a training as its states have them."""

    names: ClassNames | None  # None for a training from a list without a label map
    folders: dict[str, int]  # {folder: label} of such a list, if its images stood in one folder per class
    source: str  # the states' file, for messages
    multilabel: bool | None = None  # the classes are tags; None of states that do not say it

    def require_kind(self, multilabel: bool, fix: str | None = None) -> None:
        """Raise DataError if the training was on tags and is to be used for one class per image, or the reverse.

        The message ends with `fix`; None: the key that makes the config one of these.
        """
        if self.multilabel not in (None, multilabel):
            kind = "tags" if self.multilabel else "one class per image"
            fix = fix or (
                f"use -o Global.use_multilabel={str(self.multilabel).lower()}, and its dataset, losses and metrics"
            )
            raise DataError(f"{self.source} is of a training on {kind}; {fix}")

    def require_same(self, names: ClassNames | None, images: ImageList | None, fix: str) -> None:
        """Refuse data of these `names` and `images` if they say other classes, as far as the two can be compared.

        Raises DataError: names both sources, and ends with `fix`.
        """
        if self.names is not None and names is not None:
            self.names.require_same(names, fix)
        elif self.names is not None and isinstance(images, ImageList):
            self.names.check_list(images)
        elif self.folders:
            own = f"{self.source} (trained with a list)"
            if names is not None:
                labels = {name: label for label, name in enumerate(names)}
                require_same_folders(self.folders, own, labels, names.source)
            elif isinstance(images, ImageList):
                require_same_folders(self.folders, own, folder_labels(images), images.source)


def stored_classes(weights: object, class_num: int | None = None) -> StoredClasses | None:
    """Return the StoredClasses in the states beside a weights file, given with or without suffix, or of a scenario.

    None where there are none of `class_num` classes, of whatever number if that is None.
    """
    if not isinstance(weights, (str, os.PathLike)):  # `pretrained: true`: ImageNet's
        return None
    scenario = find_scenario(os.fspath(weights))
    if scenario is not None and scenario.name == weights:
        published_as = scenario.load_config()
        names = class_names(published_as)
        if names is None or class_num not in (None, len(names)):
            return None
        return StoredClasses(names, {}, scenario.name, published_as.multilabel)
    prefix = strip_suffix(weights)
    stems = (prefix, prefix[: -len(_STUDENT)] if prefix.endswith(_STUDENT) else prefix)
    path = next((f"{stem}.pdstates" for stem in stems if os.path.isfile(f"{stem}.pdstates")), None)
    return None if path is None else classes_in(load_plain_pickle(path), path, class_num)


def classes_in(states: object, path: str, class_num: int | None) -> StoredClasses | None:
    """Return the StoredClasses in a checkpoint's `states`, read from `path`; None as in `stored_classes`."""
    if not isinstance(states, dict) or "class_names" not in states:  # of PaddleClas
        return None
    names, folders = states["class_names"], states.get("class_folders")
    origin = states.get("class_names_from")
    if names is not None:
        if not isinstance(names, list) or any(type(name) is not str for name in names):
            return None
        if class_num not in (None, len(names)):
            return None
        names = ClassNames(tuple(names), path + (f" (trained with {origin})" if origin else ""))
    multilabel = states.get("multilabel")
    return StoredClasses(
        names,
        folders if isinstance(folders, dict) else {},
        path,
        None if multilabel is None else bool(multilabel),
    )


def _mapped_names(config: Config, may_miss: bool = False, of_imagenet: bool = False) -> ClassNames | None:
    """Return the names of the label map, or None when none is given.

    `may_miss`: a file that is not there is a warning, since training can do without names. A label list of PaddleClas,
    which is in its checkout, is the package's where that is not there; ImageNet's only if `of_imagenet`.
    """
    (path, delimiter, given), class_num = label_map(config.postprocess), config.Arch.network.class_num
    if given is not None:
        return ClassNames(tuple(given), config.place(LIST_KEY))
    if not path:
        return None
    packaged = paddleclas_names(path)
    # A training of 1000 classes is seldom ImageNet's; PULC's lists are of one purpose each.
    may_be = of_imagenet or class_num != published.IMAGENET_CLASSES
    if packaged is not None and len(packaged) == class_num and may_be:
        LOGGER.info("%s: %s is not there; the package has the same names", MAP_KEY, path)
        return packaged
    path = labels_path(path)
    if may_miss and not os.path.isfile(path):
        LOGGER.warning("%s: no such file: %s; classes stay without names", MAP_KEY, path)
        return None
    with located(config.where(MAP_KEY), MAP_KEY):
        names = read_class_names(path, delimiter)
        if len(names) != class_num:
            raise ConfigError(
                f"{path} names {len(names)} classes, Arch.class_num is {class_num}; give the map of this network, or "
                "null for the names of the checkpoint"
            )
    return names


def _train_folders(config: Config) -> ClassNames | None:
    """Return the names of the class folders of DataLoader.Train, None when they are not there."""
    dataset = config.DataLoader.Train and config.DataLoader.Train.dataset
    if in_class_folders(dataset) and os.path.isdir(dataset.image_root):
        return scan_image_folder(dataset.image_root)[1]
    return None


def _any_list(config: Config) -> ImageList | None:
    """Return the ImageList of the Eval list, or else of the Train list; None if neither can be read."""
    for section in (config.DataLoader.Eval, config.DataLoader.Train):
        dataset = section and section.dataset
        if not isinstance(dataset, DatasetConfig) or dataset.tagged:
            continue
        if os.path.isfile(path := dataset.cls_label_path or ""):
            with contextlib.suppress(DataError):  # which is raised where its images are read
                return read_image_list(
                    path, dataset.image_root, delimiter=dataset.delimiter, check_files=False
                )
    return None


def in_class_folders(dataset: object) -> TypeGuard[DatasetConfig]:
    """Return whether a dataset's config is of class folders."""
    return isinstance(dataset, DatasetConfig) and dataset.cls_label_path is None


def described_classes(
    names: ClassNames | None, multilabel: bool, images: ImageList | None = None
) -> dict[str, Any]:
    """Return the classes of a training as the states of a checkpoint have them.

    The folders of its `images` stand in for names that are not known.
    """
    listed_folders = {} if names is not None or not isinstance(images, ImageList) else folder_labels(images)
    return {
        "class_names": None if names is None else list(names),
        "class_names_from": None if names is None else names.source,
        "class_folders": listed_folders,
        "multilabel": multilabel,
    }


def check_first_weights(config: Config, names: ClassNames | None, images: ImageList) -> None:
    """Refuse first weights whose head has these classes in another order; warn when it has other ones.

    Where `head_rows.keep_rows` finds the rows by name, every order will do.

    Raises DataError: names the states of the weights and the source of `names` or `images`.
    """
    stored = stored_classes(
        config.Global.pretrained_model or config.Arch.weights, config.Arch.network.class_num
    )
    if stored is None or config.Global.checkpoints:
        return
    moves_rows = config.Global.reset_head or not config.Global.pretrained_model
    if moves_rows and stored.names is not None and names is not None:
        return
    try:
        fix = "number the data as the first does, by its label map, or add -o Global.reset_head=true"
        stored.require_same(names, images, fix)
    except DataError as difference:
        if stored.names is None or names is None or sorted(stored.names) == sorted(names):
            raise
        LOGGER.warning("%s; the training starts from a head of the first", str(difference).rsplit("; ", 1)[0])


def warn_of_labels(
    class_num: int,
    names: ClassNames | None = None,
    train: np.ndarray | None = None,
    evaluation: np.ndarray | None = None,
) -> None:
    """Warn once of the classes that have no image, and of those that are scored though they are never learned.

    `train` and `evaluation` are labels, int (N,) or tags int (N, K), of the splits that are read.
    """
    given = [labels for labels in (train, evaluation) if labels is not None]
    of_tags = any(labels.ndim == 2 for labels in given)
    if class_num == 1 and not of_tags:
        LOGGER.warning(
            "Arch.class_num is 1: with one class every answer is that class with score 1; add a class of other images"
        )
    counts = {
        split: (labels == 1).sum(axis=0) if of_tags else np.bincount(labels, minlength=class_num)
        for split, labels in (("Train", train), ("Eval", evaluation))
        if labels is not None
    }
    for split, count in counts.items():
        empty = np.flatnonzero(count == 0)
        if empty.size:
            LOGGER.warning(
                "DataLoader.%s has no image of %d of the %d %s (%s)%s",
                *(split, empty.size, class_num, "tags" if of_tags else "classes", _described(empty, names)),
                _fewer(empty, class_num)
                if split == "Train" and not of_tags and not counts.get("Eval", count)[empty].any()
                else "",
            )
    if of_tags and train is not None:
        always = np.flatnonzero((counts["Train"] > 0) & ~(train == 0).any(axis=0))
        if always.size:
            LOGGER.warning(
                "DataLoader.Train has no image without %d of the %d tags (%s), which cannot be learned so; add some",
                *(always.size, class_num, _described(always, names)),
            )
    if len(counts) == 2:
        unlearned = np.flatnonzero((counts["Train"] == 0) & (counts["Eval"] > 0))
        if unlearned.size:
            LOGGER.warning(
                "DataLoader.Eval has %d images of %s that DataLoader.Train never shows (%s): they are scored, and "
                "cannot be learned",
                *(counts["Eval"][unlearned].sum(), "tags" if of_tags else "classes"),
                _described(unlearned, names),
            )


def _described(labels: Iterable[int], names: ClassNames | None) -> str:
    return listed((f"label {label}" + (f" '{names[label]}'" if names else "") for label in labels), _SHOWN)


def _fewer(empty: np.ndarray, class_num: int) -> str:
    """Return the advice for labels that end before `class_num`, "" for gaps."""
    used = class_num - empty.size
    return f"; use -o Arch.class_num={used} if that is all there is" if empty[0] == used else ""
