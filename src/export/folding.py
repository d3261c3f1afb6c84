"""Folding BatchNorms into the convolution or dense layer before them, for inference."""
from typing import Union

import numpy as np
from mindspore import Tensor, nn

from ..models.common.blocks import BatchNorm, Identity

Linear = Union[nn.Conv2d, nn.Conv2dTranspose, nn.Dense]


def fold_batch_norms(network: nn.Cell) -> int:
    """Fold every BatchNorm that follows a convolution or a dense layer into that layer; return how many.

    A BatchNorm belongs to the layer that comes right before it among the child cells of the same parent; this holds for
    all networks here. `network` is changed permanently and can then be used for inference only.
    """
    folded = 0
    for _, owner in list(network.cells_and_names()):
        before, before_name = None, ''
        for name, cell in list(owner.name_cells().items()):
            if isinstance(cell, BatchNorm) and isinstance(before, (nn.Conv2d, nn.Conv2dTranspose, nn.Dense)) and (
                    before.out_channels == cell.channels):
                _put(owner, before_name, _folded(before, cell))
                _put(owner, name, Identity())
                folded += 1
            before, before_name = cell, name
    # The new parameters are all called 'weight' and 'bias', but MindSpore needs unique names.
    for name, parameter in network.parameters_and_names():
        parameter.name = name
    return folded


def _put(owner: nn.Cell, name: str, cell: nn.Cell) -> None:
    if isinstance(owner, nn.SequentialCell):
        owner[int(name)] = cell
    else:
        setattr(owner, name, cell)


def _folded(linear: Linear, norm: BatchNorm) -> Linear:
    gamma, beta, mean, variance = (each.asnumpy().astype(np.float64) for each in (
        norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    factor = gamma / np.sqrt(variance + norm.eps)
    weight = linear.weight.asnumpy()
    bias = linear.bias.asnumpy().astype(np.float64) if linear.has_bias else 0.0
    # Axes (O, I, ...), but (I, O, k, k) for a transposed convolution.
    out_axis = 1 if isinstance(linear, nn.Conv2dTranspose) else 0
    per_channel = np.expand_dims(factor, tuple(axis for axis in range(weight.ndim) if axis != out_axis))
    result = _like(linear)
    # Computed in float64, part by part: a whole copy in float64 takes four times as long.
    product = np.multiply(weight, per_channel, out=np.empty_like(weight), casting='same_kind')
    # Without a copy: nobody else has the array.
    result.weight.set_data(Tensor.from_numpy(product))
    result.bias.set_data(Tensor((beta + (bias - mean) * factor).astype(np.float32)))
    return result


def _like(linear: Linear) -> Linear:
    """Return a cell of the same kind and sizes, with a bias."""
    options = {'weight_init': 'zeros', 'bias_init': 'zeros', 'has_bias': True}
    if isinstance(linear, nn.Dense):
        return nn.Dense(linear.in_channels, linear.out_channels, **options)
    options.update(stride=linear.stride, pad_mode='pad', padding=linear.padding, dilation=linear.dilation,
                   group=linear.group)
    kind = nn.Conv2dTranspose if isinstance(linear, nn.Conv2dTranspose) else nn.Conv2d
    return kind(linear.in_channels, linear.out_channels, linear.kernel_size, **options)
