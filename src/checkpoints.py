"""Checkpoint files: weights and the configuration that made them, written whole or not at all."""
import os
from typing import Optional, Tuple

import mindspore as ms
from easydict import EasyDict
from mindspore import nn

from src.config import from_json, to_json
from src.files import make_folder
from src.weights import named_parameters

CONFIG_KEY = 'config'
# What optimizers add to a checkpoint; weights of a network never begin like this.
OPTIMIZER_PREFIXES = ('moment1.', 'moment2.', 'moments.', 'beta1_power', 'beta2_power', 'global_step',
                      'learning_rate', 'step_index', 'epoch_num', 'step_num', 'adam_', 'loss_scale')


def check_writable(path: str) -> None:
    """Make the folder of `path` if need be, and prove that a file can be written there.

    Raises:
        OSError: it cannot; the message names the path. Better now than after days of training.
    """
    if os.path.isdir(path):
        raise OSError(f'{path} should be a file to write, is a folder')
    make_folder(os.path.dirname(os.path.abspath(path)))


def save_checkpoint(path: str, network: nn.Cell, config: EasyDict) -> None:
    """Write the network's weights and its configuration, atomically.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
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


def load_weights(network: nn.Cell, weights: dict, where: str, *, allow_missing_head: bool = False) -> int:
    """Load checkpoint weights into a network of the same names.

    Args:
        weights: {name: parameter}, of `read_checkpoint`.
        where: file name for the message.
        allow_missing_head: accept a backbone: what it lacks stays as it is, what is left over is ignored, as long as
            at least half of the network is filled and nothing has another shape.

    Returns:
        The number of parameters loaded.

    Raises:
        ValueError: missing, unexpected or mis-shaped entries, all named; the network is then unchanged.
    """
    parameters = named_parameters(network)
    missing = [name for name in parameters if name not in weights]
    unexpected = [name for name in weights if name not in parameters]
    mis_shaped = [f'{name} is {tuple(weights[name].shape)}, should be {tuple(parameters[name].shape)}'
                  for name in parameters if name in weights and weights[name].shape != parameters[name].shape]
    if allow_missing_head and len(missing) <= len(parameters) / 2:
        missing, unexpected = [], []
    problems = [f'{len(names)} {kind}, e.g. {"; ".join(names[:3])}' for kind, names in
                (('missing', missing), ('unexpected', unexpected), ('of another shape', mis_shaped)) if names]
    if problems:
        raise ValueError(f'{where} does not fit the network ({type(network).__name__}): ' + '. '.join(problems))
    loaded = 0
    for name, parameter in parameters.items():
        if name in weights:
            parameter.set_data(weights[name].value() if hasattr(weights[name], 'value') else weights[name])
            loaded += 1
    return loaded
