"""Heatmaps → keypoints with a maximum refined by a Taylor expansion of the blurred map's logarithm: DARK (Zhang et al.,
"Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020), and the variant of UDP (Huang et
al., "The Devil is in the Details", CVPR 2020) with another Hessian. Both as in MMPose 1.x, in NumPy and OpenCV.

Axes: M maps, P people, K keypoints, h, w heatmap. `refined_graph_decoder.py` has the same rules inside an exported
graph.
"""
from typing import Tuple

import cv2
import numpy as np

from .gaussian_decoder import first_maximum
from .windows import blurred_windows, values_around

# The range of values whose logarithm is taken: DARK has no upper bound.
DARK_SMALLEST = 1e-10
UDP_SMALLEST, UDP_LARGEST = 1e-3, 50.0
# Added to the diagonal of UDP's Hessian, so that it can be inverted on flat maps.
UDP_EPSILON = float(np.finfo(np.float32).eps)
# DARK keeps a maximum that is closer to the border than this.
DARK_MARGIN = 2
# More than what rounding changes in a blurred map of peak 1.
ROUNDING = 1e-5


def find_refined_cells(maps: np.ndarray, *, rule: str, kernel: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return positions (M, 2) float64 as (x, y) in cells, and the maxima (M,), of maps (M, h, w) float32 of peak 1.

    A map without a value above 0 gives cell (0, 0).

    Args:
        rule: 'dark' or 'udp'.
        kernel: taps of the blur, odd; 11 fits label maps of sigma 2, 17 those of sigma 3.
    """
    count, height, width = maps.shape
    maps = np.ascontiguousarray(maps)
    index, maximum = first_maximum(maps.reshape(count, -1))
    cells = np.stack([index % width, index // width], 1)
    rows = np.flatnonzero(maximum > 0)
    if rule == 'dark':
        rows = rows[((cells[rows] >= DARK_MARGIN) & (cells[rows] < [width - DARK_MARGIN, height - DARK_MARGIN])
                     ).all(axis=1)]
    positions = np.where(maximum[:, None] > 0, cells, 0).astype(np.float64)
    if len(rows):
        blurred, is_enough = _blurred_around(maps, rows, cells[rows], maximum[rows], rule, kernel)
        others = np.flatnonzero(~is_enough)
        if others.size:
            low = rows[others]
            blurred[others] = _scaled_around(maps[low], cells[low], maximum[low], rule, kernel)
        positions[rows] += _newton_step(np.log(blurred), rule)
    return positions, maximum


def decode_refined(heatmaps: np.ndarray, *, rule: str, kernel: int, pixels_per_cell: Tuple[float, float],
                   first_cell: float = 0.0, peak: float = 1.0, empty_score: float = 0.0
                   ) -> Tuple[np.ndarray, np.ndarray]:
    """Decode heatmaps (P, K, h, w) float32, flip-averaged.

    Args:
        rule, kernel: see `find_refined_cells`.
        pixels_per_cell: (x, y), in pixels of the network input.
        first_cell: x and y of cell (0, 0) in the network input.
        peak: value of a trained heatmap at a keypoint.
        empty_score: score of an empty heatmap.

    Returns:
        keypoints (P, K, 2) float64 in pixels of the network input, and scores (P, K): maximum / peak + empty_score.
    """
    num_people, num_keypoints, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    positions, maximum = find_refined_cells(maps if peak == 1 else maps / np.float32(peak), rule=rule, kernel=kernel)
    keypoints_in_input = positions * pixels_per_cell + first_cell
    scores = maximum + empty_score if empty_score else maximum
    return keypoints_in_input.reshape(num_people, num_keypoints, 2), scores.reshape(num_people, num_keypoints)


def _blurred_around(maps: np.ndarray, rows: np.ndarray, cells: np.ndarray, maximum: np.ndarray, rule: str, kernel: int
                    ) -> Tuple[np.ndarray, np.ndarray]:
    """Blur some maps only around one cell of each.

    The published code then scales each blurred map to the maximum that it had before. A blur lowers the maximum, so the
    factor is at least 1; and a factor moves no maximum of the logarithm, unless values reach the bounds of its range.

    Args:
        maps: (M, h, w).
        rows: (N,), which maps.
        cells, maximum: (N, 2) and (N,), the maxima of these maps.

    Returns:
        the values (N, 5, 5) float64, rows before columns, and whether they are all within the range whatever the factor
        is (N,). For UDP the edge of a map is repeated outside of it; for DARK all of the 25 cells have to be inside.
    """
    windows = values_around(maps, rows, cells[:, 0], cells[:, 1], 2 + kernel // 2)
    x, y = (places - cells[:, axis, None] + 2 for axis, places in enumerate(_places_around(cells, maps.shape)))
    values = blurred_windows(windows, kernel)[np.arange(len(rows))[:, None, None], y[:, :, None], x[:, None]]
    lowest = values.reshape(len(rows), -1).min(axis=1)
    is_enough = lowest > ROUNDING + (DARK_SMALLEST if rule == 'dark' else UDP_SMALLEST)
    return values.astype(np.float64), is_enough & (maximum < (np.inf if rule == 'dark' else UDP_LARGEST - ROUNDING))


def _scaled_around(maps: np.ndarray, cells: np.ndarray, maximum: np.ndarray, rule: str, kernel: int) -> np.ndarray:
    """Return the values (M, 5, 5) float64 of the blurred and scaled maps around the cells (M, 2), within the range of
    the logarithm; for cells outside of a map see `_blurred_around`."""
    blurred = _blurred(maps, kernel)
    highest = blurred.reshape(len(maps), -1).max(axis=1).astype(np.float64)
    # A single cell above 0 in a map of negative values has no hill around it: all logarithms are then the same.
    factor = np.divide(maximum, highest, out=np.zeros_like(highest), where=highest > 0)
    x, y = _places_around(cells, maps.shape)
    values = blurred[np.arange(len(maps))[:, None, None], y[:, :, None], x[:, None]] * factor[:, None, None]
    return np.maximum(values, DARK_SMALLEST) if rule == 'dark' else np.clip(values, UDP_SMALLEST, UDP_LARGEST)


def _places_around(cells: np.ndarray, shape: Tuple[int, int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Return the columns (M, 5) and the rows (M, 5) around cells (M, 2) of maps of a shape (M, h, w), at most up to the
    edge."""
    x, y = (np.clip(cells[:, axis, None] + np.arange(-2, 3), 0, shape[2 - axis] - 1) for axis in (0, 1))
    return x, y


def _blurred(maps: np.ndarray, kernel: int) -> np.ndarray:
    """Return maps (M, h, w) float32, blurred by OpenCV's Gaussian of `kernel` taps; outside of a map are zeros."""
    count, height, width = maps.shape
    radius = kernel // 2
    framed = np.zeros((count, height + radius, width), np.float32)
    framed[:, :height] = maps
    # One call for all maps: the zero rows between two maps keep their blurs apart.
    tall = cv2.GaussianBlur(framed.reshape(-1, width), (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
    return tall.reshape(count, height + radius, width)[:, :height]


def _newton_step(logarithm: np.ndarray, rule: str) -> np.ndarray:
    """Return the steps (M, 2) from the middle of the logarithms (M, 5, 5) to the top of their parabolas; 0 where
    DARK's Hessian has no inverse."""
    def at(x: int, y: int) -> np.ndarray:
        return logarithm[:, 2 + y, 2 + x]

    gradient_x, gradient_y = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    if rule == 'dark':
        hessian_xx, hessian_yy = ((at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4, (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4)
        hessian_xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    else:
        hessian_xx = at(1, 0) - 2 * at(0, 0) + at(-1, 0) + UDP_EPSILON
        hessian_yy = at(0, 1) - 2 * at(0, 0) + at(0, -1) + UDP_EPSILON
        # Only two of the four diagonals, as in the original.
        hessian_xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    determinant = hessian_xx * hessian_yy - hessian_xy * hessian_xy
    steps = np.stack([hessian_xy * gradient_y - hessian_yy * gradient_x,
                      hessian_xy * gradient_x - hessian_xx * gradient_y], 1)
    return np.divide(steps, determinant[:, None], out=np.zeros_like(steps), where=determinant[:, None] != 0)
