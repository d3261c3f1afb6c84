"""Which part of a picture a sample shows: the published recipes side by side, dice apart from deed.

`draw_dice` takes all random numbers of a sample from a generator, always the same count in the same order; the rest is
a pure function of them. Sources: MSPN release (arXiv 1901.00148), Simple Baselines release (ECCV 2018), whose crops
HRNet (CVPR 2019) extends by half bodies, and MIPNet (arXiv 2101.11223) by the keypoints of neighbours.

A box goes through   box → centre, scale → (augmentation) → Crop → affine matrix.
"""
from dataclasses import dataclass
from typing import Optional, Tuple, Union

import numpy as np

from ..config import num_hypotheses
from .affine import transform_points
from .boxes import PIXELS_PER_SCALE, center_scale_from_box, fit_aspect
from .skeletons import Skeleton


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


def _choose_half(keypoints: np.ndarray, is_upper_body: np.ndarray, side: float, enough: int) -> Optional[np.ndarray]:
    """Return the labelled places (J, 2) float64 of the upper or the lower body, or None where they are too few.

    Args:
        side: a standard normal number. The releases compare it with 0.5: upper in 69 % of the cases, not in half.
        enough: places that a half needs to be preferred. The upper half is also taken with one place less, where the
            lower one has not enough either.
    """
    labelled = keypoints[:, 2] > 0
    upper, lower = (keypoints[labelled & half, :2].astype(np.float64) for half in (is_upper_body, ~is_upper_body))
    if side < 0.5 and len(upper) >= enough:
        chosen = upper
    else:
        chosen = lower if len(lower) >= enough else upper
    # Places that all coincide have no extent to crop.
    return chosen if len(chosen) >= enough - 1 and np.ptp(chosen, axis=0).any() else None


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
        rotation_factor: largest rotation in degrees, uniform, of half of the samples.
        flip: mirror half of the samples.
        half_body_probability: of showing the upper or lower body alone.
        random_extension: widen the training box by up to `train_extension`, after `basic_extension`.
        basic_extension: of every training box.
        test_extension: of every box of an evaluation.
        half_body_extension: up to which half bodies are widened.
        half_body_min_keypoints: people with no more labelled keypoints are never halved.
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
        places = _choose_half(keypoints, is_upper_body, dice.side, self.keypoints_of_a_half)
        if places is None:
            return None
        low, high = places.min(axis=0), places.max(axis=0)
        size = (high - low) * (1 + dice.half_body_extension * self.half_body_extension)
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
        scale_factor: standard deviation of the scale jitter, which is also its largest deviation from 1.
        rotation_factor: standard deviation of the rotation in degrees, cut at twice it; 60 % of the samples rotate.
        flip: mirror half of the samples.
        half_body_probability: of showing the upper or lower body alone, of people with more than 8 keypoints.
    """

    scale_factor: float = 0.3
    rotation_factor: float = 40.0
    flip: bool = True
    half_body_probability: float = 0.0

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
        return Crop(center, fit_aspect(scale, aspect) * np.float32(self.padding))

    def draw_dice(self, rng: np.random.Generator) -> SimplePoseDice:
        normal, uniform = rng.standard_normal(2), rng.random(2)
        # Half bodies come last, so that a seed without them gives what it gave before they were added.
        return SimplePoseDice(scale=normal[0], angle=normal[1], rotate=uniform[0], flip=uniform[1],
                              side=rng.standard_normal(), half_body=rng.random())

    def train_crop(self, box_xywh: np.ndarray, keypoints: np.ndarray, is_upper_body: np.ndarray, aspect: float,
                   picture_width: int, dice: SimplePoseDice) -> Crop:
        """Return the crop of a training sample.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            is_upper_body: (K,) bool; it and the keypoints play a part in half bodies only.
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
        return Crop(center, (crop.scale * jitter).astype(np.float32), rotation, flip)

    def _half_body(self, keypoints, is_upper_body, aspect, dice) -> Optional[Crop]:
        if (keypoints[:, 2] > 0).sum() <= self.half_body_min_keypoints or dice.half_body >= self.half_body_probability:
            return None
        places = _choose_half(keypoints, is_upper_body, dice.side, self.keypoints_of_a_half)
        if places is None:
            return None
        scale = fit_aspect(np.ptp(places, axis=0) / PIXELS_PER_SCALE, aspect) * self.half_body_padding
        return Crop(places.mean(axis=0).astype(np.float32), scale.astype(np.float32))

    @staticmethod
    def place_keypoints(keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (K, 2) in crop pixels and validity (K,): 0 or 1.

        Joints outside the crop stay valid; the target maps decide how far outside is too far.
        """
        return _transform_labelled(keypoints, matrix), np.minimum(keypoints[:, 2], 1)


@dataclass(frozen=True)
class MIPNetCrops(SimplePoseCrops):
    """MIPNet's crops: those of the network that it modulates, with the keypoints of several people in them.

    Attributes:
        num_neighbours: people in a sample beside the one whom the crop belongs to.
    """

    num_neighbours: int = 1

    neighbour_min_keypoints = 4

    @classmethod
    def place_keypoints(cls, keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (I, K, 2) in crop pixels and validity (I, K), 0 or 1, of the keypoints (I, K, 3) of I people.

        Joints outside the crop are at (0, 0) and not valid, also those of the first person, whose crop it is. Somebody
        of whom fewer than four joints are left gives way to the first person.
        """
        joints = transform_points(keypoints[..., :2].astype(np.float64), matrix)
        # The release counts the far border itself as inside.
        outside = (joints < 0).any(axis=-1) | (joints > [input_shape[1], input_shape[0]]).any(axis=-1)
        joints[outside] = 0
        validity = np.where(outside, 0, np.minimum(keypoints[..., 2], 1))
        stays = validity.sum(axis=-1) >= cls.neighbour_min_keypoints
        shown = np.where(stays, np.arange(len(keypoints)), 0)
        return joints[shown], validity[shown]


CropRecipe = Union[MSPNCrops, SimplePoseCrops, MIPNetCrops]

# What MSPN's release sets otherwise for MPII: a quarter more around every person, in training and in evaluation, and
# no shrinking.
MSPN_ON_MPII = {'basic_extension': (0.25, 0.25), 'test_extension': (0.25, 0.25), 'half_body_extension': (0.6, 0.6),
                'half_body_min_keypoints': 8, 'shrink': 1.0}


def build_crop_recipe(config) -> CropRecipe:
    """Return the crops of a resolved configuration."""
    dataset = config.DATASET
    common = {'scale_factor': dataset.SCALE_FACTOR, 'rotation_factor': dataset.ROT_FACTOR, 'flip': dataset.FLIP,
              'half_body_probability': dataset.HALF_BODY_PROBABILITY}
    if config.MODEL.NAME == 'mspn':
        of_data_set = MSPN_ON_MPII if dataset.PROTOCOL == 'mpii' else {}
        return MSPNCrops(**common, random_extension=dataset.RANDOM_EXTENSION, **of_data_set)
    if config.MODEL.NAME == 'mipnet':
        return MIPNetCrops(**common, num_neighbours=num_hypotheses(config) - 1)
    return SimplePoseCrops(**common)
