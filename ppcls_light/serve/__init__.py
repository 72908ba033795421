"""An exported folder over HTTP: the extra `serving`; `deploy/serving/server.py` starts it."""
