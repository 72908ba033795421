"""Custom Paddle operators for CPU in C++, compiled on the user's machine.

`training` has those that a training runs on; without a compiler it runs on Paddle's own. `network` runs an exported
network by a library of its own, without Paddle. Importing this package does not import Paddle.
"""
