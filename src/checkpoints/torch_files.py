"""PyTorch's weight files without PyTorch: .pth in the zip format and in the legacy one that releases before 2020 used.

Such a file is a pickle, and a pickle may call any function. This reader accepts only the few names that tensors and
plain containers need, and refuses all others before any code runs; for the accepted names it calls its own functions.
Only the tensors of the state dict are read from the disk; those of an optimiser, which are larger, are skipped.
"""
import io
import os
import pickle
import struct
import zipfile
from math import prod
from typing import Any, BinaryIO, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from ..system.errors import PoseError
from .names import float32_of_bfloat16
from .pickles import UNNEEDED, KnownNames, Reference, RefusedPickleError, Unneeded, load_pickle

# Keys under which training programs save the weights, in order of preference; MIPNet's program saves them three times.
WRAPPERS = ('latest_state_dict', 'state_dict', 'model', 'model_state_dict', 'network', 'net', 'module',
            'best_state_dict')
STORAGES = {'FloatStorage': 'f4', 'DoubleStorage': 'f8', 'HalfStorage': 'f2', 'BFloat16Storage': 'bf16',
            'LongStorage': 'i8', 'IntStorage': 'i4', 'ShortStorage': 'i2', 'CharStorage': 'i1', 'ByteStorage': 'u1',
            'BoolStorage': '?'}
DTYPES = ('float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32', 'uint8', 'bool')
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950a86a20f9469cfc6c, 1001
MAX_DIMENSIONS = 16
MAX_COUNT = 1 << 62
# Tensors may share a storage, so all tensors together may be larger than the file. A file beyond this factor is refused
# as malicious.
MAX_SHARING = 4


class _Storage(NamedTuple):
    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.count * (2 if self.kind == 'BFloat16Storage' else np.dtype(STORAGES[self.kind]).itemsize)


class _Tensor(NamedTuple):
    """A tensor that is not read yet: a window into a storage."""

    storage: _Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


class _UnfitError(Exception):
    """The file is intact, but does not hold weights in a supported form."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _make_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS or (
            not all(map(_is_count, (offset, *shape, *strides)))):
        raise pickle.UnpicklingError('a tensor is described wrongly')
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _make_mapping(pairs=()) -> dict:
    # Pickles from Python 2 pass the content as a list of lists.
    return {name: value for name, value in pairs if isinstance(name, str)}


def _make_parameter(data, *_) -> Any:
    return data


def _make_plain(*values) -> Any:
    return values[0] if len(values) == 1 else values


def _pass_over(*_) -> Unneeded:
    return UNNEEDED


# The only names that a file may use: storages and types (as names only), tensors and containers, and objects that
# training programs save beside the weights, such as NumPy scalars.
KNOWN: KnownNames = {
    **{('torch', kind): None for kind in (*STORAGES, *DTYPES)},
    ('torch._utils', '_rebuild_tensor'): _make_tensor, ('torch._utils', '_rebuild_tensor_v2'): _make_tensor,
    ('torch._utils', '_rebuild_parameter'): _make_parameter,
    ('torch._utils', '_rebuild_parameter_with_state'): _make_parameter,
    ('collections', 'OrderedDict'): _make_mapping, ('torch', 'Size'): _make_plain, ('torch', 'device'): _make_plain,
    **dict.fromkeys([
        ('_codecs', 'encode'), ('numpy', 'dtype'), ('numpy', 'ndarray'), ('collections', 'Counter'),
        ('collections', 'defaultdict'),
        *((f'numpy.{core}.{module}', name) for core in ('core', '_core') for module, name in
          (('multiarray', 'scalar'), ('multiarray', '_reconstruct'), ('numeric', '_frombuffer'))),
        *((module, name) for module in ('builtins', '__builtin__') for name in ('set', 'frozenset', 'dict', 'list',
                                                                                'bytes'))], _pass_over)}


class _Storages(Dict[str, _Storage]):
    """The storages that the pickles of a file have described, by key."""

    def describe(self, told: Any) -> _Storage:
        if not isinstance(told, tuple) or len(told) not in (5, 6) or told[0] != 'storage':
            raise pickle.UnpicklingError('a storage is described wrongly')
        kind, key, count = told[1], told[2], told[4]
        if not isinstance(kind, Reference) or kind.name not in STORAGES or not isinstance(key, str) or (
                not _is_count(count)):
            raise pickle.UnpicklingError('a storage is described wrongly')
        # The legacy format may name a storage as part of another; releases before 0.4 only.
        if len(told) == 6 and told[5] is not None:
            raise _UnfitError('holds views of storages, as PyTorch before 0.4 wrote them')
        storage = _Storage(kind.name, key, count)
        if self.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f'storage {key[:40]!r} is described in two ways')
        return storage


def read_torch_file(path: str) -> Dict[str, np.ndarray]:
    """Return the state dict of a .pth or .pth.tar file as arrays, in the file's order; bfloat16 becomes float32.

    Plain numbers in it become arrays without axes; texts and containers are left out.

    Raises:
        RefusedPickleError: the file asks for a callable that weights do not need; that was not called.
        PoseError: the file is missing, damaged, of another format or without a state dict; the message names it.
    """
    if not os.path.isfile(path):
        raise PoseError(f'the file {path} does not exist')
    size = os.path.getsize(path)
    try:
        with open(path, 'rb') as file:
            start = file.read(4)
            file.seek(0)
            if start == b'PK\x03\x04':
                return _read_zip(file, size)
            return _read_legacy(file, size)
    except RefusedPickleError as error:
        raise RefusedPickleError(f'{path} is refused: {error}. In PyTorch, torch.save(model.state_dict(), FILE) '
                                 'writes a file that is read') from None
    except _UnfitError as error:
        raise PoseError(f'{path} {error}') from None
    except Exception as error:  # noqa: BLE001  a broken pickle may raise anything; none of it is the user's business
        text = ''.join(letter if letter.isprintable() else ' ' for letter in f'{type(error).__name__}: {error}')
        raise PoseError(f'{path} is damaged or no PyTorch file ({size} bytes): {text[:200]}') from None


def _read_zip(file: BinaryIO, size: int) -> Dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.endswith('/data.pkl')]
        if any(name.endswith('/constants.pkl') for name in entries):
            raise _UnfitError('is a TorchScript program, not a file of weights; save its state_dict')
        if len(pickles) != 1:
            raise _UnfitError('is a zip archive, but not one that torch.save has written')
        # Two programs could read different entries of such a file.
        if len(entries) != len(archive.infolist()):
            raise _UnfitError('is an archive with two entries of one name; torch.save does not write such a thing')
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise _UnfitError('is a compressed archive; torch.save does not compress')
        if any(entry.file_size > size for entry in entries.values()):
            raise PoseError('an entry is said to be larger than the file')
        root = pickles[0][:-len('data.pkl')]
        order = archive.read(f'{root}byteorder') if f'{root}byteorder' in entries else b'little'
        storages = _Storages()
        with archive.open(pickles[0]) as stream:
            tree = load_pickle(stream, KNOWN, storages.describe, size=entries[pickles[0]].file_size)

        def read(storage: _Storage) -> bytes:
            entry = entries[f'{root}data/{storage.key}']
            if entry.file_size != storage.size:
                raise PoseError(f'storage {storage.key[:40]} has {entry.file_size} bytes instead of {storage.size}')
            return archive.read(entry)

        return _arrays(tree, read, {b'little': '<', b'big': '>'}[order], size)


def _read_legacy(file: BinaryIO, size: int) -> Dict[str, np.ndarray]:
    if file.read(1) != b'\x80':
        raise _UnfitError(f'is no file that torch.save has written ({size} bytes)')
    file.seek(0)
    storages = _Storages()

    def load() -> Any:
        return load_pickle(file, KNOWN, storages.describe, size=size - file.tell())

    if load() != LEGACY_MAGIC:
        raise _UnfitError('is a pickle, but not one that torch.save has written')
    if load() != LEGACY_PROTOCOL:
        raise _UnfitError('is of an unknown version of the legacy format')
    order = '<' if load()['little_endian'] else '>'
    tree, keys = load(), load()
    places = {}
    for key in keys:
        count, = struct.unpack(order + 'q', file.read(8))
        if key not in storages or storages[key].count != count:
            raise PoseError('its storages are not those that it announces')
        places[key] = file.tell()
        if places[key] + storages[key].size > size:
            raise PoseError('it ends too early')
        file.seek(storages[key].size, io.SEEK_CUR)

    def read(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size)

    return _arrays(tree, read, order, size)


def _arrays(tree: Any, read: Callable[[_Storage], bytes], order: str, file_size: int) -> Dict[str, np.ndarray]:
    """Read the tensors of the state dict in `tree`; plain numbers among them become arrays without axes."""
    state = _find_state(tree)
    if state is None:
        raise _UnfitError(f'holds no state dict; looked at the top and under {", ".join(WRAPPERS)}, found '
                     + (', '.join(str(key)[:40] for key in list(tree)[:8]) or 'nothing' if isinstance(tree, dict)
                        else f'a {type(tree).__name__.strip("_").lower()}'))
    left = MAX_SHARING * file_size
    loaded: Dict[str, np.ndarray] = {}
    arrays = {}
    for name, value in state.items():
        if not name.isprintable():
            raise PoseError(f'the name {name[:40]!r} is none of a weight')
        if isinstance(value, _Tensor):
            storage = value.storage
            left -= prod(value.shape) * (storage.size // max(1, storage.count))
            if left < 0:
                raise PoseError(f'its tensors are more than {MAX_SHARING} times as large as the file')
            # Only the last storage is kept in memory: the next tensor nearly always needs the next storage.
            if storage.key not in loaded:
                loaded = {storage.key: _numbers(storage, read(storage), order)}
            arrays[name] = _window(value, loaded[storage.key])
        elif isinstance(value, float) or (isinstance(value, int) and abs(value) < MAX_COUNT):
            arrays[name] = np.array(value)
    return arrays


def _find_state(tree: Any) -> Optional[Dict[str, Any]]:
    # Inner dictionaries first: the outer ones may also hold a tensor that is not a weight, such as a score.
    outer = [tree[key] for key in WRAPPERS if key in tree] if isinstance(tree, dict) else []
    inner = [each[key] for each in outer if isinstance(each, dict) for key in WRAPPERS if key in each]
    for place in [*inner, *outer, tree]:
        if isinstance(place, dict) and any(isinstance(value, _Tensor) for value in place.values()):
            return {name: value for name, value in place.items() if isinstance(name, str)}
    return None


def _numbers(storage: _Storage, content: bytes, order: str) -> np.ndarray:
    if len(content) != storage.size:
        raise PoseError(f'storage {storage.key[:40]} has {len(content)} bytes instead of {storage.size}')
    if storage.kind == 'BFloat16Storage':
        return float32_of_bfloat16(np.frombuffer(content, order + 'u2'))
    kind = np.dtype(STORAGES[storage.kind])
    return np.frombuffer(content, kind.newbyteorder(order)).astype(kind)


def _window(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Return the values of a tensor as a separate array."""
    count = prod(tensor.shape)
    if count == 0:
        return np.zeros(tensor.shape, numbers.dtype)
    strides = [stride if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.strides)]
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, strides))
    if last >= len(numbers):
        raise PoseError('a tensor reaches beyond its storage')
    if count > len(numbers):
        raise _UnfitError(f'holds a tensor of {count} values that repeats the {len(numbers)} of its storage')
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset:], tensor.shape,
                                           [stride * numbers.itemsize for stride in strides]).copy()
