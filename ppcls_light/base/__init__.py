"""Tools that know nothing of networks: files, processes, this machine, tables and pictures."""
