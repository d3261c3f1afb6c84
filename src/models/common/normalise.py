"""The pixels of crops → the input of a network, inside the graph."""
from typing import Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class PixelNormaliser(nn.Cell):
    """(N, H, W, 3) uint8 BGR -> (N, 3, H, W) float32, BGR or RGB.

    Args:
        means, stds: per channel, in the order of the network's input and in units of 0 to 1.
        color_rgb: the network takes RGB; otherwise the channels stay BGR, as in the pictures.
        normalise_before_scaling: subtract the means from pixels in 0..255 and divide by 255 at the end, as the
            MSPN course port does; the means then have almost no effect.
    """

    def __init__(self, means: Sequence[float], stds: Sequence[float], *, color_rgb: bool = False,
                 normalise_before_scaling: bool = False):
        super().__init__(auto_prefix=False)
        self.means = Tensor(np.array(means, np.float32).reshape(1, 3, 1, 1))
        self.stds = Tensor(np.array(stds, np.float32).reshape(1, 3, 1, 1))
        self.color_rgb, self.normalise_before_scaling = color_rgb, normalise_before_scaling
        # Gathering whole uint8 planes costs almost nothing; ops.flip takes four times as long as the whole
        # normalisation.
        self.reversed = Tensor(np.array([2, 1, 0], np.int32))

    def construct(self, pixels):
        channels_first = ops.transpose(pixels, (0, 3, 1, 2))
        if self.color_rgb:
            channels_first = ops.gather(channels_first, self.reversed, 1)
        images = ops.cast(channels_first, mstype.float32)
        if self.normalise_before_scaling:
            return (images - self.means) / self.stds / 255.0
        return (images / 255.0 - self.means) / self.stds

    def factor_and_shift(self) -> Tuple[np.ndarray, np.ndarray]:
        """Return two arrays (1, 3, 1, 1): input = pixel * factor + shift. Channels are in the order of the network's
        input; with `color_rgb` the channels of the pixel have to be reversed first."""
        means, stds = (each.asnumpy().astype(np.float64) for each in (self.means, self.stds))
        if self.normalise_before_scaling:
            return 1 / (stds * 255), -means / (stds * 255)
        return 1 / (stds * 255), -means / stds


def build_normaliser(config) -> PixelNormaliser:
    """Return the pixel normalisation of a resolved configuration."""
    return PixelNormaliser(config.DATASET.MEANS, config.DATASET.STDS, color_rgb=config.DATASET.COLOR_RGB,
                           normalise_before_scaling=config.DATASET.NORMALISE_BEFORE_SCALING)
