"""Attributes in words, of the tags of PULC's networks: persons, vehicles, pictures of tables.

The order of the tags is that of their data sets, the words are those of PaddleClas.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ..config.postprocess import PersonAttribute, TableAttribute, VehicleAttribute

_HAT, _GLASSES, _SHORT_SLEEVE, _LONG_SLEEVE, _BOOTS, _HOLDS, _FEMALE = 0, 1, 2, 3, 14, 18, 22
_UPPER = slice(4, 8), ("UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice")
_LOWER = slice(8, 14), ("LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress")
_BAG = slice(15, 18), ("HandBag", "ShoulderBag", "Backpack")
_AGE = slice(19, 22), ("AgeLess18", "Age18-60", "AgeOver60")
_SIDE = slice(23, 26), ("Front", "Side", "Back")
_COLOURS = "yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black"
_TYPES = "sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate"
# Of a table: word above the threshold, and below it.
_TABLE = (
    ("Scanned", "Photo"),
    ("Little", "Numerous"),
    ("Black-and-White", "Multicolor"),
    ("Clear", "Blurry"),
    ("Without-Obstacles", "With-Obstacles"),
    ("Horizontal", "Tilted"),
)


def thresholds(kind: Any) -> np.ndarray:
    """Return the threshold of each tag, float64 (K,), of a kind of attributes."""
    return _KINDS[type(kind)][0](kind)


def present(kind: Any, probs: np.ndarray) -> np.ndarray:
    """Return whether each tag's probability (K,) exceeds its threshold."""
    return probs > thresholds(kind).astype(probs.dtype)


def words(kind: Any, probs: np.ndarray) -> Any:
    """Return the attributes in the tags' probabilities (K,): texts, of a vehicle one text."""
    return _KINDS[type(kind)][1](kind, probs)


def _best(probs: np.ndarray, tags: Tuple[slice, Tuple[str, ...]]) -> str:
    return tags[1][int(probs[tags[0]].argmax())]


def _present(found: np.ndarray, tags: Tuple[slice, Tuple[str, ...]]) -> List[str]:
    return [word for word, there in zip(tags[1], found[tags[0]]) if there]


def _person_thresholds(kind: PersonAttribute) -> np.ndarray:
    numbers = np.full(26, kind.threshold)
    numbers[_GLASSES], numbers[_HOLDS] = kind.glasses_threshold, kind.hold_threshold
    return numbers


def _person(kind: PersonAttribute, probs: np.ndarray) -> List[str]:
    found = present(kind, probs)
    sleeve = "LongSleeve" if probs[_LONG_SLEEVE] > probs[_SHORT_SLEEVE] else "ShortSleeve"
    lower = _present(found, _LOWER) or [_best(probs, _LOWER)]
    return [
        "Female" if found[_FEMALE] else "Male",
        _best(probs, _AGE),
        _best(probs, _SIDE),
        f"Glasses: {found[_GLASSES]}",
        f"Hat: {found[_HAT]}",
        f"HoldObjectsInFront: {found[_HOLDS]}",
        _best(probs, _BAG) if found[_BAG[0]].any() else "No bag",
        " ".join(["Upper:", sleeve, *_present(found, _UPPER)]),
        " ".join(["Lower: ", *lower]),
        "Boots" if found[_BOOTS] else "No boots",
    ]


def _vehicle_thresholds(kind: VehicleAttribute) -> np.ndarray:
    return np.repeat([kind.color_threshold, kind.type_threshold], [len(_COLOURS), len(_TYPES)])


def _vehicle(kind: VehicleAttribute, probs: np.ndarray) -> str:
    parts = []
    for word, names, own, threshold in (
        ("Color", _COLOURS, probs[: len(_COLOURS)], kind.color_threshold),
        ("Type", _TYPES, probs[len(_COLOURS) :], kind.type_threshold),
    ):
        best = int(own.argmax())
        known = own[best] >= np.asarray(threshold, probs.dtype)
        parts.append(
            f"{word}: ({names[best]}, prob: {round(float(own[best]), 5)})" if known else f"{word} unknown"
        )
    return ", ".join(parts)


def _table_thresholds(kind: TableAttribute) -> np.ndarray:
    return np.array(
        [
            kind.source_threshold,
            kind.number_threshold,
            kind.color_threshold,
            kind.clarity_threshold,
            kind.obstruction_threshold,
            kind.angle_threshold,
        ]
    )


def _table(kind: TableAttribute, probs: np.ndarray) -> List[str]:
    return [above if there else below for (above, below), there in zip(_TABLE, present(kind, probs))]


_KINDS: Dict[type, Tuple[Callable[[Any], np.ndarray], Callable[[Any, np.ndarray], Any]]] = {
    PersonAttribute: (_person_thresholds, _person),
    VehicleAttribute: (_vehicle_thresholds, _vehicle),
    TableAttribute: (_table_thresholds, _table),
}
