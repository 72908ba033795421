"""Engines that run an exported folder, and the choice among them; no training code, no images."""
