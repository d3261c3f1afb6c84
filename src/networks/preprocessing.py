"""The pixels of crops → the input of a network, inside the graph."""
from typing import Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class PixelNormaliser(nn.Cell):
    """(N, H, W, 3) uint8 BGR -> (N, 3, H, W) float32.

    Args:
        means, stds: per channel, in the order of the picture's channels and in units of 0 to 1.
        normalise_before_scaling: subtract the means from 0..255 and divide by 255 last. The MSPN course port does;
            its means then hardly matter.
    """

    def __init__(self, means: Sequence[float], stds: Sequence[float], *, normalise_before_scaling: bool = False):
        super().__init__(auto_prefix=False)
        self.means = Tensor(np.array(means, np.float32).reshape(1, 3, 1, 1))
        self.stds = Tensor(np.array(stds, np.float32).reshape(1, 3, 1, 1))
        self.normalise_before_scaling = normalise_before_scaling

    def construct(self, pixels):
        images = ops.cast(ops.transpose(pixels, (0, 3, 1, 2)), mstype.float32)
        if self.normalise_before_scaling:
            return (images - self.means) / self.stds / 255.0
        return (images / 255.0 - self.means) / self.stds

    def factor_and_shift(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return two arrays (1, 3, 1, 1), channels in the picture's order: input = pixel * factor + shift."""
        means, stds = (each.asnumpy().astype(np.float64) for each in (self.means, self.stds))
        if self.normalise_before_scaling:
            return 1 / (stds * 255), -means / (stds * 255)
        return 1 / (stds * 255), -means / stds
