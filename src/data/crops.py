"""Which part of a picture a sample shows: what the crop rules of all networks have in common.

The steps are   box → center, scale → (augmentation) → Crop → affine matrix.

A crop rule draws all random numbers ("dice") of a sample at once, always equally many and in the same order
(`draw_dice`); the crop is a pure function of them. Each network has its own crop rule: `models/*/crops.py`.
"""
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Tuple

import numpy as np

from .geometry import crop_matrix, transform_points, udp_crop_matrix
from .skeletons import Skeleton


@dataclass(frozen=True)
class Crop:
    """Where to cut: center (2,) in pixels of the (mirrored, if `flip`) picture, scale (2,) in units of 200 pixels.

    `udp` says that sizes are distances between pixel centers, see `udp_crop_matrix`.
    """

    center: np.ndarray
    scale: np.ndarray
    rotation_degrees: float = 0.0
    flip: bool = False
    udp: bool = False

    def matrix(self, size: Tuple[int, int]) -> np.ndarray:
        """Return the (2, 3) matrix from pixels of the (mirrored) picture to those of a crop of `size` (width, height).
        """
        make = udp_crop_matrix if self.udp else crop_matrix
        return make(self.center, self.scale, self.rotation_degrees, size)


class CropRule(Protocol):
    """How a network's samples are cut.

    Attributes:
        sample_rule: which annotated people the network is trained on, see `load_coco_people`.
        honours_exif: whether pictures are turned as their EXIF orientation says.
        num_neighbours: number of people in a training sample besides the person of the crop.
    """

    sample_rule: str
    honours_exif: bool
    num_neighbours: int

    def upper_body(self, skeleton: Skeleton) -> np.ndarray:
        """Return the mask (K,) of the keypoints of the upper body, for half-body augmentation."""

    def test_crop(self, box_xywh: np.ndarray, aspect: float) -> Crop:
        """Return the crop for evaluation; `aspect` is width / height of the network input."""

    def draw_dice(self, rng: np.random.Generator) -> Any:
        """Return all random numbers of a training sample."""

    def train_crop(self, box_xywh: np.ndarray, keypoints: np.ndarray, is_upper_body: np.ndarray, aspect: float,
                   picture_width: int, dice: Any) -> Crop:
        """Return the crop of a training sample.

        Args:
            keypoints: (K, 3) x, y in picture pixels and visibility.
            is_upper_body: (K,) bool.
        """

    def place_keypoints(self, keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]
                        ) -> Tuple[np.ndarray, np.ndarray]:
        """Return joints (K, 2) in crop pixels and validity (K,); for several people (I, K, 2) and (I, K)."""


def transform_labelled(keypoints: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the positions (K, 2) of keypoints (K, 3) after the transform; unlabelled ones are left unchanged."""
    joints = keypoints[:, :2].astype(np.float64)
    labelled = keypoints[:, 2] > 0
    joints[labelled] = transform_points(joints[labelled], matrix)
    return joints


def choose_half(keypoints: np.ndarray, is_upper_body: np.ndarray, side: float, enough: int) -> Optional[np.ndarray]:
    """Return the labelled keypoint positions (J, 2) float64 of the upper or the lower body; None if there are too few.

    Args:
        side: a standard normal random number. The releases compare it with 0.5, so the upper body is preferred in 69 %
            of the cases, not in 50 %.
        enough: number of labelled keypoints that a half needs to be chosen. The upper half is also taken with one less,
            if the lower half does not have enough.
    """
    if not is_upper_body.any():
        # The layout does not define halves.
        return None
    labelled = keypoints[:, 2] > 0
    upper, lower = (keypoints[labelled & half, :2].astype(np.float64) for half in (is_upper_body, ~is_upper_body))
    if side < 0.5 and len(upper) >= enough:
        chosen = upper
    else:
        chosen = lower if len(lower) >= enough else upper
    # If all positions coincide, there is no extent to crop.
    return chosen if len(chosen) >= enough - 1 and np.ptp(chosen, axis=0).any() else None
