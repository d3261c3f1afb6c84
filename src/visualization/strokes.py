"""Lines and discs at subpixel positions, drawn in place on a canvas (H, W, 3) uint8."""
from typing import Optional, Tuple

import cv2
import numpy as np

Color = Tuple[int, int, int]  # blue, green, red in 0..255, as in OpenCV

# Fractional bits of the fixed-point coordinates of cv2, so that small people do not snap to the pixel grid.
SHIFT = 4


def clip_segment(start: np.ndarray, end: np.ndarray, picture_shape: Tuple[int, int],
                  margin: float) -> Optional[np.ndarray]:
    """Clip a segment to the picture, enlarged by a margin on every side (Liang and Barsky, 1984).

    cv2 has its own clipping, but it works on whole numbers that overflow for a keypoint far away.

    Returns:
        The two ends (2, 2), or None if no part of the segment is inside.
    """
    upper = np.array([picture_shape[1], picture_shape[0]]) + margin
    direction = end - start
    enter, leave = 0.0, 1.0
    for axis in (0, 1):
        to_low, to_high = -margin - start[axis], upper[axis] - start[axis]
        if direction[axis] == 0:
            if to_low > 0 or to_high < 0:
                return None
            continue
        first, last = sorted((to_low / direction[axis], to_high / direction[axis]))
        enter, leave = max(enter, first), min(leave, last)
    if enter > leave:
        return None
    return np.stack([start + enter * direction, start + leave * direction])


def draw_line(canvas: np.ndarray, segment: np.ndarray, color: Color, width: int) -> None:
    (x1, y1), (x2, y2) = np.round(segment * 2 ** SHIFT).astype(int).tolist()
    cv2.line(canvas, (x1, y1), (x2, y2), color, width, cv2.LINE_AA, SHIFT)


def draw_disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    draw_circle(canvas, center, radius, color, cv2.FILLED)


def draw_circle(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int) -> None:
    x, y = np.round(center * 2 ** SHIFT).astype(int).tolist()
    cv2.circle(canvas, (x, y), round(radius * 2 ** SHIFT), color, width, cv2.LINE_AA, SHIFT)
