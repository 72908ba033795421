"""Folding passes that rewrite a trained network for inference; `steps.fold` applies them."""
