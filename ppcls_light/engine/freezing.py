"""Parts of a training's networks that do not learn, always or at first."""

from __future__ import annotations

from paddle import nn

from ..config import Config
from ..config.bind import located
from ..errors import ConfigError
from ..models.stages import Frozen, Stages
from .log import LOGGER


class Freezing:
    """Parts of `model` that do not learn: by `Arch.freeze` never, by `Global.head_epochs` not in the first epochs.

    What learns is a function of the epoch. In a distillation each network that learns has its own `freeze`, and
    `head_epochs` is for all of them. Frozen parts come before those that learn, so that a forward pass through them
    records nothing for gradients.

    Raises ConfigError: a network has fewer stages, or frozen weights would be random ones, as in a run that neither
    `resumes` nor names weights.
    """

    def __init__(self, config: Config, model: nn.Layer, resumes: bool = False) -> None:
        settings = config.Global
        self.head_epochs, self._epochs = settings.head_epochs, settings.epochs
        self._all = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
        self._always, self._at_first = Frozen([], []), Frozen([], [])
        for name, arch in config.Arch.learning.items():
            stages = Stages(getattr(model, name) if name else model)
            key = "Global.head_epochs" if self.head_epochs else f"{config.Arch.path_of(name)}.freeze"
            with located(config.where(key), key):
                has_weights = resumes or settings.pretrained_model or config.Arch.weights_of(name)
                if (self.head_epochs or arch.freeze) and not has_weights:
                    raise ConfigError(
                        "there are no weights to start from, and frozen ones would be random; add "
                        "-o Global.pretrained_model=FILE, or leave this out"
                    )
                if arch.freeze:
                    self._always += stages.first(arch.freeze)
                if self.head_epochs:
                    self._at_first += stages.first("backbone")
        self._current = self._told = self._always
        self.release()
        if self._always.layers:
            LOGGER.info("Arch.freeze: %s", self._described())
        if self.head_epochs >= settings.epochs:
            LOGGER.warning(
                "Global.head_epochs %d: the head alone learns in all %d epochs; use fewer, or Arch.freeze: backbone",
                *(self.head_epochs, settings.epochs),
            )

    @property
    def is_temporary(self) -> bool:
        """True while parts are frozen that will learn later."""
        return self._current is not self._always

    @property
    def learned(self) -> int:
        """Numbers that learn now."""
        return sum(parameter.size for parameter in self._all if not parameter.stop_gradient)

    def release(self) -> None:
        """Let everything learn that will learn at last."""
        self._switch(self._always)

    def set(self, epoch: int) -> None:
        """Let learn what learns in `epoch`, counted from 0, and put the rest into eval mode.

        To be called after a network's `train`, which takes all layers out of that mode.
        """
        wanted = self._at_first if epoch < self.head_epochs else self._always
        if wanted is not self._current:
            self._switch(wanted)
        if wanted is not self._told and epoch < self._epochs:  # a finished run saves as what comes next
            self._told = wanted
            first = "epoch 1" if self.head_epochs == 1 else f"epochs 1 to {self.head_epochs}"
            since = first if self.is_temporary else f"from epoch {epoch + 1} on"
            LOGGER.info("Global.head_epochs: %s: %s", since, self._described())
        wanted.hold()

    def _switch(self, wanted: Frozen) -> None:
        self._current.thaw()
        wanted.freeze()
        self._current = wanted

    def _described(self) -> str:
        total = sum(parameter.size for parameter in self._all)
        return f"{self.learned:,} of {total:,} parameters learn, {total - self.learned:,} are frozen"
