"""Report on this machine and environment, for a person and for a bug report: versions, processor, engines, caches.

Nothing here needs a third-party package, and nothing is imported into this process that could end it: what has to be
imported is asked of child processes. The texts have no user name, no home folder, no password and no token.
"""

from .report import Report, examine

__all__ = ["Report", "examine"]
