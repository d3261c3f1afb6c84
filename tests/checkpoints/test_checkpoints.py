"""Checkpoint files of MindSpore: read right, whoever wrote them, or refused in one line that names file and entry."""
import binascii
import os
import re
import time
import tracemalloc
from typing import Callable, Dict

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from mindspore.train import serialization
from mindspore.train.checkpoint_pb2 import Checkpoint

from src.checkpoints import entries as checkpoint_entries
from src.checkpoints.ckpt import read_checkpoint, read_entries, write_checkpoint
from src.checkpoints.load import read_weights

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)
# 1e9 numbers are 4 GB; the last one would be 0 in 64 bits.
TOO_SHORT, IMPOSSIBLE = 'has 24 bytes, but', 'has the impossible shape'
IMPOSSIBLE_SHAPES = {
    'huge': ((10 ** 9,), TOO_SHORT), 'huge_in_two': ((1 << 39, 1 << 39), TOO_SHORT), 'empty': ((0, 3), TOO_SHORT),
    'overflowing': ((1 << 62, 4), IMPOSSIBLE), 'negative': ((-2, -3), IMPOSSIBLE), 'free': ((-1,), IMPOSSIBLE),
    'half_empty': ((1 << 62, 4, 0), IMPOSSIBLE)}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path():
    write_checkpoint('pose.ckpt', {'weight': Parameter(Tensor(np.arange(1000, dtype=np.float32)))}, {'note': 'text'})
    return 'pose.ckpt'


# Files of MindSpore's own

NUMBERS = {kind: np.array([[0, 1, 2], [3, 4, 127]]).astype(kind) for kind in
           ('f4', 'f8', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', '?')}
SCALARS = {f'scalar.{kind}': value.reshape(-1)[1] for kind, value in NUMBERS.items()}
TEXTS = {'config': '{"key": "väl\U0001F600"}', 'empty': ''}


@pytest.mark.parametrize('crc_check', [False, True], ids=['plain', 'with checksum'])
def test_every_kind_of_number_is_read_as_mindspore_writes_it(crc_check):
    expected = {**NUMBERS, **{name: np.array(value) for name, value in SCALARS.items()}}
    ms.save_checkpoint([{'name': name, 'data': Tensor(value)} for name, value in expected.items()], 'x.ckpt',
                       append_dict={'epoch': 3, 'rate': 0.5, 'done': True, **TEXTS}, crc_check=crc_check)
    arrays, texts = read_entries('x.ckpt')
    expected = {**expected, 'epoch': np.array(3), 'rate': np.array(0.5, np.float32), 'done': np.array(True)}
    assert list(arrays) == list(expected) and texts == TEXTS
    for name, value in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)


@pytest.mark.parametrize('shape', [(2, 3), ()])
def test_bfloat16_becomes_float32(shape):
    """MindSpore itself cannot hand it out where its NumPy was another one."""
    numbers = np.resize(np.array([1.5, -2.25, 3.0e38, 0.1, 0, 7], np.float32), shape)
    ms.save_checkpoint([{'name': 'weight', 'data': Tensor(numbers).astype(ms.bfloat16)}], 'x.ckpt')
    array = read_weights('x.ckpt')[0]['weight']
    assert (array.dtype, array.shape) == (np.float32, shape)
    np.testing.assert_allclose(array, numbers, rtol=2 ** -8)
    # These are exact.
    assert array.reshape(-1)[0] == 1.5 and not (array.view(np.uint32) & 0xffff).any()


def test_a_large_tensor_comes_in_pieces(monkeypatch):
    """MindSpore cuts at 512 MB; here at 1 KB."""
    monkeypatch.setattr(serialization, 'SLICE_SIZE', 1)
    weights = {'before': FLOATS, 'large': np.random.default_rng(1).standard_normal((40, 30)).astype(np.float32),
               'after': FLOATS + 1}
    ms.save_checkpoint([{'name': name, 'data': Tensor(value)} for name, value in weights.items()], 'x.ckpt',
                       crc_check=True)
    message = Checkpoint()
    with open('x.ckpt', 'rb') as file:
        message.ParseFromString(file.read()[:-checkpoint_entries.CHECKSUM_BYTES])
    assert [value.tag for value in message.value] == ['before', *['large'] * 5, 'after']
    arrays, _ = read_entries('x.ckpt')
    assert list(arrays) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_mindspore_reads_the_same(path):
    own, others = read_entries(path)[0], ms.load_checkpoint(path)
    assert own['weight'].tobytes() == others['weight'].asnumpy().tobytes() and others['note'] == 'text'


# Files of older and other writers

def entry(name='weight', shape=(2, 3), kind='Float32', content=None) -> Callable[[Checkpoint], None]:
    """Return what adds an entry to a message."""
    def add(message: Checkpoint) -> None:
        value = message.value.add(tag=name)
        value.tensor.dims.extend(shape)
        value.tensor.tensor_type = kind
        value.tensor.tensor_content = FLOATS.tobytes() if content is None else content
    return add


def table(message: Checkpoint) -> None:
    message.value.add(tag='weight').maptensor.tensor.add(tensor_type='Float32', tensor_content=b'1234').dims.append(1)


def file_of(*entries, with_checksum: bool = False) -> bytes:
    message = Checkpoint()
    for add in entries:
        add(message)
    content = message.SerializePartialToString()
    return content + b'crc_num' + binascii.crc32(content).to_bytes(10, 'big') if with_checksum else content


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([8 * number + 2, len(content)]) + content


NAME, SHAPE, KIND = field(1, b'weight'), b'\x08\x02\x08\x03', field(2, b'Float32')
CONTENT = field(3, FLOATS.tobytes())


def raw_entry(*, name=NAME, shape=SHAPE, kind=KIND, content=CONTENT, more=b'') -> bytes:
    return field(1, name + field(2, shape + kind + content) + more)


def write(content: bytes, path: str = 'x.ckpt') -> str:
    with open(path, 'wb') as file:
        file.write(content)
    return path


def test_what_an_optimiser_adds_is_no_weight(tmp_path):
    """Of ours and of MindSpore's own, whose checkpoints others have."""
    names = ('moment1.weight', 'moment2.weight', 'moments.weight', 'beta1_power', 'beta2_power', 'step_index',
             'loss_scale', 'loss_scale_counter', 'global_step', 'learning_rate', 'epoch_num', 'step_num')
    path = str(tmp_path / 'pose.ckpt')
    write_checkpoint(path, {name: Parameter(Tensor(np.zeros(1, np.float32))) for name in ('weight', *names)}, {})
    assert list(read_checkpoint(path)[0]) == ['weight']


@pytest.mark.parametrize('content', [
    raw_entry(), raw_entry(shape=b'\x0a\x02\x02\x03'), field(1, field(2, CONTENT + KIND + SHAPE) + NAME)],
    ids=['mindspore', 'packed', 'other order'])
def test_every_spelling_of_the_message_is_understood(content):
    message = Checkpoint()
    message.ParseFromString(content)
    assert message.value[0].tensor.dims == [2, 3]
    np.testing.assert_array_equal(read_entries(write(content))[0]['weight'], FLOATS)


def test_older_versions_wrote_scalars_with_a_shape():
    content = file_of(entry('step', (0,), 'Int32', np.int32(7).tobytes()), entry('nothing', (0,), content=b''),
                      entry('empty', (0, 3), content=b''))
    arrays, _ = read_entries(write(content))
    assert arrays['step'].shape == () and arrays['step'] == 7
    assert arrays['nothing'].shape == (0,) and arrays['empty'].shape == (0, 3)


def test_what_an_optimiser_adds_is_left_out():
    content = file_of(entry(), entry('moments.weight'), entry('global_step', (1,), 'Int32', b'1234'),
                      entry('epoch_num', (), 'Int32', b'1234'))
    weights, config = read_checkpoint(write(content))
    assert list(weights) == ['weight'] and config is None


# Files that are refused

BROKEN: Dict[str, tuple] = {
    **{name: (file_of(entry(shape=shape)), ('damaged', f'weight {problem}', str(shape)))
       for name, (shape, problem) in IMPOSSIBLE_SHAPES.items()},
    'impossible_and_empty': (file_of(entry(shape=(1 << 62, 4, 0), content=b'')), ('impossible shape',)),
    'short': (file_of(entry('first'), entry(content=bytes(20))), ('weight has 20 bytes', '24 are needed', '(2, 3)')),
    'short_with_checksum': (file_of(entry(content=bytes(20)), with_checksum=True), ('weight has 20 bytes',)),
    'long': (file_of(entry(content=bytes(28))), ('weight has 28 bytes', '24 are needed')),
    'without_content': (file_of(entry(content=b'')), ('weight has 0 bytes', '24 are needed')),
    'shorter_type': (file_of(entry(kind='Float16')), ('weight has 24 bytes', '12 are needed', 'Float16')),
    'half_a_scalar': (file_of(entry(shape=(0,), content=b'12')), ('weight has 2 bytes', '0 are needed')),
    'a_piece_is_missing': (file_of(*[entry(shape=(6, 3))] * 2), ('weight has 48 bytes', '72 are needed')),
    'type_with_escape': (file_of(entry(kind='Float8\x1b[31m')), (r"'Float8\x1b[31m'", 'none of a weight')),
    'unknown_type': (file_of(entry(kind='Int4')), ('x.ckpt: weight is of the type Int4', 'known: Float32')),
    'twice': (file_of(entry(), entry('other'), entry()), ('weight stands in it twice',)),
    'twice_in_a_row': (file_of(entry(), entry()), ('weight has 48 bytes', '24 are needed')),
    'twice_in_two_shapes': (file_of(entry(), entry(shape=(3, 2))), ('weight stands in it twice',)),
    'text_and_weight': (file_of(entry('config', (0,), 'str', 'x'.encode('utf-32-le')), entry('config')),
                        ('config stands in it twice',)),
    'odd_text': (file_of(entry('config', (0,), 'str', b'abcde')), ('config is a text of 5 bytes',)),
    'text_beyond_unicode': (file_of(entry('config', (0,), 'str', b'\xff' * 8)), ('config should be a text',)),
    'no_name': (raw_entry(name=b''), ('no name',)),
    'empty_name': (raw_entry(name=field(1, b'')), ('no name',)),
    'name_in_latin_1': (raw_entry(name=field(1, b'caf\xe9')), ('name is not UTF-8',)),
    'name_with_escape': (raw_entry(name=field(1, b'a\x1b[2Jb')), (r"'a\x1b[2Jb'", 'none of a weight')),
    'two_names': (raw_entry(more=field(1, b'other')), ('unknown field',)),
    'long_name': (file_of(entry('x' * 1001)), ('a name of 1001 bytes',)),
    'table': (file_of(table), ('x.ckpt: weight is a table',)),
    'no_tensor': (field(1, NAME), ('no tensor',)),
    'no_type': (raw_entry(kind=b''), ('a tensor has no type',)),
    'no_content': (raw_entry(content=b''), ('a tensor has no content',)),
    'two_contents': (raw_entry(content=2 * CONTENT), ('unknown field',)),
    'many_dimensions': (file_of(entry(shape=(1,) * 17)), ('more than 16',)),
    'many_dimensions_packed': (raw_entry(shape=field(1, b'\x01' * 40)), ('more than 16',)),
    'dimension_without_end': (raw_entry(shape=b'\x08' + b'\xff' * 12), ('more than 64 bits',)),
    'fixed_numbers': (raw_entry(shape=b'\x0d\x02\x00\x00\x00'), ('kind 5',)),
    'nothing_many_times': (raw_entry(shape=b'\x0a\x00' * 40), ('unknown field',)),
    'unknown_field': (field(2, b'abc'), ('something else than entries',)),
    'longer_than_the_file': (b'\x0a\xff\xff\xff\xff\x0f' + b'x' * 50, ('ends too early', '4294967295')),
    'content_longer_than_the_file': (raw_entry(content=b'\x1a\xff\xff\xff\xff\x0f'), ('ends too early', '4294967295')),
    'cut': (file_of(entry(), entry('other'))[:-3], ('ends too early',)),
    'empty_file': (b'', ('0 bytes', 'holds nothing')),
    'checksum_of_nothing': (file_of(with_checksum=True), ('holds nothing',)),
    'wrong_checksum': (file_of(entry(), with_checksum=True)[:-1] + b'\0', ('checksum',)),
    'text_file': (b'weights\n', ('no MindSpore checkpoint',)),
    'zip': (b'PK\x03\x04' + bytes(100), ('no MindSpore checkpoint but a zip archive', '.pth')),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_file_is_told_by_name_entry_and_reason(name):
    content, parts = BROKEN[name]
    write(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            read_weights('x.ckpt')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith('x.ckpt') and message.isprintable() and len(message) < 400
    assert all(part in message for part in parts), message
    assert peak < 300_000


@pytest.mark.parametrize('mode', ['AES-GCM', 'AES-CBC', 'SM4-CBC'])
def test_an_encrypted_file_is_told(mode):
    ms.save_checkpoint([{'name': 'weight', 'data': Tensor(FLOATS)}], 'x.ckpt', enc_key=b'0123456789abcdef',
                       enc_mode=mode)
    with pytest.raises(ValueError, match='x.ckpt is encrypted: load it with .* save it again without enc_key'):
        read_entries('x.ckpt')


def test_files_with_flipped_bytes_end_in_a_message_or_in_arrays():
    rng = np.random.default_rng(5)
    whole = file_of(entry('conv1.weight'), entry('half', (4,), 'BFloat16', bytes(8)), *[entry('large', (4, 3))] * 2,
                    entry('note', (0,), 'str', bytes(8)), entry('step', (), 'Int32', b'1234'))
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        write(bytes(content[:rng.integers(len(content) // 2, len(content) + 1)] if rng.random() < 0.3 else content))
        try:
            arrays, _ = read_entries('x.ckpt')
        except ValueError as error:
            refused += 1
            assert str(error).startswith('x.ckpt') and str(error).isprintable()
        else:
            assert sum(array.nbytes for array in arrays.values()) < 2 * len(whole)
    assert 100 < refused < 300


# Memory and time

def test_a_file_takes_the_memory_of_its_tensors_once():
    """So that one that is larger than half of the memory can be read."""
    size = 40 << 20
    write(file_of(*[entry(f'weight.{index}', (size // 40,), content=bytes(size // 10)) for index in range(10)],
                  with_checksum=True))
    tracemalloc.start()
    try:
        arrays, _ = read_entries('x.ckpt')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(array.nbytes for array in arrays.values()) == size and peak < 1.1 * size


def test_a_file_has_no_more_entries_than_a_network(monkeypatch):
    monkeypatch.setattr(checkpoint_entries, 'MAX_ENTRIES', 3)
    entries = [entry(f'weight.{index}') for index in range(4)]
    assert len(read_entries(write(file_of(*entries[:3])))[0]) == 3
    with pytest.raises(ValueError, match='more than 3 entries'):
        read_entries(write(file_of(*entries)))


def test_the_most_entries_take_seconds():
    content = file_of(entry('weight', (), 'UInt8', b'1')) * (checkpoint_entries.MAX_ENTRIES + 1)
    start = time.perf_counter()
    with pytest.raises(ValueError, match='more than 50000 entries'):
        read_entries(write(content))
    assert time.perf_counter() - start < 30


def test_memory_that_holds_files_read_lately_counts_as_free(path, monkeypatch):
    monkeypatch.setattr(os, 'sysconf', lambda name: 1)
    limit = getattr(serialization, '_get_available_memory', None)
    if limit is not None:  # from MindSpore 2.10 on
        assert limit() == 1
    arrays, texts = read_entries(path)
    np.testing.assert_array_equal(arrays['weight'], np.arange(1000))
    assert texts == {'note': 'text'}
    assert getattr(serialization, '_get_available_memory', None) is limit


def test_a_file_larger_than_the_memory_is_not_called_damaged(path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(checkpoint_entries.np, 'empty', fail)
    with pytest.raises(ValueError, match=re.escape(path) + r' \(\d+ bytes\) does not fit into the memory'):
        read_entries(path)
