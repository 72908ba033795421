"""Operators of the project's own for the CPU, compiled on the user's machine: custom operators of Paddle.

`training` has those that a training runs on; `runtime.one_operator` runs an exported MicroNet as one of them.
Without a compiler everything runs on Paddle's own operators. Importing this package does not import Paddle.
"""
