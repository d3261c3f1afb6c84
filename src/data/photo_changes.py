"""Augmentation of the photo before the crop is cut: the photo may end within the person, a piece of another photo may
cover part of the person, and colors may change.

As in `crops.py`, the random numbers are drawn separately from their use. No published recipe here uses these
augmentations; all are off by default.
"""
from dataclasses import dataclass
from typing import Optional, Tuple

import cv2
import numpy as np

# Weights of blue, green and red in the perceived brightness.
LUMINANCE_OF_BGR = np.array([0.114, 0.587, 0.299])
MIDDLE_GREY = 128.0
# Visibility of a keypoint that is known to lie beyond the end of the photo.
ABSENT = -1
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
        covered: whether part of the person is covered.
        cover_side: chooses the side from which it is.
        cover_extent: (3,) how far into the box the cover reaches, how broad it is, and where along the side it lies.
        piece: (3,) which other photo the piece is from, and its position there.
    """

    cut: float
    sides: np.ndarray
    second: float
    depths: np.ndarray
    colors: np.ndarray
    covered: float
    cover_side: float
    cover_extent: np.ndarray
    piece: np.ndarray


@dataclass(frozen=True)
class PhotoChanges:
    """Augmentation by photos that end within the person, by pieces of other photos, and by changed colors.

    Attributes:
        cut_off_probability: probability that the photo ends within the person's box, at one side or at two.
        color_jitter: brightness, contrast and saturation are multiplied by uniform random factors within 1 ± this.
        cover_probability: probability that a piece of another photo covers part of the person.
        absent_as_empty: keypoints beyond the end of a cut photo get visibility `ABSENT` instead of 0.
    """

    cut_off_probability: float = 0.0
    color_jitter: float = 0.0
    cover_probability: float = 0.0
    absent_as_empty: bool = False

    second_side_probability = 0.3
    largest_loss = 0.7
    min_keypoints = 2

    @property
    def are_off(self) -> bool:
        return not (self.cut_off_probability or self.color_jitter or self.cover_probability)

    def draw_dice(self, rng: np.random.Generator) -> PhotoDice:
        uniform = rng.random(17)
        return PhotoDice(cut=uniform[0], sides=uniform[1:3], second=uniform[3], depths=uniform[4:6],
                         colors=uniform[6:9], covered=uniform[9], cover_side=uniform[10], cover_extent=uniform[11:14],
                         piece=uniform[14:17])

    def frame(self, box_xywh: np.ndarray, keypoints: np.ndarray, picture_shape: Tuple[int, int],
              dice: PhotoDice) -> Optional[np.ndarray]:
        """Return (left, top, right, bottom) in whole pixels of the part of the picture that is kept; None keeps
        all of it.

        A person is not cut off if fewer than two labelled keypoints, or hardly anything of the box, would be left.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            picture_shape: (height, width).
        """
        if dice.cut >= self.cut_off_probability:
            return None
        sides = [_first_side(dice.sides[0])]
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
        is_inside = _inside(keypoints, frame)
        has_area = min(x + width, right) - max(x, left) >= 2 and min(y + height, bottom) - max(y, top) >= 2
        return frame if has_area and (is_inside & (keypoints[:, 2] > 0)).sum() >= self.min_keypoints else None

    def cover(self, box_xywh: np.ndarray, keypoints: np.ndarray, picture_shape: Tuple[int, int],
              dice: PhotoDice) -> Optional[np.ndarray]:
        """Return (left, top, right, bottom) in whole pixels of the part of the picture that is covered; None covers
        nothing.

        The cover reaches into the person's box from one side. Nobody is covered of whom fewer than two labelled
        keypoints would be left.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            picture_shape: (height, width).
        """
        if dice.covered >= self.cover_probability:
            return None
        side = _first_side(dice.cover_side)
        depth, breadth, place = dice.cover_extent
        along, across = side % 2, 1 - side % 2
        start, length = box_xywh[along], box_xywh[2 + along]
        low, high = np.empty(2), np.empty(2)
        reach = (0.1 + (self.largest_loss - 0.1) * depth) * length
        low[along], high[along] = ((start - 0.2 * length, start + reach) if side < 2
                                   else (start + length - reach, start + 1.2 * length))
        middle = box_xywh[across] + place * box_xywh[2 + across]
        half = (0.2 + 0.8 * breadth) * box_xywh[2 + across]
        low[across], high[across] = middle - half, middle + half
        area = np.clip(np.concatenate((low, high)).round(), 0, [picture_shape[1], picture_shape[0]] * 2).astype(int)
        if (area[2:] - area[:2]).min() < 2:
            return None
        left = (keypoints[:, 2] > 0) & ~_inside(keypoints, area)
        return area if left.sum() >= self.min_keypoints else None

    def recolored(self, picture: np.ndarray, dice: PhotoDice) -> np.ndarray:
        """Return a BGR picture (H, W, 3) uint8 with changed brightness, contrast and saturation."""
        if not self.color_jitter:
            return picture
        brightness, contrast, saturation = 1 + (2 * dice.colors - 1) * self.color_jitter
        of_color = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMINANCE_OF_BGR, (3, 1))
        shift = np.full((3, 1), brightness * (1 - contrast) * MIDDLE_GREY)
        return cv2.transform(picture, np.hstack((brightness * contrast * of_color, shift)))


def _first_side(number: float) -> int:
    """Return the index in CUT_SIDES that a number in [0, 1) chooses."""
    return int(np.searchsorted(np.cumsum(CUT_SIDES), number, side='right'))


def _inside(keypoints: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return which keypoints (..., K, 3) lie on a pixel of (left, top, right, bottom)."""
    return ((keypoints[..., :2] >= area[:2]) & (keypoints[..., :2] <= area[2:] - 1)).all(axis=-1)


def end_at_frame(box_xywh: np.ndarray, keypoints: np.ndarray, frame: np.ndarray, *, absent_as_empty: bool = False
                 ) -> Tuple[np.ndarray, np.ndarray]:
    """Return the box and the keypoints (..., K, 3) in pixels of the photo that is cut to `frame`.

    The box is clipped to the photo; keypoints outside become unlabelled, or `ABSENT` if they were labelled.
    """
    left, top, right, bottom = frame
    x, y, width, height = box_xywh
    low, high = np.maximum([x, y], [left, top]), np.minimum([x + width, y + height], [right, bottom])
    moved = keypoints.copy()
    moved[..., 0] -= left
    moved[..., 1] -= top
    outside = ~_inside(keypoints, frame)
    was_labelled = outside & (keypoints[..., 2] > 0)
    moved[outside] = 0
    if absent_as_empty:
        moved[was_labelled, 2] = ABSENT
    return np.concatenate((low - [left, top], high - low)), moved


def cover_person(box_xywh: np.ndarray, keypoints: np.ndarray, area: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the box and the keypoints (..., K, 3) of a person of whom `area` (left, top, right, bottom) is covered.

    Covered keypoints become unlabelled. Where the cover is as broad as the box, the box ends at it: annotated boxes
    hold what can be seen of a person.
    """
    seen = keypoints.copy()
    seen[_inside(keypoints, area) & (keypoints[..., 2] > 0)] = 0
    low, high = box_xywh[:2].copy(), box_xywh[:2] + box_xywh[2:]
    for axis in (0, 1):
        is_as_broad = area[1 - axis] <= low[1 - axis] and area[3 - axis] >= high[1 - axis]
        if is_as_broad and area[axis] <= low[axis]:
            low[axis] = min(area[2 + axis], high[axis] - 2)
        elif is_as_broad and area[2 + axis] >= high[axis]:
            high[axis] = max(area[axis], low[axis] + 2)
    return np.concatenate((low, high - low)), seen


def lay_piece(picture: np.ndarray, area: np.ndarray, other: np.ndarray, dice: PhotoDice) -> np.ndarray:
    """Return the picture with a piece of `other`, both BGR (H, W, 3) uint8, on `area` (left, top, right, bottom).

    The piece is from the place in `other` that the last two of `dice.piece` say; it keeps its size where it fits.
    """
    size = area[2:] - area[:2]
    taken = np.minimum(size, (other.shape[1], other.shape[0]))
    column, row = ((np.array([other.shape[1], other.shape[0]]) - taken) * dice.piece[1:]).astype(int)
    part = other[row:row + taken[1], column:column + taken[0]]
    result = picture.copy()
    # Rows that no crop shows may be missing at the end of the picture.
    place = result[area[1]:area[3], area[0]:area[2]]
    place[:] = cv2.resize(part, tuple(int(side) for side in size))[:place.shape[0]]
    return result


def build_photo_changes(config) -> PhotoChanges:
    """Return the photo augmentation of a resolved configuration."""
    dataset = config.DATASET
    return PhotoChanges(dataset.CUT_OFF_PROBABILITY, dataset.COLOR_JITTER, dataset.COVER_PROBABILITY,
                        dataset.ABSENT_AS_EMPTY)
