import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def apply_repeatably():
    """Apply an op to a photo and check that size and type stay, and that array and PIL image come out alike."""

    def apply(op, photo, seed):
        out = op(photo, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == photo.shape
        assert np.array_equal(out, op(photo, np.random.default_rng(seed)))
        pil = op(Image.fromarray(photo), np.random.default_rng(seed))
        assert isinstance(pil, Image.Image)
        assert np.array_equal(np.asarray(pil), out)
        return out

    return apply
