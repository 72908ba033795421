"""Knowledge distillation: a student network and its teachers, run on the same batch.

Sources: Hinton et al., arXiv 1503.02531 (teacher and student); Cui et al., arXiv 2103.05959 (SSLD, PaddleClas'
recipe); Zhang et al., arXiv 1706.00384 (mutual learning: nobody is frozen). The config is PaddleClas'
`DistillationModel`; state-dict keys are `<name>.<key of that network>`, as there.
"""

from __future__ import annotations

from typing import Collection, Dict, Mapping, Union

import paddle
from paddle import Tensor, nn

from .stages import Frozen


class DistillationModel(nn.Layer):
    """Several `networks` by name on one input (N, 3, H, W).

    In training the output is {name: logits (N, K)}; in evaluation it is the logits of the network called
    `infer_model_name` alone, the student, so that scoring and exporting need not know of the others. Those that are
    `frozen` do not learn: they are in eval mode even while the others train, compute without gradients, and their
    parameters have `stop_gradient`.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Layer],
        frozen: Collection[str] = (),
        infer_model_name: str = "Student",
    ) -> None:
        super().__init__()
        self.frozen = frozenset(frozen)
        self.infer_model_name = infer_model_name
        for name, network in networks.items():
            self.add_sublayer(name, network)
        self._teachers = Frozen.whole(networks[name] for name in self.frozen)
        self._teachers.freeze()
        self._teachers.hold()

    def train(self) -> None:
        super().train()
        self._teachers.hold()

    def forward(self, images: Tensor) -> Union[Tensor, Dict[str, Tensor]]:
        if not self.training:
            return self.student(images)
        logits = {}
        for name, network in self._sub_layers.items():
            if name in self.frozen:
                with paddle.no_grad():
                    logits[name] = network(images)
            else:
                logits[name] = network(images)
        return logits

    @property
    def student(self) -> nn.Layer:
        """The network called `infer_model_name`: the one that is evaluated, exported and kept."""
        return self._sub_layers[self.infer_model_name]
