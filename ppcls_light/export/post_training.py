"""Post-training quantization at export: calibrate, export as int8, and refuse what loses too much top-1."""

import itertools
import logging
import tempfile

import numpy as np

from ..bundle.folder import write_inference_yml
from ..compress import calibrate
from ..errors import ExportError
from ..predict.accuracy import MAX_DROP, Labelled, top1_change
from .export import export_model
from .fold.steps import fold
from .int8 import check_int8
from .static import save_static
from .verify import prepared, served_probs

logger = logging.getLogger(__name__)

_BATCH = 8


def export_calibrated(
    model, folder, image_shape, transform_ops, labelled: Labelled, max_drop=MAX_DROP, **settings
):
    """Export a network trained in float as int8 for Paddle Inference, as `export_model` does.

    Top-1 is that of the two exported graphs in Paddle Inference, int8's and fp32's.

    Args:
        labelled: images that calibrate, and others that score.
        max_drop: percentage points of top-1 that int8 may lose.
        settings: further arguments of `export_model`.

    Returns:
        (ExportReport, Top1Change).

    Raises:
        DeviceError: the processor has no int8.
        ExportError: int8 loses more than `max_drop`, or see `export_model`; `folder` is as it was.
    """
    check_int8(settings.get("onnx", False))
    transform_ops = list(transform_ops)
    quantized = calibrate(model, _batches(prepared(transform_ops, image_shape, labelled.calibration)))
    changes = []

    def check(stage):
        with tempfile.TemporaryDirectory() as scratch:
            own = {"arch": "", "output": "probs", "image_shape": list(image_shape)}
            write_inference_yml(scratch, transform_ops, 1, None, own)
            save_static(fold(model), scratch, image_shape)
            fp32, int8 = (served_probs(where, labelled.scored)["probs"] for where in (scratch, stage))
        change = top1_change(labelled.labels, fp32, int8)
        logger.info("int8, calibrated on %d other images: %s", len(labelled.calibration), change)
        if reason := change.refusal(max_drop):
            raise ExportError(
                f"int8 {reason}; nothing was exported. Train for it (Slim.quant.name=pact), export in fp32, or "
                "allow more"
            )
        changes.append(change)

    report = export_model(
        quantized, folder, image_shape, transform_ops, images=labelled.scored, check=check, **settings
    )
    return report, changes[0]


def _batches(images):
    """Yield the arrays that `images` yields, stacked."""
    while batch := list(itertools.islice(images, _BATCH)):
        yield np.stack(batch)
