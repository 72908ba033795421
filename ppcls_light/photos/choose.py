"""Choice of a training on photos: the weights to start from, the network that is fast enough, and its numbers."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any, Callable, Iterator, NamedTuple

from ..config import load_config
from ..engine import distributed
from ..engine.log import silence
from ..engine.time_budget import measure
from ..errors import ConfigError
from ..registry import MODELS
from ..weights.cache import NotFetchedError
from ..weights.pretrained import local_file
from ..weights.published import list_pretrained, training, training_names
from .plan import Plan, Speed, plan
from .recipe import PRETRAINED, SCRATCH, Choice, Lists, Recipe, batch_size_for, sections_of

_LEAST_SIZE = 32
_SAVES = 3  # of an epoch, at most: before and after its evaluation, and when that is the best
Say = Callable[[str], object]


class Wishes(NamedTuple):
    """Settings of the command; None is for the plan to decide."""

    minutes: float = 10.0
    network: str | None = None
    size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    weights: str | None = None
    scratch: bool = False
    seed: int = 0

    def checked(self) -> Wishes:
        """Return the wishes with the network's own spelling. Raises ConfigError: one of them cannot be."""
        kinds = {
            "minutes": Real,
            "size": Integral,
            "epochs": Integral,
            "batch_size": Integral,
            "seed": Integral,
        }
        for name, kind in kinds.items():
            value = getattr(self, name)
            given = value is not None or self._field_defaults[name] is not None
            if given and (isinstance(value, bool) or not isinstance(value, kind)):
                raise ConfigError(
                    f"{_option(name)} {value!r} is no {'' if kind is Real else 'whole '}number; give one, or none"
                )
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ConfigError(f"--minutes {self.minutes:g} is not above 0; for example --minutes 10")
        least = {"size": _LEAST_SIZE, "epochs": 1, "batch_size": 1, "seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ConfigError(f"{_option(name)} {value} is below {bound}; leave it out, or give more")
        if self.weights is not None and not isinstance(self.weights, str):
            raise ConfigError(f"--weights {self.weights!r} is no text; give the path of a file, or a name")
        if self.weights == "":
            raise ConfigError("--weights is empty; give a file, or leave it out")
        if self.scratch and self.weights:
            raise ConfigError("--scratch starts from random weights, --weights from a file; give one of them")
        return self if self.network is None else self._replace(network=MODELS.canonical(self.network))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class Start(NamedTuple):
    """Start of a training: a recipe, the weights that were given, and whether published ones are taken."""

    recipe: Recipe
    given: str | None = None
    published: bool = False

    def weights(self, network: str) -> str | None:
        """Return `Arch.pretrained` of a network, None for random weights. Raises NotFetchedError, WeightsError."""
        return _published(network) if self.published else self.given

    def networks(self, wishes: Wishes) -> Iterator[tuple[str, int]]:
        """Yield the (network, pixels) that may be taken, the best first."""
        best, _ = self.recipe.networks[0]
        sizes = list(dict.fromkeys(size for _, size in self.recipe.networks))
        if wishes.network or self.given:
            pairs = [(wishes.network or best, size) for size in sizes]
        else:
            pairs = list(self.recipe.networks)
        if wishes.size:
            pairs = [(network, wishes.size) for network in dict.fromkeys(network for network, _ in pairs)]
        yield from pairs


def start_of(wishes: Wishes, say: Say) -> Start:
    """Return what to start from: published weights, or random ones, which is said, where those cannot be had.

    Raises WeightsError: the weights that were asked for are not there.
    """
    network = wishes.network or PRETRAINED.networks[0][0]
    if wishes.scratch:
        return Start(SCRATCH)
    if wishes.weights:
        named = "://" in wishes.weights or wishes.weights in training_names()
        local_file(wishes.weights, network)
        return Start(PRETRAINED, wishes.weights if named else os.path.abspath(wishes.weights))
    if not list_pretrained(network):
        say(
            f"NOTE: nobody published weights of {network}: starting from random ones, which need more photos and time"
        )
        return Start(SCRATCH)
    try:
        name = _published(network)
    except NotFetchedError as problem:
        say(
            "NOTE: starting from RANDOM weights, which know nothing yet and need many more photos; those of ImageNet "
            f"cannot be had here:\n  {problem}, or give it by --weights FILE"
        )
        return Start(SCRATCH)
    say(f"weights: {network} {name}, trained on ImageNet")
    return Start(PRETRAINED, published=True)


def _published(network: str) -> str:
    """Return the name of the published training to start from, whose file is on this machine then."""
    rows = list_pretrained(network)
    name = next((row.name for row in rows if row.name == "ssld"), training(network).name)
    local_file(name, network)
    return name


def choose(
    wishes: Wishes, start: Start, lists: Lists, out: str, seconds: Callable[[], float], say: Say
) -> Choice:
    """Return the training that fits into the `seconds` that are left when it begins.

    With `--epochs` nothing is measured: the best network is taken.

    Raises ConfigError: not even one epoch fits; the batch exceeds the photos.
    """
    batch_size = wishes.batch_size or batch_size_for(lists.images)
    if batch_size > lists.images:
        raise ConfigError(
            f"--batch-size {batch_size} exceeds the {lists.images} photos to learn; leave it out"
        )

    def choice(network: str, size: int, epochs: int) -> Choice:
        return Choice(network, size, start.weights(network), batch_size, epochs, wishes.seed)

    networks = list(start.networks(wishes))
    if wishes.epochs:
        return choice(*networks[0], wishes.epochs)
    speeds: list[Speed] = []
    for network, size in networks:
        try:
            trial = sections_of(start.recipe, lists, choice(network, size, 1), out)
        except NotFetchedError:  # the weights of a smaller network, when those of the first one are there
            continue
        speeds.append(_speed(trial, wishes.minutes))
        say(f"speed: {network} at {size} pixels learns {1 / speeds[-1].photo:,.1f} photos/s")
        best = plan(start.recipe, lists.images, speeds, seconds())
        if best.enough:
            break
    _require_epochs(best, speeds, lists.images, wishes, seconds())
    return choice(best.network, best.size, best.epochs)


def _speed(sections: dict[str, Any], minutes: float) -> Speed:
    """Time a training of these sections, which is thrown away."""
    settings = {key: value for key, value in sections["Global"].items() if key != "epochs"}
    config = load_config({**sections, "Global": {**settings, "minutes": minutes}})
    runtime = distributed.start(config.Global.device)
    with silence():
        _, costs = measure(config, runtime)
    photos = sections["DataLoader"]["Train"]["sampler"]["batch_size"]
    network, size = sections["Arch"]["name"], config.Global.image_shape[-1]
    return Speed(network, size, costs.batch / photos, costs.evaluation + _SAVES * costs.save)


def _require_epochs(best: Plan, speeds: list[Speed], photos: int, wishes: Wishes, seconds: float) -> None:
    if best.epochs:
        return
    fastest = min(speeds, key=lambda speed: speed.epoch(photos))
    needed = (fastest.epoch(photos) + 60 * wishes.minutes - max(seconds, 0)) / 60
    raise ConfigError(
        f"--minutes {wishes.minutes:g} is too short: check and measuring included, one epoch of the {photos:,} photos "
        f"needs {needed:.2g} ({fastest.network} at {fastest.size} pixels); give --minutes {2 * needed:.2g}, a smaller "
        "--network or a smaller --size"
    )
