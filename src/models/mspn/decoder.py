"""Heatmaps → keypoints by the rule of the MSPN release (arXiv 1901.00148), vectorised over people, in NumPy and OpenCV.

Axes: P people, K keypoints, h, w heatmap. `graph_decoder.py` has the same rule inside an exported graph.
"""
from typing import Tuple

import cv2
import numpy as np

from ..common.gaussian_decoder import first_maximum
from ..common.windows import blurred_windows, values_around
from ..record import PIXELS_PER_CELL

# Value of a label map at the keypoint; label maps range from 0 to 255, like a grey picture.
PEAK = 255.0
# The release pads a heatmap with this many zero cells on each side before decoding.
FRAME = 10
# {kernel of the blur: distance from a map's peak, in cells, beyond which values are nearly always below the second
# maximum of the blurred map}.
REACH = {5: 2, 9: 3}


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
    first_xy, second_xy, is_certain = _maxima_around_the_peak(maps, blur_kernel)
    signs = np.ones((count, 2))
    others = np.flatnonzero(~is_certain)
    if others.size:
        first_xy[others], second_xy[others], signs[others] = _maxima_of_all_cells(maps[others], blur_kernel)
    # What is found as a maximum where no cell is positive is the first cell of the release's frame.
    corner = np.full(2, -float(FRAME))
    second_xy[signs[:, 1] <= 0] = corner
    nothing = signs[:, 0] <= 0
    first_xy[nothing], second_xy[nothing] = corner, corner + [1, 0]
    direction = second_xy - first_xy
    length = np.sqrt((direction ** 2).sum(axis=1, keepdims=True))
    positions = first_xy + 0.25 * np.divide(direction, length, out=np.zeros_like(direction), where=length > 1e-3)
    positions = np.clip(positions, 0, [width - 1, height - 1])
    cells = np.rint(positions).astype(np.int64)
    scores = maps[np.arange(count), cells[:, 1], cells[:, 0]].astype(np.float64) / PEAK + 0.5
    return positions, scores


def _maxima_around_the_peak(maps: np.ndarray, blur_kernel: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the two maxima where the blurred map can only have them around the peak of the map itself.

    A blurred value is a mean of values around it. So if all values outside a square around the peak are below the
    second maximum found near it, no blurred value of other places is larger, and only the surroundings are blurred.

    Returns:
        the cells (M, 2) of both as (x, y), and whether they are certain (M,): positive, and so far apart from each
        other, from the third and from all values outside that float32 orders them as float64 does.
    """
    count, _, width = maps.shape
    maps, numbers, radius = np.ascontiguousarray(maps, np.float32), np.arange(count), blur_kernel // 2
    peak_y, peak_x = np.divmod(maps.reshape(count, -1).argmax(axis=1), width)
    reach = REACH.get(blur_kernel, radius)
    # Blurred values farther away come from values outside the square alone.
    farthest = reach + radius
    windows = values_around(maps, numbers, peak_x, peak_y, farthest + radius)
    outside = _largest_outside(maps, peak_x, peak_y, reach)
    # More than any rounding of a blur, whose weights add up to 1.
    margin = 1e-5 * np.maximum(maps[numbers, peak_y, peak_x], -windows.reshape(count, -1).min(axis=1))
    side = 2 * farthest + 1
    # Maxima that are not a number are never certain.
    blurred = blurred_windows(windows, blur_kernel).reshape(count, -1)
    cells, values = [], []
    for _ in range(3):
        cell, value = first_maximum(blurred)
        blurred[numbers, cell] = -np.inf
        cells.append(np.stack([peak_x + cell % side, peak_y + cell // side], 1) - float(farthest))
        values.append(value)
    first, second, third = values
    is_certain = (first > second + margin) & (second > np.maximum(np.maximum(third, outside), 0) + margin)
    return cells[0], cells[1], is_certain


def _largest_outside(maps: np.ndarray, x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
    """Return for each of the maps (M, h, w) a number (M,) that no value farther than `reach` from a cell exceeds in any
    row or column; nearly always the largest of these values."""
    count, height, width = maps.shape
    rows = np.arange(count)[:, None] * height + np.clip(y[:, None] + np.arange(-reach, reach + 1), 0, height - 1)
    # In the order of memory each row of the square is a run of cells. What lies before, between and after these runs is
    # outside. Where one of these parts is empty, `reduceat` takes one further cell, so the result can be too large.
    bounds = np.empty((count, 2 * (2 * reach + 1) + 1), np.int64)
    bounds[:, 0] = np.arange(count) * height * width
    bounds[:, 1::2] = rows * width + np.maximum(x - reach, 0)[:, None]
    bounds[:, 2::2] = rows * width + np.minimum(x + reach + 1, width)[:, None]
    parts = np.maximum.reduceat(maps.ravel(), np.minimum(bounds, maps.size - 1).ravel())
    return parts.reshape(count, -1)[:, ::2].max(axis=1)


def _maxima_of_all_cells(maps: np.ndarray, blur_kernel: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells (M, 2) of the two maxima as (x, y), of equal values the first in raster order, and the signs
    (M, 2) of the values; computed as the release does."""
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
    return first_xy, second_xy, np.sign(np.stack([first_value, second_value], 1))
