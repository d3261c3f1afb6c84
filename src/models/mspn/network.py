"""MSPN, the Multi-Stage Pose Network (Li et al., "Rethinking on Multi-Stage Networks for Human Pose Estimation",
arXiv 1901.00148), as in the authors' PyTorch release.

Axes: N people, K keypoints, H, W input, h, w = H/4, W/4 heatmap. Cell names are those of the release, so that a
checkpoint's names differ only in the BatchNorm suffixes.
"""
from typing import Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from ...system.errors import PoseError
from ..common.blocks import (
    BatchNorm,
    BilinearResize,
    StemPool,
    check_input_shape,
    conv,
    initialise_parameters,
    kaiming_normal_fan_out,
    uniform_fan_in,
)

EXPANSION = 4


class ConvBNReLU(nn.Cell):
    """Convolution (with a bias, although BatchNorm follows: the release has it), BatchNorm and, optionally, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, relu: bool = True):
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel_size, stride=stride, bias=True)
        self.bn = BatchNorm(out_channels)
        self.relu = nn.ReLU() if relu else None

    def construct(self, x):
        x = self.bn(self.conv(x))
        return x if self.relu is None else self.relu(x)


class Bottleneck(nn.Cell):
    """1x1, 3x3 (which carries the stride), 1x1 to four times the planes, plus the shortcut."""

    is_recomputed = True

    def __init__(self, in_channels: int, planes: int, *, stride: int, project: bool):
        super().__init__()
        self.conv_bn_relu1 = ConvBNReLU(in_channels, planes, 1)
        self.conv_bn_relu2 = ConvBNReLU(planes, planes, 3, stride=stride)
        self.conv_bn_relu3 = ConvBNReLU(planes, planes * EXPANSION, 1, relu=False)
        self.downsample = (
            ConvBNReLU(in_channels, planes * EXPANSION, 1, stride=stride, relu=False) if project else None)
        self.relu = nn.ReLU()

    def construct(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x))) + shortcut)


class Stem(nn.Cell):
    """7x7 convolution with stride 2 and max pooling: (N, 3, H, W) -> (N, C, H/4, W/4)."""

    def __init__(self, out_channels: int, pool: str):
        super().__init__()
        self.conv = ConvBNReLU(3, out_channels, 7, stride=2)
        self.pool = StemPool(pool)

    def construct(self, images):
        return self.pool(self.conv(images))


class Downsample(nn.Cell):
    """The four residual layers of one stage; from the second stage on, two skip features of the previous stage are
    added to each layer's output."""

    def __init__(self, in_channels: int, planes: Sequence[int], blocks: Sequence[int]):
        super().__init__()
        for level, (width, count) in enumerate(zip(planes, blocks), start=1):
            cells = []
            for index in range(count):
                stride = 2 if index == 0 and level > 1 else 1
                cells.append(Bottleneck(in_channels, width, stride=stride, project=index == 0))
                in_channels = width * EXPANSION
            setattr(self, f'layer{level}', nn.SequentialCell(cells))

    def construct(self, x, skips1: Optional[tuple], skips2: Optional[tuple]):
        """Return the features of the four levels, highest resolution first."""
        features = ()
        for level, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = layer(x)
            if skips1 is not None:
                x = x + skips1[level] + skips2[level]
            features = features + (x,)
        return features


class UpsampleUnit(nn.Cell):
    """One level of the upsampling half: merges the lateral feature with the coarser unit and predicts heatmaps.

    Args:
        shape, coarser_shape: (h, w) of this level and of the level below, None for the coarsest.
        hands_over: whether another stage follows, which takes this unit's skip features.
        cross_channels: channels of the next stage's input; only for the finest unit of a stage with a successor.
    """

    def __init__(self, in_channels: int, channels: int, num_keypoints: int, *, shape: Tuple[int, int],
                 coarser_shape: Optional[Tuple[int, int]], heatmap_shape: Tuple[int, int], hands_over: bool,
                 cross_channels: Optional[int]):
        super().__init__()
        self.u_skip = ConvBNReLU(in_channels, channels, 1, relu=False)
        self.has_coarser = coarser_shape is not None
        if self.has_coarser:
            self.resize = BilinearResize(coarser_shape, shape)
            self.up_conv = ConvBNReLU(channels, channels, 1, relu=False)
        self.relu = nn.ReLU()
        self.hands_over = hands_over
        if hands_over:
            self.skip1 = ConvBNReLU(in_channels, in_channels, 1)
            self.skip2 = ConvBNReLU(channels, in_channels, 1)
        if cross_channels is not None:
            self.cross_conv = ConvBNReLU(channels, cross_channels, 1)
        self.res_conv1 = ConvBNReLU(channels, channels, 1)
        self.res_conv2 = ConvBNReLU(channels, num_keypoints, 3, relu=False)
        self.resize_heatmaps = BilinearResize(shape, heatmap_shape)

    def construct(self, lateral, coarser):
        """Return the unit's features (N, C, h_level, w_level)."""
        out = self.u_skip(lateral)
        if self.has_coarser:
            out = out + self.up_conv(self.resize(coarser))
        return self.relu(out)

    def heatmaps(self, out):
        """Predict (N, K, h, w) from the unit's features."""
        return self.resize_heatmaps(self.res_conv2(self.res_conv1(out)))


class Upsample(nn.Cell):
    """The four upsampling units of one stage, coarse to fine."""

    def __init__(self, planes: Sequence[int], channels: int, num_keypoints: int, *, heatmap_shape: Tuple[int, int],
                 cross_channels: Optional[int]):
        super().__init__()
        shapes = [(heatmap_shape[0] // factor, heatmap_shape[1] // factor) for factor in (8, 4, 2, 1)]
        for index, width in enumerate(reversed(planes)):
            unit = UpsampleUnit(
                width * EXPANSION, channels, num_keypoints, shape=shapes[index],
                coarser_shape=shapes[index - 1] if index else None, heatmap_shape=heatmap_shape,
                hands_over=cross_channels is not None, cross_channels=cross_channels if index == 3 else None)
            setattr(self, f'up{index + 1}', unit)
        self.hands_over = cross_channels is not None

    def construct(self, features, supervise: bool):
        """Run the units.

        Args:
            features: outputs of the four downsampling levels, highest resolution first.
            supervise: predict heatmaps at every unit, not only where inference needs them.

        Returns:
            heatmaps (coarse to fine; () in a stage whose maps are not needed), skips1 and skips2 (highest resolution
            first) and the next stage's input, the last three None in the last stage.
        """
        out, heatmaps, skips1, skips2 = None, (), (), ()
        for index, unit in enumerate((self.up1, self.up2, self.up3, self.up4)):
            lateral = features[3 - index]
            out = unit(lateral, out)
            if supervise or (index == 3 and not self.hands_over):
                heatmaps = heatmaps + (unit.heatmaps(out),)
            if self.hands_over:
                skips1 = (unit.skip1(lateral),) + skips1
                skips2 = (unit.skip2(out),) + skips2
        if not self.hands_over:
            return heatmaps, None, None, None
        return heatmaps, skips1, skips2, self.up4.cross_conv(out)


class Stage(nn.Cell):
    """One hourglass-like stage."""

    def __init__(self, in_channels: int, planes: Sequence[int], blocks: Sequence[int], upsample_channels: int,
                 num_keypoints: int, *, heatmap_shape: Tuple[int, int], is_last: bool):
        super().__init__()
        self.downsample = Downsample(in_channels, planes, blocks)
        self.upsample = Upsample(planes, upsample_channels, num_keypoints, heatmap_shape=heatmap_shape,
                                 cross_channels=None if is_last else in_channels)

    def construct(self, x, skips1, skips2, supervise: bool):
        return self.upsample(self.downsample(x, skips1, skips2), supervise)


class MSPN(nn.Cell):
    """Multi-Stage Pose Network: images (N, 3, H, W) float32 -> heatmaps (N, K, H/4, W/4) of the last stage.

    Heatmaps peak at 255 when trained with the published targets.

    Args:
        num_stages: 1 to 4 in the paper.
        num_keypoints: K.
        input_shape: (H, W), both divisible by 32.
        upsample_channels: channels of the upsampling half.
        stem_pool: 'symmetric' (the release) or 'same' (the MindSpore course port and its `mspn.ckpt`).
        stem_channels, planes, blocks: width of the stem, and width and number of bottlenecks of the four levels.
        head_scale: initial scale of the last BatchNorm of each head. The published value is 1, from which heatmaps need
            tens of thousands of steps to reach the labels' 255; a short training should start higher.
        seed: of the initial weights.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, num_stages: int, num_keypoints: int, input_shape: Tuple[int, int],
                 upsample_channels: int = 256, stem_pool: str = 'symmetric', stem_channels: int = 64,
                 planes: Sequence[int] = (64, 128, 256, 512), blocks: Sequence[int] = (3, 4, 6, 3),
                 head_scale: float = 1.0, seed: int = 1):
        super().__init__()
        if num_stages < 1:
            raise PoseError(f'MSPN needs at least one stage, got {num_stages}')
        if len(planes) != 4 or len(blocks) != 4:
            raise PoseError(f'MSPN has four levels; planes {list(planes)} and blocks {list(blocks)} need four entries')
        height, width = check_input_shape(input_shape)
        self.top = Stem(stem_channels, stem_pool)
        self.num_stages = num_stages
        for index in range(num_stages):
            stage = Stage(stem_channels, planes, blocks, upsample_channels, num_keypoints,
                          heatmap_shape=(height // 4, width // 4), is_last=index == num_stages - 1)
            setattr(self, f'stage{index}', stage)
        self._stages = tuple(getattr(self, f'stage{index}') for index in range(num_stages))
        initialise_parameters(self, seed, _draw_initial_value)
        for name, cell in self.cells_and_names():
            if name.endswith('.res_conv2.bn'):
                cell.gamma.set_data(Tensor(np.full(num_keypoints, head_scale, np.float32)))

    def _run(self, images, supervise: bool):
        x, skips1, skips2 = self.top(images), None, None
        heatmaps = ()
        for stage in self._stages:
            stage_heatmaps, skips1, skips2, x = stage(x, skips1, skips2, supervise)
            heatmaps = heatmaps + (stage_heatmaps,)
        return heatmaps

    def construct(self, images):
        return self._run(images, False)[-1][-1]

    def training_outputs(self, images):
        """Return what the loss supervises: for each stage the four heatmaps (N, K, h, w), coarse to fine."""
        return self._run(images, True)


def _draw_initial_value(rng, name: str, shape, fan_in: int):
    # Only the residual layers have an initialisation of their own in the release; the rest is PyTorch's default.
    if '.downsample.' in name and name.endswith('weight'):
        return kaiming_normal_fan_out(rng, shape)
    return uniform_fan_in(rng, shape, fan_in)
