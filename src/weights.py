"""PyTorch-named weights → a network, every key accounted for and every shape checked.

The cells keep the names of the published PyTorch releases, so renaming is a matter of the BatchNorm suffixes alone;
all weight layouts (convolution OIHW, transposed convolution IOHW) are the same in both frameworks.
"""
from typing import Dict, Mapping

import numpy as np
from mindspore import Parameter, Tensor, nn

BATCH_NORM_SUFFIXES = {'gamma': 'weight', 'beta': 'bias', 'moving_mean': 'running_mean',
                       'moving_variance': 'running_var'}


def named_parameters(network: nn.Cell) -> Dict[str, Parameter]:
    """Return {name: parameter} by place in the network.

    `Parameter.name` itself is no key: MindSpore prefixes it when the network becomes part of another cell.
    """
    return dict(network.parameters_and_names())


def pytorch_names(network: nn.Cell) -> Dict[str, str]:
    """Return {MindSpore parameter name: PyTorch name} of a network, in the network's order."""
    names = {}
    for name in named_parameters(network):
        prefix, _, suffix = name.rpartition('.')
        names[name] = f'{prefix}.{BATCH_NORM_SUFFIXES.get(suffix, suffix)}'
    return names


def load_pytorch_state(network: nn.Cell, state: Mapping[str, np.ndarray]) -> None:
    """Load a complete PyTorch state_dict, given as NumPy arrays, into `network`.

    BatchNorm's `num_batches_tracked` has no counterpart in MindSpore and is dropped.

    Raises:
        ValueError: names all missing, unexpected and mis-shaped entries; the network is then unchanged.
    """
    names = pytorch_names(network)
    parameters = named_parameters(network)
    counters = {name[:-len('running_mean')] + 'num_batches_tracked'
                for name in names.values() if name.endswith('.running_mean')}
    missing = [name for name in names.values() if name not in state]
    unexpected = sorted(set(state) - set(names.values()) - counters)
    mis_shaped = [f'{source} is {tuple(np.shape(state[source]))}, should be {tuple(parameters[target].shape)}'
                  for target, source in names.items()
                  if source in state and tuple(np.shape(state[source])) != tuple(parameters[target].shape)]
    problems = [f'{len(entries)} {kind}: {"; ".join(entries)}' for kind, entries in
                (('missing', missing), ('unexpected', unexpected), ('of another shape', mis_shaped)) if entries]
    if problems:
        raise ValueError(f'the state does not fit {type(network).__name__}. ' + '. '.join(problems))
    for target, source in names.items():
        parameters[target].set_data(Tensor(np.ascontiguousarray(state[source], np.float32)))
