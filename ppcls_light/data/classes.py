"""`ClassNames`: class names in label order, read from label maps and checked against other sources.

A label is a number, and its meaning a name. The names are read once, from the data (class folders, a label
map, CIFAR's own), go into the checkpoint and from there into the exported folder. Whatever else says names must say
the same ones in the same order: else a class would silently become another.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, Sequence

from ..base.files import StrPath, read_utf8
from ..base.hints import command
from ..base.resources import labels_folder, labels_path
from ..errors import ConfigError, DataError, listed

if TYPE_CHECKING:
    from .image_list import ImageList

# A number that stands apart from a name: "0 cat", "0: cat", "0,cat", "0. cat", "0 - cat", "0 -> cat".
_APART = r"(?:\s*(?:[:;,=|：；，＝｜→]|[-=]>)\s*|[.)]\s+|\s+-\s+|\s+)"
_NUMBER = r"[-+]?\d{1,18}"
# Numbers that may count the classes though they do not stand apart: "1.cat", "(1) cat", "label_1 cat".
_FIRST = re.compile(r"[\W_]*?(\d{1,18})(?![^\W_])")
_ANY = re.compile(r"(?<![^\W_])\d{1,18}(?![^\W_])")
_BULLET = re.compile(r"[-*•]\s+")
_MARK = re.compile(r"[-*•]\s|-{3}|//|[#|<>%;]")
_MOSTLY = 0.7  # of a folder's images
_FORM = "write one 'id name' per line with the ids 0, 1, 2, ..., or a JSON list of names"


@dataclass(frozen=True)
class ClassNames:
    """Names in the order of their labels, and their source.

    An accented letter is one character in a name typed on most systems and two in a folder's name made on macOS; here
    it is always one (Unicode's form NFC).
    """

    names: tuple[str, ...]  # one per class; label 0 is the first
    source: str  # file, folder or key, for messages

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(composed, self.names)))

    def __contains__(self, name: str) -> bool:
        return composed(name) in self.names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, label: int) -> str:
        return self.names[label]

    def require_same(self, other: ClassNames, fix: str) -> None:
        """Raise DataError, with both sources, the first difference and `fix`, for other names or another order."""
        if self.names == other.names:
            return
        if Counter(self.names) == Counter(other.names):
            label = next(i for i, pair in enumerate(zip(self, other)) if pair[0] != pair[1])
            found = (
                f"name the same classes in another order: label {label} is '{self[label]}' in the first and "
                f"'{other[label]}' in the second"
            )
        else:
            only = {"first": _only(self, other), "second": _only(other, self)}
            has = "; ".join(f"only the {which} has {names}" for which, names in only.items() if names)
            found = f"name other classes: {has}"
        raise DataError(f"{self.source} and {other.source} {found}; {fix}")

    def require_order(self, shown: Sequence[str], source: str) -> None:
        """Raise DataError if `shown`, names to show in place of these, show one of these for another."""
        other = ClassNames(tuple(shown), source)
        for label, (own, name) in enumerate(zip(self, other)):
            if name != own and name in self:
                raise DataError(
                    f"{self.source} and {source} name the same classes in another order: label {label} is '{own}' in "
                    f"the first and '{name}' in the second; write the second in the order of the first"
                )

    def labels_of(self, folders: Iterable[str], source: str) -> dict[str, int]:
        """Return {name: label} of the class folders in `source`, which are some of these classes or all.

        Raises DataError: a folder is no class here, or two classes have its name.
        """
        times = Counter(self.names)
        unknown = [name for name in folders if times[composed(name)] != 1]
        if unknown:
            has = (
                "is the name of two classes" if unknown[0] in self else f"is none of the {len(self)} classes"
            )
            raise DataError(
                f"{source}: the class folder '{unknown[0]}' {has} that {self.source} names ({listed(self.names)}); "
                "rename the folder, or move it away; to learn a new class, add it at the end of a label map and "
                "train again"
            )
        label_of = {name: label for label, name in enumerate(self.names)}
        return {folder: label_of[composed(folder)] for folder in folders}

    def check_list(self, images: ImageList) -> None:
        """Raise DataError if a folder in the list is named after one class but has the label of another.

        A list has labels and no names. Where it puts all images of a folder "cat" under a label that is "dog" here,
        it was made for another order of the classes.
        """
        times = Counter(self.names)
        for folder, label in folder_labels(images).items():
            if times[folder] == 1 and label < len(self) and self[label] != folder:
                raise DataError(
                    f"{images.source} gives the images in the folder '{folder}' label {label}, which is "
                    f"'{self[label]}' in {self.source}; make the two agree: {command('lists')} FOLDER "
                    "--labels MAP writes lists by a label map"
                )


def as_class_names(names: ClassNames | Sequence[str] | Mapping[int, str], source: str) -> ClassNames:
    """Return names given in Python as ClassNames; those that are so already keep their own source.

    Raises ConfigError: the ids are not 0 to N - 1.
    """
    if isinstance(names, ClassNames):
        return names
    given = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise ConfigError(
            f"{source}: a list of texts or {{id: text}} names classes, no {type(names).__name__} like this"
        )
    if isinstance(names, dict):
        missing = [label for label in range(len(names)) if label not in names]
        if missing:
            raise ConfigError(
                f"{source}: ids must be 0..{len(names) - 1}, each once; {missing[0]} is missing"
            )
        given = [names[label] for label in range(len(names))]
    return ClassNames(tuple(given), source)


def folder_labels(images: ImageList) -> dict[str, int]:
    """Return {folder: label} of labelled images that stand in one folder per class; {} for others.

    A folder, the last one of an image's path, has the label of most of its images: single ones may be wrong.
    """
    by_folder: dict[str, Counter[int]] = {}
    for (folder, label), count in images.folder_counts().items():
        by_folder.setdefault(composed(folder), Counter())[label] += count
    labels: dict[str, int] = {}
    for folder, counts in by_folder.items():
        ((label, _),) = counts.most_common(1)
        if counts[label] < _MOSTLY * sum(counts.values()):
            return {}
        labels[folder] = label
    return labels if len(set(labels.values())) == len(labels) else {}


def require_same_folders(
    first: Mapping[str, int], first_source: str, second: Mapping[str, int], second_source: str
) -> None:
    """Raise DataError for class folders, {folder: label}, if most that are in both have another label."""
    both = [name for name in first if name in second]
    wrong = [name for name in both if first[name] != second[name]]
    if 2 * len(wrong) > len(both):
        name = wrong[0]
        raise DataError(
            f"{first_source} and {second_source} number the classes differently: the images in folders '{name}' have "
            f"label {first[name]} in the first and {second[name]} in the second; write both lists by one label map: "
            f"{command('lists')} FOLDER --labels MAP"
        )


def read_class_names(path: StrPath, delimiter: str | None = None) -> ClassNames:
    """Read a label map, a file or one of the package (`ppcls_light:labels/NAME.txt`).

    It is a JSON list of names, a JSON object {id: name} or {name: id}, or text with one class per line: "id name",
    "name id" (apart by `delimiter`; None: by white space or one of `: , ; = |`), or the name alone, whose id is the
    line's place from 0. A number that contradicts its place, or stands on some lines only, is refused: nothing is
    guessed.

    Raises DataError: with the line.
    """
    path = labels_path(os.fspath(path))
    text = read_utf8(path).decode()
    lines: list[tuple[int, str]] = []
    if text.lstrip()[:1] in ("[", "{"):
        entries = list(_from_json(path, text).items())
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = _from_lines(path, lines, delimiter)
    if not entries:
        raise _wrong(path, "no class names in this file")
    seen = set()
    for place, (label, _) in enumerate(entries):
        where = f"{path}:{lines[place][0]}" if lines else path
        if label in seen:
            raise _wrong(where, f"class id {label} is given twice")
        if not 0 <= label < len(entries):
            raise _wrong(where, f"class id {label} of {len(entries)} classes")
        seen.add(label)
    return ClassNames(tuple(name for _, name in sorted(entries)), str(path))


def imagenet_names() -> ClassNames:
    """Return the names of ImageNet-1k's 1000 classes: WordNet's synonyms, in the order of ILSVRC 2012."""
    return ClassNames(read_class_names(labels_folder() / "imagenet1k.txt").names, "ImageNet-1k's label list")


def paddleclas_names(path: StrPath) -> ClassNames | None:
    """Return the package's names for a label list of PaddleClas that is not there, as without its checkout; else None.

    Such a list is NAME_label_list.txt: of ImageNet (imagenet1k) and of PULC.
    """
    name = os.path.basename(path)
    own = labels_folder() / name.replace("_label_list", "")
    if os.path.isfile(path) or own.name == name or not own.is_file():
        return None
    if own.stem == "imagenet1k":
        return imagenet_names()
    return ClassNames(read_class_names(own).names, f"the package's {own.stem}")


def _wrong(where: StrPath, problem: str) -> DataError:
    return DataError(f"{where}: {problem}; {_FORM}")


def _from_json(path: StrPath, text: str) -> dict[int, str]:
    """Return {id: name}."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        key, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 0)
        if times > 1:
            raise _wrong(path, f"'{key}' is given twice")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"this begins like JSON but is none ({error})") from None
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(content))
    if isinstance(content, dict):
        by_key = {int(k): v for k, v in content.items() if re.fullmatch(_NUMBER, k) and isinstance(v, str)}
        by_value = [(v, k) for k, v in content.items() if isinstance(v, int) and not isinstance(v, bool)]
        if len(by_key) == len(content):
            return by_key
        if len(by_value) == len(content):
            if len(dict(by_value)) < len(by_value):
                raise _wrong(path, "two names have the same id")
            return dict(by_value)
    raise _wrong(path, "no JSON list of names, {id: name} or {name: id}")


def _from_lines(path: StrPath, lines: list[tuple[int, str]], delimiter: str | None) -> list[tuple[int, str]]:
    """Return the (id, name) of each of the `lines`, (number, text)."""
    lines = _without_bullets(path, lines)
    apart = re.escape(delimiter) if delimiter and delimiter.strip() else _APART
    first = [re.fullmatch(rf'"?({_NUMBER})"?{apart}(.*\S)', text) for _, text in lines]
    last = [re.fullmatch(rf'(.*?\S){apart}"?({_NUMBER})"?', text) for _, text in lines]
    readings = [
        [(int(match[label]), _unquoted(match[3 - label])) for match in matches if match]
        for label, matches in ((1, first), (2, last))
        if all(matches)
    ]
    right = [
        entries for entries in readings if sorted(label for label, _ in entries) == list(range(len(lines)))
    ]
    if len(right) == 2:
        for (number, text), one, other in zip(lines, *right):
            if one[0] != other[0]:
                raise _wrong(f"{path}:{number}", f"'{text}' begins and ends with an id, and they differ")
    if readings:
        return (right or readings)[0]
    numbered = [bool(a or b) for a, b in zip(first, last)]
    if any(numbered):
        if all(numbered):
            here, there = first.index(None), next(place for place, match in enumerate(first) if match)
            differ = "ends with a number", "begins with one"
        else:
            here, there = numbered.index(True), numbered.index(False)
            differ = "has a number", "has none (delete a header line)"
        (number, text), (other, odd) = lines[here], lines[there]
        raise _wrong(f"{path}:{number}", f"'{text}' {differ[0]}, and line {other} '{odd}' {differ[1]}")
    _require_places(path, lines)
    return [(place, _unquoted(text)) for place, (_, text) in enumerate(lines)]


def _without_bullets(path: StrPath, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the lines of a list in YAML or Markdown as names; refuse comments and tables among them."""
    marked = [bool(_MARK.match(text)) for _, text in lines]
    if all(_BULLET.match(text) for _, text in lines):
        return [(number, _BULLET.sub("", text)) for number, text in lines]
    if any(marked) and not (all(marked) and lines[0][1][0] == "#"):
        number, text = lines[marked.index(True)]
        raise _wrong(f"{path}:{number}", f"'{text}' looks like a comment, a list or a table, not like a name")
    return lines


def _require_places(path: StrPath, lines: list[tuple[int, str]]) -> None:
    """Raise an error if numbers within the class names contradict the names' line order from 0."""
    texts, places = [text for _, text in lines], list(range(len(lines)))
    first = [_FIRST.match(text) for text in texts]
    found = [[int(number) for number in _ANY.findall(text)] for text in texts]
    counts = [[int(match[1]) for match in first if match]] if all(first) else []
    if all(found):
        counts += [
            numbers
            for numbers in ([each[0] for each in found], [each[-1] for each in found])
            if sorted(numbers) in (places, [place + 1 for place in places])
        ]
    for numbers in counts:
        wrong = next((place for place in places if numbers[place] != place), None)
        if wrong is not None and len(places) > 1:
            raise _wrong(
                f"{path}:{lines[wrong][0]}",
                f"'{texts[wrong]}' has the number {numbers[wrong]} in the place of {wrong}",
            )


def _unquoted(name: str) -> str:
    """Return a name without the quotes that a table puts around it."""
    name = name.strip()
    return name[1:-1].replace('""', '"') if len(name) > 2 and name[0] == name[-1] == '"' else name


def composed(name: str) -> str:
    """Return a name in the one spelling that `ClassNames` has, Unicode's form NFC."""
    return unicodedata.normalize("NFC", name)


def _only(names: Iterable[str], others: Iterable[str]) -> str:
    return listed((Counter(names) - Counter(others)).elements())
