"""Schema of the kinds of answers: what a row says of an image, made of its probabilities.

`prediction/postprocess.py` makes the rows.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Callable, Dict, List, Literal, NamedTuple, Optional, Tuple, Union, get_args

from ..errors import ConfigError
from .types import NonNegativeInt, PositiveInt, Probability

_MIDDLE = 0.5  # the threshold where nothing else is said


@dataclass
class Topk:
    """The k best classes of an image."""

    name: Literal["Topk"] = "Topk"
    topk: PositiveInt = 5
    class_id_map_file: Optional[str] = None  # a [label map](#classes); null: the names in the checkpoint
    delimiter: Optional[str] = None  # between id and name
    label_list: Optional[List[str]] = None  # the names in order, in place of a file


@dataclass
class ThreshOutput:
    """One class of an image, by a threshold.

    Of two classes it is class 1 if its probability reaches the threshold, else class 0. Of more it is the best one if
    its probability exceeds the threshold, else `default_label_index`.
    """

    name: Literal["ThreshOutput"] = "ThreshOutput"
    threshold: Optional[Probability] = None  # null: the [chosen](thresholds.md) one, or 0.5
    label_0: Optional[str] = None  # of two classes, the name that is shown for class 0; null: its own
    label_1: Optional[str] = None
    default_label_index: NonNegativeInt = 0
    class_id_map_file: Optional[str] = None  # a [label map](#classes); null: the names in the checkpoint
    delimiter: Optional[str] = None  # between id and name
    label_list: Optional[List[str]] = None  # the names in order, in place of a file

    def __post_init__(self) -> None:
        if (self.label_0 is None) != (self.label_1 is None):
            missing = "label_0" if self.label_0 is None else "label_1"
            raise ConfigError(f"{missing} is missing; give both names, for example {missing}: nobody")
        if self.label_0 is not None and self.label_0 == self.label_1:
            raise ConfigError(f"label_0 and label_1 are both {self.label_0}; give two names")

    @property
    def limit(self) -> float:
        """The threshold that counts."""
        return _MIDDLE if self.threshold is None else self.threshold

    @property
    def labels(self) -> Optional[Tuple[str, str]]:
        """Names that are shown for classes 0 and 1, None where the classes' own are."""
        return None if self.label_0 is None or self.label_1 is None else (self.label_0, self.label_1)


@dataclass
class MultiLabelThreshOutput:
    """All tags of an image whose probability reaches the threshold."""

    name: Literal["MultiLabelThreshOutput"] = "MultiLabelThreshOutput"
    # or one for each tag; null: the [chosen](thresholds.md) ones, or 0.5
    threshold: Union[Probability, List[Probability], None] = None
    class_id_map_file: Optional[str] = None  # a [label map](#classes); null: the names in the checkpoint
    delimiter: Optional[str] = None  # between id and name
    label_list: Optional[List[str]] = None  # the names in order, in place of a file

    @property
    def limit(self) -> Union[float, List[float]]:
        """The threshold that counts, or one for each tag."""
        return _MIDDLE if self.threshold is None else self.threshold


@dataclass
class PersonAttribute:
    """Attributes of a pedestrian, of the 26 tags of PULC person_attribute (PA100K)."""

    name: Literal["PersonAttribute"] = "PersonAttribute"
    threshold: Probability = 0.5
    glasses_threshold: Probability = 0.3
    hold_threshold: Probability = 0.6  # of an object held in front

    class_id_map_file = "ppcls_light:labels/pedestrian_attribute.txt"  # without annotation: no key


@dataclass
class VehicleAttribute:
    """Colour and type of a vehicle, of the 19 tags of PULC vehicle_attribute (VeRi)."""

    name: Literal["VehicleAttribute"] = "VehicleAttribute"
    color_threshold: Probability = 0.5  # below it the colour is unknown
    type_threshold: Probability = 0.5

    class_id_map_file = "ppcls_light:labels/vehicle_attribute.txt"


@dataclass
class TableAttribute:
    """Attributes of a picture of a table, of the 6 tags of PULC table_attribute.

    Each has its own threshold; PaddleClas compares obstruction and angle with `number_threshold` in the text.
    """

    name: Literal["TableAttribute"] = "TableAttribute"
    source_threshold: Probability = 0.5
    number_threshold: Probability = 0.5
    color_threshold: Probability = 0.5
    clarity_threshold: Probability = 0.5
    obstruction_threshold: Probability = 0.5
    angle_threshold: Probability = 0.5

    class_id_map_file = "ppcls_light:labels/table_attribute.txt"


@dataclass
class ScoreOutput:
    """The numbers that the network gives, rounded."""

    name: Literal["ScoreOutput"] = "ScoreOutput"
    decimal_places: NonNegativeInt = 2


PostProcess = Union[
    Topk,
    ThreshOutput,
    MultiLabelThreshOutput,
    PersonAttribute,
    VehicleAttribute,
    TableAttribute,
    ScoreOutput,
]
Kind = Literal[
    "Topk",
    "ThreshOutput",
    "MultiLabelThreshOutput",
    "PersonAttribute",
    "VehicleAttribute",
    "TableAttribute",
    "ScoreOutput",
]
KINDS: Dict[Kind, Callable[..., PostProcess]] = {cls.__name__: cls for cls in get_args(PostProcess)}
# Number of tags by kind; those of others are free.
TAGS = {PersonAttribute: 26, VehicleAttribute: 19, TableAttribute: 6}
OF_TAGS = (MultiLabelThreshOutput, *TAGS)
_NAMES = "class_id_map_file", "delimiter", "label_list"


def default_kind(multilabel: bool) -> PostProcess:
    """Return the kind of answer where none is given: of tags, or of one class per image."""
    return MultiLabelThreshOutput() if multilabel else Topk()


class LabelMap(NamedTuple):
    """Names that a kind of answers is given, by a file or in a list; None where they are those of the network."""

    file: Optional[str]
    delimiter: Optional[str]
    names: Optional[List[str]]


def label_map(kind: PostProcess) -> LabelMap:
    """Return the names that `kind` is given."""
    return LabelMap(*(getattr(kind, key, None) for key in _NAMES))


def bare(kind: PostProcess) -> PostProcess:
    """Return `kind` without its names, which an exported folder has elsewhere."""
    names: Dict[str, Any] = {each.name: None for each in fields(kind) if each.name in _NAMES}
    return replace(kind, **names)


def check_network(kind: PostProcess, class_num: int, multilabel: Optional[bool] = None) -> None:
    """Raise ConfigError, beginning with the key, where a network of `class_num` classes cannot answer in this `kind`.

    `multilabel`: its classes are tags; None where that is not known.
    """
    if isinstance(kind, OF_TAGS) and multilabel is False:
        raise ConfigError(
            f"name: {kind.name} is of tags, and this network has one class per image; use Topk or ThreshOutput, or "
            "train with -o Global.use_multilabel=true"
        )
    if isinstance(kind, ThreshOutput) and multilabel:
        raise ConfigError(
            "name: ThreshOutput is of one class per image, and this network has tags (Global.use_multilabel); use "
            "MultiLabelThreshOutput"
        )
    if class_num != TAGS.get(type(kind), class_num):
        raise ConfigError(
            f"name: {kind.name} is of {TAGS[type(kind)]} tags, and the network has {class_num} classes; use "
            "MultiLabelThreshOutput, or a network with so many"
        )
    if isinstance(kind, ThreshOutput) and kind.default_label_index >= class_num:
        raise ConfigError(
            f"default_label_index: {kind.default_label_index} is none of the classes 0 to {class_num - 1}; give one"
        )
    if isinstance(kind, ThreshOutput) and kind.labels and class_num != 2:
        raise ConfigError(
            f"label_0: it names one of two classes, and the network has {class_num}; use class_id_map_file"
        )
    names = label_map(kind)
    if names.names is not None and (names.file or len(names.names) != class_num):
        problem = f"{len(names.names)} names, and the network has {class_num} classes; give one for each"
        raise ConfigError(
            f"label_list: {'class_id_map_file is given, too; keep one' if names.file else problem}"
        )
    numbers = getattr(kind, "threshold", None)
    if isinstance(numbers, list) and isinstance(kind, ThreshOutput):
        raise ConfigError(f"threshold: {numbers} is of tags, and {kind.name} has one number; give one")
    if isinstance(numbers, list) and len(numbers) != class_num:
        raise ConfigError(
            f"threshold: {len(numbers)} numbers, and the network has {class_num} tags; give one number, or one for each"
        )
