"""Augmentation policies: AutoAugment, RandAugment, timm's and AugMix."""
