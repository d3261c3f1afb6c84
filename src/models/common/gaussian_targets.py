"""Gaussian label maps, made in the graph from joint positions: equal to those of the published data loaders of Simple
Baselines, of DARK (Zhang et al., CVPR 2020) and of UDP (Huang et al., CVPR 2020), the latter two as in MMPose.

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
    """Gaussians of peak 1, as Simple Baselines, DARK or UDP make them.

    Args:
        input_shape, heatmap_shape: (H, W) and (h, w).
        heatmap_sigma: standard deviation in cells.
        encoding: 'published': around the nearest cell, cut at three standard deviations from it; 'dark': around the
            exact position, never cut; 'udp': around the exact position, cut at three standard deviations from the
            nearest cell, and the outermost cells lie on the outermost pixels of the input.
    """

    def __init__(self, input_shape: Tuple[int, int], heatmap_shape: Tuple[int, int], heatmap_sigma: float,
                 encoding: str = 'published'):
        super().__init__()
        self.shape = tuple(heatmap_shape)
        less = 1 if encoding == 'udp' else 0
        self.cells_per_pixel = tuple((cells - less) / (pixels - less)
                                     for cells, pixels in zip(heatmap_shape, input_shape))
        self.is_rounded, self.is_cut = encoding == 'published', encoding != 'dark'
        self.radius = int(heatmap_sigma * 3)
        self.exponent = -1.0 / (2.0 * heatmap_sigma ** 2)
        self.grids = tuple(Tensor(np.arange(length, dtype=np.float32)) for length in heatmap_shape)

    def _centers(self, position, axis: int):
        """Return the centers of the Gaussians and of the windows that they are cut to, both (N, K), in cells."""
        exact = position * self.cells_per_pixel[axis]
        # Truncation towards zero, as in the original: cell 0 takes positions from -1.5 to 0.5.
        nearest = ops.trunc(exact + 0.5)
        return nearest if self.is_rounded else exact, nearest if self.is_cut else exact

    def _rows(self, center, window, axis: int):
        distance = self.grids[axis] - ops.expand_dims(center, 2)
        rows = ops.exp(distance * distance * self.exponent)
        if not self.is_cut:
            return rows
        inside = ops.abs(self.grids[axis] - ops.expand_dims(window, 2)) <= self.radius
        return rows * ops.cast(inside, mstype.float32)

    def _touches_map(self, window, axis: int):
        # As in the original, a Gaussian that ends just before cell 0 counts as inside: weight 1 with an empty map.
        return ops.logical_and(window - self.radius < self.shape[axis], window + self.radius + 1 >= 0)

    def construct(self, joints, validity):
        """Make the targets.

        Args:
            joints: (N, K, 2) float32.
            validity: (N, K) float32: 0 unlabelled, 1 labelled, -1 known to be absent, which has weight 1 and an empty
                map.

        Returns:
            target (N, K, h, w) and target weight (N, K), float32.
        """
        center_x, window_x = self._centers(joints[:, :, 0], 1)
        center_y, window_y = self._centers(joints[:, :, 1], 0)
        touches = ops.logical_and(self._touches_map(window_x, 1), self._touches_map(window_y, 0))
        is_drawn = ops.cast(validity * ops.cast(touches, mstype.float32) > 0.5, mstype.float32)
        weight = is_drawn + ops.cast(validity < -0.5, mstype.float32)
        drawn = ops.expand_dims(is_drawn, 2)
        return outer_product(self._rows(center_y, window_y, 0) * drawn, self._rows(center_x, window_x, 1)), weight


def build_gaussian_targets(config, sigma: float) -> nn.Cell:
    """Return the targets for the input of a resolved configuration; `sigma` in cells."""
    return GaussianTargets(input_shape(config), heatmap_shape(config), sigma, config.DATASET.ENCODING)
