"""Data loading: image lists, decoding, transforms and batches, with numpy, Pillow and OpenCV, without Paddle.

Names for scripts are loaded on first use: reading a list needs neither Pillow nor OpenCV.
"""

from ..base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "cifar": ["CifarDataset", "read_cifar"],
        "classes": ["ClassNames", "as_class_names", "read_class_names"],
        "dataset": ["ImageDataset"],
        "decode": ["decode_image", "read_bytes", "read_image"],
        "image_list": ["ImageList", "read_image_list"],
        "loader": ["Batch", "BatchLoader"],
        "mix": ["build_batch_transforms"],
        "sampler": ["BatchSampler", "MultiScaleSampler", "SizeSchedule"],
        "scan": ["LeftOut", "find_images", "iter_images", "scan_image_folder"],
        "split": ["write_image_lists"],
        "transforms.compose": ["build_transforms"],
    },
)
