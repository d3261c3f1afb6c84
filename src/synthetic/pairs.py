"""Two made-up people, one in front of the other, so that their boxes overlap heavily, as in OCHuman.

The one behind stands on the same ground, a little further from the camera: by perspective it looks smaller and its
feet are higher in the picture. The two have different poses and clothes.
"""
from typing import Optional, Tuple

import numpy as np

from .figure import Figure, sample_figure

DISTANCE_RANGE = (1.02, 1.16)  # of the one behind from the camera, in distances of the one in front
HEIGHT_RANGE = (0.92, 1.08)  # of the one behind, in body heights of the one in front
CAMERA_HEIGHT_RANGE = (0.5, 1.0)  # above the ground, in statures of the one in front
# What the thickness of the body adds to the box around its points at the left, top, right and bottom, in statures; a
# mean over painted figures.
THICKNESS = np.array([0.038, 0.021, 0.038, 0.034])


def sample_pair(rng: np.random.Generator, stature: float, iou: float) -> Tuple[Figure, Figure]:
    """Draw two people, one in front of the other.

    Args:
        rng: source of all draws.
        stature: body height in pixels of the one in front.
        iou: of the two boxes, above 0 and below 1; the boxes of the painted silhouettes reach it to within about 0.05.

    Returns:
        The one behind and the one in front, somewhere around the picture's origin.
    """
    behind = None
    while behind is None:
        front = sample_figure(rng, stature)
        distance = rng.uniform(*DISTANCE_RANGE)
        other = sample_figure(rng, stature * rng.uniform(*HEIGHT_RANGE) / distance)
        rise = rng.uniform(*CAMERA_HEIGHT_RANGE) * stature * (1 - 1 / distance)
        other = other.moved(np.array([0.0, front.extent_xyxy[3] - rise - other.extent_xyxy[3]]))
        behind = _move_sideways(other, front, iou, to_the_right=bool(rng.random() < 0.5))
    return behind, front


def box_of_body(figure: Figure) -> np.ndarray:
    """Box (xyxy) around a body with its average thickness."""
    return figure.extent_xyxy + figure.stature * THICKNESS * (-1, -1, 1, 1)


def _move_sideways(figure: Figure, front: Figure, iou: float, *, to_the_right: bool) -> Optional[Figure]:
    """Move a figure to the side until its box and that of `front` have this IoU; None if that is impossible."""
    box, other = box_of_body(figure), box_of_body(front)
    sizes = np.stack([box[2:] - box[:2], other[2:] - other[:2]])
    shared_height = min(box[3], other[3]) - max(box[1], other[1])
    # IoU = I / (A + B - I), solved for the width of the intersection I.
    shared_width = iou / (1 + iou) * sizes.prod(axis=1).sum() / max(shared_height, 1.0)
    if shared_width > sizes[:, 0].min():
        return None
    x = other[2] - shared_width - box[0] if to_the_right else other[0] + shared_width - box[2]
    return figure.moved(np.array([x, 0.0]))
