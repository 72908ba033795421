"""Paddle without what it says about itself to everybody."""

import os
import warnings


def quiet_paddle() -> None:
    """Leave out what Paddle says about itself to everybody; to be called before Paddle is imported."""
    # Paddle's C++ side warns about its own internals at level 1; errors (2) are still shown.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle looks for ccache at import and tells people who build no extension that they lack it.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
