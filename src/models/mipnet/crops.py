"""MIPNet's crops (arXiv 2101.11223): those of Simple Baselines and HRNet, with the keypoints of several people."""
from dataclasses import dataclass
from typing import Tuple

import numpy as np

from ...data.geometry import transform_points
from ..common.crops import SimplePoseCrops, crop_settings
from ..record import is_udp


@dataclass(frozen=True)
class MIPNetCrops(SimplePoseCrops):
    """MIPNet's crops: those of the network that it modulates, with the keypoints of several people in them.

    Attributes:
        num_neighbours: people in a sample beside the one that the crop belongs to.
    """

    num_neighbours: int = 1

    neighbour_min_keypoints = 4

    @classmethod
    def place_keypoints(cls, keypoints: np.ndarray, matrix: np.ndarray, input_shape: Tuple[int, int]):
        """Return joints (I, K, 2) in crop pixels and validity (I, K), 0 or 1, of the keypoints (I, K, 3) of I people.

        Joints outside the crop are set to (0, 0) and are not valid, also those of the first person, to whom the crop
        belongs. A person with fewer than four valid joints is replaced by the first person.
        """
        joints = transform_points(keypoints[..., :2].astype(np.float64), matrix)
        # In the release x = W and y = H still count as inside.
        outside = (joints < 0).any(axis=-1) | (joints > [input_shape[1], input_shape[0]]).any(axis=-1)
        joints[outside] = 0
        validity = np.where(outside, 0, np.minimum(keypoints[..., 2], 1))
        stays = validity.sum(axis=-1) >= cls.neighbour_min_keypoints
        shown = np.where(stays, np.arange(len(keypoints)), 0)
        return joints[shown], validity[shown]


def build_crops(config) -> MIPNetCrops:
    """Return the crop rule of a resolved configuration."""
    return MIPNetCrops(**crop_settings(config), num_neighbours=config.MIPNET.NUM_INSTANCES - 1,
                       udp=is_udp(config))
