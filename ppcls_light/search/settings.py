"""Schema of a search file: PaddleClas' keys of its PULC searches, and those of free searches beside them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Literal, Optional, Tuple, Union

from ..config import Config, load_as
from ..config.types import NonNegativeInt, PositiveInt, Sections
from ..errors import ConfigError

# Keys of a training config that the search sets for each trial.
OF_A_TRIAL = ("Global.output_dir", "Global.save_inference_dir", "Global.checkpoints")
_SECTIONS = frozenset(section.name for section in dataclasses.fields(Config))


def override(key: str, value: Any) -> str:
    """Return the text of `-o` that sets `key` to a plain `value`."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


@dataclass
class Searched:
    """Value that is searched for: what is tried, and the keys of the training config that get it."""

    search_key: str  # its name in the table of trials
    replace_config: List[str]  # dotted keys of the training config; all get the same value
    search_values: Optional[List[Any]] = None  # what is tried; in its place random and tpe take low and high
    low: Optional[float] = None  # the least number that is drawn
    high: Optional[float] = None  # the greatest
    log: bool = False  # the logarithm is drawn evenly, as is right for a learning rate

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.search_key):
            raise ConfigError(
                f"search_key: '{self.search_key}' names folders; use letters, digits, '_' and '-'"
            )
        if not self.replace_config:
            raise ConfigError("replace_config is empty; for example [Optimizer.lr.learning_rate]")
        own = next((key for key in self.replace_config if key in OF_A_TRIAL), None)
        if own is not None:
            raise ConfigError(f"replace_config: {own} is that of each trial, set by the search; leave it out")
        if self.search_values is None:
            _ = self.bounds
        elif self.low is not None or self.high is not None or self.log:
            raise ConfigError("search_values and bounds exclude each other; keep the values, or low and high")
        elif not self.search_values:
            raise ConfigError("search_values is empty; for example [0.01, 0.02]")

    @property
    def bounds(self) -> Tuple[float, float]:
        """The numbers low and high. Raises ConfigError: they are none."""
        if self.low is None or self.high is None:
            raise ConfigError("search_values is missing; give a list, or low and high")
        if not self.low < self.high:
            raise ConfigError(f"low: {self.low:g} is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ConfigError(f"low: {self.low:g} has no logarithm; give one above 0, or log: false")
        return self.low, self.high

    def overrides(self, value: Any) -> List[str]:
        """Return the `Section.key=value` texts that give `value` to its keys."""
        return [override(key, value) for key in self.replace_config]

    def examples(self) -> Iterable[tuple[str, Any]]:
        """Yield (key of this section, value) of all values, or of the bounds and one between them."""
        if self.search_values is not None:
            yield from ((f"search_values.{place}", value) for place, value in enumerate(self.search_values))
        else:
            low, high = self.bounds
            yield from (("low", low), ("high", high), ("low", (2 * low + high) / 3))


@dataclass
class TeacherSearch:
    """Teacher of the final distillation."""

    # skl-ugi: the best of `search_values`, trained with what the stages found; udml: the student's own network.
    algorithm: Literal["skl-ugi", "udml"] = "skl-ugi"
    rm_keys: List[str] = field(default_factory=list)  # searched keys that the candidates do not have
    search_values: List[str] = field(default_factory=list)  # names of networks


@dataclass
class SearchConfig(Sections):
    """Keys of a search file."""

    base_config_file: str  # training config that the trials change
    output_dir: str  # folder of the search; each trial has a folder in it
    search_dict: List[Searched]  # values that are searched for
    # stages: one entry of `search_dict` after the other, the best value of each kept; the others draw all entries
    # at once. tpe, a tree-structured Parzen estimator, needs the extra `search`.
    method: Literal["stages", "random", "tpe", "grid"] = "stages"
    trials: Optional[PositiveInt] = None  # of random and tpe; may be raised later
    seed: NonNegativeInt = 0  # of what random and tpe draw
    prune: bool = False  # of random, tpe and grid: ends a trial that is below the median of the others
    search_times: PositiveInt = 1  # trainings of a trial, with one seed each; their mean counts
    # GPUs by number, for example 0,1,2,3: a trial at a time on each. Without effect on CPU.
    gpus: Union[List[NonNegativeInt], NonNegativeInt, str, None] = None
    distill_config_file: Optional[str] = None  # training config of the final distillation
    teacher: Optional[TeacherSearch] = None  # null: no distillation
    # Keys that `distill_config_file` calls otherwise: {as searched: as there}.
    final_replace: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [searched.search_key for searched in self.search_dict]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice:
            raise ConfigError(
                f"search_dict: {f'{twice} is there twice' if twice else 'is empty'}; name each once"
            )
        drawn = self.method in ("random", "tpe")
        bounded = [searched.search_key for searched in self.search_dict if searched.search_values is None]
        if bounded and not drawn:
            raise ConfigError(
                f"method: {self.method} tries lists, and {bounded[0]} has bounds; give search_values, or method: random"
            )
        if drawn and self.trials is None:
            raise ConfigError(f"trials: method {self.method} needs their number; for example trials: 20")
        if not drawn and self.trials is not None:
            raise ConfigError(f"trials: method {self.method} tries all values; leave it out")
        if self.prune and (self.method == "stages" or self.search_times > 1):
            raise ConfigError("prune: is for random, tpe and grid with search_times: 1; leave it out")
        if self.teacher is not None:
            self._check_teacher(self.teacher)
        self.gpu_numbers()

    def _check_teacher(self, teacher: TeacherSearch) -> None:
        if self.method != "stages":
            raise ConfigError(f"teacher: follows stages, and method is {self.method}; leave one of them out")
        if self.distill_config_file is None:
            raise ConfigError(
                "distill_config_file is missing; name the config of the distillation, or leave teacher out"
            )
        if teacher.algorithm == "skl-ugi" and not teacher.search_values:
            raise ConfigError("teacher.search_values is missing; name networks, for example [PPLCNet_x2_5]")

    def gpu_numbers(self) -> List[str]:
        """Return `gpus` as texts of numbers; [] for none. Raises ConfigError: it is something else."""
        if self.gpus is None:
            return []
        given = self.gpus if isinstance(self.gpus, list) else str(self.gpus).split(",")
        numbers = [str(number).strip() for number in given]
        if not all(number.isdecimal() for number in numbers):
            raise ConfigError(f"gpus: expected numbers such as 0,1,2,3, got {self.gpus!r}")
        return numbers

    @property
    def combinations(self) -> Iterable[Dict[str, Any]]:
        """The {search_key: value} of a grid, in the order of the file."""
        lists = [searched.search_values or [] for searched in self.search_dict]
        names = [searched.search_key for searched in self.search_dict]
        return (dict(zip(names, values)) for values in itertools.product(*lists))


def read_search(path: str, overrides: Iterable[str] = ()) -> tuple[SearchConfig, List[str]]:
    """Return the search in the YAML file `path`, and those of the `overrides` that are of the training configs.

    Raises ConfigError: one line with file:line, the dotted path, what was expected and an example.
    """
    pairs = list(overrides)
    of_trainings = [pair for pair in pairs if pair.partition("=")[0].split(".")[0].strip() in _SECTIONS]
    search = load_as(SearchConfig, path, [pair for pair in pairs if pair not in of_trainings])
    for pair in of_trainings:
        if pair.startswith("Global.output_dir"):
            raise ConfigError(
                f"-o {pair}: trials have folders of their own in that of the search; use -o output_dir="
            )
    return search, of_trainings
