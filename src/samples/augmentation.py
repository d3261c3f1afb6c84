"""Which part of a picture a sample shows: the two published recipes side by side, dice apart from deed.

`draw_dice` takes all random numbers of a sample from a generator, always the same count in the same order; the rest is
a pure function of them. Sources: MSPN release (arXiv 1901.00148), Simple Baselines release (ECCV 2018).

A box goes through   box → centre, scale → (augmentation) → Crop → affine matrix.
"""
from dataclasses import dataclass
from typing import Optional, Tuple, Union

import numpy as np

from src.affine import transform_points
from src.boxes import PIXELS_PER_SCALE, center_scale_from_box, fit_aspect


@dataclass(frozen=True)
class Crop:
    """Where to cut: centre (2,) in pixels of the (mirrored, if `flip`) picture, scale (2,) in units of 200 pixels."""

    center: np.ndarray
    scale: np.ndarray
    rotation_degrees: float = 0.0
    flip: bool = False


def _transform_labelled(keypoints: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    joints = keypoints[:, :2].astype(np.float64)
    labelled = keypoints[:, 2] > 0
    joints[labelled] = transform_points(joints[labelled], matrix)
    return joints


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
    """MSPN's crops of COCO people.

    Attributes:
        scale_factor: the training scale is jittered by a uniform factor within 1 ± this, after a shrink to 0.8.
        rotation_factor: largest rotation in degrees, uniform, of half of the samples.
        flip: mirror half of the samples.
        half_body_probability: of showing the upper or lower body alone.
        random_extension: widen the box by up to 60 % and heighten it by up to 80 %.
    """

    scale_factor: float = 0.25
    rotation_factor: float = 45.0
    flip: bool = True
    half_body_probability: float = 0.3
    random_extension: bool = True

    sample_rule = 'mspn'
    honours_exif = True
    basic_extension = 0.05
    train_extension = (0.6, 0.8)
    test_extension = (0.09, 0.135)
    shrink = 0.8
    half_body_min_keypoints = 3

    def test_crop(self, box_xywh: np.ndarray, aspect: float) -> Crop:
        """Return the crop of evaluation: the box widened by 9 % and heightened by 13.5 %, then fitted to the aspect."""
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
        scale = scale * (1 + self.basic_extension)
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
        labelled = keypoints[:, 2] > 0
        if labelled.sum() <= self.half_body_min_keypoints or dice.half_body >= self.half_body_probability:
            return None
        upper, lower = (keypoints[labelled & side, :2] for side in (is_upper_body, ~is_upper_body))
        # The release compares a standard normal number with 0.5: upper in 69 % of the cases, not in half.
        if dice.side < 0.5 and len(upper) > self.half_body_min_keypoints:
            chosen = upper
        else:
            chosen = lower if len(lower) > self.half_body_min_keypoints else upper
        if len(chosen) < 3:
            return None
        low, high = chosen.min(axis=0).astype(np.float64), chosen.max(axis=0).astype(np.float64)
        size = (high - low) * (1 + dice.half_body_extension * self.train_extension)
        if not size.any():
            return None
        return (low + high) / 2, fit_aspect(size / PIXELS_PER_SCALE, aspect)

    @staticmethod
    def place_keypoints(keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (K, 2) in crop pixels and validity (K,): 0, 1 or 2, and 0 outside the crop.

        Integer keypoints (COCO's) are truncated towards zero after the transform, before the test of the range,
        because the release keeps them in an integer array.
        """
        joints = _transform_labelled(keypoints, matrix)
        if np.issubdtype(keypoints.dtype, np.integer):
            joints = np.trunc(joints)
        inside = (joints >= 0).all(axis=1) & (joints <= [input_shape[1] - 1, input_shape[0] - 1]).all(axis=1)
        return joints, np.where(inside, keypoints[:, 2], 0)


@dataclass(frozen=True)
class SimplePoseDice:
    """Random numbers of one Simple Baselines training sample: normal `scale` and `angle`, uniform gates."""

    scale: float
    angle: float
    rotate: float
    flip: float


@dataclass(frozen=True)
class SimplePoseCrops:
    """Simple Baselines' crops.

    Attributes:
        scale_factor: standard deviation of the scale jitter, which is also its largest deviation from 1.
        rotation_factor: standard deviation of the rotation in degrees, cut at twice it; 60 % of the samples rotate.
        flip: mirror half of the samples.
    """

    scale_factor: float = 0.3
    rotation_factor: float = 40.0
    flip: bool = True

    sample_rule = 'simple_pose'
    honours_exif = False
    padding = 1.25
    rotation_probability = 0.6

    def test_crop(self, box_xywh: np.ndarray, aspect: float) -> Crop:
        """Return the crop of evaluation: the box fitted to the aspect, then padded by a quarter."""
        center, scale = center_scale_from_box(box_xywh)
        return Crop(center, fit_aspect(scale, aspect) * np.float32(self.padding))

    def draw_dice(self, rng: np.random.Generator) -> SimplePoseDice:
        normal, uniform = rng.standard_normal(2), rng.random(2)
        return SimplePoseDice(scale=normal[0], angle=normal[1], rotate=uniform[0], flip=uniform[1])

    def train_crop(self, box_xywh: np.ndarray, keypoints: np.ndarray, is_upper_body: np.ndarray, aspect: float,
                   picture_width: int, dice: SimplePoseDice) -> Crop:
        """Return the crop of a training sample; `keypoints` and `is_upper_body` play no part in this recipe."""
        crop = self.test_crop(box_xywh, aspect)
        jitter = np.clip(dice.scale * self.scale_factor + 1, 1 - self.scale_factor, 1 + self.scale_factor)
        rotation = 0.0
        if dice.rotate < self.rotation_probability:
            rotation = float(np.clip(dice.angle * self.rotation_factor, -2 * self.rotation_factor,
                                     2 * self.rotation_factor))
        flip = self.flip and dice.flip < 0.5
        center = np.array([picture_width - crop.center[0] - 1, crop.center[1]], np.float32) if flip else crop.center
        return Crop(center, (crop.scale * jitter).astype(np.float32), rotation, flip)

    @staticmethod
    def place_keypoints(keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (K, 2) in crop pixels and validity (K,): 0 or 1.

        Joints outside the crop stay valid; the target maps decide how far outside is too far.
        """
        return _transform_labelled(keypoints, matrix), np.minimum(keypoints[:, 2], 1)


CropRecipe = Union[MSPNCrops, SimplePoseCrops]


def build_crop_recipe(config) -> CropRecipe:
    """Return the crops of a resolved configuration."""
    dataset = config.DATASET
    if config.MODEL.NAME == 'mspn':
        return MSPNCrops(scale_factor=dataset.SCALE_FACTOR, rotation_factor=dataset.ROT_FACTOR, flip=dataset.FLIP,
                         half_body_probability=dataset.HALF_BODY_PROBABILITY,
                         random_extension=dataset.RANDOM_EXTENSION)
    return SimplePoseCrops(scale_factor=dataset.SCALE_FACTOR, rotation_factor=dataset.ROT_FACTOR, flip=dataset.FLIP)
