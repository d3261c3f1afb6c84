"""PyTorch's weight files without PyTorch, for the tests: the zip format, and the legacy format of releases before 1.6.

In a tree every NumPy array becomes a tensor with a storage of its own; `Window` makes one that shares its storage with
others. Everything else is pickled as it is, so a NumPy scalar (`np.float64(0.7)`) stays one, as in files of training.
"""
import collections
import io
import pickle
import struct
import sys
import zipfile
from types import ModuleType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional
from unittest import mock

import numpy as np

KINDS = {'float32': 'FloatStorage', 'float64': 'DoubleStorage', 'float16': 'HalfStorage', 'int64': 'LongStorage',
         'int32': 'IntStorage', 'int16': 'ShortStorage', 'int8': 'CharStorage', 'uint8': 'ByteStorage',
         'bool': 'BoolStorage', 'bf16': 'BFloat16Storage'}
LEGACY_HEAD = (0x1950a86a20f9469cfc6c, 1001,
               {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 4}})


class Storage(NamedTuple):
    """The numbers of one or several tensors as they lie in a file."""

    kind: str
    count: int
    content: bytes


class Window(NamedTuple):
    """A tensor that is a part of a storage; offset and strides count values, not bytes."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class Parameter(NamedTuple):
    """A tensor that is trained."""

    tensor: Any


def _named(module: str, name: str) -> type:
    """Return a class that pickles as `module.name`."""
    return type(name, (), {'__module__': module, '__qualname__': name})


CLASSES = {name: _named('torch', name) for name in KINDS.values()}
REBUILD, REBUILD_PARAMETER = (_named('torch._utils', name) for name in ('_rebuild_tensor_v2', '_rebuild_parameter'))
# What the pickler imports to make sure that the names exist.
MODULES = {name: ModuleType(name) for name in ('torch', 'torch._utils')}
for _class in (*CLASSES.values(), REBUILD, REBUILD_PARAMETER):
    setattr(MODULES[_class.__module__], _class.__name__, _class)


def make_storage(array: np.ndarray, dtype: Optional[str] = None) -> Storage:
    """Return the storage of an array; `dtype` 'f2' or 'bf16' narrows floating-point numbers."""
    array = np.asarray(array)
    if dtype == 'bf16' and array.dtype.kind == 'f':
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
        # To the nearest, ties to even.
        upper = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype('<u2')
        return Storage(KINDS['bf16'], upper.size, upper.tobytes())
    if dtype and array.dtype.kind == 'f':
        array = array.astype(dtype)
    return Storage(KINDS[array.dtype.name], array.size, array.astype(array.dtype.newbyteorder('<')).tobytes())


class _Pickler(pickle.Pickler):
    """Writes arrays as PyTorch writes tensors, and collects their storages."""

    def __init__(self, file, storages: Dict[str, Storage], dtype: Optional[str], legacy: bool):
        super().__init__(file, protocol=2)
        self._storages, self._dtype, self._legacy = storages, dtype, legacy
        self._keys: Dict[int, str] = {}

    def reducer_override(self, obj):
        if isinstance(obj, np.ndarray):
            strides = [stride // obj.itemsize for stride in np.empty(obj.shape, obj.dtype).strides]
            obj = Window(make_storage(obj, self._dtype), 0, obj.shape, tuple(strides))
        if isinstance(obj, Window):
            return REBUILD, (*obj, False, collections.OrderedDict())
        if isinstance(obj, Parameter):
            return REBUILD_PARAMETER, (obj.tensor, True, collections.OrderedDict())
        return NotImplemented

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        # In the legacy format keys are addresses, and a storage may be part of another, which none is here.
        key = self._keys.setdefault(id(obj), str(len(self._storages) + 94_000_000 * self._legacy))
        self._storages[key] = obj
        return ('storage', CLASSES[obj.kind], key, 'cpu', obj.count) + (None,) * self._legacy


def pickle_tree(tree: Any, storages: Dict[str, Storage], *, legacy: bool = False,
                dtype: Optional[str] = None) -> bytes:
    """Return the pickle of a tree, and put its storages into `storages` by key."""
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, MODULES):
        _Pickler(file, storages, dtype, legacy).dump(tree)
    return file.getvalue()


def write_zip(path: str, pickled: bytes, storages: Mapping[str, Storage], *, root: str = 'archive',
              compression: int = zipfile.ZIP_STORED) -> None:
    """Write a file of the zip format around a pickle."""
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr(f'{root}/data.pkl', pickled)
        archive.writestr(f'{root}/byteorder', 'little')
        for key, storage in storages.items():
            archive.writestr(f'{root}/data/{key}', storage.content)
        archive.writestr(f'{root}/version', '3\n')


def write_legacy(path: str, pickles: List[bytes], storages: Mapping[str, Storage]) -> None:
    """Write a file of the legacy format from its five pickles: magic number, version, system, tree, storage keys."""
    with open(path, 'wb') as file:
        file.write(b''.join(pickles))
        for key in sorted(storages):
            file.write(struct.pack('<q', storages[key].count) + storages[key].content)


def legacy_pickles(tree: bytes, storages: Mapping[str, Storage]) -> List[bytes]:
    """Return the five pickles of a legacy file around that of its tree."""
    return [*(pickle.dumps(each, 2) for each in LEGACY_HEAD), tree, pickle.dumps(sorted(storages), 2)]


def save(path: str, tree: Any, *, legacy: bool = False, dtype: Optional[str] = None) -> None:
    """Write `tree` as torch.save does.

    Args:
        legacy: the format before PyTorch 1.6.
        dtype: 'f2' or 'bf16' for all floating-point arrays; None leaves each its own type.
    """
    storages: Dict[str, Storage] = {}
    pickled = pickle_tree(tree, storages, legacy=legacy, dtype=dtype)
    if legacy:
        write_legacy(path, legacy_pickles(pickled, storages), storages)
    else:
        write_zip(path, pickled, storages)
