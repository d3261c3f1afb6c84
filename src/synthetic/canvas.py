"""The canvas of the made-up pictures: smooth flat shapes in color, and a map of the part that each pixel shows.

Colors are painted at OVERSAMPLING times the size of the picture and averaged down. The map is kept at the size of
the picture, since it only has to answer which part covers a pixel's center.
"""
from typing import Sequence, Tuple

import cv2
import numpy as np

Color = Tuple[float, float, float]

OVERSAMPLING = 2
_SUBPIXEL_BITS = 4
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 11)
_CIRCLE = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)


class Canvas:
    """A picture being painted.

    Attributes:
        colors: BGR uint8 (s*H, s*W, 3) with s = OVERSAMPLING.
        parts: uint8 (H, W), the number of the topmost part, 0 where no numbered part was painted.
    """

    def __init__(self, background: np.ndarray):
        """Start from a background, BGR uint8 (H, W, 3)."""
        height, width = background.shape[:2]
        self.colors = cv2.resize(background, (width * OVERSAMPLING, height * OVERSAMPLING))
        self.parts = np.zeros((height, width), np.uint8)

    def fill(self, outline: np.ndarray, color: Color, part: int = 0) -> None:
        """Paint a polygon (N, 2), in pixels of the picture; part 0 does not change the map."""
        cv2.fillPoly(self.colors, [_fixed_point(_oversampled(outline))], color, cv2.LINE_AA, _SUBPIXEL_BITS)
        if part:
            cv2.fillPoly(self.parts, [_fixed_point(outline)], part, cv2.LINE_8, _SUBPIXEL_BITS)

    def fill_inside(self, frame: np.ndarray, shapes: Sequence[Tuple[np.ndarray, Color]], opacity: float = 1.0) -> None:
        """Paint polygons, clipped to another polygon, the frame (N, 2); the map does not change."""
        frame = _oversampled(frame)
        height, width = self.colors.shape[:2]
        left, top = np.maximum(np.floor(frame.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(frame.max(0)).astype(int) + 2, (width, height))
        if right <= left or bottom <= top:
            return
        corner = np.array([left, top])
        below = self.colors[top:bottom, left:right]
        layer = below.copy()
        for outline, color in shapes:
            cv2.fillPoly(layer, [_fixed_point(_oversampled(outline) - corner)], color, cv2.LINE_AA, _SUBPIXEL_BITS)
        mask = np.zeros(below.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed_point(frame - corner)], round(255 * opacity), cv2.LINE_AA, _SUBPIXEL_BITS)
        weight = mask.astype(np.float32) / 255
        below[:] = cv2.blendLinear(layer, np.ascontiguousarray(below), weight, 1 - weight)

    def picture(self) -> np.ndarray:
        """The picture, BGR uint8 (H, W, 3)."""
        height, width = self.parts.shape
        return cv2.resize(self.colors, (width, height), interpolation=cv2.INTER_AREA)


def _oversampled(places: np.ndarray) -> np.ndarray:
    """Pixels of the picture → pixels of the oversampled canvas; whole numbers are pixel centers in both."""
    return (np.asarray(places) + 0.5) * OVERSAMPLING - 0.5


def _fixed_point(places: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(places) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def capsule(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Outline (22, 2) of a limb with round ends; start and end (2,), all in pixels."""
    along = end - start
    angle = np.arctan2(along[1], along[0])
    far = np.stack([np.cos(_ARC + angle), np.sin(_ARC + angle)], 1)
    return np.concatenate([end + end_radius * far, start - start_radius * far])


def ellipse(center: np.ndarray, half_size: Tuple[float, float], up: np.ndarray) -> np.ndarray:
    """Outline (32, 2) of an ellipse whose second half axis points along the unit vector up (2,)."""
    across = np.array([-up[1], up[0]])
    return center + half_size[0] * np.cos(_CIRCLE)[:, None] * across + half_size[1] * np.sin(_CIRCLE)[:, None] * up


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Outline (4, 2) of an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def rounded(outline: np.ndarray, rounds: int = 2) -> np.ndarray:
    """A closed polygon (N, 2) with its corners cut (Chaikin); every round doubles the number of corners."""
    for _ in range(rounds):
        following = np.roll(outline, -1, 0)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1).reshape(-1, 2)
    return outline


def shaded(color: Color, factor: float) -> Color:
    """The color darkened (factor below 1) or lightened towards white (above 1)."""
    if factor <= 1:
        return tuple(factor * channel for channel in color)
    return tuple(channel + (factor - 1) * (255 - channel) for channel in color)


def sample_color(rng: np.random.Generator, saturation: Tuple[float, float], value: Tuple[float, float],
                  hue: Tuple[float, float] = (0.0, 360.0)) -> Color:
    """A color (BGR, 0 to 255); the hue in degrees (0 red, 120 green, 240 blue), the other ranges within 0..1."""
    strength, light = rng.uniform(*saturation), rng.uniform(*value)
    # The closed form of the HSV conversion; the offsets are those of blue, green and red.
    offsets = (np.array([1.0, 3.0, 5.0]) + rng.uniform(*hue) / 60) % 6
    return tuple(255 * light * (1 - strength * np.clip(np.minimum(offsets, 4 - offsets), 0, 1)))
