"""Image ops of `transform_ops`; they take arrays (H, W, C) or Pillow images, and return the same kind."""
