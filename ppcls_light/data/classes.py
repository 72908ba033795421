"""The names of the classes in the order of their labels: one value, compared wherever two of them meet.

A label is a number, and what it means is a name. The names are read once, from the data (class folders, a label
map, CIFAR's own), go into the checkpoint and from there into the exported folder. Whatever else says names must say
the same ones in the same order: else a class would silently become another.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Tuple

from ..errors import ConfigError, DataError
from ..files import read_utf8

_SHOWN = 3  # names in a message; the rest is counted

# A number that stands apart from a name: "0 cat", "0: cat", "0,cat", "0. cat", "0 - cat".
_APART = r"(?:\s*[:;,=|]\s*|[.)]\s+|\s+-\s+|\s+)"
_NUMBER = "-?[0-9]+"
_FORM = "write one 'id name' a line with the ids 0, 1, 2, ..., or a JSON list of names"


@dataclass(frozen=True)
class ClassNames:
    """Names in the order of their labels, and where they were read.

    Attributes:
        names: one a class; label 0 is the first.
        source: file, folder or key, for messages.
    """

    names: Tuple[str, ...]
    source: str

    def __len__(self):
        return len(self.names)

    def __iter__(self):
        return iter(self.names)

    def __getitem__(self, label):
        return self.names[label]

    def require_same(self, other, fix):
        """Refuse names that are not these in this order.

        Args:
            other: `ClassNames`.
            fix: end of the message.

        Raises:
            DataError: names both sources, the first difference and `fix`.
        """
        if self.names == other.names:
            return
        if Counter(self.names) == Counter(other.names):
            label = next(i for i, pair in enumerate(zip(self, other)) if pair[0] != pair[1])
            found = (
                f"name the same classes in another order: label {label} is '{self[label]}' in the first and "
                f"'{other[label]}' in the second"
            )
        else:
            only = [_only(names, others) for names, others in ((self, other), (other, self))]
            found = f"name other classes: only the first has {only[0]}; only the second has {only[1]}"
        raise DataError(f"{self.source} and {other.source} {found}; {fix}")

    def labels_of(self, folders, source):
        """Return {name: label} of class folders, which are some of these classes or all.

        Args:
            folders: names of the folders.
            source: where the folders are.

        Raises:
            DataError: a folder is no class here, or two classes have its name.
        """
        times = Counter(self.names)
        unknown = [name for name in folders if times[name] != 1]
        if unknown:
            what = (
                "is the name of two classes" if times[unknown[0]] else f"is none of the {len(self)} classes"
            )
            raise DataError(
                f"{source}: the class folder '{unknown[0]}' {what} that {self.source} names "
                f"({_shortened(self.names)}); rename the folder, or name the images and labels by a list file"
            )
        return {name: label for label, name in enumerate(self.names) if name in set(folders)}

    def check_list(self, images):
        """Refuse labelled images whose folders have the names of classes, but labels of others.

        A list has labels and no names. Where it puts all images of a folder "cat" under a label that is "dog" here,
        it was made for another order of the classes.

        Args:
            images: labelled `ImageList`.

        Raises:
            DataError: names the list's source and this one.
        """
        times = Counter(self.names)
        for folder, label in folder_labels(images).items():
            if times[folder] == 1 and label < len(self) and self[label] != folder:
                raise DataError(
                    f"{images.source} gives the images in the folder '{folder}' label {label}, which is "
                    f"'{self[label]}' in {self.source}; make the two agree: python tools/make_list.py FOLDER "
                    "--labels MAP writes lists by a label map"
                )


def as_class_names(names, source):
    """Return names given in Python as ClassNames: a list, {id: name}, or ClassNames, which keep their own source.

    Raises:
        ConfigError: the ids are not 0 to N - 1.
    """
    if isinstance(names, ClassNames):
        return names
    if isinstance(names, dict):
        missing = [label for label in range(len(names)) if label not in names]
        if missing:
            raise ConfigError(
                f"{source}: ids must be 0..{len(names) - 1}, each once; {missing[0]} is missing"
            )
        names = [names[label] for label in range(len(names))]
    return ClassNames(tuple(names), source)


def folder_labels(images):
    """Return {folder: label} of labelled images that stand in one folder a class; {} for others.

    Args:
        images: labelled `ImageList`; a folder is the last one of an image's path.
    """
    labels = {}
    for folder, label in images.folders_and_labels():
        if labels.setdefault(folder, label) != label:
            return {}
    return labels if len(set(labels.values())) == len(labels) else {}


def require_same_lists(first, second):
    """Refuse two labelled lists that stand in one folder a class and number these folders differently.

    Raises:
        DataError: names both lists and a folder.
    """
    one, other = folder_labels(first), folder_labels(second)
    wrong = [name for name in one if name in other and one[name] != other[name]]
    if wrong and set(other) <= set(one):
        name = wrong[0]
        raise DataError(
            f"{first.source} and {second.source} number the classes differently: the images in folders '{name}' have "
            f"label {one[name]} in the first and {other[name]} in the second; write both lists by one label map: "
            "python tools/make_list.py FOLDER --labels MAP"
        )


def read_class_names(path, delimiter=None) -> ClassNames:
    """Read a label map.

    It is a JSON list of names, a JSON object {id: name} or {name: id}, or text with one class a line: "id name",
    "name id" (also apart by one of `: , ; = |`), or the name alone, whose id is the line's place from 0. A
    number that contradicts its place, or stands on some lines only, is refused: nothing is guessed.

    Args:
        path: UTF-8 text.
        delimiter: text between id and name; None: any of those above.

    Raises:
        DataError: with the line.
    """
    text = read_utf8(path).decode()
    if text.lstrip()[:1] in ("[", "{"):
        by_id = _from_json(path, text)
        numbers = [(label, None) for label in by_id]
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = _from_lines(path, lines, delimiter)
        numbers = [(label, number) for (label, _), (number, _) in zip(entries, lines)]
        by_id = dict(entries)
    if not numbers:
        raise DataError(f"{path}: no class names in this file; {_FORM}")
    seen = set()
    for label, number in numbers:
        where = path if number is None else f"{path}:{number}"
        if label in seen:
            raise DataError(f"{where}: class id {label} is given twice; {_FORM}")
        if not 0 <= label < len(numbers):
            raise DataError(f"{where}: class id {label} of {len(numbers)} classes; {_FORM}")
        seen.add(label)
    return ClassNames(tuple(by_id[label] for label in range(len(by_id))), str(path))


def _from_json(path, text):
    """Return {id: name}."""

    def unique(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            raise DataError(f"{path}: '{Counter(keys).most_common(1)[0][0]}' is given twice; {_FORM}")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: this begins like JSON but is none ({error}); {_FORM}") from None
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(content))
    if isinstance(content, dict):
        by_key = {int(k): v for k, v in content.items() if re.fullmatch(_NUMBER, k) and isinstance(v, str)}
        by_value = [(v, k) for k, v in content.items() if isinstance(v, int) and not isinstance(v, bool)]
        if len(by_key) == len(content):
            return by_key
        if len(by_value) == len(content):
            if len(dict(by_value)) < len(by_value):
                raise DataError(f"{path}: two names have the same id; {_FORM}")
            return dict(by_value)
    raise DataError(f"{path}: no JSON list of names, {{id: name}} or {{name: id}}; {_FORM}")


def _from_lines(path, lines, delimiter):
    """Return the (id, name) of each of the `lines`, (number, text)."""
    apart = re.escape(delimiter) if delimiter and delimiter.strip() else _APART
    first = [re.fullmatch(rf"({_NUMBER}){apart}(.*\S)", text) for _, text in lines]
    last = [re.fullmatch(rf"(.*?\S){apart}({_NUMBER})", text) for _, text in lines]
    readings = []
    if all(first):
        readings.append([(int(match[1]), match[2].strip()) for match in first])
    if all(last):
        readings.append([(int(match[2]), match[1].strip()) for match in last])
    right = [
        entries for entries in readings if sorted(label for label, _ in entries) == list(range(len(lines)))
    ]
    if len(right) == 2:
        for (number, text), one, other in zip(lines, *right):
            if one[0] != other[0]:
                raise DataError(
                    f"{path}:{number}: '{text}' begins and ends with an id, and they differ; {_FORM}"
                )
    if readings:
        return (right or readings)[0]
    for place, (number, text) in enumerate(lines):
        bare = re.fullmatch(_NUMBER, text)
        if first[place] or last[place] or (bare and int(text) != place):
            raise DataError(f"{path}:{number}: '{text}' has a number, and other lines have none; {_FORM}")
    return [(place, text) for place, (_, text) in enumerate(lines)]


def _only(names, others):
    return _shortened(list((Counter(names) - Counter(others)).elements())) or "nothing"


def _shortened(names):
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
