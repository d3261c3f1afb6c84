"""HRNet (Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", arXiv 1902.09212), as in
the authors' PyTorch release.

Axes: N people, K keypoints, H, W input, h, w = H/4, W/4 heatmap. Branch b has C * 2^b channels at h / 2^b, w / 2^b,
where C is the network's width. Cell names are those of the release.
"""
from typing import Sequence, Tuple

from mindspore import nn

from ...system.errors import PoseError
from ..common.blocks import (
    BatchNorm,
    Identity,
    NearestUpsample,
    check_input_shape,
    conv,
    initialise_parameters,
    narrow_normal,
)
from ..common.resnet import BasicBlock, Bottleneck, make_layer


def conv_bn(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, relu: bool) -> nn.SequentialCell:
    """Return a convolution without bias, BatchNorm and, optionally, ReLU."""
    cells = [conv(in_channels, out_channels, kernel_size, stride=stride), BatchNorm(out_channels)]
    return nn.SequentialCell(cells + [nn.ReLU()] if relu else cells)


def make_transition(channels: Sequence[int], new_channels: Sequence[int]) -> nn.CellList:
    """Return one cell for each branch of the next stage: an existing branch is brought to its new width, if that
    differs, and a new branch is made from the coarsest existing one."""
    cells = []
    for branch, out_channels in enumerate(new_channels):
        if branch >= len(channels):
            cells.append(nn.SequentialCell([conv_bn(channels[-1], out_channels, 3, stride=2, relu=True)]))
        elif channels[branch] != out_channels:
            cells.append(conv_bn(channels[branch], out_channels, 3, relu=True))
        else:
            cells.append(Identity())
    return nn.CellList(cells)


def make_path(source: int, target: int, channels: Sequence[int], shapes: Sequence[Tuple[int, int]]) -> nn.Cell:
    """Return the cell that brings the features of branch `source` to the width and resolution of branch `target`."""
    if source == target:
        return Identity()
    if source > target:
        return nn.SequentialCell([conv(channels[source], channels[target], 1), BatchNorm(channels[target]),
                                  NearestUpsample(shapes[source], 2 ** (source - target))])
    steps = [conv_bn(channels[source], channels[source], 3, stride=2, relu=True) for _ in range(target - source - 1)]
    return nn.SequentialCell(steps + [conv_bn(channels[source], channels[target], 3, stride=2, relu=False)])


class HRModule(nn.Cell):
    """Parallel branches of residual blocks; each output is the sum of all branches.

    Features of each branch -> those of the first `num_outputs` branches, highest resolution first.
    """

    def __init__(self, channels: Sequence[int], shapes: Sequence[Tuple[int, int]], blocks: int, num_outputs: int):
        super().__init__()
        self.branches = nn.CellList([make_layer(BasicBlock, width, width, blocks, stride=1) for width in channels])
        self.fuse_layers = nn.CellList([
            nn.CellList([make_path(source, target, channels, shapes) for source in range(len(channels))])
            for target in range(num_outputs)])
        self.relu = nn.ReLU()

    def construct(self, features):
        branches = ()
        for branch, x in zip(self.branches, features):
            branches = branches + (branch(x),)
        outputs = ()
        for paths in self.fuse_layers:
            # Added in the order of the release: floating-point sums depend on it.
            total = paths[0](branches[0])
            # By index: slicing a CellList would rename its parameters.
            for source in range(1, len(branches)):
                total = total + paths[source](branches[source])
            outputs = outputs + (self.relu(total),)
        return outputs


class HRNet(nn.Cell):
    """High-Resolution Network: images (N, 3, H, W) float32 -> heatmaps (N, K, H/4, W/4), peak 1 when trained as
    published.

    The last module of stage 4 outputs only the finest branch, the input of the head.

    Args:
        width: C, the channels of the finest branch; 32 or 48 in the paper.
        num_keypoints: K.
        input_shape: (H, W), both divisible by 32.
        modules: number of modules of the stages with 2, 3 and 4 branches.
        blocks: residual blocks of a branch in a module, and of the first stage.
        stem_channels: of the two convolutions of the stem; the first stage has four times as many.
        seed: of the initial weights. The release starts from ImageNet weights; without such a file all convolutions
            start from its N(0, 0.001).

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, width: int, num_keypoints: int, input_shape: Tuple[int, int],
                 modules: Sequence[int] = (1, 4, 3), blocks: int = 4, stem_channels: int = 64, seed: int = 1):
        super().__init__()
        height, width_of_input = check_input_shape(input_shape)
        if width < 1 or blocks < 1 or len(modules) != 3 or min(modules) < 1:
            raise PoseError('HRNet needs a width and a number of blocks of at least 1, and modules in each of its '
                            f'stages 2 to 4; got {width}, {blocks}, {list(modules)}')
        channels = [width * 2 ** branch for branch in range(4)]
        shapes = [(height // 2 ** level, width_of_input // 2 ** level) for level in range(2, 6)]
        # Channels of the branches that enter stages 2, 3 and 4, and the head.
        self.stage_channels = (*(tuple(channels[:count]) for count in (2, 3, 4)), (width,))
        self.conv1 = conv(3, stem_channels, 3, stride=2)
        self.bn1 = BatchNorm(stem_channels)
        self.conv2 = conv(stem_channels, stem_channels, 3, stride=2)
        self.bn2 = BatchNorm(stem_channels)
        self.relu = nn.ReLU()
        self.layer1 = make_layer(Bottleneck, stem_channels, stem_channels, blocks, stride=1)
        self.transition1 = make_transition([stem_channels * Bottleneck.expansion], channels[:2])
        self.stage2 = self._make_stage(channels[:2], shapes, modules[0], blocks, num_outputs=2)
        self.transition2 = make_transition(channels[:2], channels[:3])
        self.stage3 = self._make_stage(channels[:3], shapes, modules[1], blocks, num_outputs=3)
        self.transition3 = make_transition(channels[:3], channels)
        self.stage4 = self._make_stage(channels, shapes, modules[2], blocks, num_outputs=1)
        self.final_layer = conv(width, num_keypoints, 1, bias=True)
        initialise_parameters(self, seed, _draw_initial_value)

    @staticmethod
    def _make_stage(channels: Sequence[int], shapes: Sequence[Tuple[int, int]], count: int, blocks: int, *,
                    num_outputs: int) -> nn.SequentialCell:
        outputs = [len(channels)] * (count - 1) + [num_outputs]
        return nn.SequentialCell([HRModule(channels, shapes, blocks, number) for number in outputs])

    def construct(self, images):
        features = self.enter_stage2(images)
        features = self.enter_stage3(self.stage2(features))
        features = self.enter_stage4(self.stage3(features))
        return self.head(self.stage4(features))

    def enter_stage2(self, images):
        """Run the stem and the first stage: images -> features of 2 branches."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))
        return self._branch_off(self.transition1, (x,))

    def enter_stage3(self, features):
        """Features of 2 branches -> those of 3."""
        return self._branch_off(self.transition2, features)

    def enter_stage4(self, features):
        """Features of 3 branches -> those of 4."""
        return self._branch_off(self.transition3, features)

    def head(self, features):
        """The finest branch of stage 4, as a tuple of one -> heatmaps."""
        return self.final_layer(features[0])

    def _branch_off(self, transition, features):
        coarsest, outputs = features[-1], ()
        for index, cell in enumerate(transition):
            outputs = outputs + (cell(features[index] if index < len(features) else coarsest),)
        return outputs

    def training_outputs(self, images):
        """Return what the loss supervises: the heatmaps (N, K, h, w)."""
        return self.construct(images)


def _draw_initial_value(rng, name: str, shape, _fan_in: int):
    return narrow_normal(rng, name, shape)
