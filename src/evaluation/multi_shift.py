"""Multi-shift testing: heatmaps averaged over crops whose content has been moved by a few pixels, as the authors of
MSPN (arXiv 1901.00148) did for their MPII test submission.

Axes: N crops, H, W input, K keypoints, h, w heatmap, M = N times the hypotheses.
"""
from typing import Callable, Tuple

import cv2
import numpy as np

from ..models.record import PIXELS_PER_CELL

# Direction in which the content moves, (x, y): not at all, right, left, down, up.
DIRECTIONS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def shift_crops(crops: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return crops (N, H, W, 3) uint8 whose content lies x pixels further right and y further down.

    New pixels at the border are black, like everything outside a picture. Fractions of a pixel are interpolated.
    """
    size, matrix = (crops.shape[2], crops.shape[1]), np.array([[1.0, 0, x], [0, 1.0, y]])
    return np.stack([cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR) for crop in crops])


def shift_cells(maps: np.ndarray, cells: float, axis: int) -> np.ndarray:
    """Return maps moved by `cells` towards the end of an axis, with zeros at the border that becomes free; fractions of
    a cell are interpolated linearly."""
    whole = int(np.floor(cells))
    part = np.float32(cells - whole)
    moved = _shift_whole_cells(maps, whole, axis)
    return moved if not part else moved * (1 - part) + _shift_whole_cells(maps, whole + 1, axis) * part


def _shift_whole_cells(maps: np.ndarray, cells: int, axis: int) -> np.ndarray:
    length, along = maps.shape[axis], np.moveaxis(maps, axis, 0)
    moved = np.zeros_like(along)
    moved[max(0, cells):length + min(0, cells)] = along[max(0, -cells):length - max(0, cells)]
    return np.moveaxis(moved, 0, axis)


def average_over_shifts(run: Callable[[np.ndarray], Tuple[np.ndarray, ...]], shift: float,
                        pixels_per_cell: Tuple[float, float] = (PIXELS_PER_CELL, PIXELS_PER_CELL)
                        ) -> Callable[[np.ndarray], Tuple[np.ndarray, ...]]:
    """Return a function like `run` whose heatmaps are the mean over the five crops of DIRECTIONS, each moved back.

    A cell at the border is averaged only over the crops that show it; the crop that is not moved always does.

    Args:
        run: crops (N, H, W, 3) uint8 -> (heatmaps (M, K, h, w) float32,), including the flip test.
        shift: in pixels of the crop; less than its height and width.
        pixels_per_cell: (x, y).
    """
    cells_x, cells_y = (shift / pixels for pixels in pixels_per_cell)

    def run_shifted(crops: np.ndarray) -> Tuple[np.ndarray, ...]:
        total = times_shown = np.float32(0)
        for right, down in DIRECTIONS:
            heatmaps, = run(shift_crops(crops, right * shift, down * shift))
            is_shown = np.ones((1, 1, *heatmaps.shape[2:]), np.float32)
            heatmaps, is_shown = (shift_cells(shift_cells(maps, -right * cells_x, 3), -down * cells_y, 2)
                                  for maps in (heatmaps, is_shown))
            total, times_shown = total + heatmaps, times_shown + is_shown
        return (total / times_shown,)

    return run_shifted
