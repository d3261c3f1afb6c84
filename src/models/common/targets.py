"""Label maps made inside the graph from joint positions, equal to the maps that the published loaders ship.

Both kinds are outer products of two one-dimensional rows, so a batch of maps costs one broadcast product.
Axes: N people, K keypoints, h, w heatmap; with several people in a crop, N crops of I people. Joint positions are
(x, y) in pixels of the network input.
"""
from typing import Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from ...config import architecture, num_hypotheses
from ...protocols import MSPN_PEAK

MSPN_KERNELS = (15, 11, 9, 7, 5)


def gaussian_taps(kernel: int) -> np.ndarray:
    """Return the (kernel,) float64 taps that OpenCV's GaussianBlur uses with an automatic sigma.

    Up to 9 OpenCV takes fixed binomial-like tables instead of its own sigma formula.
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

    The border is reflected without its edge (OpenCV's REFLECT_101), which moves the peak of an impulse one cell from
    the border onto the border; the published labels have this.
    """
    radius = kernel // 2
    padded = np.pad(np.eye(length), ((0, 0), (radius, radius)), mode='reflect')
    taps = gaussian_taps(kernel)
    rows = sum(tap * padded[:, offset:offset + length] for offset, tap in enumerate(taps))
    return (rows / rows.max(axis=1, keepdims=True)).astype(np.float32)


def outer_product(rows_y, rows_x):
    """(N, K, h), (N, K, w) -> (N, K, h, w)."""
    return ops.expand_dims(rows_y, 3) * ops.expand_dims(rows_x, 2)


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
        peak = ops.expand_dims(ops.cast(validity >= 1, mstype.float32) * MSPN_PEAK, 2)
        labels = ()
        for table_y, table_x in self.tables:
            labels = labels + (outer_product(ops.gather(table_y, cell_y, 0) * peak, ops.gather(table_x, cell_x, 0)),)
        return labels, validity


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

    def _centre(self, position, axis: int):
        # Truncation towards zero, as in the original: around 0 the cell is wider than elsewhere.
        return ops.trunc(position * self.cells_per_pixel[axis] + 0.5)

    def _rows(self, centre, axis: int):
        distance = self.grids[axis] - ops.expand_dims(centre, 2)
        inside = ops.cast(ops.abs(distance) <= self.radius, mstype.float32)
        return ops.exp(distance * distance * self.exponent) * inside

    def _touches_map(self, centre, axis: int):
        # The original keeps a patch that ends just before cell 0: weight 1 with an empty map.
        return ops.logical_and(centre - self.radius < self.shape[axis], centre + self.radius + 1 >= 0)

    def construct(self, joints, validity):
        """Make the targets.

        Args:
            joints: (N, K, 2) float32.
            validity: (N, K) float32, 0 or 1.

        Returns:
            target (N, K, h, w) and target weight (N, K), float32.
        """
        centre_x, centre_y = self._centre(joints[:, :, 0], 1), self._centre(joints[:, :, 1], 0)
        touches = ops.logical_and(self._touches_map(centre_x, 1), self._touches_map(centre_y, 0))
        weight = validity * ops.cast(touches, mstype.float32)
        drawn = ops.expand_dims(ops.cast(weight > 0.5, mstype.float32), 2)
        return outer_product(self._rows(centre_y, 0) * drawn, self._rows(centre_x, 1)), weight


class HypothesisTargets(nn.Cell):
    """Targets of the several people in each crop, in the order of MIPNet's outputs (arXiv 2101.11223).

    Hypothesis-major: the first people of all N crops, then the second people of all, and so on. The mean of a loss over
    these I * N rows gives every hypothesis the same weight, as published for two. The release draws for each crop which
    hypothesis goes into the first half of the batch and which into the second; a mean does not see that.

    Since every crop brings all its hypotheses, no batch has a single row, neither the last of an epoch nor a part of an
    accumulated one. BatchNorm over the instance codes could not normalise one; there the release fails.

    Args:
        targets: makes the targets of one person in each crop.
    """

    def __init__(self, targets: nn.Cell):
        super().__init__()
        self.targets = targets

    def construct(self, joints, validity):
        """Make the targets.

        Args:
            joints: (N, I, K, 2) float32.
            validity: (N, I, K) float32.

        Returns:
            target (I * N, K, h, w) and target weight (I * N, K), float32.
        """
        people, hypotheses, keypoints = validity.shape
        joints = ops.reshape(ops.transpose(joints, (1, 0, 2, 3)), (hypotheses * people, keypoints, 2))
        validity = ops.reshape(ops.transpose(validity, (1, 0, 2)), (hypotheses * people, keypoints))
        return self.targets(joints, validity)


def build_targets(config) -> nn.Cell:
    """Return the target maker of a resolved configuration."""
    width, height = config.MODEL.IMAGE_SIZE
    if config.MODEL.NAME == 'mspn':
        return MSPNTargets((height, width), (height // 4, width // 4))
    targets = GaussianTargets((height, width), (height // 4, width // 4), config[architecture(config)].SIGMA)
    return HypothesisTargets(targets) if num_hypotheses(config) > 1 else targets
