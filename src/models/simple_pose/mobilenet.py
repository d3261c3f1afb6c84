"""MobileNetV2 without the classifier (Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381), with MMPose's cell names.
"""
import mindspore as ms
from mindspore import nn, ops

from ...system.device import is_mindspore_at_least
from ...system.errors import PoseError
from ..common.blocks import BatchNorm, Identity, conv

# Expansion, channels, blocks and stride of the layers 1 to 7.
LAYERS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS, LAST_CHANNELS = 32, 1280
# Cells of a map above which a CPU computes the gradient of depthwise weights as `DepthwiseProduct` does.
MANY_CELLS = 300


def scaled_channels(channels: int, width: float) -> int:
    """Return `channels` times the width multiplier: the nearest multiple of 8, but not below 90 % of the product."""
    product = channels * width
    nearest = max(8, int(product + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * product else nearest + 8


class DepthwiseProduct(nn.Cell):
    """3x3 convolution of every channel by itself: maps (N, C, H, W), weights (C, 1, 3, 3) -> maps (N, C, h, w), padded
    by one pixel.

    The gradient of the weights is computed as a convolution of the maps by the gradients of the output, in which each
    channel of each sample is a group: the same sums in another order.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        options = {'pad_mode': 'pad', 'pad': (1, 1, 1, 1), 'stride': stride, 'group': channels}
        self.product = ops.Conv2D(channels, 3, **options)
        self.gradient_of_maps = ops.Conv2DTranspose(channels, 3, **options)

    def construct(self, maps, weights):
        return self.product(maps, weights)

    def bprop(self, maps, weights, _output, gradient):
        """Return the gradients of maps and weights."""
        number, channels, height, width = maps.shape
        groups, size = number * channels, gradient.shape[2:]
        sums = ops.Conv2D(groups, size, pad_mode='pad', pad=(1, 1, 1, 1), dilation=self.stride, group=groups)(
            ops.reshape(maps, (1, groups, height, width)), ops.reshape(gradient, (groups, 1, *size)))
        # With stride 2 an even side is one position more than the kernel has.
        of_weights = ops.sum(ops.reshape(sums[:, :, :3, :3], (number, channels, 9)), 0)
        return (self.gradient_of_maps(gradient, weights, maps.shape),
                ops.reshape(of_weights, (channels, 1, 3, 3)))


class DepthwiseConv(nn.Conv2d):
    """3x3 convolution of every channel by itself, padded by one pixel.

    On a CPU, oneDNN 3.10 (MindSpore 2.8 and later) multiplies a row by a column for each sample and channel to get the
    gradient of the weights, which takes 2 to 25 times as long as `DepthwiseProduct` on maps of more than `MANY_CELLS`.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__(channels, channels, 3, stride=stride, pad_mode='pad', padding=1, group=channels,
                         has_bias=False, weight_init='zeros')
        self.depthwise = DepthwiseProduct(channels, stride)
        is_slow = ms.get_context('device_target') == 'CPU' and is_mindspore_at_least(2, 8)
        self.fewest_cells = MANY_CELLS * stride ** 2 if is_slow else float('inf')

    def construct(self, x):
        if x.shape[2] * x.shape[3] >= self.fewest_cells:
            return self.depthwise(x, self.weight)
        return super().construct(x)


class ConvNorm(nn.Cell):
    """Convolution, of every channel by itself where `depthwise`, BatchNorm and, unless `linear`, ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1,
                 depthwise: bool = False, linear: bool = False):
        super().__init__()
        self.conv = (DepthwiseConv(out_channels, stride) if depthwise
                     else conv(in_channels, out_channels, kernel_size, stride=stride))
        self.bn = BatchNorm(out_channels)
        self.activate = Identity() if linear else nn.ReLU6()

    def construct(self, x):
        return self.activate(self.bn(self.conv(x)))


class InvertedResidual(nn.Cell):
    """1x1 to `expansion` times the channels, depthwise 3x3 (which carries the stride), linear 1x1, plus the input
    if the shape is the same."""

    is_recomputed = True

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        cells = [ConvNorm(in_channels, hidden, 1)] if expansion != 1 else []
        self.conv = nn.SequentialCell([*cells, ConvNorm(hidden, hidden, 3, stride=stride, depthwise=True),
                                       ConvNorm(hidden, out_channels, 1, linear=True)])
        self.is_residual = stride == 1 and in_channels == out_channels

    def construct(self, x):
        if self.is_residual:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Cell):
    """Trunk of inverted residuals: images (N, 3, H, W) -> features (N, out_channels, H/32, W/32).

    Args:
        width: multiplier of the channels.
        last_channels: channels of the 1x1 convolution behind the last block, multiplied by a width above 1; 0 leaves
            it out.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, width: float = 1.0, last_channels: int = LAST_CHANNELS):
        super().__init__()
        if width <= 0 or last_channels < 0:
            raise PoseError(f'MobileNetV2 needs a width above 0 and 0 or more last channels, got {width} and '
                            f'{last_channels}')
        channels = scaled_channels(STEM_CHANNELS, width)
        self.conv1 = ConvNorm(3, channels, 3, stride=2)
        for number, (expansion, unscaled, count, stride) in enumerate(LAYERS, 1):
            cells = []
            for index in range(count):
                out_channels = scaled_channels(unscaled, width)
                cells.append(InvertedResidual(channels, out_channels, stride=stride if index == 0 else 1,
                                              expansion=expansion))
                channels = out_channels
            setattr(self, f'layer{number}', nn.SequentialCell(cells))
        self.out_channels = int(last_channels * max(1.0, width)) if last_channels else channels
        self.conv2 = ConvNorm(channels, self.out_channels, 1) if last_channels else Identity()

    def construct(self, images):
        return self.trunk(images)

    def trunk(self, images):
        """Return the features (N, out_channels, H/32, W/32)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return self.conv2(self.layer7(self.layer6(self.layer5(self.layer4(x)))))
