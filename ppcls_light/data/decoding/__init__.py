"""From the bytes of an image file to pixels: formats, limits, decoders."""
