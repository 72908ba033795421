"""From list files and photos to batches of arrays; numpy, Pillow and OpenCV only, never paddle.

The names below are loaded on first use: reading a list needs neither Pillow nor OpenCV.
"""

import importlib

_HOME = {
    "ImageList": "image_list",
    "LeftOut": "scan",
    "find_images": "scan",
    "iter_images": "scan",
    "ClassNames": "classes",
    "as_class_names": "classes",
    "read_class_names": "classes",
    "read_image_list": "image_list",
    "scan_image_folder": "scan",
    "write_image_lists": "split",
    "decode_image": "decode",
    "read_bytes": "decode",
    "read_image": "decode",
    "build_transforms": "transforms.compose",
    "build_batch_transforms": "mix",
    "ImageDataset": "dataset",
    "Batch": "loader",
    "BatchLoader": "loader",
    "BatchSampler": "sampler",
    "MultiScaleSampler": "sampler",
    "SizeSchedule": "sampler",
    "CifarDataset": "cifar",
    "read_cifar": "cifar",
}

__all__ = [
    "Batch",
    "BatchLoader",
    "BatchSampler",
    "CifarDataset",
    "ClassNames",
    "ImageDataset",
    "ImageList",
    "LeftOut",
    "MultiScaleSampler",
    "SizeSchedule",
    "as_class_names",
    "build_batch_transforms",
    "build_transforms",
    "decode_image",
    "find_images",
    "iter_images",
    "read_bytes",
    "read_cifar",
    "read_class_names",
    "read_image",
    "read_image_list",
    "scan_image_folder",
    "write_image_lists",
]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
