"""Files of weights in safetensors: refused in one line where something is wrong, in memory that their size bounds."""
import json
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from src.checkpoints.load import read_weights

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def file_of(header, content: bytes = NUMBERS.tobytes()) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + content


def tensor(name: str = 'weight', **changes) -> dict:
    return {name: {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24], **changes}}


ENTRY = json.dumps(tensor())[1:-1].encode()
DAMAGED = 'is damaged or no safetensors file'
BROKEN = {
    'short': (file_of(tensor(), bytes(20)), DAMAGED),
    'long': (file_of(tensor(), bytes(28)), DAMAGED),
    'other_shape': (file_of(tensor(shape=[3, 3])), DAMAGED),
    'other_type': (file_of(tensor(dtype='F16')), DAMAGED),
    'huge': (file_of(tensor(shape=[10 ** 9], data_offsets=[0, 4 * 10 ** 9])), DAMAGED),
    'overflowing': (file_of(tensor(shape=[1 << 62, 4])), DAMAGED),
    'negative': (file_of(tensor(shape=[-2, -3])), DAMAGED),
    'half_empty': (file_of(tensor(shape=[1 << 62, 0], data_offsets=[0, 0]), b''), 'weight has the impossible shape'),
    'offsets_the_other_way': (file_of(tensor(data_offsets=[24, 0])), DAMAGED),
    'header_of_a_terabyte': (struct.pack('<Q', 10 ** 12) + b'{}', DAMAGED),
    'twice': (file_of(b'{' + ENTRY + b',' + ENTRY + b'}'), 'weight stands in it twice'),
    'latin_1': (file_of(b'{"caf\xe9":' + ENTRY.partition(b':')[2] + b'}'), DAMAGED),
    'escape': (file_of(tensor('a\x1b[2Jb')), r"the name 'a\x1b[2Jb' is none of a weight"),
    'escape_in_another_error': (file_of(tensor('a\x1b[2Jb', data_offsets=[24, 0])), DAMAGED),
    'unknown_type': (file_of(tensor(dtype='F8_E4M3', shape=[24])), 'weight is of the type F8_E4M3; known: F16'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_file_is_told_by_name_and_reason(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, part = BROKEN[name]
    (tmp_path / 'x.safetensors').write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            read_weights('x.safetensors')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith('x.safetensors') and part in message and message.isprintable() and len(message) < 300
    assert peak < 300_000


def test_every_kind_of_number_is_read(tmp_path):
    kinds = {kind: NUMBERS.astype(kind) for kind in ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', '?')}
    expected = {**kinds, 'scalar': np.array(7, np.int64), 'empty': np.zeros((0, 3), np.float32)}
    path = str(tmp_path / 'x.safetensors')
    safetensors.numpy.save_file(expected, path)
    found = read_weights(path)[0]
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value)


def test_bfloat16_becomes_float32(tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(file_of(tensor(dtype='BF16', data_offsets=[0, 12]), (NUMBERS.view(np.uint32) >> 16).astype('<u2')
                             .tobytes()))
    array = read_weights(str(path))[0]['weight']
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, NUMBERS)
