"""The entries of MindSpore's checkpoint files (.ckpt), read without MindSpore.

MindSpore's own loader fills a tensor whose data is too short for its shape with zeros, allocates memory for any shape
without a check, and cannot return bfloat16 if MindSpore was compiled with another major version of NumPy. This reader
compares the length of the data with the shape and the type first, and only then allocates the memory it needs.

A file is a protocol buffers message, `Checkpoint` of MindSpore's checkpoint_pb2: a sequence of entries, each with a
name and a tensor (shape, type, content). A large tensor is split into several consecutive entries of the same name and
shape. A checksum may follow.
"""
import os
import zlib
from math import prod
from typing import BinaryIO, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from ..system.errors import PoseError
from .names import float32_of_bfloat16

KINDS = {'Float32': '<f4', 'Float64': '<f8', 'Float16': '<f2', 'BFloat16': '<u2', 'Int8': '<i1', 'Int16': '<i2',
         'Int32': '<i4', 'Int64': '<i8', 'UInt8': '<u1', 'UInt16': '<u2', 'UInt32': '<u4', 'UInt64': '<u8', 'Bool': '?'}
TEXT_KIND = 'str'
# Name of the entry that holds the configuration in checkpoints of this package.
CONFIG_KEY = 'config'
# MindSpore ends a checkpoint with this mark and ten bytes of CRC-32.
CHECKSUM_MARK, CHECKSUM_BYTES = b'crc_num', 17
ENCRYPTED_STARTS = (b'\xd8\x5e\x3a\x7f', b'\xd9\x5e\x3a\x7f', b'\xda\x5e\x3a\x7f')
# A training state of the largest network here has 6,000 entries.
MAX_ENTRIES = 50_000
MAX_DIMENSIONS = 16
# Largest size of an axis. With larger ones NumPy refuses even an array without values.
MAX_SIZE = 1 << 40
MAX_NAME_BYTES = 1000
CHUNK_BYTES = 1 << 20
VARINT, BYTES = 0, 2
# Characters shown of an invalid name or type.
SHOWN = 60


class _DamagedError(Exception):
    """The file was not written by MindSpore, or was changed afterwards."""


class _UnfitError(Exception):
    """The file may be intact, but no network here has such weights."""


class _Entry(NamedTuple):
    """A tensor, or a part of one, that is not read yet; `place` and `length` say where its content is in the file."""

    name: str
    shape: Tuple[int, ...]
    kind: str
    place: int
    length: int


def read_ckpt(path: str) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Return {name: array} and {name: text} of a .ckpt file in its order; bfloat16 becomes float32.

    Raises:
        PoseError: the file is damaged, encrypted, not a MindSpore checkpoint or larger than the memory; the message
            names it, and the entry if there is one.
        OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        start = file.read(4)
        if start in ENCRYPTED_STARTS:
            raise PoseError(f'{path} is encrypted: load it with mindspore.load_checkpoint(..., dec_key=...) and save '
                            'it again without enc_key')
        if start == b'PK\x03\x04':
            raise PoseError(f'{path} is no MindSpore checkpoint but a zip archive, as PyTorch writes; if it is a file '
                            'of PyTorch give it a name that ends in .pth')
        try:
            return _read_parts(file, _parts(_entries(file, _checked_end(file, size))))
        except _DamagedError as error:
            raise PoseError(f'{path} is damaged or no MindSpore checkpoint ({size} bytes): {error}') from None
        except _UnfitError as error:
            raise PoseError(f'{path}: {error}') from None
        except MemoryError:
            raise PoseError(f'{path} ({size} bytes) does not fit into the memory of this machine') from None


def has_checksum(path: str) -> bool:
    """Return whether a .ckpt file ends with a checksum, correct or not."""
    with open(path, 'rb') as file:
        file.seek(max(0, os.path.getsize(path) - CHECKSUM_BYTES))
        return file.read(len(CHECKSUM_MARK)) == CHECKSUM_MARK


def _checked_end(file: BinaryIO, size: int) -> int:
    """Return where the entries end: before the checksum, which is checked, or at the end of the file."""
    end = max(0, size - CHECKSUM_BYTES)
    file.seek(end)
    tail = file.read(CHECKSUM_BYTES)
    if not tail.startswith(CHECKSUM_MARK):
        return size
    checksum, left = 0, end
    file.seek(0)
    while left:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise _DamagedError('it ends while it is read')
        checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
    if checksum != int.from_bytes(tail[len(CHECKSUM_MARK):], 'big'):
        raise _DamagedError('its checksum is another one')
    return end


class _Reader:
    """A file with its current position, which is tracked here because file.tell() is a system call each time."""

    def __init__(self, file: BinaryIO):
        self._file, self.place = file, 0
        file.seek(0)

    def go_to(self, place: int) -> None:
        if place != self.place:
            self._file.seek(place)
            self.place = place

    def read(self, count: int, end: int) -> bytes:
        content = self._file.read(count) if self.place + count <= end else b''
        if len(content) != count:
            raise _DamagedError('it ends too early')
        self.place += count
        return content

    def varint(self, end: int) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte, = self.read(1, end)
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1
        raise _DamagedError('it holds a number of more than 64 bits')

    def text(self, length: int) -> str:
        """Return a name or a type."""
        place = self.place
        if length > MAX_NAME_BYTES:
            raise _DamagedError(f'a name of {length} bytes at byte {place}')
        try:
            text = self.read(length, place + length).decode()
        except UnicodeDecodeError:
            raise _DamagedError(f'a name is not UTF-8 at byte {place}') from None
        if not text.isprintable():
            raise _DamagedError(f'the name {ascii(text[:SHOWN])} at byte {place} is none of a weight')
        return text

    def fields(self, end: int) -> Iterator[Tuple[int, int, int]]:
        """Yield number, kind and value of the fields of a message from here to `end`.

        For a field of bytes, the value is their number, and the position is at the first of them. Afterwards the reader
        goes to the end of the field, whatever was read.
        """
        while self.place < end:
            number, kind = divmod(self.varint(end), 8)
            if kind not in (VARINT, BYTES):
                raise _DamagedError(f'it holds a field of kind {kind} at byte {self.place}')
            value = self.varint(end)
            behind = self.place + (value if kind == BYTES else 0)
            if behind > end:
                raise _DamagedError(f'it ends too early: {value} bytes should follow at byte {self.place}, there are '
                                    f'{end - self.place}')
            yield number, kind, value
            self.go_to(behind)


def _entries(file: BinaryIO, end: int) -> List[_Entry]:
    """Return what the file holds, without reading any tensor."""
    reader = _Reader(file)
    entries = []
    for number, kind, length in reader.fields(end):
        if (number, kind) != (1, BYTES):
            raise _DamagedError(f'it holds something else than entries at byte {reader.place}')
        if len(entries) == MAX_ENTRIES:
            raise _UnfitError(f'it has more than {MAX_ENTRIES} entries')
        entries.append(_entry(reader, reader.place + length))
    if not entries:
        raise _DamagedError('it holds nothing')
    return entries


def _entry(reader: _Reader, end: int) -> _Entry:
    name, tensor, place = None, None, reader.place
    for number, kind, length in reader.fields(end):
        if (number, kind) == (1, BYTES) and name is None:
            name = reader.text(length)
        elif (number, kind) == (2, BYTES) and tensor is None:
            tensor = _tensor(reader, reader.place + length)
        elif (number, kind) == (3, BYTES):
            raise _UnfitError(f'{name or "an entry"} is a table (MapParameter), which no network here has')
        else:
            raise _DamagedError(f'it holds an unknown field at byte {reader.place}')
    if not name or tensor is None:
        raise _DamagedError(f'the entry at byte {place} has no {"tensor" if name else "name"}')
    return _Entry(name, *tensor)


def _tensor(reader: _Reader, end: int) -> Tuple[Tuple[int, ...], str, int, int]:
    shape, kind, content = [], None, None
    for number, wire, value in reader.fields(end):
        if (number, wire) == (1, VARINT):
            shape.append(value)
        elif (number, wire) == (1, BYTES) and value:
            behind = reader.place + value
            while reader.place < behind and len(shape) <= MAX_DIMENSIONS:
                shape.append(reader.varint(behind))
        elif (number, wire) == (2, BYTES) and kind is None:
            kind = reader.text(value)
        elif (number, wire) == (3, BYTES) and content is None:
            content = reader.place, value
        else:
            raise _DamagedError(f'it holds an unknown field at byte {reader.place}')
        if len(shape) > MAX_DIMENSIONS:
            raise _DamagedError(f'a shape has more than {MAX_DIMENSIONS} numbers at byte {reader.place}')
    if kind is None or content is None:
        raise _DamagedError(f'a tensor has no {"type" if kind is None else "content"} at byte {end}')
    # Varints are unsigned: values from 2**63 on stand for negative numbers.
    return (tuple(size - (1 << 64) if size >= 1 << 63 else size for size in shape), kind, *content)


def _parts(entries: List[_Entry]) -> Dict[str, List[_Entry]]:
    """Return the entries by name, after checking that their lengths fit their shapes and types."""
    parts: Dict[str, List[_Entry]] = {}
    before = None
    for entry in entries:
        if entry.name != before and entry.name in parts:
            raise _DamagedError(f'{entry.name} stands in it twice')
        before = entry.name
        parts.setdefault(entry.name, []).append(entry)
    for name, (first, *others) in parts.items():
        if any((other.shape, other.kind) != (first.shape, first.kind) for other in others):
            raise _DamagedError(f'{name} stands in it twice, with different shapes or types')
        _check_length(first, sum(each.length for each in (first, *others)))
    return parts


def _check_length(entry: _Entry, length: int) -> None:
    name, shape, kind = entry.name, entry.shape, entry.kind
    if kind == TEXT_KIND:
        if length % 4:
            raise _DamagedError(f'{name} is a text of {length} bytes; four are one character')
        return
    if kind not in KINDS:
        raise _UnfitError(f'{name} is of the type {kind[:SHOWN]}; known: {", ".join(KINDS)}')
    if any(size < 0 for size in shape) or max(shape, default=0) > MAX_SIZE:
        raise _DamagedError(f'{name} has the impossible shape {shape}')
    needed = prod(shape) * np.dtype(KINDS[kind]).itemsize
    if length != needed and not _is_scalar(entry, length):
        raise _DamagedError(f'{name} has {length} bytes, but {needed} are needed for its shape {shape} in {kind}')


def _is_scalar(entry: _Entry, length: int) -> bool:
    # MindSpore writes some scalars with this shape, and reads it as a scalar.
    return entry.shape == (0,) and length == np.dtype(KINDS[entry.kind]).itemsize


def _read_parts(file: BinaryIO, parts: Dict[str, List[_Entry]]) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    arrays, texts = {}, {}
    for name, entries in parts.items():
        content = np.empty(sum(entry.length for entry in entries), np.uint8)
        filled = 0
        for entry in entries:
            file.seek(entry.place)
            if file.readinto(memoryview(content)[filled:filled + entry.length]) != entry.length:
                raise _DamagedError('it ends while it is read')
            filled += entry.length
        if entries[0].kind == TEXT_KIND:
            texts[name] = _characters(name, content)
        else:
            arrays[name] = _numbers(entries[0], content)
    return arrays, texts


def _characters(name: str, content: np.ndarray) -> str:
    try:
        # NumPy pads texts with zeros.
        return content.tobytes().decode('utf-32-le').rstrip('\0')
    except UnicodeDecodeError:
        raise _DamagedError(f'{name} should be a text, holds something else') from None


def _numbers(entry: _Entry, content: np.ndarray) -> np.ndarray:
    shape = () if _is_scalar(entry, len(content)) else entry.shape
    numbers = content.view(KINDS[entry.kind])
    return (float32_of_bfloat16(numbers) if entry.kind == 'BFloat16' else numbers).reshape(shape)
