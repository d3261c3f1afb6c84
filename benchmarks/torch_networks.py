"""Three networks in PyTorch, for comparison only: SimplePoseNet-R50, MSPN and HRNet-W32, written from their papers.

Names of parameters are those that `src.checkpoints.names.pytorch_names` gives, so weights of this package load. Axes:
N people, K keypoints, H, W input, h, w = H/4, W/4 heatmap.
"""
import torch
import torch.nn.functional as F
from torch import nn

EXPANSION = 4


def conv_bn(inner: int, outer: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    cells = [nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outer)]
    return nn.Sequential(*cells, nn.ReLU(inplace=True)) if relu else nn.Sequential(*cells)


class Residual(nn.Module):
    """A basic block (two 3x3 convolutions) or a bottleneck (1x1, 3x3, 1x1), plus the shortcut."""

    def __init__(self, inner: int, planes: int, stride: int, *, is_bottleneck: bool):
        super().__init__()
        sizes = ((1, 1), (3, stride), (1, 1)) if is_bottleneck else ((3, stride), (3, 1))
        outer, last = planes * (EXPANSION if is_bottleneck else 1), len(sizes)
        channels = [inner, *[planes] * (last - 1), outer]
        for index, (kernel, step) in enumerate(sizes):
            setattr(self, f'conv{index + 1}', nn.Conv2d(channels[index], channels[index + 1], kernel, step,
                                                        kernel // 2, bias=False))
            setattr(self, f'bn{index + 1}', nn.BatchNorm2d(channels[index + 1]))
        self.last = last
        self.downsample = conv_bn(inner, outer, 1, stride, relu=False) if stride > 1 or inner != outer else None

    def forward(self, x):
        out = x
        for index in range(1, self.last + 1):
            out = getattr(self, f'bn{index}')(getattr(self, f'conv{index}')(out))
            if index < self.last:
                out = F.relu(out, inplace=True)
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


def residual_layer(inner: int, planes: int, count: int, stride: int, *, is_bottleneck: bool) -> nn.Sequential:
    outer = planes * (EXPANSION if is_bottleneck else 1)
    return nn.Sequential(*(Residual(outer if index else inner, planes, 1 if index else stride,
                                    is_bottleneck=is_bottleneck) for index in range(count)))


class SimplePoseNet(nn.Module):
    """SimplePoseNet on ResNet-50: (N, 3, H, W) -> (N, K, h, w)."""

    def __init__(self, num_keypoints: int = 17):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inner = 64
        for level, count in enumerate((3, 4, 6, 3)):
            setattr(self, f'layer{level + 1}', residual_layer(inner, 64 * 2 ** level, count, 2 if level else 1,
                                                              is_bottleneck=True))
            inner = 64 * 2 ** level * EXPANSION
        cells = []
        for _ in range(3):
            cells += [nn.ConvTranspose2d(inner, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(inplace=True)]
            inner = 256
        self.deconv_layers, self.final_layer = nn.Sequential(*cells), nn.Conv2d(256, num_keypoints, 1)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, 1)
        return self.final_layer(self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x))))))


class ConvBNReLU(nn.Module):
    """MSPN's convolution with a bias, BatchNorm and ReLU."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, relu: bool = True):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inner, outer, kernel, stride, kernel // 2), nn.BatchNorm2d(outer)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class MSPNBottleneck(nn.Module):
    def __init__(self, inner: int, planes: int, stride: int, project: bool):
        super().__init__()
        self.conv_bn_relu1, self.conv_bn_relu2 = ConvBNReLU(inner, planes, 1), ConvBNReLU(planes, planes, 3, stride)
        self.conv_bn_relu3 = ConvBNReLU(planes, planes * EXPANSION, 1, relu=False)
        self.downsample = ConvBNReLU(inner, planes * EXPANSION, 1, stride, relu=False) if project else None

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x))) + shortcut, inplace=True)


def resize(x, shape):
    return x if x.shape[2:] == shape else F.interpolate(x, size=shape, mode='bilinear', align_corners=True)


class UpsampleUnit(nn.Module):
    def __init__(self, inner: int, num_keypoints: int, *, is_first: bool, is_finest: bool, hands_over: bool):
        super().__init__()
        self.u_skip = ConvBNReLU(inner, 256, 1, relu=False)
        self.up_conv = None if is_first else ConvBNReLU(256, 256, 1, relu=False)
        self.skip1 = ConvBNReLU(inner, inner, 1) if hands_over else None
        self.skip2 = ConvBNReLU(256, inner, 1) if hands_over else None
        self.cross_conv = ConvBNReLU(256, 64, 1) if hands_over and is_finest else None
        self.res_conv1, self.res_conv2 = ConvBNReLU(256, 256, 1), ConvBNReLU(256, num_keypoints, 3, relu=False)

    def forward(self, lateral, coarser, shape):
        out = self.u_skip(lateral)
        if self.up_conv is not None:
            out = out + self.up_conv(resize(coarser, lateral.shape[2:]))
        out = F.relu(out, inplace=True)
        return out, resize(self.res_conv2(self.res_conv1(out)), shape)


class Stage(nn.Module):
    def __init__(self, num_keypoints: int, *, is_last: bool):
        super().__init__()
        self.downsample, self.upsample, inner = nn.Module(), nn.Module(), 64
        for level, count in enumerate((3, 4, 6, 3)):
            planes, cells = 64 * 2 ** level, []
            for index in range(count):
                cells.append(MSPNBottleneck(inner, planes, 2 if level and not index else 1, index == 0))
                inner = planes * EXPANSION
            setattr(self.downsample, f'layer{level + 1}', nn.Sequential(*cells))
        for index, planes in enumerate((512, 256, 128, 64)):
            setattr(self.upsample, f'up{index + 1}', UpsampleUnit(
                planes * EXPANSION, num_keypoints, is_first=index == 0, is_finest=index == 3, hands_over=not is_last))

    def forward(self, x, skips1, skips2):
        features, shape = [], x.shape[2:]
        for level in range(4):
            x = getattr(self.downsample, f'layer{level + 1}')(x)
            if skips1 is not None:
                x = x + skips1[level] + skips2[level]
            features.append(x)
        out, heatmaps, first, second, following = None, [], [], [], None
        for index in range(4):
            unit, lateral = getattr(self.upsample, f'up{index + 1}'), features[3 - index]
            out, maps = unit(lateral, out, shape)
            heatmaps.append(maps)
            if unit.skip1 is not None:
                first.insert(0, unit.skip1(lateral))
                second.insert(0, unit.skip2(out))
            if unit.cross_conv is not None:
                following = unit.cross_conv(out)
        return heatmaps, first or None, second or None, following


class MSPN(nn.Module):
    """MSPN: (N, 3, H, W) -> for each stage the heatmaps (N, K, h, w) of its four units, coarse to fine."""

    def __init__(self, num_stages: int = 2, num_keypoints: int = 17):
        super().__init__()
        self.top, self.num_stages = nn.Module(), num_stages
        self.top.conv = ConvBNReLU(3, 64, 7, 2)
        for index in range(num_stages):
            setattr(self, f'stage{index}', Stage(num_keypoints, is_last=index == num_stages - 1))

    def forward(self, images):
        x, skips1, skips2, outputs = F.max_pool2d(self.top.conv(images), 3, 2, 1), None, None, []
        for index in range(self.num_stages):
            heatmaps, skips1, skips2, x = getattr(self, f'stage{index}')(x, skips1, skips2)
            outputs.append(heatmaps)
        return outputs


class HRModule(nn.Module):
    """Parallel branches of four basic blocks; each of the first `outputs` results is the sum of all branches."""

    def __init__(self, channels, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(residual_layer(width, width, 4, 1, is_bottleneck=False) for width in channels)
        self.fuse_layers = nn.ModuleList(nn.ModuleList(self._path(source, target, channels)
                                                       for source in range(len(channels)))
                                         for target in range(outputs))

    @staticmethod
    def _path(source: int, target: int, channels) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            return nn.Sequential(*conv_bn(channels[source], channels[target], 1, relu=False),
                                 nn.Upsample(scale_factor=2 ** (source - target), mode='nearest'))
        steps = [conv_bn(channels[source], channels[source], 3, 2) for _ in range(target - source - 1)]
        return nn.Sequential(*steps, conv_bn(channels[source], channels[target], 3, 2, relu=False))

    def forward(self, features):
        features = [branch(x) for branch, x in zip(self.branches, features)]
        return [F.relu(sum(path(x) for path, x in zip(paths, features)), inplace=True) for paths in self.fuse_layers]


class HRNet(nn.Module):
    """HRNet-W32: (N, 3, H, W) -> (N, K, h, w)."""

    def __init__(self, width: int = 32, num_keypoints: int = 17):
        super().__init__()
        channels = [width * 2 ** branch for branch in range(4)]
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.layer1 = residual_layer(64, 64, 4, 1, is_bottleneck=True)
        before = [256]
        for stage, count in ((2, 1), (3, 4), (4, 3)):
            setattr(self, f'transition{stage - 1}', self._transition(before, channels[:stage]))
            setattr(self, f'stage{stage}', nn.Sequential(*(
                HRModule(channels[:stage], 1 if stage == 4 and index == count - 1 else stage)
                for index in range(count))))
            before = channels[:stage]
        self.final_layer = nn.Conv2d(width, num_keypoints, 1)

    @staticmethod
    def _transition(before, after) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Sequential(conv_bn(before[-1], outer, 3, 2)) if branch >= len(before)
            else nn.Identity() if before[branch] == outer else conv_bn(before[branch], outer, 3)
            for branch, outer in enumerate(after))

    def forward(self, images):
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = [self.layer1(F.relu(self.bn2(self.conv2(x)), inplace=True))]
        for stage in (2, 3, 4):
            cells = getattr(self, f'transition{stage - 1}')
            features = [cell(features[min(branch, len(features) - 1)]) for branch, cell in enumerate(cells)]
            features = getattr(self, f'stage{stage}')(features)
        return self.final_layer(features[0])


def heatmap_loss(heatmaps, target, weight):
    """Half the mean squared error of (N, K, h, w), with weights (N, K)."""
    return 0.5 * ((heatmaps - target) * weight[..., None, None]).square().mean()


def mspn_loss(outputs, labels, validity):
    """MSPN's loss of five label sets, with the eight hardest keypoints of the finest unit of each stage."""
    visible, valid = (validity > 1).float()[..., None, None], (validity > 0).float()
    total = 0.0
    for index, heatmaps in enumerate(outputs):
        first = 1 if index == len(outputs) - 1 else 0
        for unit in range(3):
            total = total + (heatmaps[unit] - labels[unit + first] * visible).square().mean() / 4
        error = (heatmaps[3] - labels[3 + first]).square().mean((2, 3)) * valid
        total = total + torch.topk(error, 8).values.sum(1).mean() / 8
    return total


# Recipe -> the network and its loss.
NETWORKS = {'simplepose_r50_coco_256x192': (SimplePoseNet, heatmap_loss),
            'mspn_2stg_coco_256x192': (MSPN, mspn_loss),
            'hrnet_w32_coco_256x192': (HRNet, heatmap_loss)}
