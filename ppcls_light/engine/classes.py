"""The classes of a run: read once, and compared wherever a second source says them, see `data.classes`.

| source | says |
|---|---|
| `Infer.PostProcess.class_id_map_file` | names in order |
| class folders of DataLoader.Train | names in order of the alphabet |
| CIFAR's own | names in order |
| the checkpoint states beside weights | names in order: those of its training |
| a list file | numbers; the folders in it may say which names these have |

Training takes the map, or else the data, and refuses when they differ. Whatever comes after it takes the checkpoint's.
Class folders for evaluation are numbered by these names, so that a folder may lack a class.
"""

import contextlib
import itertools
import os
from dataclasses import dataclass
from typing import Dict, Optional

import numpy as np

from ..config.bind import located
from ..config.reading import DatasetConfig
from ..data import ClassNames, ImageList, read_class_names, read_image_list, scan_image_folder
from ..data.classes import folder_labels, require_same_folders
from ..errors import ConfigError, DataError, listed
from ..weights import load_plain_pickle
from .checkpoint import strip_suffix
from .log import LOGGER

MAP_KEY = "Infer.PostProcess.class_id_map_file"
_STUDENT = (
    "_student"  # ending of the student's file in a checkpoint of a distillation, whose states are the set's
)
_FIX_MAP = (
    f"give {MAP_KEY} with the names in that order, or null; lists by a label map of your own are written by "
    "python tools/make_list.py FOLDER --labels MAP"
)
_SHOWN = 5


def class_names(config, weights=None):
    """Return the ClassNames that a network of `config` answers with, or None when nothing says them.

    Args:
        config: schema.Config.
        weights: path of trained weights, whose states then come first.

    Raises:
        ConfigError, DataError: a source cannot be read, does not name every class, or two say different names.
    """
    stored, mapped = stored_classes(weights, config.Arch.class_num), _mapped_names(config)
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
    return _agreed(mapped, _train_folders(config))


def _agreed(mapped, found):
    if mapped is not None and found is not None:
        mapped.require_same(found, _FIX_MAP)
    return found if mapped is None else mapped


def training_names(config, found):
    """Return the ClassNames of a training, or None: the label map's, or `found` in the data.

    Raises:
        ConfigError, DataError: the map cannot be read, does not name every class, or says other names than `found`.
    """
    return _agreed(_mapped_names(config, may_miss=True), found)


@dataclass(frozen=True)
class StoredClasses:
    """Classes of a training as its states have them.

    Attributes:
        names: ClassNames; None for a training from a list without a label map.
        folders: {folder: label} of such a list, if its images stood in one folder a class.
        source: the states' file, for messages.
    """

    names: Optional[ClassNames]
    folders: Dict[str, int]
    source: str

    def require_same(self, names, images, fix):
        """Refuse data that say other classes, as far as the two can be compared.

        Args:
            names: ClassNames of the data, or None.
            images: of the data, or None.
            fix: end of the message.

        Raises:
            DataError: names both sources.
        """
        if self.names is not None and names is not None:
            self.names.require_same(names, fix)
        elif self.names is not None and isinstance(images, ImageList):
            self.names.check_list(images)
        elif self.names is None and self.folders and (names is not None or isinstance(images, ImageList)):
            labels = (
                {name: label for label, name in enumerate(names)}
                if names is not None
                else folder_labels(images)
            )
            source = images.source if names is None else names.source
            require_same_folders(self.folders, f"{self.source} (trained with a list)", labels, source)


def stored_classes(weights, class_num):
    """Return the StoredClasses in the states beside a weights file; None where there are none of `class_num` classes.

    `weights`: path with or without suffix, or None.
    """
    if not isinstance(weights, (str, os.PathLike)):  # `pretrained: true` is refused where it is loaded
        return None
    prefix = strip_suffix(weights)
    stems = (prefix, prefix[: -len(_STUDENT)] if prefix.endswith(_STUDENT) else prefix)
    path = next((f"{stem}.pdstates" for stem in stems if os.path.isfile(f"{stem}.pdstates")), None)
    return None if path is None else classes_in(load_plain_pickle(path), path, class_num)


def classes_in(states, path, class_num):
    """Return the StoredClasses in a checkpoint's `states`, read from `path`; None as in `stored_classes`."""
    if not isinstance(states, dict) or "class_names" not in states:  # of PaddleClas
        return None
    names, folders = states["class_names"], states.get("class_folders")
    origin = states.get("class_names_from")
    if names is not None:
        if (
            not isinstance(names, list)
            or len(names) != class_num
            or not all(isinstance(n, str) for n in names)
        ):
            return None
        names = ClassNames(tuple(names), path + (f" (trained with {origin})" if origin else ""))
    return StoredClasses(names, folders if isinstance(folders, dict) else {}, path)


def _mapped_names(config, may_miss=False):
    """Return the ClassNames of the label map, or None when none is given.

    `may_miss`: a file that is not there is a warning, since training can do without names.
    """
    path, class_num = config.Infer.PostProcess.class_id_map_file, config.Arch.class_num
    if not path:
        return None
    if may_miss and not os.path.isfile(path):
        LOGGER.warning("%s: no such file: %s; classes stay without names", MAP_KEY, path)
        return None
    with located(config.where(MAP_KEY), MAP_KEY):
        names = read_class_names(path, config.Infer.PostProcess.delimiter)
        if len(names) != class_num:
            raise ConfigError(
                f"{path} names {len(names)} classes, Arch.class_num is {class_num}; give the map of this network, or "
                "null for the names of the checkpoint"
            )
    return names


def _train_folders(config):
    """Return the ClassNames of the class folders of DataLoader.Train, None when they are not there."""
    dataset = config.DataLoader.Train and config.DataLoader.Train.dataset
    if in_class_folders(dataset) and os.path.isdir(dataset.image_root):
        return scan_image_folder(dataset.image_root)[1]
    return None


def _any_list(config):
    """Return the ImageList of one list file that the config names, rather the shorter; None when none can be read."""
    for section in (config.DataLoader.Eval, config.DataLoader.Train):
        dataset = section and section.dataset
        if isinstance(dataset, DatasetConfig) and os.path.isfile(dataset.cls_label_path or ""):
            with contextlib.suppress(DataError):  # what is wrong with it is said to those who read its images
                return read_image_list(
                    dataset.cls_label_path, dataset.image_root, delimiter=dataset.delimiter, check_files=False
                )
    return None


def in_class_folders(dataset):
    """Return whether a dataset's config is of class folders."""
    return isinstance(dataset, DatasetConfig) and dataset.cls_label_path is None


def described_classes(names, images=None):
    """Return what a checkpoint's states say of the classes of a training.

    Args:
        names: ClassNames or None.
        images: its images, whose folders stand in for names that are not known.
    """
    listed_folders = {} if names is not None or not isinstance(images, ImageList) else folder_labels(images)
    return {
        "class_names": None if names is None else list(names),
        "class_names_from": None if names is None else names.source,
        "class_folders": listed_folders,
    }


def resumed_names(config, found, reader):
    """Return the ClassNames that a resumed training goes on with: the data's, or else the checkpoint's.

    Args:
        found: the Checkpoint.
        reader: build.Reader of the training images now.

    Raises:
        DataError: the checkpoint's are others; says which labels moved.
    """
    stored = classes_in(found.states, f"{found.prefix}.pdstates", config.Arch.class_num)
    if stored is None:
        return reader.class_names
    fix = "resume with the data as it was, or begin a training of these classes elsewhere"
    if stored.names is None and in_class_folders(config.DataLoader.Train.dataset) and not stored.folders:
        raise DataError(
            f"{stored.source} is of a training from a list without names, and now there are folders; {fix}"
        )
    stored.require_same(reader.class_names, reader.images, fix)
    return stored.names if reader.class_names is None else reader.class_names


def check_classes(config, train, evaluation):
    """Compare what the splits, the teachers and the first weights say of the classes, and say once what is odd.

    Args:
        train, evaluation: build.Reader of each split; `evaluation` may be None.

    Raises:
        DataError: two of them number the classes differently.
    """
    names = train.class_names
    images = train.images
    if evaluation is not None and evaluation.class_names is None:
        pairs = ((folder_labels(reader.images), reader.images.source) for reader in (train, evaluation))
        require_same_folders(*itertools.chain.from_iterable(pairs))
    for teacher in config.Arch.frozen if config.Arch.teachers else ():
        stored = stored_classes(config.Arch.weights_of(teacher), config.Arch.class_num)
        if stored is not None:
            stored.require_same(
                names, images, f"give the teacher {teacher} weights that were trained on these classes"
            )
    _check_head(config, names, images)
    scored = None if evaluation is None else evaluation.images.labels
    warn_of_labels(config.Arch.class_num, names, train.images.labels, scored)


def _check_head(config, names, images):
    """Refuse first weights whose head has these classes in another order; say that it has other ones.

    Raises:
        DataError: names the states of the weights and the source of `names` or `images`.
    """
    stored = stored_classes(config.Global.pretrained_model or config.Arch.pretrained, config.Arch.class_num)
    if stored is None or config.Global.checkpoints:
        return
    try:
        stored.require_same(names, images, "number the data as the first does, by its label map")
    except DataError as difference:
        if stored.names is None or names is None or sorted(stored.names) == sorted(names):
            raise
        LOGGER.warning("%s; the training starts from a head of the first", str(difference).rsplit("; ", 1)[0])


def warn_of_labels(class_num, names=None, train=None, evaluation=None):
    """Say once which of `class_num` classes have no image, and which are scored though they are never learned.

    Args:
        names: ClassNames or None.
        train, evaluation: labels, int (N,); None for a split that is not read.
    """
    if class_num == 1:
        LOGGER.warning(
            "Arch.class_num is 1: with one class every answer is that class with score 1; add a class of other images"
        )
    counts = {
        split: np.bincount(labels, minlength=class_num)
        for split, labels in (("Train", train), ("Eval", evaluation))
        if labels is not None
    }
    for split, count in counts.items():
        empty = np.flatnonzero(count == 0)
        if empty.size:
            LOGGER.warning(
                "DataLoader.%s has no image of %d of the %d classes (%s)%s",
                *(split, empty.size, class_num, _described(empty, names)),
                _fewer(empty, class_num)
                if split == "Train" and not counts.get("Eval", count)[empty].any()
                else "",
            )
    if len(counts) == 2:
        unlearned = np.flatnonzero((counts["Train"] == 0) & (counts["Eval"] > 0))
        if unlearned.size:
            LOGGER.warning(
                "DataLoader.Eval has %d images of classes that DataLoader.Train never shows (%s): they are scored, and "
                "cannot be learned",
                *(counts["Eval"][unlearned].sum(), _described(unlearned, names)),
            )


def _described(labels, names):
    return listed((f"label {label}" + (f" '{names[label]}'" if names else "") for label in labels), _SHOWN)


def _fewer(empty, class_num):
    """Return the advice for labels that end before `class_num`, "" for gaps."""
    used = class_num - empty.size
    return f"; use -o Arch.class_num={used} if that is all there is" if empty[0] == used else ""
