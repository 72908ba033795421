"""OpenCV, imported when it is first needed.

Pillow's way from a file to the network needs none of it; the import takes 17 ms, and 20 MiB per process.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from .guards.limits import MAX_PIXELS

_one_thread = False


@functools.cache
def opencv() -> Any:
    """Return the module cv2, None where it is not installed."""
    # Its own bound is 6 times as high; it reads this one as it loads.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    try:
        import cv2
    except ImportError:
        return None
    if _one_thread:
        cv2.setNumThreads(0)
    return cv2


def loaded_opencv() -> Any:
    """Return the module cv2 where something has imported it already, else None."""
    return sys.modules.get("cv2") and opencv()


def use_one_thread() -> None:
    """Have OpenCV do each image in the thread that calls it: where images are shared out, its own threads only wait."""
    global _one_thread
    _one_thread = True
    if (cv2 := loaded_opencv()) is not None:
        cv2.setNumThreads(0)
