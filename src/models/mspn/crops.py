"""The crops of the MSPN release (arXiv 1901.00148)."""
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from ...data.crops import Crop, choose_half, transform_labelled
from ...data.geometry import PIXELS_PER_SCALE, center_scale_from_box, fit_aspect
from ...data.skeletons import Skeleton
from ..common.crops import crop_settings

# The settings of MSPN's release that differ for MPII: boxes extended by a quarter in training and in evaluation, and no
# `shrink`.
ON_MPII = {'basic_extension': (0.25, 0.25), 'test_extension': (0.25, 0.25), 'half_body_extension': (0.6, 0.6),
           'half_body_min_keypoints': 8, 'shrink': 1.0}


@dataclass(frozen=True)
class MSPNDice:
    """Random numbers of one MSPN training sample; all but `side` uniform in [0, 1)."""

    extension: np.ndarray
    half_body: float
    side: float
    half_body_extension: np.ndarray
    scale: float
    rotate: float
    angle: float
    flip: float


@dataclass(frozen=True)
class MSPNCrops:
    """MSPN's crops; the defaults are those of COCO. Extensions are shares of (width, height).

    Attributes:
        scale_factor: the training scale is jittered by a uniform factor within 1 ± this, after `shrink`.
        rotation_factor: largest rotation in degrees, drawn uniformly; half of the samples rotate.
        flip: mirror half of the samples.
        half_body_probability: of a crop of only the upper or lower body.
        random_extension: widen the training box by up to `train_extension`, after `basic_extension`.
        basic_extension: of every training box.
        test_extension: of every box of an evaluation.
        half_body_extension: largest extension of half-body boxes.
        half_body_min_keypoints: half-body crops only for people with more labelled keypoints than this.
        shrink: factor of the training scale.
    """

    scale_factor: float = 0.25
    rotation_factor: float = 45.0
    flip: bool = True
    half_body_probability: float = 0.3
    random_extension: bool = True
    basic_extension: Tuple[float, float] = (0.05, 0.05)
    train_extension: Tuple[float, float] = (0.6, 0.8)
    test_extension: Tuple[float, float] = (0.09, 0.135)
    half_body_extension: Tuple[float, float] = (0.6, 0.8)
    half_body_min_keypoints: int = 3
    shrink: float = 0.8

    sample_rule = 'mspn'
    honours_exif = True
    num_neighbours = 0
    keypoints_of_a_half = 4

    @staticmethod
    def upper_body(skeleton: Skeleton) -> np.ndarray:
        """Return the mask (K,) of the keypoints that a half body may show together."""
        return skeleton.is_upper_body

    def test_crop(self, box_xywh: np.ndarray, aspect: float) -> Crop:
        """Return the crop of evaluation: the box extended (COCO: by 9 % and 13.5 %), then fitted to the aspect."""
        center, scale = center_scale_from_box(box_xywh)
        return Crop(center, fit_aspect(scale * (1 + np.array(self.test_extension, np.float32)), aspect))

    def draw_dice(self, rng: np.random.Generator) -> MSPNDice:
        uniform = rng.random(9)
        return MSPNDice(extension=uniform[0:2], half_body=uniform[2], side=rng.standard_normal(),
                        half_body_extension=uniform[3:5], scale=uniform[5], rotate=uniform[6], angle=uniform[7],
                        flip=uniform[8])

    def train_crop(self, box_xywh: np.ndarray, keypoints: np.ndarray, is_upper_body: np.ndarray, aspect: float,
                   picture_width: int, dice: MSPNDice) -> Crop:
        """Return the crop of a training sample.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            is_upper_body: (K,) bool.
            aspect: width / height of the network input.
        """
        center, scale = center_scale_from_box(box_xywh)
        scale = scale * (1 + np.array(self.basic_extension, np.float32))
        if self.random_extension:
            scale = scale * (1 + dice.extension * self.train_extension)
        scale = fit_aspect(scale, aspect)
        half_body = self._half_body(keypoints, is_upper_body, aspect, dice)
        if half_body is not None:
            center, scale = half_body
        scale = scale * self.shrink * (1 + (2 * dice.scale - 1) * self.scale_factor)
        rotation = (2 * dice.angle - 1) * self.rotation_factor if dice.rotate < 0.5 else 0.0
        flip = self.flip and dice.flip < 0.5
        if flip:
            center = np.array([picture_width - center[0] - 1, center[1]])
        return Crop(center.astype(np.float32), scale.astype(np.float32), rotation, flip)

    def _half_body(self, keypoints, is_upper_body, aspect, dice) -> Optional[Tuple[np.ndarray, np.ndarray]]:
        if (keypoints[:, 2] > 0).sum() <= self.half_body_min_keypoints or dice.half_body >= self.half_body_probability:
            return None
        places = choose_half(keypoints, is_upper_body, dice.side, self.keypoints_of_a_half)
        if places is None:
            return None
        low, high = places.min(axis=0), places.max(axis=0)
        size = (high - low) * (1 + dice.half_body_extension * self.half_body_extension)
        return (low + high) / 2, fit_aspect(size / PIXELS_PER_SCALE, aspect)

    @staticmethod
    def place_keypoints(keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (K, 2) in crop pixels and validity (K,): 0, 1 or 2, and 0 outside the crop.

        Integer keypoints (COCO's) are truncated towards zero after the transform and before the check whether they are
        inside, because the release keeps them in an integer array.
        """
        joints = transform_labelled(keypoints, matrix)
        if np.issubdtype(keypoints.dtype, np.integer):
            joints = np.trunc(joints)
        inside = (joints >= 0).all(axis=1) & (joints <= [input_shape[1] - 1, input_shape[0] - 1]).all(axis=1)
        return joints, np.where(inside, keypoints[:, 2], 0)


def build_crops(config) -> MSPNCrops:
    """Return the crop rule of a resolved configuration."""
    of_data_set = ON_MPII if config.DATASET.PROTOCOL == 'mpii' else {}
    return MSPNCrops(**crop_settings(config), random_extension=config.DATASET.RANDOM_EXTENSION, **of_data_set)
