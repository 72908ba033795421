"""Custom Paddle operators for CPU in C++, compiled on the user's machine.

`training` has those that a training runs on; `runtime.one_operator` runs an exported MicroNet as one of them.
Without a compiler everything runs on Paddle's own operators. Importing this package does not import Paddle.
"""
