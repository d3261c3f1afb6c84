"""The look of a person: colors by the person's number, sizes by the person's length on the picture.

The person's left side is orange, the right side blue: orange and blue can be told apart with every common kind of color
blindness (Okabe and Ito, "Color Universal Design", 2008). Limbs between the two sides have the color of the person's
label and box.
"""
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from .strokes import Color

# One tuple per color family; people take its entries in turn, so that two people differ but stay in the family.
LEFT_COLORS: Tuple[Color, ...] = ((0, 140, 255), (40, 200, 255), (30, 85, 235), (80, 165, 240))
RIGHT_COLORS: Tuple[Color, ...] = ((245, 130, 30), (255, 205, 95), (235, 75, 65), (210, 175, 0))
# Clearly different from both families.
ACCENT_COLORS: Tuple[Color, ...] = (
    (235, 235, 235), (110, 225, 110), (215, 130, 245), (175, 245, 225), (150, 190, 120), (220, 190, 235))
# For one color per person instead of per side: clearly different from each other, none of them dark.
PERSON_COLORS: Tuple[Color, ...] = (
    (0, 150, 255), (240, 190, 40), (110, 225, 110), (225, 110, 235), (60, 230, 250), (100, 100, 245), (235, 130, 110),
    (190, 235, 190), (150, 160, 230), (200, 200, 120))
OUTLINE_COLOR: Color = (25, 20, 20)
RIM_COLOR: Color = (250, 250, 250)


@dataclass(frozen=True)
class PersonStyle:
    """How one person is drawn; all lengths in picture pixels.

    Attributes:
        left, right, middle: colors of the person's left and right side and of the limbs between them.
        accent: color of the box corners and of the label, different from person to person.
        line_width: width of a limb without its outline.
        outlined_width: width of a limb with the dark edges on both its sides.
        keypoint_radius: radius of a keypoint without its rim, unless its neighbours are too close.
        text_height: height of a capital letter in the label.
        is_light: dashed limbs, rings for keypoints, a label in reversed colors.
        is_one_color: the whole person has the color of its number, whatever the layout.
    """

    left: Color
    right: Color
    middle: Color
    accent: Color
    line_width: int
    outlined_width: int
    keypoint_radius: float
    text_height: int
    is_light: bool = False
    is_one_color: bool = False


def choose_style(number: int, length: float, picture_shape: Tuple[int, int], *, is_light: bool = False,
                 by_person: bool = False, line_width: Optional[int] = None) -> PersonStyle:
    """Return how a person looks.

    Args:
        number: of the person, which chooses among the colors.
        length: of the person on the picture, in pixels.
        picture_shape: (H, W); limits the sizes.
        is_light: drawn lightly.
        by_person: one color for the whole person instead of one for each side.
        line_width: of a limb in pixels; None derives it from the length.
    """
    side = max(picture_shape)
    width = int(round(np.clip(length / 75, max(2, side / 2000), max(4, side / 140)))) if line_width is None else (
        line_width)
    keypoint_radius = float(np.clip(length / 45, 1.2, 0.95 * width)) if line_width is None else 0.95 * width
    if is_light:
        # A ring needs room for its hole.
        width, keypoint_radius = max(2, round(0.5 * width)), max(3.5, 1.5 * keypoint_radius)
    left, right, accent = (colors[number % len(colors)] for colors in (LEFT_COLORS, RIGHT_COLORS, ACCENT_COLORS))
    if by_person:
        left = right = accent = PERSON_COLORS[number % len(PERSON_COLORS)]
    return PersonStyle(
        left=left, right=right, middle=accent, accent=accent, line_width=width,
        # Full pixels of outline on both sides would hide the color of the thinnest lines.
        outlined_width=3 if width <= 2 else width + 2 * max(1, round(0.25 * width)),
        keypoint_radius=keypoint_radius,
        # Smaller for small people, but always readable when the whole picture is shown on a screen.
        text_height=int(round(np.clip(length / 26, max(8, side / 140), max(10, side / 60)))), is_light=is_light,
        is_one_color=by_person)


def measure_person(points: np.ndarray, box_xywh: np.ndarray, picture_shape: Tuple[int, int]) -> float:
    """Longer side, in pixels, of the box, or else of the box around the keypoints, clipped to the picture."""
    height, width = picture_shape
    shown = points[np.isfinite(points[:, 0])]
    if np.isfinite(box_xywh).all():
        corners, margin = np.stack([box_xywh[:2], box_xywh[:2] + box_xywh[2:]]), 1.0
    elif len(shown) > 0:
        # The keypoints reach from eyes to ankles, a box from the hair to the soles.
        corners, margin = shown, 1.2
    else:
        return 0.0
    inside = np.clip(corners, 0, [width, height])
    return margin * float(np.ptp(inside, axis=0).max())
