"""`quiet_paddle`: suppression of Paddle's startup messages."""

import os
import warnings


def quiet_paddle() -> None:
    """Silence Paddle's notices about itself; call it before Paddle is imported."""
    # Paddle's C++ side warns about its own internals at level 1; errors (2) are still shown.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle looks for ccache at import and warns people who build no extension.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
