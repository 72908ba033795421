"""Training as a static graph: `Global.to_static`."""

import paddle
from paddle import nn

from ..errors import ConfigError


class StaticGraph(nn.Layer):
    """A network whose forward pass in training runs as a compiled graph, one for each shape of its input.

    `network` keeps its state dict, evaluates, is copied and exported as ever: only this wrapper is compiled.

    Raises:
        ConfigError: FLAGS_use_mkldnn is on, with which Paddle's compiled backward pass dies of a signal.
    """

    def __init__(self, network):
        super().__init__()
        if paddle.get_flags("FLAGS_use_mkldnn")["FLAGS_use_mkldnn"]:
            raise ConfigError("Global.to_static: Paddle crashes with FLAGS_use_mkldnn; unset that variable")
        self.network = network
        self.forward = paddle.jit.to_static(self.forward, full_graph=True)

    def forward(self, images):
        return self.network(images)
