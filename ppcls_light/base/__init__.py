"""Files, processes, this machine, tables and pictures; nothing of networks."""
