"""MIPNet's multi-instance modulation (Khirodkar et al., ICCV 2021, arXiv 2101.11223): factors for the channels of a
feature map that depend on the map, as squeeze-and-excitation does, and on the code of the person who is wanted.

Axes: N crops, C channels, h, w feature map. Cell names are those of the release.
"""
from typing import Sequence

from mindspore import nn, ops

from ..common.blocks import BatchNorm

# A block's hidden layers have so many times fewer channels than its feature map.
REDUCTION = 4
CODE_SIZE = 2


class GlobalMean(nn.Cell):
    """The mean over the map: (N, C, h, w) -> (N, C)."""

    def construct(self, x):
        _, channels, height, width = x.shape
        # Means of rows are four times as fast on CPU as means over two axes.
        return ops.reshape(ops.mean(ops.reshape(x, (-1, height * width)), 1), (-1, channels))


class Scale(nn.Cell):
    """A factor for every channel of every crop: x (N, C, h, w), factors (N, C) -> x times them."""

    def construct(self, x, factors):
        return x * ops.reshape(factors, (-1, x.shape[1], 1, 1))


def dense(in_channels: int, out_channels: int, *, bias: bool) -> nn.Dense:
    """Return a dense layer of zeros: the network that owns it calls `initialise_parameters`."""
    return nn.Dense(in_channels, out_channels, has_bias=bias, weight_init='zeros', bias_init='zeros')


class ModulationBlock(nn.Cell):
    """x (N, C, h, w), codes (N, 2) -> x times the excitation of x times the embedding of the code, both in 0 to 1.

    There is no shortcut around it: a fresh block multiplies by about a quarter. In train mode its BatchNorm needs
    different codes in a batch, or else the code has no influence and no gradient.

    Raises:
        ValueError: fewer than four channels leave nothing for the hidden layers.
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // REDUCTION
        if not hidden:
            raise ValueError(f'a modulation block needs at least {REDUCTION} channels, got {channels}')
        self.pool, self.scale = GlobalMean(), Scale()
        self.fc = nn.SequentialCell([dense(channels, hidden, bias=False), nn.ReLU(),
                                     dense(hidden, channels, bias=False), nn.Sigmoid()])
        self.fc_lambda = nn.SequentialCell([dense(CODE_SIZE, hidden, bias=True), BatchNorm(hidden), nn.ReLU(),
                                            dense(hidden, channels, bias=True), nn.Sigmoid()])

    def construct(self, x, codes):
        # The release multiplies the map twice; multiplying the factors first saves a pass over it.
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
