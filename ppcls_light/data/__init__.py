"""From list files and photos to batches of arrays; numpy, Pillow and OpenCV only, never paddle.

The names below are loaded on first use: reading a list needs neither Pillow nor OpenCV.
"""

from typing import TYPE_CHECKING

from ..base.lazy import attach

if TYPE_CHECKING:
    from .cifar import CifarDataset as CifarDataset
    from .cifar import read_cifar as read_cifar
    from .classes import ClassNames as ClassNames
    from .classes import as_class_names as as_class_names
    from .classes import read_class_names as read_class_names
    from .dataset import ImageDataset as ImageDataset
    from .decode import decode_image as decode_image
    from .decode import read_bytes as read_bytes
    from .decode import read_image as read_image
    from .image_list import ImageList as ImageList
    from .image_list import read_image_list as read_image_list
    from .loader import Batch as Batch
    from .loader import BatchLoader as BatchLoader
    from .mix import build_batch_transforms as build_batch_transforms
    from .sampler import BatchSampler as BatchSampler
    from .sampler import MultiScaleSampler as MultiScaleSampler
    from .sampler import SizeSchedule as SizeSchedule
    from .scan import LeftOut as LeftOut
    from .scan import find_images as find_images
    from .scan import iter_images as iter_images
    from .scan import scan_image_folder as scan_image_folder
    from .split import write_image_lists as write_image_lists
    from .transforms.compose import build_transforms as build_transforms
else:
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
