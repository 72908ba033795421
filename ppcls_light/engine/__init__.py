"""Training, evaluation and inference from a config, with checkpoints, logging and several processes."""
