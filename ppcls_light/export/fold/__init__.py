"""Rewriting of a trained network for inference, one module for each family."""
