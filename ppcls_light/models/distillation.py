"""Knowledge distillation: a student network and its teachers, run on the same batch.

Sources: Hinton et al., arXiv 1503.02531 (teacher and student); Cui et al., arXiv 2103.05959 (SSLD, PaddleClas'
recipe); Zhang et al., arXiv 1706.00384 (mutual learning: nobody is frozen). The config is PaddleClas'
`DistillationModel`; state-dict keys are `<name>.<key of that network>`, as there.
"""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import Collection, Dict, List, Mapping, Tuple, Union

import paddle
from paddle import Tensor, nn

from .embedding import classifier
from .features import LOGITS, logits_and_features
from .stages import Frozen

Outputs = Union[Tensor, Dict[str, Tensor]]  # of a network: its logits, or by key with its features


class DistillationModel(nn.Layer):
    """Several `networks` by name on one input (N, 3, H, W).

    In training the output is {name: logits (N, K)}; in evaluation it is the logits of the network called
    `infer_model_name` alone, the student, so that scoring and exporting need not know of the others. Those that are
    `frozen` do not learn: they are in eval mode even while the others train, compute without gradients, and their
    parameters have `stop_gradient`.

    `embedding_sizes` {teacher: D} adds for each a linear map of the student's pooled features, those that its
    classifier takes. In training the output has their results (N, D), too, under `mapped_name`.

    `features` {name: {key: layer}} are outputs of layers inside a network that are wanted in training: its value in the
    output is then {"logits": logits, key: output of the layer}.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Layer],
        frozen: Collection[str] = (),
        infer_model_name: str = "Student",
        embedding_sizes: Mapping[str, int] = MappingProxyType({}),
        features: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self._names = list(networks)
        self.frozen = frozenset(frozen)
        self.infer_model_name = infer_model_name
        self._layers = {name: dict(layers) for name, layers in features.items() if layers}
        for name, network in networks.items():
            self.add_sublayer(name, network)
        self._teachers = Frozen.whole(networks[name] for name in self.frozen)
        self._teachers.freeze()
        self._teachers.hold()
        self._maps = {name: mapped_name(infer_model_name, name) for name in embedding_sizes}
        self._pooled: List[Tensor] = []  # features of the pass at hand
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
            self._pooled.append(inputs[0])

    def train(self) -> None:
        super().train()
        self._teachers.hold()

    def forward(self, images: Tensor) -> Union[Tensor, Dict[str, Outputs]]:
        if not self.training:
            return self.student(images)
        outputs: Dict[str, Outputs] = {}
        for name in self._names:
            with paddle.no_grad() if name in self.frozen else contextlib.nullcontext():
                outputs[name] = self._outputs_of(name, images)
        if self._maps:
            pooled = self._pooled.pop()
            for name in self._maps.values():
                outputs[name] = self._sub_layers[name](pooled)
        return outputs

    def _outputs_of(self, name: str, images: Tensor) -> Outputs:
        network = self._sub_layers[name]
        if name not in self._layers:
            return network(images)
        return logits_and_features(network, images, self._layers[name])

    @property
    def student(self) -> nn.Layer:
        """The network called `infer_model_name`: the one that is evaluated, exported and kept."""
        return self._sub_layers[self.infer_model_name]


def logits_of(outputs: Outputs) -> Tensor:
    """Return the logits among the outputs of a network."""
    return outputs[LOGITS] if isinstance(outputs, dict) else outputs


def mapped_name(student: str, teacher: str) -> str:
    """Return the name of the student's features as they are mapped to the embeddings of `teacher`."""
    return f"{student}_to_{teacher}"
