"""Checkpoint files: weights and the configuration they were trained with, written atomically."""
import os
from typing import Dict, Mapping, Optional, Tuple, Union

import mindspore as ms
import numpy as np
from easydict import EasyDict
from mindspore import Parameter, nn

from ..config import from_json, to_json
from ..system.errors import PoseError
from ..system.files import atomic_file
from .entries import CONFIG_KEY, has_checksum, read_ckpt
from .names import named_parameters

AVERAGE_PREFIX = 'ema.'
# Prefixes of the entries that optimizers add to a checkpoint; names of network weights never begin like this.
OPTIMIZER_PREFIXES = ('moment1.', 'moment2.', 'moments.', 'beta1_power', 'beta2_power', 'global_step',
                      'learning_rate', 'step_index', 'epoch_num', 'step_num', 'adam_', 'loss_scale')


def save_checkpoint(path: str, weights: Union[nn.Cell, Mapping[str, Parameter]], config: EasyDict) -> None:
    """Write the weights of a network, or weights by name, and the configuration, atomically.

    Raises:
        OSError: the file cannot be written; the message names it.
        PoseError: a weight is not finite; an existing file is kept.
    """
    if isinstance(weights, nn.Cell):
        weights = named_parameters(weights)
    write_checkpoint(path, weights, {CONFIG_KEY: to_json(config)})


def write_checkpoint(path: str, parameters: Mapping[str, Parameter], texts: Mapping[str, str]) -> None:
    """Write parameters and texts with a checksum, atomically: temporary file, sync, rename.

    Raises:
        OSError: the file cannot be written; the message names it.
        PoseError: a parameter is not finite; an existing file is kept.
    """
    broken = [name for name, parameter in parameters.items() if not np.isfinite(parameter.asnumpy()).all()]
    if broken:
        raise PoseError(f'the checkpoint {path} is not written: {len(broken)} parameters hold NaN or infinity, e.g. '
                        f'{broken[0]}. A lower learning rate may help.')
    entries = [{'name': key, 'data': parameter} for key, parameter in parameters.items()]
    try:
        with atomic_file(path) as temporary:
            ms.save_checkpoint(entries, temporary, append_dict=dict(texts), crc_check=True)
    except (OSError, RuntimeError) as error:
        raise OSError(f'cannot write the checkpoint {path}: {error}') from None


def read_entries(path: str, *, needs_checksum: bool = False) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Return {name: array} and {name: text} of a checkpoint; its checksum, if it has one, is checked.

    Arrays of bfloat16 become float32.

    Raises:
        PoseError: the file is missing, damaged, encrypted, not a MindSpore checkpoint, larger than the memory or lacks
            a checksum that it needs; the message names it.
    """
    if not os.path.isfile(path):
        raise PoseError(f'the checkpoint {path} does not exist')
    if not path.endswith('.ckpt'):
        raise PoseError(f'{path} should be a MindSpore checkpoint (.ckpt)')
    if needs_checksum and not has_checksum(path):
        raise PoseError(f'{path} is damaged: it ends without a checksum ({os.path.getsize(path)} bytes)')
    return read_ckpt(path)


def read_checkpoint(path: str) -> Tuple[Dict[str, np.ndarray], Optional[EasyDict]]:
    """Return the weights, {name: array}, and the configuration, None if the file has none.

    From the state of a run, the running average of the weights is returned if there is one; the entries of the
    optimiser are left out.

    Raises:
        PoseError: the file is missing, damaged or not a MindSpore checkpoint; the message names it.
    """
    entries, texts = read_entries(path)
    config = from_json(texts[CONFIG_KEY], path) if CONFIG_KEY in texts else None
    average = {name[len(AVERAGE_PREFIX):]: value for name, value in entries.items() if name.startswith(AVERAGE_PREFIX)}
    return average or {name: value for name, value in entries.items()
                       if not name.startswith(OPTIMIZER_PREFIXES)}, config
