"""Heatmaps → keypoints: the decoders of the published models, vectorised over people, in NumPy and OpenCV.

Axes: P people, K keypoints, h, w heatmap. The encoders that make the training maps are in `targets.py`, inside the
graph; a test runs both ways round.
"""
from functools import partial
from typing import Callable, Tuple

import cv2
import numpy as np

from src.affine import picture_matrix, transform_points
from src.boxes import PIXELS_PER_SCALE

MSPN_FRAME = 10
MSPN_PEAK = 255.0


def first_maximum(maps: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the flat index (M,) and the value (M,) of the first maximum in raster order of maps (M, cells)."""
    index = maps.argmax(axis=1)
    return index, maps[np.arange(len(maps)), index]


def decode_mspn(heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, *, input_size: Tuple[int, int],
                blur_kernel: int = 5) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as the MSPN release: blur, then a quarter cell from the maximum towards the second maximum.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged, peak about 255.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        input_size: (width, height) of the network input.
        blur_kernel: 5 for COCO, 9 for MPII.

    Returns:
        keypoints (P, K, 2) float64 in picture pixels and keypoint scores (P, K) float64, map / 255 + 0.5.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    positions, scores = _mspn_positions(heatmaps.reshape(-1, height, width), blur_kernel)
    pixels_in_input = positions.reshape(num_people, num_keypoints, 2) * 4 + 2
    crop_size = np.asarray(scale, np.float64)[:, None] * PIXELS_PER_SCALE
    corner = np.asarray(center, np.float64)[:, None] - crop_size * 0.5
    keypoints = pixels_in_input / np.array(input_size) * crop_size + corner
    return keypoints, scores.reshape(num_people, num_keypoints)


def _mspn_positions(maps: np.ndarray, blur_kernel: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return sub-cell positions (M, 2) as (x, y), and scores (M,), of maps (M, h, w)."""
    count, height, width = maps.shape
    # The release blurs each map inside a frame of ten zero cells. A frame of the kernel's radius gives the same blur;
    # what the wider frame adds are exact zeros, of which only the first, in its corner, can be a maximum.
    radius = blur_kernel // 2
    framed_height, framed_width = height + 2 * radius, width + 2 * radius
    framed = np.zeros((count, framed_height, framed_width))
    framed[:, radius:-radius, radius:-radius] = maps
    # One call for all maps: between two maps lie two frames, so no map reaches into its neighbour.
    tall = framed.reshape(count * framed_height, framed_width)
    blurred = cv2.GaussianBlur(tall, (blur_kernel, blur_kernel), 0, borderType=cv2.BORDER_CONSTANT)
    blurred = blurred.reshape(count, -1)
    first, first_value = first_maximum(blurred)
    blurred[np.arange(count), first] = 0
    second, second_value = first_maximum(blurred)
    first_xy, second_xy = (np.stack([index % framed_width, index // framed_width], 1).astype(np.float64) - radius
                           for index in (first, second))
    corner = np.full(2, -float(MSPN_FRAME))
    second_xy[second_value <= 0] = corner
    nothing = first_value <= 0
    first_xy[nothing], second_xy[nothing] = corner, corner + [1, 0]
    direction = second_xy - first_xy
    length = np.sqrt((direction ** 2).sum(axis=1, keepdims=True))
    positions = first_xy + 0.25 * np.divide(direction, length, out=np.zeros_like(direction), where=length > 1e-3)
    positions = np.clip(positions, 0, [width - 1, height - 1])
    cells = np.rint(positions).astype(np.int64)
    scores = maps[np.arange(count), cells[:, 1], cells[:, 0]].astype(np.float64) / MSPN_PEAK + 0.5
    return positions, scores


def decode_simple_pose(heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                       quarter_offset: bool = True) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as Simple Baselines: the maximum, a quarter cell along the sign of the gradient, the inverse affine map.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        quarter_offset: the release's POST_PROCESS switch.

    Returns:
        keypoints (P, K, 2) float64 in picture pixels and keypoint scores (P, K), the maxima.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height * width)
    index, maximum = first_maximum(maps)
    index = np.where(maximum > 0, index, 0)
    x, y = index % width, index // width
    positions = np.stack([x, y], 1).astype(np.float64)
    if quarter_offset:
        rows = np.flatnonzero((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
        at = index[rows]
        positions[rows, 0] += 0.25 * np.sign(maps[rows, at + 1] - maps[rows, at - 1])
        positions[rows, 1] += 0.25 * np.sign(maps[rows, at + width] - maps[rows, at - width])
    positions = positions.reshape(num_people, num_keypoints, 2)
    keypoints = np.empty_like(positions)
    for person in range(num_people):
        matrix = picture_matrix(center[person], scale[person], (width, height))
        keypoints[person] = transform_points(positions[person], matrix)
    return keypoints, maximum.reshape(num_people, num_keypoints)


def build_decoder(config) -> Callable[..., Tuple[np.ndarray, np.ndarray]]:
    """Return the function (heatmaps, center, scale) -> (keypoints, keypoint scores) of a resolved configuration."""
    if config.MODEL.NAME == 'mspn':
        return partial(decode_mspn, input_size=tuple(config.MODEL.IMAGE_SIZE), blur_kernel=config.TEST.BLUR_KERNEL)
    return partial(decode_simple_pose, quarter_offset=config.TEST.POST_PROCESS)
