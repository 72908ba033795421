"""Inference engines for exported folders: Paddle Inference, ONNX Runtime, OpenVINO, and their selection."""
