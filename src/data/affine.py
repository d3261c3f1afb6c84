"""The similarity transform between a picture and a crop, with the exact arithmetic of the published code."""
from typing import Tuple

import cv2
import numpy as np

from .boxes import PIXELS_PER_SCALE


def crop_matrix(center: np.ndarray, scale: np.ndarray, rotation_degrees: float, size: Tuple[int, int]) -> np.ndarray:
    """Return the (2, 3) float64 matrix from picture pixels to pixels of a crop of `size` (width, height).

    Only the scale's width matters. A positive rotation turns the content counter-clockwise on the screen. The three
    float32 point pairs and OpenCV's solver are those of the published code; a closed form differs by up to 3e-5.
    """
    picture_points, crop_points = _point_pairs(center, scale, rotation_degrees, size)
    return cv2.getAffineTransform(picture_points, crop_points)


def picture_matrix(center: np.ndarray, scale: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Return the (2, 3) matrix from pixels of an unrotated crop of `size` (width, height) back to the picture."""
    picture_points, crop_points = _point_pairs(center, scale, 0.0, size)
    return cv2.getAffineTransform(crop_points, picture_points)


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
