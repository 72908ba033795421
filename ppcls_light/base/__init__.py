"""Utilities without neural networks: files, subprocesses, machine properties, timing, tables and plots."""
