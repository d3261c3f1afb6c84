"""MSPN's label maps (arXiv 1901.00148), made in the graph from joint positions: equal to those of the release's loader.

A map is an outer product of two one-dimensional rows, so a batch of maps costs one broadcast product.
Axes: N people, K keypoints, h, w heatmap. Joint positions are (x, y) in pixels of the network input.
"""
from typing import Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from ..common.gaussian_targets import outer_product
from .decoder import PEAK

MSPN_KERNELS = (15, 11, 9, 7, 5)


def gaussian_taps(kernel: int) -> np.ndarray:
    """Return the (kernel,) float64 taps that OpenCV's GaussianBlur uses with an automatic sigma.

    For kernels up to 9 OpenCV uses fixed binomial-like tables instead of its sigma formula.
    """
    tables = {5: [1, 4, 6, 4, 1], 7: [2, 7, 14, 18, 14, 7, 2], 9: [4, 13, 30, 51, 60, 51, 30, 13, 4]}
    if kernel in tables:
        taps = np.array(tables[kernel], np.float64)
    else:
        automatic_sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8
        taps = np.exp(-(np.arange(kernel) - (kernel - 1) / 2) ** 2 / (2 * automatic_sigma ** 2))
    return taps / taps.sum()


def blurred_impulse_rows(kernel: int, length: int) -> np.ndarray:
    """Return (length, length) float32: row c is a blurred unit impulse at cell c, divided by its maximum.

    The border is reflected without repeating the edge cell (OpenCV's REFLECT_101). This moves the peak of an impulse
    that is one cell from the border onto the border, as in the published labels.
    """
    radius = kernel // 2
    padded = np.pad(np.eye(length), ((0, 0), (radius, radius)), mode='reflect')
    taps = gaussian_taps(kernel)
    rows = sum(tap * padded[:, offset:offset + length] for offset, tap in enumerate(taps))
    return (rows / rows.max(axis=1, keepdims=True)).astype(np.float32)


class MSPNTargets(nn.Cell):
    """MSPN's label sets (arXiv 1901.00148): one blurred impulse per joint and kernel, peak 255.

    Args:
        input_shape, heatmap_shape: (H, W) and (h, w).
        kernels: blur sizes in cells, coarse to fine.
    """

    def __init__(self, input_shape: Tuple[int, int], heatmap_shape: Tuple[int, int],
                 kernels: Sequence[int] = MSPN_KERNELS):
        super().__init__()
        self.heatmap_shape = tuple(heatmap_shape)
        # (h / H, w / W) is a quarter, so the product below is exact in float32.
        self.cells_per_pixel = (heatmap_shape[0] / input_shape[0], heatmap_shape[1] / input_shape[1])
        self.tables = tuple((Tensor(blurred_impulse_rows(kernel, heatmap_shape[0])),
                             Tensor(blurred_impulse_rows(kernel, heatmap_shape[1]))) for kernel in kernels)

    def _cell_index(self, position, axis: int):
        cells = ops.cast(ops.floor(position * self.cells_per_pixel[axis]), mstype.int32)
        return ops.clamp(cells, 0, self.heatmap_shape[axis] - 1)

    def construct(self, joints, validity):
        """Make the labels.

        Args:
            joints: (N, K, 2) float32.
            validity: (N, K) float32; a joint below 1 has an empty map.

        Returns:
            A tuple of (N, K, h, w) float32, one per kernel, and the validity.
        """
        cell_x = self._cell_index(joints[:, :, 0], 1)
        cell_y = self._cell_index(joints[:, :, 1], 0)
        peak = ops.expand_dims(ops.cast(validity >= 1, mstype.float32) * PEAK, 2)
        labels = ()
        for table_y, table_x in self.tables:
            labels = labels + (outer_product(ops.gather(table_y, cell_y, 0) * peak, ops.gather(table_x, cell_x, 0)),)
        return labels, validity
