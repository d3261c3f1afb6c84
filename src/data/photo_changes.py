"""Augmentation of the photo before the crop is cut: the photo may end within the person, and its colors may change.

As in `crops.py`, the random numbers are drawn separately from their use. No published recipe here uses these
augmentations; both are off by default.
"""
from dataclasses import dataclass
from typing import Optional, Tuple

import cv2
import numpy as np

# Weights of blue, green and red in the perceived brightness.
LUMINANCE_OF_BGR = np.array([0.114, 0.587, 0.299])
MIDDLE_GREY = 128.0
# Probability that a person is cut off first at the (left, top, right, bottom). In most photos the legs are missing.
CUT_SIDES = (0.2, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class PhotoDice:
    """Random numbers of one training sample, all uniform in [0, 1).

    Attributes:
        cut: whether the person is cut off.
        sides: (2,) choose the first and the second side.
        second: whether a second side is cut as well.
        depths: (2,) how much is cut away at each of the two.
        colors: (3,) brightness, contrast, saturation.
    """

    cut: float
    sides: np.ndarray
    second: float
    depths: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True)
class PhotoChanges:
    """Augmentation by photos that end within the person, and by changed colors.

    Attributes:
        cut_off_probability: probability that the photo ends within the person's box, at one side or at two.
        color_jitter: brightness, contrast and saturation are multiplied by uniform random factors within 1 ± this.
    """

    cut_off_probability: float = 0.0
    color_jitter: float = 0.0

    second_side_probability = 0.3
    largest_loss = 0.6
    min_keypoints = 4

    @property
    def are_off(self) -> bool:
        return not self.cut_off_probability and not self.color_jitter

    def draw_dice(self, rng: np.random.Generator) -> PhotoDice:
        uniform = rng.random(9)
        return PhotoDice(cut=uniform[0], sides=uniform[1:3], second=uniform[3], depths=uniform[4:6],
                         colors=uniform[6:9])

    def frame(self, box_xywh: np.ndarray, keypoints: np.ndarray, picture_shape: Tuple[int, int],
              dice: PhotoDice) -> Optional[np.ndarray]:
        """Return (left, top, right, bottom) in whole pixels of the part of the picture that is kept; None keeps
        all of it.

        A person is not cut off if fewer than four labelled keypoints, or hardly anything of the box, would be left.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            picture_shape: (height, width).
        """
        if dice.cut >= self.cut_off_probability:
            return None
        sides = [int(np.searchsorted(np.cumsum(CUT_SIDES), dice.sides[0], side='right'))]
        if dice.second < self.second_side_probability:
            # Never the opposite side: only a slice without head and feet, or without both arms, would be left.
            sides.append((1 - sides[0] % 2) + 2 * int(dice.sides[1] < 0.5))
        (x, y, width, height), (picture_height, picture_width) = box_xywh, picture_shape
        frame = np.array([0, 0, picture_width, picture_height], np.int64)
        for side, depth in zip(sides, dice.depths):
            start, length = (x, width) if side % 2 == 0 else (y, height)
            loss = depth * self.largest_loss * length
            frame[side] = round(start + loss if side < 2 else start + length - loss)
        frame = np.clip(frame, 0, [picture_width, picture_height] * 2)
        left, top, right, bottom = frame
        is_inside = (keypoints[:, :2] >= [left, top]).all(axis=1) & (keypoints[:, :2] <= [right - 1, bottom - 1]).all(
            axis=1)
        has_area = min(x + width, right) - max(x, left) >= 2 and min(y + height, bottom) - max(y, top) >= 2
        return frame if has_area and (is_inside & (keypoints[:, 2] > 0)).sum() >= self.min_keypoints else None

    def recolored(self, picture: np.ndarray, dice: PhotoDice) -> np.ndarray:
        """Return a BGR picture (H, W, 3) uint8 with changed brightness, contrast and saturation."""
        if not self.color_jitter:
            return picture
        brightness, contrast, saturation = 1 + (2 * dice.colors - 1) * self.color_jitter
        of_color = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMINANCE_OF_BGR, (3, 1))
        shift = np.full((3, 1), brightness * (1 - contrast) * MIDDLE_GREY)
        return cv2.transform(picture, np.hstack((brightness * contrast * of_color, shift)))


def end_at_frame(box_xywh: np.ndarray, keypoints: np.ndarray, frame: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the box and the keypoints (..., K, 3) in pixels of the photo that is cut to `frame`.

    The box is clipped to the photo; keypoints outside become unlabelled.
    """
    left, top, right, bottom = frame
    x, y, width, height = box_xywh
    low, high = np.maximum([x, y], [left, top]), np.minimum([x + width, y + height], [right, bottom])
    moved = keypoints.copy()
    moved[..., 0] -= left
    moved[..., 1] -= top
    outside = (moved[..., :2] < 0).any(axis=-1) | (moved[..., :2] > [right - left - 1, bottom - top - 1]).any(axis=-1)
    moved[outside] = 0
    return np.concatenate((low - [left, top], high - low)), moved


def build_photo_changes(config) -> PhotoChanges:
    """Return the photo augmentation of a resolved configuration."""
    return PhotoChanges(config.DATASET.CUT_OFF_PROBABILITY, config.DATASET.COLOR_JITTER)
