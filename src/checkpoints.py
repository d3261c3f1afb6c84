"""Checkpoint files: weights and the configuration that made them, written whole or not at all."""
import os
import re
from typing import Optional, Tuple

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import nn

from src.config import from_json, to_json
from src.weights import named_parameters

CONFIG_KEY = 'config'
# The classifier of an ImageNet network, which a pose network has no use for.
CLASSIFIER_PREFIXES = ('fc.', 'end_point.', 'classifier.')
# What optimizers add to a checkpoint; weights of a network never begin like this.
OPTIMIZER_PREFIXES = ('moment1.', 'moment2.', 'moments.', 'beta1_power', 'beta2_power', 'global_step',
                      'learning_rate', 'step_index', 'epoch_num', 'step_num', 'adam_', 'loss_scale')


def save_checkpoint(path: str, network: nn.Cell, config: EasyDict) -> None:
    """Write the network's weights and its configuration, atomically.

    Raises:
        OSError: the file cannot be written; the message names it.
        ValueError: a weight is not finite; the file that was there stays.
    """
    broken = [key for key, parameter in named_parameters(network).items() if not np.isfinite(parameter.asnumpy()).all()]
    if broken:
        raise ValueError(f'the checkpoint {path} is not written: {len(broken)} parameters hold NaN or infinity, e.g. '
                         f'{broken[0]}. A lower learning rate may help.')
    folder, name = os.path.split(os.path.abspath(path))
    # MindSpore appends .ckpt to any other ending.
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp.ckpt')
    entries = [{'name': key, 'data': parameter} for key, parameter in named_parameters(network).items()]
    try:
        ms.save_checkpoint(entries, temporary, append_dict={CONFIG_KEY: to_json(config)})
        # MindSpore writes its checkpoints read-only; a user should be able to move and overwrite ours.
        os.chmod(temporary, 0o644)
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise OSError(f'cannot write the checkpoint {path}: {error}') from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def read_checkpoint(path: str) -> Tuple[dict, Optional[EasyDict]]:
    """Return {name: parameter} without optimizer state, and the configuration, None where the file carries none.

    Raises:
        ValueError: the file is missing, damaged or no MindSpore checkpoint; the message names it.
    """
    if not os.path.isfile(path):
        raise ValueError(f'the checkpoint {path} does not exist')
    if not path.endswith('.ckpt'):
        raise ValueError(f'{path} should be a MindSpore checkpoint (.ckpt)')
    try:
        content = ms.load_checkpoint(path)
    except (ValueError, RuntimeError, TypeError):
        raise ValueError(f'{path} is damaged or no MindSpore checkpoint ({os.path.getsize(path)} bytes)') from None
    text = content.pop(CONFIG_KEY, None)
    config = None if text is None else from_json(str(text), path)
    return {name: value for name, value in content.items() if not name.startswith(OPTIMIZER_PREFIXES)}, config


def load_weights(network: nn.Cell, weights: dict, where: str) -> None:
    """Load checkpoint weights into a network of the same names.

    Args:
        weights: {name: parameter}, of `read_checkpoint`.
        where: file name for the message.

    Raises:
        ValueError: missing, unexpected, mis-shaped or non-finite entries; the network is then unchanged.
    """
    _load(network, weights, where, optional=(), ignored=())


def load_start_weights(network: nn.Cell, weights: dict, where: str) -> int:
    """Load a whole checkpoint or, where the network has a trunk of its own names, a trunk without the head.

    Returns:
        The number of parameters loaded; the others keep their initial values.

    Raises:
        ValueError: as `load_weights`; a trunk must be there whole.
    """
    optional = getattr(network, 'head_prefixes', ())
    # MindSpore's model zoo and MindCV name the shortcuts of a ResNet differently.
    weights = {re.sub(r'\.down_sample(_layer)?\.', '.downsample.', name): value for name, value in weights.items()}
    return _load(network, weights, where, optional=optional, ignored=CLASSIFIER_PREFIXES if optional else ())


def _load(network: nn.Cell, weights: dict, where: str, *, optional: Tuple[str, ...], ignored: Tuple[str, ...]) -> int:
    parameters = named_parameters(network)
    missing = [name for name in parameters if name not in weights and not name.startswith(optional)]
    unexpected = [name for name in weights if name not in parameters and not name.startswith(ignored)]
    shared = [name for name in parameters if name in weights]
    mis_shaped = [f'{name} is {tuple(weights[name].shape)}, should be {tuple(parameters[name].shape)}'
                  for name in shared if weights[name].shape != parameters[name].shape]
    not_finite = [name for name in shared if not np.isfinite(weights[name].asnumpy()).all()]
    problems = [f'{len(names)} {kind}, e.g. {"; ".join(names[:3])}' for kind, names in
                (('missing', missing), ('unexpected', unexpected), ('of another shape', mis_shaped),
                 ('with NaN or infinity', not_finite)) if names]
    if problems:
        raise ValueError(f'{where} does not fit the network ({type(network).__name__}): ' + '. '.join(problems))
    for name in shared:
        parameters[name].set_data(weights[name])
    return len(shared)
