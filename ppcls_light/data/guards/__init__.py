"""Limits of what a file may ask of a decoder: headers, sizes, scans, memory and time."""
