"""Check of the images and labels of a training: damaged, dark, blurred, doubled, leaked and contradictory ones."""
