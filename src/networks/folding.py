"""BatchNorm in inference is one factor and one shift per channel, which the convolution before it can take over."""
from typing import Union

import numpy as np
from mindspore import Tensor, nn

from src.networks.blocks import BatchNorm

Convolution = Union[nn.Conv2d, nn.Conv2dTranspose]


class PassOn(nn.Cell):
    """Stands where a BatchNorm was: x -> x."""

    def construct(self, x):
        return x


def fold_batch_norms(network: nn.Cell) -> int:
    """Move every BatchNorm that follows a convolution into that convolution; return how many.

    In all networks here a BatchNorm stands right behind its convolution in the cell that owns both, and that order is
    what this goes by. `network` is changed for good and serves inference only.
    """
    folded = 0
    for _, owner in list(network.cells_and_names()):
        before, before_name = None, ''
        for name, cell in list(owner.name_cells().items()):
            if isinstance(cell, BatchNorm) and isinstance(before, (nn.Conv2d, nn.Conv2dTranspose)) and (
                    before.out_channels == cell.channels):
                _put(owner, before_name, _folded(before, cell))
                _put(owner, name, PassOn())
                folded += 1
            before, before_name = cell, name
    # The new ones are all called 'weight'; MindSpore wants names to be unique.
    for name, parameter in network.parameters_and_names():
        parameter.name = name
    return folded


def _put(owner: nn.Cell, name: str, cell: nn.Cell) -> None:
    if isinstance(owner, nn.SequentialCell):
        owner[int(name)] = cell
    else:
        setattr(owner, name, cell)


def _folded(convolution: Convolution, norm: BatchNorm) -> Convolution:
    gamma, beta, mean, variance = (each.asnumpy().astype(np.float64) for each in (
        norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    factor = gamma / np.sqrt(variance + norm.eps)
    weight = convolution.weight.asnumpy().astype(np.float64)
    bias = convolution.bias.asnumpy().astype(np.float64) if convolution.has_bias else 0.0
    options = {'weight_init': 'zeros', 'bias_init': 'zeros', 'stride': convolution.stride, 'pad_mode': 'pad',
               'padding': convolution.padding, 'dilation': convolution.dilation, 'group': convolution.group,
               'has_bias': True}
    if isinstance(convolution, nn.Conv2dTranspose):
        options['output_padding'] = convolution.output_padding
        weight = weight * factor.reshape(1, -1, 1, 1)                                            # (I, O, k, k)
    else:
        weight = weight * factor.reshape(-1, 1, 1, 1)                                            # (O, I, k, k)
    result = type(convolution)(convolution.in_channels, convolution.out_channels, convolution.kernel_size, **options)
    result.weight.set_data(Tensor(weight.astype(np.float32)))
    result.bias.set_data(Tensor((beta + (bias - mean) * factor).astype(np.float32)))
    return result
