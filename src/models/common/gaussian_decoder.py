"""Heatmaps → keypoints by the rule of Simple Baselines, vectorised over people, in NumPy.

Axes: P people, K keypoints, h, w heatmap. `gaussian_graph_decoder.py` has the same rule inside an exported graph.
"""
from typing import Tuple

import numpy as np

from ...data.geometry import PIXELS_PER_SCALE, picture_matrix, transform_points
from ..record import PIXELS_PER_CELL


def first_maximum(maps: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the flat index (M,) and the value (M,) of the first maximum in raster order of maps (M, cells)."""
    index = maps.argmax(axis=1)
    return index, maps[np.arange(len(maps)), index]


def decode_gaussian(heatmaps: np.ndarray, *, quarter_offset: bool = True,
                    pixels_per_cell: Tuple[float, float] = (PIXELS_PER_CELL, PIXELS_PER_CELL)
                    ) -> Tuple[np.ndarray, np.ndarray]:
    """Decode as Simple Baselines: the maximum, moved by a quarter cell along the sign of the gradient.

    Args:
        heatmaps: (P, K, h, w) float32, flip-averaged.
        quarter_offset: the release's POST_PROCESS switch.
        pixels_per_cell: (x, y), in pixels of the network input.

    Returns:
        keypoints (P, K, 2) float64 in pixels of the network input, and keypoint scores (P, K), which are the maxima.
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
    keypoints_in_input = positions.reshape(num_people, num_keypoints, 2) * pixels_per_cell
    return keypoints_in_input, maximum.reshape(num_people, num_keypoints)


def place_by_affine_map(keypoints_in_input: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                        input_size: Tuple[int, int]) -> np.ndarray:
    """Map keypoints (P, K, 2) of crops to pixels of their pictures, by the inverse of the crop's affine map.

    Args:
        keypoints_in_input: (P, K, 2) in pixels of the network input.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        input_size: (width, height).
    """
    keypoints = np.empty(keypoints_in_input.shape)
    for person in range(len(keypoints)):
        matrix = picture_matrix(center[person], scale[person], input_size)
        keypoints[person] = transform_points(keypoints_in_input[person].astype(np.float64), matrix)
    return keypoints


def place_by_size(keypoints_in_input: np.ndarray, center: np.ndarray, scale: np.ndarray, *,
                  input_size: Tuple[int, int]) -> np.ndarray:
    """Return keypoints (P, K, 2) of crops in pixels of their pictures, each axis by its own scale, as MSPN and UDP do.

    Args:
        keypoints_in_input: (P, K, 2) in pixels of the network input.
        center, scale: (P, 2) of the crops, scale after padding and aspect correction.
        input_size: (width, height); by UDP the distances of the outermost pixels, which are smaller by 1.
    """
    crop_size = np.asarray(scale, np.float64)[:, None] * PIXELS_PER_SCALE
    corner = np.asarray(center, np.float64)[:, None] - crop_size * 0.5
    return keypoints_in_input / np.array(input_size) * crop_size + corner
