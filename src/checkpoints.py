"""Checkpoint files: weights and the configuration that made them, written whole or not at all."""
import glob
import os
import re
from typing import Dict, Mapping, Optional, Tuple, Union

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import Parameter, nn

from src.config import from_json, to_json
from src.files import sync_folder
from src.weights import named_parameters

CONFIG_KEY = 'config'
AVERAGE_PREFIX = 'ema.'
# MindSpore ends a checkpoint with this mark and ten bytes of CRC-32.
CHECKSUM_MARK, CHECKSUM_BYTES = b'crc_num', 17
# The classifier of an ImageNet network, which a pose network has no use for.
CLASSIFIER_PREFIXES = ('fc.', 'end_point.', 'classifier.')
# What optimizers add to a checkpoint; weights of a network never begin like this.
OPTIMIZER_PREFIXES = ('moment1.', 'moment2.', 'moments.', 'beta1_power', 'beta2_power', 'global_step',
                      'learning_rate', 'step_index', 'epoch_num', 'step_num', 'adam_', 'loss_scale')


def save_checkpoint(path: str, weights: Union[nn.Cell, Mapping[str, Parameter]], config: EasyDict) -> None:
    """Write the weights of a network, or weights by name, and the configuration, atomically.

    Raises:
        OSError: the file cannot be written; the message names it.
        ValueError: a weight is not finite; the file that was there stays.
    """
    if isinstance(weights, nn.Cell):
        weights = named_parameters(weights)
    write_checkpoint(path, weights, {CONFIG_KEY: to_json(config)})


def write_checkpoint(path: str, parameters: Mapping[str, Parameter], texts: Mapping[str, str]) -> None:
    """Write parameters and texts with a checksum, atomically: temporary file, sync, rename.

    Raises:
        OSError: the file cannot be written; the message names it.
        ValueError: a parameter is not finite; the file that was there stays.
    """
    broken = [name for name, parameter in parameters.items() if not np.isfinite(parameter.asnumpy()).all()]
    if broken:
        raise ValueError(f'the checkpoint {path} is not written: {len(broken)} parameters hold NaN or infinity, e.g. '
                         f'{broken[0]}. A lower learning rate may help.')
    folder, name = os.path.split(os.path.abspath(path))
    # MindSpore appends .ckpt to any other ending.
    temporary = os.path.join(folder, f'.{name}.{os.getpid()}.tmp.ckpt')
    entries = [{'name': key, 'data': parameter} for key, parameter in parameters.items()]
    try:
        ms.save_checkpoint(entries, temporary, append_dict=dict(texts), crc_check=True)
        # MindSpore writes its checkpoints read-only; a user should be able to move and overwrite ours.
        os.chmod(temporary, 0o644)
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:
        raise OSError(f'cannot write the checkpoint {path}: {error}') from None
    finally:
        # MindSpore's own temporary file may be there as well.
        for leftover in glob.glob(os.path.join(glob.escape(folder), f'.{glob.escape(name)}.{os.getpid()}.tmp*')):
            os.remove(leftover)


def read_entries(path: str, *, needs_checksum: bool = False) -> Tuple[dict, Dict[str, str]]:
    """Return {name: parameter} and {name: text} of a checkpoint whose checksum, where it has one, is right.

    Raises:
        ValueError: the file is missing, damaged, no MindSpore checkpoint or, if asked for, without a checksum; the
            message names it.
    """
    if not os.path.isfile(path):
        raise ValueError(f'the checkpoint {path} does not exist')
    if not path.endswith('.ckpt'):
        raise ValueError(f'{path} should be a MindSpore checkpoint (.ckpt)')
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        file.seek(max(0, size - CHECKSUM_BYTES))
        has_checksum = file.read(len(CHECKSUM_MARK)) == CHECKSUM_MARK
    if needs_checksum and not has_checksum:
        raise ValueError(f'{path} is damaged: it ends without a checksum ({size} bytes)')
    try:
        content = ms.load_checkpoint(path, crc_check=has_checksum)
    except (ValueError, RuntimeError, TypeError):
        raise ValueError(f'{path} is damaged or no MindSpore checkpoint ({size} bytes)') from None
    texts = {name: value for name, value in content.items() if not isinstance(value, Parameter)}
    return {name: value for name, value in content.items() if name not in texts}, {
        name: str(value) for name, value in texts.items()}


def read_checkpoint(path: str) -> Tuple[dict, Optional[EasyDict]]:
    """Return the weights, {name: parameter}, and the configuration, None where the file carries none.

    Of the state of a run with a running average of the weights it is the average that is returned; what belongs to
    the optimiser is left out.

    Raises:
        ValueError: the file is missing, damaged or no MindSpore checkpoint; the message names it.
    """
    entries, texts = read_entries(path)
    config = from_json(texts[CONFIG_KEY], path) if CONFIG_KEY in texts else None
    average = {name[len(AVERAGE_PREFIX):]: value for name, value in entries.items() if name.startswith(AVERAGE_PREFIX)}
    return average or {name: value for name, value in entries.items()
                       if not name.startswith(OPTIMIZER_PREFIXES)}, config


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
