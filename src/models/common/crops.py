"""The crops of Simple Baselines (ECCV 2018), which HRNet (CVPR 2019) extends by half-body crops."""
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from ...data.crops import Crop, choose_half, transform_labelled
from ...data.geometry import PIXELS_PER_SCALE, center_scale_from_box, fit_aspect
from ...data.skeletons import Skeleton
from ..record import is_udp


@dataclass(frozen=True)
class SimplePoseDice:
    """Random numbers of one training sample: normal `scale`, `angle` and `side`, uniform gates."""

    scale: float
    angle: float
    rotate: float
    flip: float
    side: float
    half_body: float


@dataclass(frozen=True)
class SimplePoseCrops:
    """Simple Baselines' crops, and with a half-body probability those of HRNet.

    Attributes:
        scale_factor: standard deviation of the scale factor around 1; also its largest deviation from 1.
        rotation_factor: standard deviation of the rotation in degrees, clipped at twice this; 60 % of samples rotate.
        flip: mirror half of the samples.
        half_body_probability: of a crop of only the upper or lower body, for people with more than 8 keypoints.
        udp: cut by Unbiased Data Processing.
    """

    scale_factor: float = 0.3
    rotation_factor: float = 40.0
    flip: bool = True
    half_body_probability: float = 0.0
    udp: bool = False

    sample_rule = 'simple_pose'
    honours_exif = False
    num_neighbours = 0
    padding = 1.25
    rotation_probability = 0.6
    half_body_min_keypoints = 8
    half_body_padding = 1.5
    keypoints_of_a_half = 3

    @staticmethod
    def upper_body(skeleton: Skeleton) -> np.ndarray:
        """Return the mask (K,) of the keypoints that a half body may show together."""
        return skeleton.is_above_hips

    def test_crop(self, box_xywh: np.ndarray, aspect: float) -> Crop:
        """Return the crop of evaluation: the box fitted to the aspect, then padded by a quarter."""
        center, scale = center_scale_from_box(box_xywh)
        return Crop(center, fit_aspect(scale, aspect) * np.float32(self.padding), udp=self.udp)

    def draw_dice(self, rng: np.random.Generator) -> SimplePoseDice:
        normal, uniform = rng.standard_normal(2), rng.random(2)
        # The half-body numbers are drawn last, so that the other numbers of a seed do not depend on them.
        return SimplePoseDice(scale=normal[0], angle=normal[1], rotate=uniform[0], flip=uniform[1],
                              side=rng.standard_normal(), half_body=rng.random())

    def train_crop(self, box_xywh: np.ndarray, keypoints: np.ndarray, is_upper_body: np.ndarray, aspect: float,
                   picture_width: int, dice: SimplePoseDice) -> Crop:
        """Return the crop of a training sample.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            is_upper_body: (K,) bool; it and the keypoints are used for half-body crops only.
            aspect: width / height of the network input.
        """
        crop = self._half_body(keypoints, is_upper_body, aspect, dice) or self.test_crop(box_xywh, aspect)
        jitter = np.clip(dice.scale * self.scale_factor + 1, 1 - self.scale_factor, 1 + self.scale_factor)
        rotation = 0.0
        if dice.rotate < self.rotation_probability:
            rotation = float(np.clip(dice.angle * self.rotation_factor, -2 * self.rotation_factor,
                                     2 * self.rotation_factor))
        flip = self.flip and dice.flip < 0.5
        center = np.array([picture_width - crop.center[0] - 1, crop.center[1]], np.float32) if flip else crop.center
        return Crop(center, (crop.scale * jitter).astype(np.float32), rotation, flip, self.udp)

    def _half_body(self, keypoints, is_upper_body, aspect, dice) -> Optional[Crop]:
        if (keypoints[:, 2] > 0).sum() <= self.half_body_min_keypoints or dice.half_body >= self.half_body_probability:
            return None
        places = choose_half(keypoints, is_upper_body, dice.side, self.keypoints_of_a_half)
        if places is None:
            return None
        scale = fit_aspect(np.ptp(places, axis=0) / PIXELS_PER_SCALE, aspect) * self.half_body_padding
        return Crop(places.mean(axis=0).astype(np.float32), scale.astype(np.float32))

    @staticmethod
    def place_keypoints(keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (K, 2) in crop pixels and validity (K,): 0 or 1.

        Joints outside the crop stay valid; the target maps decide how far outside is too far.
        """
        return transform_labelled(keypoints, matrix), np.minimum(keypoints[:, 2], 1)


def crop_settings(config) -> dict:
    """Return what the crop rules of all networks take from a resolved configuration."""
    dataset = config.DATASET
    return {'scale_factor': dataset.SCALE_FACTOR, 'rotation_factor': dataset.ROT_FACTOR, 'flip': dataset.FLIP,
            'half_body_probability': dataset.HALF_BODY_PROBABILITY}


def build_simple_pose_crops(config) -> SimplePoseCrops:
    """Return the crop rule of a resolved configuration."""
    return SimplePoseCrops(**crop_settings(config), udp=is_udp(config))
