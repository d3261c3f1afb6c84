"""ResNet-18 to 152 without the classifier (He et al., arXiv 1512.03385), with torchvision's cell names.

The stride of a bottleneck sits on its 3x3 convolution ("v1.5"), as in torchvision and Simple Baselines.
"""
from mindspore import nn

from ...system.errors import PoseError
from .blocks import BatchNorm, StemPool, conv


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions plus the shortcut."""

    expansion = 1
    is_recomputed = True

    def __init__(self, in_channels: int, planes: int, *, stride: int, downsample):
        super().__init__()
        self.conv1 = conv(in_channels, planes, 3, stride=stride)
        self.bn1 = BatchNorm(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = BatchNorm(planes)
        self.downsample = downsample
        self.relu = nn.ReLU()

    def construct(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Cell):
    """1x1, 3x3 (which carries the stride), 1x1 to four times the planes, plus the shortcut."""

    expansion = 4
    is_recomputed = True

    def __init__(self, in_channels: int, planes: int, *, stride: int, downsample):
        super().__init__()
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = BatchNorm(planes)
        self.conv2 = conv(planes, planes, 3, stride=stride)
        self.bn2 = BatchNorm(planes)
        self.conv3 = conv(planes, planes * self.expansion, 1)
        self.bn3 = BatchNorm(planes * self.expansion)
        self.downsample = downsample
        self.relu = nn.ReLU()

    def construct(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


LAYOUTS = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3)),
           101: (Bottleneck, (3, 4, 23, 3)), 152: (Bottleneck, (3, 8, 36, 3))}


def make_layer(block: type, in_channels: int, planes: int, count: int, stride: int) -> nn.SequentialCell:
    """Return one residual layer of `count` blocks; the first has the stride and, if the shape changes, a projection."""
    out_channels = planes * block.expansion
    cells = []
    for index in range(count):
        downsample = None
        if index == 0 and (stride != 1 or in_channels != out_channels):
            downsample = nn.SequentialCell([conv(in_channels, out_channels, 1, stride=stride),
                                            BatchNorm(out_channels)])
        cells.append(block(in_channels, planes, stride=stride if index == 0 else 1, downsample=downsample))
        in_channels = out_channels
    return nn.SequentialCell(cells)


class ResNet(nn.Cell):
    """Residual trunk: images (N, 3, H, W) -> features (N, out_channels, H/32, W/32).

    Args:
        num_layers: 18, 34, 50, 101 or 152.
        stem_channels: channels of the first convolution; the four layers have 1, 2, 4, 8 times as many planes.
        stem_pool: 'symmetric' (PyTorch) or 'same' (MindSpore's model-zoo ResNet).
    """

    def __init__(self, num_layers: int, *, stem_channels: int = 64, stem_pool: str = 'symmetric'):
        super().__init__()
        if num_layers not in LAYOUTS:
            raise PoseError(f'ResNet-{num_layers} is unknown; use one of {", ".join(map(str, LAYOUTS))} layers')
        block, counts = LAYOUTS[num_layers]
        self.conv1 = conv(3, stem_channels, 7, stride=2)
        self.bn1 = BatchNorm(stem_channels)
        self.relu = nn.ReLU()
        self.maxpool = StemPool(stem_pool)
        channels, self.layer_inputs = stem_channels, ()
        for level, count in enumerate(counts):
            self.layer_inputs += (channels,)
            planes = stem_channels * 2 ** level
            setattr(self, f'layer{level + 1}',
                    make_layer(block, channels, planes, count, stride=1 if level == 0 else 2))
            channels = planes * block.expansion
        self.out_channels = channels

    def construct(self, images):
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(images)))))

    def stem(self, images):
        """Return what layer1 sees: (N, stem_channels, H/4, W/4)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))
