"""What surrounds a network: pixel normalisation before it, and the flip test, which averages the heatmaps of the crop
and of the mirrored crop.

Axes: N people, I hypotheses, K keypoints, H, W input, h, w heatmap.
"""
from typing import Optional

import numpy as np
from mindspore import Tensor, nn, ops


class Mirror(nn.Cell):
    """(N, 3, H, W) -> the same images mirrored left to right."""

    def construct(self, images):
        return ops.flip(images, (3,))


class MirrorBack(nn.Cell):
    """Heatmaps (N, K, h, w) of mirrored crops -> heatmaps of the original crops: mirrored, left and right swapped.

    Args:
        flip_index: (K,).
        shift_heatmap: move them one cell to the right, as Simple Baselines does.
    """

    def __init__(self, flip_index: np.ndarray, *, shift_heatmap: bool):
        super().__init__()
        self.flip_index, self.shift_heatmap = Tensor(np.asarray(flip_index, np.int32)), shift_heatmap

    def construct(self, heatmaps):
        mirrored = ops.gather(ops.flip(heatmaps, (3,)), self.flip_index, 1)
        if self.shift_heatmap:
            # Column 0 keeps its value, as in the original.
            mirrored = ops.concat((mirrored[:, :, :, :1], mirrored[:, :, :, :-1]), 3)
        return mirrored


class AllHypotheses(nn.Cell):
    """Images (N, 3, H, W) -> heatmaps (I * N, K, h, w) of all I hypotheses of a MIPNet: all N crops with the first
    hypothesis, then all N with the second, … What does not depend on the hypothesis is computed once."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        return self.network.hypotheses(images)


class FlipTest(nn.Cell):
    """Crops -> heatmaps (N, K, h, w), averaged with those of the mirrored crops if asked.

    Further inputs of the network, such as the codes (N, 2) of a MIPNet, follow the crops and are the same for the
    mirrored crops.

    Args:
        normaliser: pixels (N, H, W, 3) uint8 -> network input; None if the input is already normalised.
        network: images (N, 3, H, W) -> heatmaps (N, K, h, w) of one hypothesis or (I * N, K, h, w) of all.
        flip_index: (K,), or None for no flip test.
        shift_heatmap: of the flip test, see `MirrorBack`.
    """

    def __init__(self, normaliser: Optional[nn.Cell], network: nn.Cell, flip_index: Optional[np.ndarray], *,
                 shift_heatmap: bool):
        super().__init__(auto_prefix=False)
        self.normaliser, self.network = normaliser, network
        self.mirror = self.mirror_back = None
        if flip_index is not None:
            self.mirror, self.mirror_back = Mirror(), MirrorBack(flip_index, shift_heatmap=shift_heatmap)

    def construct(self, pixels, *codes):
        images = pixels if self.normaliser is None else self.normaliser(pixels)
        heatmaps = self.network(images, *codes)
        if self.mirror is None:
            return heatmaps
        return (heatmaps + self.mirror_back(self.network(self.mirror(images), *codes))) * 0.5
