"""Training, scoring and classifying with a config."""
