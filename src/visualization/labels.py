"""Labels beside people that avoid faces and each other, and the legend for the left and right side."""
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..data.skeletons import Skeleton
from .strokes import draw_line
from .styles import LEFT_COLORS, OUTLINE_COLOR, RIGHT_COLORS, RIM_COLOR, PersonStyle

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HEAD_WORDS = frozenset(('nose', 'eye', 'ear', 'head'))
# Radius of a head with its hair around its keypoints, relative to the length of the person.
_HEAD_RADIUS = 0.07
# Cost of each pixel of a label that hides another label, a face or a body.
_ON_LABEL, _ON_FACE, _ON_BODY = 20.0, 10.0, 1.0

# Left, top, right, bottom in whole pixels.
Plate = Tuple[int, int, int, int]


class LabelPlaces:
    """Where labels may go on a picture.

    Args:
        picture_shape: (H, W).
        points: (P, K, 2) of the people, NaN for keypoints that are not drawn.
        lengths: of the P people, in pixels.
        skeleton: their layout.
    """

    def __init__(self, picture_shape: Tuple[int, int], points: np.ndarray, lengths: Sequence[float],
                 skeleton: Skeleton):
        self._size = np.array([picture_shape[1], picture_shape[0]])
        self._points, self._lengths = points, lengths
        self._is_head = np.array([not _HEAD_WORDS.isdisjoint(name.split('_')) for name in skeleton.keypoint_names])
        self._faces = np.array([self._face_of(person) for person in range(len(points))]).reshape(-1, 4)
        self._bodies = np.array([_around(each, 0.0) for each in points]).reshape(-1, 4)
        self.taken: List[Plate] = []

    def _face_of(self, person: int) -> np.ndarray:
        """Return the rectangle of a head; without keypoints of the head, one above the two highest other keypoints."""
        points, radius = self._points[person], _HEAD_RADIUS * self._lengths[person]
        head = points[self._is_head]
        if not np.isfinite(head).any():
            shown = points[np.isfinite(points[:, 0])]
            highest = shown[np.argsort(shown[:, 1])[:2]]
            head = np.array([[highest[:, 0].mean(), highest[0, 1] - 1.5 * radius]]) if len(shown) else head
        return _around(head, radius)

    def cost(self, plate: np.ndarray) -> float:
        """Return the weighted number of pixels that a plate hides."""
        cost = _ON_FACE * _shared(plate, self._faces) + _ON_BODY * _shared(plate, self._bodies)
        return cost + (_ON_LABEL * _shared(plate, np.array(self.taken, np.float64)) if self.taken else 0.0)

    def draw(self, canvas: np.ndarray, text: str, person: int, style: PersonStyle) -> None:
        """Write a text on a plate of the person's accent color where it hides least, above the head if possible."""
        letter_scale, thickness = style.text_height / 21, max(1, round(style.text_height / 10))
        (width, height), _ = cv2.getTextSize(text, _FONT, letter_scale, thickness)
        pad = max(2, round(0.35 * style.text_height))
        size = np.array([width + 2 * pad, height + 2 * pad])
        plate = self._choose(size, person, 2.0 * style.keypoint_radius + pad)
        paper, ink = (OUTLINE_COLOR, style.accent) if style.is_light else (style.accent, OUTLINE_COLOR)
        _draw_plate(canvas, plate, paper)
        cv2.putText(canvas, text, (plate[0] + pad, plate[3] - pad), _FONT, letter_scale, ink, thickness, cv2.LINE_AA)
        self.taken.append(plate)

    def _choose(self, size: np.ndarray, person: int, gap: float) -> Plate:
        left, top, right, bottom = np.clip(self._faces[person], -1e6, 1e6)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        width, height = size
        _, body_top, _, body_bottom = self._bodies[person]
        # The most expected places first.
        wanted = [(middle_x - width / 2, top - gap - height), (right + gap, top - gap - height),
                  (left - gap - width, top - gap - height), (right + gap, middle_y - height / 2),
                  (left - gap - width, middle_y - height / 2), (middle_x - width / 2, top - 2 * gap - 2 * height),
                  (right + gap, bottom), (left - gap - width, bottom), (middle_x - width / 2, body_bottom + gap),
                  (middle_x - width / 2, bottom + gap)]
        best: Optional[Plate] = None
        lowest = np.inf
        for number, corner in enumerate(wanted):
            inside = np.round(np.clip(corner, 0, np.maximum(self._size - size, 0))).astype(int)
            plate = np.concatenate([inside, inside + size])
            moved = float(np.abs(inside - np.array(corner)).sum())
            # With a label far away it would be unclear whose it is.
            distance = np.linalg.norm(inside + size / 2 - [middle_x, middle_y]) / max(self._lengths[person], 1.0)
            cost = self.cost(plate) + (0.02 * number + distance) * width * height + moved
            if cost < lowest:
                best, lowest = tuple(plate.tolist()), cost
        return best


def draw_legend(canvas: np.ndarray, places: LabelPlaces, skeleton: Skeleton) -> None:
    """Write in the freest corner which color is the person's left and which the right."""
    if not any(name.startswith('left_') for name in skeleton.keypoint_names):
        return
    side = max(canvas.shape[:2])
    text_height = max(8, round(side / 80))
    letter_scale, thickness = text_height / 21, max(1, round(text_height / 10))
    pad, stroke, line_width = round(0.6 * text_height), 2 * text_height, max(2, round(text_height / 3))
    entries = (("person's left", LEFT_COLORS[0]), ("person's right", RIGHT_COLORS[0]))
    if canvas.shape[1] < 400:
        entries = (('left', LEFT_COLORS[0]), ('right', RIGHT_COLORS[0]))
    widths = [cv2.getTextSize(text, _FONT, letter_scale, thickness)[0][0] for text, _ in entries]
    row = round(1.8 * text_height)
    size = np.array([3 * pad + stroke + max(widths), 2 * row + pad])
    room = np.array([canvas.shape[1], canvas.shape[0]]) - size
    if (room < 0).any() or np.prod(size) > 0.25 * canvas.shape[0] * canvas.shape[1]:
        return
    margin = np.minimum(pad, room)
    corners = [(margin[0], room[1] - margin[1]), room - margin, (room[0] - margin[0], margin[1]), tuple(margin)]
    plates = [np.concatenate([corner, np.array(corner) + size]).astype(int) for corner in corners]
    left, top, right, bottom = min(plates, key=places.cost).tolist()
    # The plate is translucent.
    canvas[top:bottom, left:right] = canvas[top:bottom, left:right] // 3 + np.uint8(OUTLINE_COLOR[0] // 2)
    for number, (text, color) in enumerate(entries):
        baseline = top + pad // 2 + row * number + round(1.35 * text_height)
        middle = baseline - text_height / 2
        segment = np.array([[left + pad, middle], [left + pad + stroke, middle]], np.float64)
        draw_line(canvas, segment, OUTLINE_COLOR, line_width + 2)
        draw_line(canvas, segment, color, line_width)
        cv2.putText(canvas, text, (left + 2 * pad + stroke, baseline), _FONT, letter_scale, RIM_COLOR, thickness,
                    cv2.LINE_AA)


def _around(points: np.ndarray, margin: float) -> np.ndarray:
    """Return the rectangle (4,) around the finite points of (N, 2); zeros if there are none."""
    shown = points[np.isfinite(points[:, 0])]
    if not len(shown):
        return np.zeros(4)
    return np.concatenate([shown.min(axis=0) - margin, shown.max(axis=0) + margin])


def _shared(plate: np.ndarray, others: np.ndarray) -> float:
    """Return the summed areas of overlap of a rectangle (4,) with others (N, 4), in pixels."""
    sides = np.minimum(plate[2:], others[:, 2:]) - np.maximum(plate[:2], others[:, :2])
    return float(np.prod(np.clip(sides, 0, None), axis=1).sum())


def _draw_plate(canvas: np.ndarray, plate: Plate, color: Tuple[int, int, int]) -> None:
    left, top, right, bottom = plate
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
