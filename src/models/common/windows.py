"""The surroundings of single cells of heatmaps, so that a decoder blurs no more of a map than it needs.

Axes: M maps, N of them, h, w heatmap.
"""
from functools import lru_cache

import cv2
import numpy as np


def values_around(maps: np.ndarray, numbers: np.ndarray, x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
    """Return the values (N, 2 reach + 1, 2 reach + 1) around one cell of each of some maps, 0 outside of a map.

    Args:
        maps: (M, h, w), contiguous.
        numbers: (N,), which maps.
        x, y: (N,), the cells.
    """
    _, height, width = maps.shape
    columns, rows = (center[:, None] + np.arange(-reach, reach + 1) for center in (x, y))
    all_rows = numbers[:, None] * height + rows.clip(0, height - 1)
    values = maps.ravel().take(all_rows[:, :, None] * width + columns.clip(0, width - 1)[:, None])
    values[((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None]] = 0
    return values


def blurred_windows(windows: np.ndarray, kernel: int) -> np.ndarray:
    """Return windows (N, n, n) after OpenCV's Gaussian blur of `kernel` taps, without the cells at their sides that
    need values outside: (N, n - kernel + 1, n - kernel + 1).

    Infinite values give NaN.
    """
    blur = _blur_matrix(kernel, windows.shape[1] - kernel + 1)
    # Many small products take less time than one large one, for which NumPy would start threads.
    with np.errstate(invalid='ignore'):
        return blur @ windows @ blur.T


@lru_cache
def _blur_matrix(kernel: int, side: int) -> np.ndarray:
    """Return the float32 matrix (side, side + kernel - 1) whose product with a picture is its columns blurred; the
    product from the other side, transposed, blurs the rows."""
    matrix = np.zeros((side, side + kernel - 1), np.float32)
    for row in range(side):
        matrix[row, row:row + kernel] = cv2.getGaussianKernel(kernel, 0, cv2.CV_32F)[:, 0]
    return matrix
