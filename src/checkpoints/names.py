"""The parameters of a network by name, and their names in PyTorch.

The cells have the names of the published PyTorch releases, so only the suffixes of BatchNorm parameters differ.
"""
from typing import TYPE_CHECKING, Dict, Mapping

import numpy as np

if TYPE_CHECKING:  # reading files without a network needs no MindSpore
    from mindspore import Parameter, nn

BATCH_NORM_SUFFIXES = {'gamma': 'weight', 'beta': 'bias', 'moving_mean': 'running_mean',
                       'moving_variance': 'running_var'}


def named_parameters(network: 'nn.Cell') -> Dict[str, 'Parameter']:
    """Return {name: parameter}; the name is the path of cells inside the network.

    `Parameter.name` cannot be the key: MindSpore adds a prefix to it when the network becomes part of another cell.
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
    """Return as float32 the bfloat16 numbers in 16-bit words of any byte order; NumPy itself has no bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def assign_weights(network: 'nn.Cell', weights: Mapping[str, np.ndarray]) -> None:
    """Set parameters of a network from arrays of the right shapes, {MindSpore parameter name: array}."""
    from mindspore import Tensor
    parameters = named_parameters(network)
    for name, value in weights.items():
        parameters[name].set_data(Tensor(np.ascontiguousarray(value, np.float32)))
