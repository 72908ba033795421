"""Division of a network into stem, stages, neck and head, and layers that do not learn.

A family's file says what its stem and stages are (`family.Family.stages`).
"""

from __future__ import annotations

from typing import Iterable, List, Literal, Union

from paddle import Tensor, nn

from ..errors import ConfigError
from ..registry import MODELS
from .family import Family


class Stages:
    """Parts of a network of `create_model`, numbered in the order of the image's way.

    0 is the stem, 1 to `count` are the stages, `neck` is what comes after the last of them and before the classifier
    (PP-LCNet's `last_conv`, EdgeNeXt's last norm), `head` the classifier.
    """

    def __init__(self, model: nn.Layer) -> None:
        family: Family = MODELS.get(model.model_name).family
        self._prefixes = family.stages(model)
        self._head = tuple({f"{key.rpartition('.')[0]}." for key in model.head_keys})
        self._model = model
        self.count = len(self._prefixes) - 1
        self.neck, self.head = self.count + 1, self.count + 2
        # Names of the layers whose outputs are those of the stages.
        self.last_layers = [own[-1].rstrip(".") for own in self._prefixes[1:]]

    def number(self, key: str) -> int:
        """Return the number of the part that a key of the state dict belongs to."""
        if key.startswith(self._head):
            return self.head
        return next((n for n, own in enumerate(self._prefixes) if key.startswith(own)), self.neck)

    def first(self, parts: Union[Literal["stem", "backbone"], int]) -> Frozen:
        """Return the first parts of the network, to be frozen: "stem", "backbone" or a number of stages.

        "backbone" is all but the classifier and the dropout before it, a number N the stem and the first N stages.

        Raises ConfigError: the network has fewer stages.
        """
        last = parts if isinstance(parts, int) else {"stem": 0, "backbone": self.neck}[parts]
        if isinstance(parts, int) and last > self.count:
            raise ConfigError(
                f"{self._model.model_name} has {self.count} stages, not {parts}; use {self.count} for the stem and all "
                "of them, or backbone for all but the classifier"
            )
        numbers = {key: self.number(key) for key in self._model.state_dict()}
        inside = tuple(prefix for own in self._prefixes[: last + 1] for prefix in own)

        def is_frozen(name: str) -> bool:
            if name.startswith(inside):
                return True
            own = [number for key, number in numbers.items() if key.startswith(name)]
            return bool(own) and max(own) <= last

        return Frozen(
            [layer for name, layer in self._model.named_sublayers() if is_frozen(f"{name}.")],
            [parameter for key, parameter in self._model.named_parameters() if numbers[key] <= last],
        )


class Frozen:
    """Layers that do not learn: in eval mode, so that their batch norms keep their statistics, and without gradients.

    `parameters` are those of them that would learn otherwise.
    """

    def __init__(self, layers: Iterable[nn.Layer], parameters: Iterable[Tensor]) -> None:
        self.layers: List[nn.Layer] = list(layers)
        self.parameters = [parameter for parameter in parameters if not parameter.stop_gradient]

    @classmethod
    def whole(cls, networks: Iterable[nn.Layer]) -> Frozen:
        """Return all layers of `networks`."""
        frozen = cls([], [])
        for network in networks:
            frozen += cls(network.sublayers(include_self=True), network.parameters())
        return frozen

    def __add__(self, other: Frozen) -> Frozen:
        return Frozen([*self.layers, *other.layers], [*self.parameters, *other.parameters])

    def freeze(self) -> None:
        """Compute no gradients for the parameters from now on; `hold` is to be called, too."""
        for parameter in self.parameters:
            parameter.stop_gradient = True

    def thaw(self) -> None:
        """Compute gradients again; the mode of the layers is left to their network's `train`."""
        for parameter in self.parameters:
            parameter.stop_gradient = False

    def hold(self) -> None:
        """Put the layers into eval mode; a network's `train` takes all of its layers out of it."""
        for layer in self.layers:
            layer.training = False
