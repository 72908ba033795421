"""HTTP server for an exported folder; `deploy/serving/server.py` starts it (extra `serving`)."""
