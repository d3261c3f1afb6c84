"""Boxes, and the centre-and-scale form in which the published pipelines carry a crop. Pure NumPy, no pictures.

A scale is (width, height) of the crop in units of 200 pixels, the convention that MPII introduced.
"""
from typing import Tuple

import numpy as np

PIXELS_PER_SCALE = 200.0
LARGEST_COORDINATE = 1e6
SMALLEST_SIDE = 1e-3


def center_scale_from_box(box_xywh: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return centre (2,) in pixels and scale (2,) of a box, float32 as in the published code."""
    x, y, width, height = (float(value) for value in box_xywh)
    center = np.array([x + width * 0.5, y + height * 0.5], np.float32)
    return center, np.array([width / PIXELS_PER_SCALE, height / PIXELS_PER_SCALE], np.float32)


def fit_aspect(scale: np.ndarray, aspect: float) -> np.ndarray:
    """Return the smallest scale of width / height = `aspect` that contains `scale`."""
    width, height = scale
    if width > aspect * height:
        return np.array([width, width / aspect], scale.dtype)
    return np.array([height * aspect, height], scale.dtype)


def clip_box_to_picture(box_xywh: np.ndarray, picture_size: Tuple[int, int]) -> np.ndarray:
    """Return the box clipped as Simple Baselines does: inside the picture and one pixel smaller than given.

    Args:
        box_xywh: (4,).
        picture_size: (width, height).
    """
    x, y, width, height = (float(value) for value in box_xywh)
    x1, y1 = max(0.0, x), max(0.0, y)
    x2 = min(picture_size[0] - 1.0, x1 + max(0.0, width - 1))
    y2 = min(picture_size[1] - 1.0, y1 + max(0.0, height - 1))
    return np.array([x1, y1, x2 - x1, y2 - y1])


def find_unusable_boxes(boxes_xywh: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return two masks (P,) of boxes (P, 4) that cannot be cropped: not finite, and without area.

    Crops are float32 like the originals' and cannot hold what is astronomically large or small.
    """
    with np.errstate(invalid='ignore'):
        not_finite = ~(np.abs(boxes_xywh) < LARGEST_COORDINATE).all(axis=1)
        without_area = ~not_finite & (boxes_xywh[:, 2:] < SMALLEST_SIDE).any(axis=1)
    return not_finite, without_area


def find_outside_boxes(boxes_xywh: np.ndarray, picture_sizes: np.ndarray) -> np.ndarray:
    """Return the mask (P,) of boxes (P, 4) that share no pixel with their picture of (width, height) (P, 2)."""
    x, y, width, height = boxes_xywh.T
    return (x >= picture_sizes[:, 0]) | (y >= picture_sizes[:, 1]) | (x + width <= 0) | (y + height <= 0)
