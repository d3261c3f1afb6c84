"""Heatmaps → keypoints by the rule of the MSPN release (arXiv 1901.00148), vectorised over people, in NumPy and OpenCV.

Axes: P people, K keypoints, h, w heatmap. `graph_decoder.py` has the same rule inside an exported graph.
"""
from typing import Tuple

import cv2
import numpy as np

from ..common.gaussian_decoder import first_maximum
from ..record import PIXELS_PER_CELL

# Value of a label map at the keypoint; label maps range from 0 to 255, like a grey picture.
PEAK = 255.0
# The release pads a heatmap with this many zero cells on each side before decoding.
FRAME = 10


def decode_mspn(heatmaps: np.ndarray, *, blur_kernel: int = 5) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as the MSPN release: blur, then a quarter cell from the maximum towards the second maximum.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged, peak about 255.
        blur_kernel: 5 for COCO, 9 for MPII.

    Returns:
        keypoints (P, K, 2) float64 in pixels of the input and keypoint scores (P, K) float64, map / 255 + 0.5.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    positions, scores = _find_positions(heatmaps.reshape(-1, height, width), blur_kernel)
    keypoints_in_input = positions.reshape(num_people, num_keypoints, 2) * PIXELS_PER_CELL + PIXELS_PER_CELL / 2
    return keypoints_in_input, scores.reshape(num_people, num_keypoints)


def _find_positions(maps: np.ndarray, blur_kernel: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return sub-cell positions (M, 2) as (x, y), and scores (M,), of maps (M, h, w)."""
    count, height, width = maps.shape
    # The release blurs each map inside a frame of ten zero cells. A frame of the kernel's radius gives the same blur;
    # the wider frame adds only zeros, and of these only the first, in the corner, can be found as the maximum.
    radius = blur_kernel // 2
    framed_height, framed_width = height + 2 * radius, width + 2 * radius
    framed = np.zeros((count, framed_height, framed_width))
    framed[:, radius:-radius, radius:-radius] = maps
    # One call for all maps: the frames between two maps keep their blurs apart.
    tall = framed.reshape(count * framed_height, framed_width)
    blurred = cv2.GaussianBlur(tall, (blur_kernel, blur_kernel), 0, borderType=cv2.BORDER_CONSTANT)
    blurred = blurred.reshape(count, -1)
    first, first_value = first_maximum(blurred)
    blurred[np.arange(count), first] = 0
    second, second_value = first_maximum(blurred)
    first_xy, second_xy = (np.stack([index % framed_width, index // framed_width], 1).astype(np.float64) - radius
                           for index in (first, second))
    corner = np.full(2, -float(FRAME))
    second_xy[second_value <= 0] = corner
    nothing = first_value <= 0
    first_xy[nothing], second_xy[nothing] = corner, corner + [1, 0]
    direction = second_xy - first_xy
    length = np.sqrt((direction ** 2).sum(axis=1, keepdims=True))
    positions = first_xy + 0.25 * np.divide(direction, length, out=np.zeros_like(direction), where=length > 1e-3)
    positions = np.clip(positions, 0, [width - 1, height - 1])
    cells = np.rint(positions).astype(np.int64)
    scores = maps[np.arange(count), cells[:, 1], cells[:, 0]].astype(np.float64) / PEAK + 0.5
    return positions, scores
