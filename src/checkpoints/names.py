"""The parameters of a network by name, and their names in PyTorch.

The cells keep the names of the published PyTorch releases, so renaming is a matter of the BatchNorm suffixes alone.
"""
from typing import TYPE_CHECKING, Dict, Mapping

import numpy as np

if TYPE_CHECKING:  # whoever reads files without a network needs no MindSpore
    from mindspore import Parameter, nn

BATCH_NORM_SUFFIXES = {'gamma': 'weight', 'beta': 'bias', 'moving_mean': 'running_mean',
                       'moving_variance': 'running_var'}


def named_parameters(network: 'nn.Cell') -> Dict[str, 'Parameter']:
    """Return {name: parameter} by place in the network.

    `Parameter.name` itself is no key: MindSpore prefixes it when the network becomes part of another cell.
    """
    return dict(network.parameters_and_names())


def pytorch_names(network: 'nn.Cell') -> Dict[str, str]:
    """Return {MindSpore parameter name: PyTorch name} of a network, in the network's order."""
    names = {}
    for name in named_parameters(network):
        prefix, _, suffix = name.rpartition('.')
        names[name] = f'{prefix}.{BATCH_NORM_SUFFIXES.get(suffix, suffix)}'
    return names


def float32_of_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return the numbers that 16-bit words of any byte order stand for; NumPy itself knows no bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def assign_weights(network: 'nn.Cell', weights: Mapping[str, np.ndarray]) -> None:
    """Put arrays of the right shapes, under MindSpore's names, into a network."""
    from mindspore import Tensor
    parameters = named_parameters(network)
    for name, value in weights.items():
        parameters[name].set_data(Tensor(np.ascontiguousarray(value, np.float32)))
