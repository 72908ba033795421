"""The ops of an exported bundle."""

import numpy as np
import pytest

from ppcls_light.bundle.folder import split_decode
from ppcls_light.data import build_transforms


@pytest.mark.parametrize(
    ("ops", "names"),
    [
        ([("DecodeImage", None), ("NormalizeImage", {"order": ""})], ["NormalizeImage", "ToCHWImage"]),
        (
            [("Resize", {"size": 32}), ("ToTensor", None), ("Normalize", None)],
            ["Resize", "ToTensor", "Normalize"],
        ),
        ([("ToTensor", {"data_format": "HWC"})], ["ToTensor", "ToCHWImage"]),
    ],
)
def test_the_result_is_transposed_exactly_once(ops, names):
    _, rest = split_decode(ops)
    assert [op.name for op in rest] == names
    assert build_transforms(rest)(np.zeros((40, 60, 3), np.uint8)).shape[0] == 3
