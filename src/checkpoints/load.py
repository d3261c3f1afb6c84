"""Loading weights from any supported file type into a network, and writing safetensors with PyTorch's names."""
import json
import os
import re
from collections import Counter
from typing import Dict, Mapping, Optional, Sequence, Tuple

import numpy as np
import safetensors
import safetensors.numpy
from easydict import EasyDict
from mindspore import nn

from ..config import from_json, to_json
from ..models.record import is_udp
from ..system.command_line import say
from ..system.errors import PoseError
from ..system.files import write_bytes
from ..system.printing import printable
from .ckpt import CONFIG_KEY, OPTIMIZER_PREFIXES, read_checkpoint
from .entries import MAX_SIZE
from .formats import Conversion, adopt_settings, convert_weights
from .names import assign_weights, float32_of_bfloat16, named_parameters, pytorch_names
from .torch_files import read_torch_file

TORCH_ENDINGS = ('.pth', '.pth.tar', '.pt', '.bin')
ENDINGS = ('.ckpt', '.safetensors', *TORCH_ENDINGS)
SAFETENSORS_KINDS = {'F16': '<f2', 'BF16': '<u2', 'F32': '<f4', 'F64': '<f8', 'I8': '<i1', 'I16': '<i2', 'I32': '<i4',
                     'I64': '<i8', 'U8': '<u1', 'BOOL': '?'}


def read_weights(path: str) -> Tuple[Dict[str, np.ndarray], Optional[EasyDict]]:
    """Return {name: array} as in the file, without entries of an optimiser, and the configuration inside, if any.

    Args:
        path: .ckpt (MindSpore), .safetensors, .pth, .pth.tar, .pt or .bin (PyTorch).

    Raises:
        PoseError: the file is missing, damaged, possibly malicious or of another kind; the message names it.
    """
    if not os.path.isfile(path):
        raise PoseError(f'the checkpoint {path} does not exist')
    if not path.endswith(ENDINGS):
        raise PoseError(f'{path} is no file of weights by its name; known endings: {", ".join(ENDINGS)}')
    _refuse_stand_in(path)
    if path.endswith('.ckpt'):
        return read_checkpoint(path)
    state, config = (read_torch_file(path), None) if path.endswith(TORCH_ENDINGS) else _read_safetensors(path)
    return {name: value for name, value in state.items() if not name.startswith(OPTIMIZER_PREFIXES)}, config


def _refuse_stand_in(path: str) -> None:
    """Raise PoseError if the file is the result of a failed download."""
    with open(path, 'rb') as file:
        start = file.read(512).lstrip().lower()
    if start.startswith(b'version https://git-lfs'):
        raise PoseError(f'{path} is a pointer of Git LFS, not the weights; fetch them with: git lfs pull')
    if start.startswith((b'<!doctype', b'<html')):
        raise PoseError(f'{path} is a web page, not weights; the download has failed')


def _read_safetensors(path: str) -> Tuple[Dict[str, np.ndarray], Optional[EasyDict]]:
    try:
        # Not safe_open with get_tensor: it opens only paths in UTF-8, and NumPy has no bfloat16.
        with open(path, 'rb') as file:
            content = file.read()
        entries = safetensors.deserialize(content)
        told = _read_header(content).get('__metadata__') or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise PoseError(f'{path} is damaged or no safetensors file ({os.path.getsize(path)} bytes): '
                        f'{printable(str(error)[:200])}') from None
    del content
    arrays = {}
    for name, entry in entries:
        kind = entry['dtype']
        if kind not in SAFETENSORS_KINDS:
            raise PoseError(f'{path}: {name} is of the type {kind}; known: {", ".join(SAFETENSORS_KINDS)}')
        array = np.frombuffer(entry['data'], SAFETENSORS_KINDS[kind])
        if kind == 'BF16':
            array = float32_of_bfloat16(array)
        if max(entry['shape'], default=0) >= MAX_SIZE:
            raise PoseError(f'{path}: {name} has the impossible shape {tuple(entry["shape"])}')
        arrays[name] = array.reshape(entry['shape'])
    return arrays, from_json(told[CONFIG_KEY], path) if CONFIG_KEY in told else None


def _read_header(content: bytes) -> dict:
    """Return the header of a safetensors file that the library has read without an error.

    Raises:
        PoseError: a name occurs twice, or has characters that cannot be printed.
    """
    def check(pairs):
        twice = [name for name, number in Counter(name for name, _ in pairs).items() if number > 1]
        if twice:
            raise PoseError(f'{twice[0]} stands in it twice')
        return dict(pairs)

    header = json.loads(content[8:8 + int.from_bytes(content[:8], 'little')], object_pairs_hook=check)
    odd = next((name for name in header if not name.isprintable()), None)
    if odd is not None:
        raise PoseError(f'the name {ascii(odd[:40])} is none of a weight')
    return header


def adopt_source(config: EasyDict, carried: Optional[EasyDict], state: Mapping[str, np.ndarray],
                 overrides: Mapping[str, str], where: str) -> None:
    """Change the settings in `config` that weights of another project need, such as pixel means, and print them.

    Args:
        carried: the configuration inside the file; if there is one, nothing is changed.
        overrides: the settings of the user, which are not changed.
    """
    if carried is not None:
        return
    changed = adopt_settings(config, list(state), overrides)
    if changed:
        say(f'{where} needs, and gets, {", ".join(changed)}')
    # The names of the weights do not tell.
    if re.search(r'(?<![a-z])udp(?![a-z])', os.path.basename(where).lower()) and not is_udp(config):
        say(f'warning: by its name {where} holds weights of UDP, which need a recipe with _udp_ in its name, not '
            f'DATASET.ENCODING={config.DATASET.ENCODING}')


def load_weights(network: nn.Cell, state: Mapping[str, np.ndarray], config: EasyDict, where: str, *,
                 is_start: bool = False, may_be_partial: bool = False, ignore: Sequence[str] = (),
                 first_stage_only: bool = False) -> Conversion:
    """Load the weights of a file, with names in any supported format, into the network of `config`.

    Args:
        state: from `read_weights`.
        where: file name for messages.
        is_start: training starts from these weights. Then an ImageNet backbone is enough, or a network for other
            keypoints or without MIPNet's modulation; the rest keeps its initial weights.
        may_be_partial, ignore, first_stage_only: see `convert_weights`.

    Raises:
        PoseError: the weights do not fit; the network is then unchanged.
    """
    conversion = convert_weights(state, network, config.MODEL.NAME, where, is_start=is_start,
                                 may_be_partial=may_be_partial, ignore=ignore, first_stage_only=first_stage_only)
    source = conversion.source
    if conversion.initial and not is_start:
        raise PoseError(f'{where} does not fit the network ({type(network).__name__}): being {source.name} it lacks '
                        f'{", ".join(conversion.initial_parts)}, so it is a start for training (--pretrained_path)')
    if source.reverse_stem and config.DATASET.COLOR_RGB:
        raise PoseError(f'{where} ({source.name}) is read for pictures in the order blue, green, red: set '
                        'DATASET.COLOR_RGB=false')
    assign_weights(network, conversion.weights)
    return conversion


def write_pytorch_safetensors(path: str, network: nn.Cell, config: EasyDict, *, dtype: type = np.float32) -> None:
    """Write the weights of a network under PyTorch's names, with the configuration in the metadata, atomically.

    Args:
        dtype: of the numbers in the file. Arrays with numbers beyond float16's largest, 65504, stay float32.

    Raises:
        OSError: the file cannot be written.
    """
    parameters = named_parameters(network)
    state = {plain: np.ascontiguousarray(parameters[name].asnumpy()) for name, plain in pytorch_names(network).items()}
    state = {name: value.astype(dtype) if np.abs(value).max(initial=0) <= np.finfo(dtype).max else value
             for name, value in state.items()}
    # PyTorch's BatchNorm also has a counter of batches, and its loader expects one.
    state.update({f'{name[:-len("running_mean")]}num_batches_tracked': np.zeros((), np.int64)
                  for name in list(state) if name.endswith('.running_mean')})
    write_bytes(path, safetensors.numpy.save(state, {CONFIG_KEY: to_json(config), 'format': 'pt'}))
