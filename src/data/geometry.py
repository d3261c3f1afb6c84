"""Boxes, the center and scale by which the published pipelines describe a crop, and the similarity transform between a
picture and a crop, with the exact arithmetic of the published code. Coordinates only, no pixels.

A scale is (width, height) of the crop in units of 200 pixels, the convention that MPII introduced.
"""
from typing import Tuple

import cv2
import numpy as np

PIXELS_PER_SCALE = 200.0
LARGEST_COORDINATE = 1e6
SMALLEST_SIDE = 1e-3


def center_scale_from_box(box_xywh: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return center (2,) in pixels and scale (2,) of a box, float32 as in the published code."""
    x, y, width, height = (float(value) for value in box_xywh)
    center = np.array([x + width * 0.5, y + height * 0.5], np.float32)
    return center, np.array([width / PIXELS_PER_SCALE, height / PIXELS_PER_SCALE], np.float32)


def fit_aspect(scale: np.ndarray, aspect: float) -> np.ndarray:
    """Return the smallest scale with width / height = `aspect` that contains `scale`."""
    width, height = scale
    if width > aspect * height:
        return np.array([width, width / aspect], scale.dtype)
    return np.array([height * aspect, height], scale.dtype)


def clip_boxes_to_pictures(boxes_xywh: np.ndarray, picture_sizes: np.ndarray) -> np.ndarray:
    """Return boxes (P, 4) clipped to their pictures as Simple Baselines does, which also makes them one pixel smaller.

    Args:
        boxes_xywh: (P, 4) float64.
        picture_sizes: (P, 2), (width, height).
    """
    corners = np.maximum(0.0, boxes_xywh[:, :2])
    ends = np.minimum(picture_sizes - 1.0, corners + np.maximum(0.0, boxes_xywh[:, 2:] - 1))
    return np.concatenate([corners, ends - corners], axis=1)


def find_unusable_boxes(boxes_xywh: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return two masks (P,) of boxes (P, 4) that cannot be cropped: those not finite, and those without area.

    Center and scale are float32, as in the published code; so huge boxes count as not finite, and tiny ones as without
    area.
    """
    with np.errstate(invalid='ignore'):
        not_finite = ~(np.abs(boxes_xywh) < LARGEST_COORDINATE).all(axis=1)
        without_area = ~not_finite & (boxes_xywh[:, 2:] < SMALLEST_SIDE).any(axis=1)
    return not_finite, without_area


def find_outside_boxes(boxes_xywh: np.ndarray, picture_sizes: np.ndarray) -> np.ndarray:
    """Return the mask (P,) of boxes (P, 4) that share no pixel with their picture of (width, height) (P, 2)."""
    x, y, width, height = boxes_xywh.T
    return (x >= picture_sizes[:, 0]) | (y >= picture_sizes[:, 1]) | (x + width <= 0) | (y + height <= 0)


def crop_matrix(center: np.ndarray, scale: np.ndarray, rotation_degrees: float, size: Tuple[int, int]) -> np.ndarray:
    """Return the (2, 3) float64 matrix from picture pixels to pixels of a crop of `size` (width, height).

    Only the width of the scale is used. A positive rotation turns the content of the crop counter-clockwise. The three
    float32 point pairs and OpenCV's solver are those of the published code; a closed form differs by up to 3e-5.
    """
    picture_points, crop_points = _point_pairs(center, scale, rotation_degrees, size)
    return cv2.getAffineTransform(picture_points, crop_points)


def picture_matrix(center: np.ndarray, scale: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Return the (2, 3) matrix from pixels of an unrotated crop of `size` (width, height) back to the picture."""
    picture_points, crop_points = _point_pairs(center, scale, 0.0, size)
    return cv2.getAffineTransform(crop_points, picture_points)


def udp_crop_matrix(center: np.ndarray, scale: np.ndarray, rotation_degrees: float, size: Tuple[int, int]
                    ) -> np.ndarray:
    """Return the (2, 3) matrix from picture pixels to pixels of a crop of `size` by Unbiased Data Processing (Huang et
    al., CVPR 2020).

    The size of a crop is the distance between the centers of its outermost pixels, so width and height each have their
    own factor. A positive rotation turns the content of the crop clockwise, unlike in `crop_matrix`. The matrix is
    rounded to float32, as in the published code.
    """
    angle, crop_size = np.deg2rad(rotation_degrees), np.asarray(scale, np.float64) * PIXELS_PER_SCALE
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    factors = (np.array(size) - 1.0) / crop_size
    offset = crop_size * 0.5 - rotation @ np.asarray(center, np.float64)
    matrix = np.column_stack([rotation, offset]) * factors[:, None]
    return matrix.astype(np.float32).astype(np.float64)


def _point_pairs(center, scale, rotation_degrees, size):
    crop_width, crop_height = size
    half_width = scale[0] * PIXELS_PER_SCALE * 0.5
    angle = np.pi * rotation_degrees / 180
    picture_points, crop_points = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    picture_points[0] = center
    picture_points[1] = center + np.array([half_width * np.sin(angle), -half_width * np.cos(angle)])
    crop_points[0] = [crop_width * 0.5, crop_height * 0.5]
    crop_points[1] = [crop_width * 0.5, crop_height * 0.5 - crop_width * 0.5]
    for points in (picture_points, crop_points):
        away = points[0] - points[1]
        points[2] = points[1] + np.array([-away[1], away[0]], np.float32)
    return picture_points, crop_points


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points (..., 2) with a (2, 3) matrix, in float64."""
    return points @ matrix[:, :2].T + matrix[:, 2]
