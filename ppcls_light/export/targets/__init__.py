"""Formats of other runtimes that an export is converted to, each a `Target` in a module of its name."""

from . import litert, mnn, ncnn, openvino

TARGETS = {target.name: target for target in (openvino.TARGET, ncnn.TARGET, mnn.TARGET, litert.TARGET)}
