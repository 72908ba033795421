"""Knowledge distillation: a student network and its teachers, run on the same batch.

Sources: Hinton et al., arXiv 1503.02531 (teacher and student); Cui et al., arXiv 2103.05959 (SSLD, PaddleClas'
recipe); Zhang et al., arXiv 1706.00384 (mutual learning: nobody is frozen). The config is PaddleClas'
`DistillationModel`; state-dict keys are `<name>.<key of that network>`, as there.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Collection, Dict, List, Mapping, Tuple, Union

import paddle
from paddle import Tensor, nn

from .embedding import classifier
from .stages import Frozen


class DistillationModel(nn.Layer):
    """Several `networks` by name on one input (N, 3, H, W).

    In training the output is {name: logits (N, K)}; in evaluation it is the logits of the network called
    `infer_model_name` alone, the student, so that scoring and exporting need not know of the others. Those that are
    `frozen` do not learn: they are in eval mode even while the others train, compute without gradients, and their
    parameters have `stop_gradient`.

    `embedding_sizes` {teacher: D} adds for each a linear map of the student's pooled features, those that its
    classifier takes. In training the output has their results (N, D), too, under `mapped_name`.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Layer],
        frozen: Collection[str] = (),
        infer_model_name: str = "Student",
        embedding_sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self._names = list(networks)
        self.frozen = frozenset(frozen)
        self.infer_model_name = infer_model_name
        for name, network in networks.items():
            self.add_sublayer(name, network)
        self._teachers = Frozen.whole(networks[name] for name in self.frozen)
        self._teachers.freeze()
        self._teachers.hold()
        self._maps = {name: mapped_name(infer_model_name, name) for name in embedding_sizes}
        self._features: List[Tensor] = []  # of the pass at hand
        if embedding_sizes:
            head = classifier(self.student)
            head.register_forward_pre_hook(self._keep)
            for name, size in embedding_sizes.items():
                # Zeros answer the mean of the embeddings; random weights would begin far from all of them.
                zeros = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
                width = head.weight.shape[0]
                self.add_sublayer(self._maps[name], nn.Linear(width, size, weight_attr=zeros))

    def _keep(self, head: nn.Layer, inputs: Tuple[Tensor, ...]) -> None:
        if self.training:
            self._features.append(inputs[0])

    def train(self) -> None:
        super().train()
        self._teachers.hold()

    def forward(self, images: Tensor) -> Union[Tensor, Dict[str, Tensor]]:
        if not self.training:
            return self.student(images)
        logits = {}
        for name in self._names:
            network = self._sub_layers[name]
            if name in self.frozen:
                with paddle.no_grad():
                    logits[name] = network(images)
            else:
                logits[name] = network(images)
        if self._maps:
            features = self._features.pop()
            for name in self._maps.values():
                logits[name] = self._sub_layers[name](features)
        return logits

    @property
    def student(self) -> nn.Layer:
        """The network called `infer_model_name`: the one that is evaluated, exported and kept."""
        return self._sub_layers[self.infer_model_name]


def mapped_name(student: str, teacher: str) -> str:
    """Return the name of the student's features as they are mapped to the embeddings of `teacher`."""
    return f"{student}_to_{teacher}"
