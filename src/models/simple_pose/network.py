"""SimplePoseNet (Xiao, Wu, Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018): a trunk, three
transposed convolutions and a 1x1 convolution. The trunk is a ResNet, as in Microsoft's PyTorch release, or a
MobileNetV2, as in MMPose.

Axes: N people, K keypoints, H, W input, h, w = H/4, W/4 heatmap. Cell names are those of the release and of MMPose.
"""
from typing import Sequence, Tuple

from mindspore import nn

from ...system.errors import PoseError
from ..common.blocks import (
    BatchNorm,
    check_input_shape,
    conv,
    initialise_parameters,
    kaiming_normal_fan_out,
    narrow_normal,
)
from ..common.resnet import ResNet
from .mobilenet import MobileNetV2

# kernel size of a transposed convolution -> padding (top, bottom, left, right) that exactly doubles the size. For
# kernel 3 PyTorch calls it padding 1 and output padding 1; MindSpore's own output padding adds a border of zeros.
DECONV_PADDINGS = {4: (1, 1, 1, 1), 3: (1, 0, 1, 0), 2: (0, 0, 0, 0)}


def make_deconv_layers(in_channels: int, filters: Sequence[int], kernels: Sequence[int], bias: bool):
    """Return transposed convolutions, each with BatchNorm and ReLU; each doubles the size."""
    cells = []
    for out_channels, kernel in zip(filters, kernels):
        if kernel not in DECONV_PADDINGS:
            raise PoseError(f'a transposed convolution of kernel {kernel} is not supported; '
                            f'use one of {sorted(DECONV_PADDINGS)}')
        cells += [nn.Conv2dTranspose(in_channels, out_channels, kernel, stride=2, pad_mode='pad',
                                     padding=DECONV_PADDINGS[kernel], has_bias=bias, weight_init='zeros',
                                     bias_init='zeros'),
                  BatchNorm(out_channels), nn.ReLU()]
        in_channels = out_channels
    return nn.SequentialCell(cells)


def _check_deconv(filters: Sequence[int], kernels: Sequence[int]) -> None:
    if len(filters) != 3 or len(kernels) != 3:
        raise PoseError('SimplePoseNet has three transposed convolutions, since a heatmap is a quarter of the '
                        f'input; got filters {list(filters)}, kernels {list(kernels)}')


class SimplePoseNet(ResNet):
    """Simple Baselines: images (N, 3, H, W) float32 -> heatmaps (N, K, H/4, W/4), peak 1 when trained as published.

    It inherits from ResNet because the release keeps the trunk's parameters at the top level of the names.

    Args:
        num_layers: 18, 34, 50, 101 or 152.
        num_keypoints: K.
        input_shape: (H, W), both divisible by 32. The cell is fully convolutional; the shape is only checked.
        num_deconv_filters, num_deconv_kernels: of the three transposed convolutions.
        deconv_with_bias: whether they have a bias.
        final_conv_kernel: 1 or 3.
        stem_pool: 'symmetric' (the release) or 'same' (the MindSpore model-zoo entry).
        stem_channels: width of the trunk; 64 is ResNet's.
        seed: of the initial weights.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, num_layers: int, num_keypoints: int, input_shape: Tuple[int, int],
                 num_deconv_filters: Sequence[int] = (256, 256, 256), num_deconv_kernels: Sequence[int] = (4, 4, 4),
                 deconv_with_bias: bool = False, final_conv_kernel: int = 1, stem_pool: str = 'symmetric',
                 stem_channels: int = 64, seed: int = 1):
        super().__init__(num_layers, stem_channels=stem_channels, stem_pool=stem_pool)
        check_input_shape(input_shape)
        _check_deconv(num_deconv_filters, num_deconv_kernels)
        if final_conv_kernel not in (1, 3):
            raise PoseError(f'the final convolution has kernel 1 or 3, got {final_conv_kernel}')
        self.deconv_layers = make_deconv_layers(self.out_channels, num_deconv_filters, num_deconv_kernels,
                                                deconv_with_bias)
        self.final_layer = nn.Conv2d(num_deconv_filters[-1], num_keypoints, final_conv_kernel, pad_mode='pad',
                                     padding=final_conv_kernel // 2, has_bias=True, weight_init='zeros',
                                     bias_init='zeros')
        initialise_parameters(self, seed, _draw_initial_value)

    def construct(self, images):
        return self.head(super().construct(images))

    def head(self, x):
        """Return the heatmaps of the features behind layer4."""
        return self.final_layer(self.deconv_layers(x))

    def training_outputs(self, images):
        """Return what the loss supervises: the heatmaps (N, K, h, w)."""
        return self.construct(images)


class SimplePoseMobileNet(MobileNetV2):
    """Simple Baselines on a MobileNetV2: images (N, 3, H, W) float32 -> heatmaps (N, K, H/4, W/4).

    Args:
        num_keypoints: K.
        input_shape: (H, W), both divisible by 32. The cell is fully convolutional; the shape is only checked.
        width: multiplier of the trunk's channels.
        last_channels: of the trunk's last 1x1 convolution; 0 leaves it out, which saves most of the weights of the
            first transposed convolution.
        num_deconv_filters: of the three transposed convolutions, which have kernel 4.
        seed: of the initial weights.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, num_keypoints: int, input_shape: Tuple[int, int], width: float = 1.0,
                 last_channels: int = 1280, num_deconv_filters: Sequence[int] = (256, 256, 256), seed: int = 1):
        super().__init__(width=width, last_channels=last_channels)
        check_input_shape(input_shape)
        kernels = (4, 4, 4)
        _check_deconv(num_deconv_filters, kernels)
        self.deconv_layers = make_deconv_layers(self.out_channels, num_deconv_filters, kernels, bias=False)
        self.final_layer = conv(num_deconv_filters[-1], num_keypoints, 1, bias=True)
        initialise_parameters(self, seed, _draw_initial_value)

    def construct(self, images):
        return self.final_layer(self.deconv_layers(self.trunk(images)))

    def training_outputs(self, images):
        """Return what the loss supervises: the heatmaps (N, K, h, w)."""
        return self.construct(images)


def _draw_initial_value(rng, name: str, shape, fan_in: int):
    if name.startswith(('deconv_layers.', 'final_layer.')):
        return narrow_normal(rng, name, shape)
    # The releases always start the trunk from ImageNet; without such a file torchvision's initialisation is used.
    return kaiming_normal_fan_out(rng, shape)
