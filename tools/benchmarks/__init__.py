"""Benchmarks of this project and of others, beside the commands of users; not in the wheel."""
