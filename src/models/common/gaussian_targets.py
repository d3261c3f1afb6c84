"""Simple Baselines' label maps, made in the graph from joint positions: equal to those of the published data loaders.

A map is an outer product of two one-dimensional rows, so a batch of maps costs one broadcast product.
Axes: N people, K keypoints, h, w heatmap. Joint positions are (x, y) in pixels of the network input.
"""
from typing import Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from ..record import heatmap_shape, input_shape


def outer_product(rows_y, rows_x):
    """(N, K, h), (N, K, w) -> (N, K, h, w)."""
    return ops.expand_dims(rows_y, 3) * ops.expand_dims(rows_x, 2)


class GaussianTargets(nn.Cell):
    """Simple Baselines' targets: a Gaussian of peak 1 around the nearest cell, cut at three standard deviations.

    Args:
        input_shape, heatmap_shape: (H, W) and (h, w).
        heatmap_sigma: standard deviation in cells.
    """

    def __init__(self, input_shape: Tuple[int, int], heatmap_shape: Tuple[int, int], heatmap_sigma: float):
        super().__init__()
        self.shape = tuple(heatmap_shape)
        self.cells_per_pixel = (heatmap_shape[0] / input_shape[0], heatmap_shape[1] / input_shape[1])
        self.radius = int(heatmap_sigma * 3)
        self.exponent = -1.0 / (2.0 * heatmap_sigma ** 2)
        self.grids = tuple(Tensor(np.arange(length, dtype=np.float32)) for length in heatmap_shape)

    def _center(self, position, axis: int):
        # Truncation towards zero, as in the original: cell 0 takes positions from -1.5 to 0.5.
        return ops.trunc(position * self.cells_per_pixel[axis] + 0.5)

    def _rows(self, center, axis: int):
        distance = self.grids[axis] - ops.expand_dims(center, 2)
        inside = ops.cast(ops.abs(distance) <= self.radius, mstype.float32)
        return ops.exp(distance * distance * self.exponent) * inside

    def _touches_map(self, center, axis: int):
        # As in the original, a Gaussian that ends just before cell 0 counts as inside: weight 1 with an empty map.
        return ops.logical_and(center - self.radius < self.shape[axis], center + self.radius + 1 >= 0)

    def construct(self, joints, validity):
        """Make the targets.

        Args:
            joints: (N, K, 2) float32.
            validity: (N, K) float32, 0 or 1.

        Returns:
            target (N, K, h, w) and target weight (N, K), float32.
        """
        center_x, center_y = self._center(joints[:, :, 0], 1), self._center(joints[:, :, 1], 0)
        touches = ops.logical_and(self._touches_map(center_x, 1), self._touches_map(center_y, 0))
        weight = validity * ops.cast(touches, mstype.float32)
        drawn = ops.expand_dims(ops.cast(weight > 0.5, mstype.float32), 2)
        return outer_product(self._rows(center_y, 0) * drawn, self._rows(center_x, 1)), weight


def build_gaussian_targets(config, sigma: float) -> nn.Cell:
    """Return the targets for the input of a resolved configuration; `sigma` in cells."""
    return GaussianTargets(input_shape(config), heatmap_shape(config), sigma)
