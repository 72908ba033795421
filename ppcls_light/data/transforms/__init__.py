"""Image ops of `transform_ops`: decode, resize, crop, turn, colour, erase, normalize."""
