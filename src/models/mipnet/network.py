"""MIPNet (Khirodkar et al., "Multi-Instance Pose Networks: Rethinking Top-Down Pose Estimation", ICCV 2021,
arXiv 2101.11223): a pose network that can predict several people in a box; an instance code selects the person.

Axes: N crops, I people in a box, K keypoints, H, W input, h, w = H/4, W/4 heatmap. Arrays of several people are
hypothesis-major: all crops with the first code, then all with the second, … Cell names are those of the release.
"""
from typing import Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn, ops

from ...system.errors import PoseError
from ..common.blocks import BatchNorm, GlobalMean, Scale, initialise_parameters, narrow_normal, uniform_fan_in
from ..hrnet.network import HRNet
from ..simple_pose.network import SimplePoseNet
from .codes import instance_codes

# The hidden layers of a block have the channels of its feature map divided by this.
REDUCTION = 4
CODE_SIZE = 2
# Number of parts in which a network runs, with a place for modulation between each two.
NUM_PARTS = 5
PUBLISHED_PLACES = (False, False, True, True)


def dense(in_channels: int, out_channels: int, *, bias: bool) -> nn.Dense:
    """Return a dense layer; its weights are zero until the network that contains it calls `initialise_parameters`."""
    return nn.Dense(in_channels, out_channels, has_bias=bias, weight_init='zeros', bias_init='zeros')


class ModulationBlock(nn.Cell):
    """x (N, C, h, w), codes (N, 2) -> x times the excitation of x times the embedding of the code, both in 0 to 1.

    There is no shortcut around it: a newly initialised block multiplies by about a quarter. In train mode its BatchNorm
    needs different codes in a batch; otherwise the code has no effect and no gradient.

    Raises:
        PoseError: fewer than four channels leave nothing for the hidden layers.
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // REDUCTION
        if not hidden:
            raise PoseError(f'a modulation block needs at least {REDUCTION} channels, got {channels}')
        self.pool, self.scale = GlobalMean(), Scale()
        self.fc = nn.SequentialCell([dense(channels, hidden, bias=False), nn.ReLU(),
                                     dense(hidden, channels, bias=False), nn.Sigmoid()])
        self.fc_lambda = nn.SequentialCell([dense(CODE_SIZE, hidden, bias=True), BatchNorm(hidden), nn.ReLU(),
                                            dense(hidden, channels, bias=True), nn.Sigmoid()])

    def construct(self, x, codes):
        # The release multiplies the map twice; multiplying the two factors first saves a pass over the map.
        return self.scale(x, self.fc(self.pool(x)) * self.fc_lambda(codes))


class Modulation(nn.Cell):
    """A block for each branch of a network: features (N, C_b, h_b, w_b), codes (N, 2) -> the features, modulated."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.se_layers = nn.CellList([ModulationBlock(each) for each in channels])

    def construct(self, features, codes):
        modulated = ()
        for block, x in zip(self.se_layers, features):
            modulated = modulated + (block(x, codes),)
        return modulated


class MIPNet(nn.Cell):
    """What makes a pose network a MIPNet: images (N, 3, H, W) float32, codes (N, 2) float32 -> heatmaps (N, K, h, w).

    A mixin: the other base class is a network that runs in NUM_PARTS parts, `part(number, features)`. After each part
    but the last there is a place for a modulation block on every branch of the features.
    """

    def add_modulation(self, names: Sequence[str], channels: Sequence[Sequence[int]], se_modules: Sequence[bool],
                       num_instances: int) -> None:
        """Add the modulation blocks; their weights are still zero.

        Args:
            names: of the cells at the places.
            channels: of the branches at each place.
            se_modules: for each place, whether it has blocks.
            num_instances: I.

        Raises:
            PoseError: not one truth value for each place, or none is true.
        """
        se_modules = tuple(bool(each) for each in se_modules)
        if len(se_modules) != len(names) or not any(se_modules):
            raise PoseError(f'se_modules should say for each of the {len(names)} places {", ".join(names)} whether it '
                            f'has a modulation block, and at least one should; got {list(se_modules)}')
        self.num_instances, self.se_modules, self.first_place = num_instances, se_modules, se_modules.index(True)
        self.codes = Tensor(instance_codes(num_instances))
        for name, widths, is_taken in zip(names, channels, se_modules):
            if is_taken:
                setattr(self, name, Modulation(widths))
        self._modulations = tuple(getattr(self, name, None) for name in names)

    def construct(self, images, codes):
        return self.modulate(self.trunk(images), codes)

    def trunk(self, images):
        """Return the features of every branch in front of the first modulation block: the same for all codes."""
        features = (images,)
        for number in range(self.first_place + 1):
            features = self.part(number, features)
        return features

    def modulate(self, features, codes):
        """Return the heatmaps (N, K, h, w) of the features of N rows, each with its code (N, 2)."""
        for place in range(self.first_place, NUM_PARTS - 1):
            if self.se_modules[place]:
                features = self._modulations[place](features, codes)
            features = self.part(place + 1, features)
        return features[0]

    def hypotheses(self, images):
        """Return the heatmaps (I * N, K, h, w) of images (N, 3, H, W) with every code; the trunk runs once."""
        features = ()
        for each in self.trunk(images):
            features = features + (ops.concat((each,) * self.num_instances, 0),)
        codes = ops.tile(ops.expand_dims(self.codes, 1), (1, images.shape[0], 1))                # (I, N, 2)
        return self.modulate(features, ops.reshape(codes, (-1, 2)))

    def training_outputs(self, images):
        """Return what the loss supervises: the heatmaps (I * N, K, h, w).

        A batch holds every crop with every code, so that the BatchNorms of the modulation see balanced codes. The
        release draws at random for each crop which code goes into which half of a doubled batch; its loss is a mean
        over the same rows, so the draw does not change it.
        """
        return self.hypotheses(images)


class MIPNetHRNet(MIPNet, HRNet):
    """MIPNet on HRNet.

    Args:
        se_modules: whether there are blocks in front of stages 2, 3 and 4, and of the head.
        num_instances: I, 2 in the published models; 3 and 4 have other codes, see `instance_codes`.
        seed: of the initial weights.
        options: of HRNet.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, se_modules: Sequence[bool] = PUBLISHED_PLACES, num_instances: int = 2, seed: int = 1,
                 **options):
        super().__init__(seed=seed, **options)
        names = tuple(f'stage{number}_se' for number in (1, 2, 3, 4))
        self.add_modulation(names, self.stage_channels, se_modules, num_instances)
        initialise_parameters(self, seed, _draw_narrow, only=names)

    def part(self, number: int, features):
        """Run one of the parts, 0 to NUM_PARTS - 1: up to the inputs of stages 2, 3 and 4, stage 4, the head."""
        if number == 0:
            features = self.enter_stage2(features[0])
        elif number == 1:
            features = self.enter_stage3(self.stage2(features))
        elif number == 2:
            features = self.enter_stage4(self.stage3(features))
        elif number == 3:
            features = self.stage4(features)
        else:
            features = (self.head(features),)
        return features


class MIPNetResNet(MIPNet, SimplePoseNet):
    """MIPNet on SimplePoseNet.

    Args:
        se_modules: whether there is a block in front of each of the layers 1 to 4.
        num_instances: I, 2 in the published models; 3 and 4 have other codes, see `instance_codes`.
        seed: of the initial weights.
        options: of SimplePoseNet.

    Raises:
        PoseError: an argument is out of range.
    """

    def __init__(self, *, se_modules: Sequence[bool] = PUBLISHED_PLACES, num_instances: int = 2, seed: int = 1,
                 **options):
        super().__init__(seed=seed, **options)
        names = tuple(f'layer{number}_se' for number in (1, 2, 3, 4))
        self.add_modulation(names, [(each,) for each in self.layer_inputs], se_modules, num_instances)
        initialise_parameters(self, seed, _draw_default, only=names)

    def part(self, number: int, features):
        """Run one of the parts, 0 to NUM_PARTS - 1: the stem, layers 1 to 3, layer 4 with the head."""
        x = features[0]
        if number == 0:
            x = self.stem(x)
        elif number == 1:
            x = self.layer1(x)
        elif number == 2:
            x = self.layer2(x)
        elif number == 3:
            x = self.layer3(x)
        else:
            x = self.head(self.layer4(x))
        return (x,)


def _draw_narrow(rng, name: str, shape: Tuple[int, ...], _fan_in: int) -> np.ndarray:
    return narrow_normal(rng, name, shape)


def _draw_default(rng, _name: str, shape: Tuple[int, ...], fan_in: int) -> np.ndarray:
    # The release loads ImageNet weights into its ResNets and leaves the modulation at PyTorch's default.
    return uniform_fan_in(rng, shape, fan_in)
