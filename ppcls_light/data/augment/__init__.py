"""Augmentation policies for 8-bit images of any size: AutoAugment, RandAugment, timm's and AugMix."""
