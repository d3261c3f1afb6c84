"""The reader of .pth files: right with what torch.save writes, deaf to what a pickle asks for, and brief with the rest.

Every payload here would create the file `pwned` in the working folder, which is a folder of the test's own.
"""
import collections
import copyreg
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch_writer
from torch_writer import Parameter, Window, make_storage

import src.checkpoints.pickles
from src.checkpoints.load import read_weights
from src.checkpoints.pickles import RefusedPickleError
from src.checkpoints.torch_files import read_torch_file

BOTH_FORMATS = pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
PWNED = 'pwned'


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Run in a folder where `pwned` would lie, and see that it does not."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not os.path.exists(PWNED)


def small_state() -> dict:
    rng = np.random.default_rng(3)
    return collections.OrderedDict((f'layer.{index}.weight', rng.standard_normal((3, 2)).astype(np.float32))
                                   for index in range(3))


def assert_equal_states(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# What torch.save writes

KINDS = {kind: np.arange(6).reshape(2, 3).astype(kind)
         for kind in ('f4', 'f8', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', '?')}


@BOTH_FORMATS
def test_every_kind_of_number_is_read(legacy):
    state = {**KINDS, 'scalar': np.array(7, np.int64), 'empty': np.zeros((0, 3), np.float32)}
    torch_writer.save('x.pth', state, legacy=legacy)
    assert_equal_states(read_torch_file('x.pth'), state)


@BOTH_FORMATS
def test_bfloat16_becomes_float32(legacy):
    values = np.array([1, -2.5, 0, 3e38, 1e-30, np.inf], np.float32)
    torch_writer.save('x.pth', {'w': values}, legacy=legacy, dtype='bf16')
    found = read_torch_file('x.pth')['w']
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=2.0 ** -8)
    np.testing.assert_array_equal(found[:3], values[:3])


@BOTH_FORMATS
def test_tensors_may_share_numbers_and_skip_some(legacy):
    numbers = np.arange(60, dtype=np.float32)
    storage = make_storage(numbers)
    state = {'turned': Window(storage, 0, (5, 3, 4), (1, 20, 5)), 'sparse': Window(storage, 7, (2,), (10,)),
             'one': Window(storage, 3, (), ()), 'wide': Window(storage, 4, (1, 2), (1 << 40, 1)),
             'parameter': Parameter(Window(storage, 1, (2, 2), (4, 1)))}
    torch_writer.save('x.pth', state, legacy=legacy)
    assert_equal_states(read_torch_file('x.pth'), {
        'turned': numbers.reshape(3, 4, 5).transpose(2, 0, 1), 'sparse': numbers[[7, 17]], 'one': numbers[3],
        'wide': numbers[4:6][None], 'parameter': numbers[[[1, 2], [5, 6]]]})


def beside(key: str) -> dict:
    """What a training program puts beside the weights under `key`."""
    moments = {0: {'step': 3, 'exp_avg': np.full((50, 40), 3, np.float32)}}
    return {'epoch': 3, key: small_state(), 'best_state_dict': {'other': np.zeros(2)}, 'arch': 'pose', 'perf': None,
            'optimizer': {'state': moments, 'param_groups': [{'betas': (0.9, 0.999), 'params': [0]}]},
            'scores': [np.float64(0.7), np.int64(3)], 'milestones': collections.Counter([90, 120]),
            'more': collections.defaultdict(list, {1: [2]}), 'names': {'a', 'b'}, 'raw': b'\xff\x00',
            'last': np.ones(3)}


@BOTH_FORMATS
@pytest.mark.parametrize('key', ['latest_state_dict', 'state_dict', 'model', 'model_state_dict', 'network', 'net',
                                 'module'])
def test_weights_are_found_beside_what_training_needs(key, legacy):
    torch_writer.save('x.pth.tar', beside(key), legacy=legacy)
    assert_equal_states(read_torch_file('x.pth.tar'), small_state())


@BOTH_FORMATS
def test_the_latest_of_several_states_is_meant(legacy):
    """MIPNet's training program saves its weights three times, and the name of the network under `model`."""
    other = {'other': np.zeros(2, np.float32)}
    torch_writer.save('x.pth', {'model': 'pose_hrnet', 'state_dict': other, 'best_state_dict': other,
                                'latest_state_dict': small_state()}, legacy=legacy)
    assert_equal_states(read_torch_file('x.pth'), small_state())


@BOTH_FORMATS
def test_weights_are_found_two_wrappers_deep(legacy):
    torch_writer.save('x.pth', {'model': {'epoch': 3, 'state_dict': small_state()}}, legacy=legacy)
    assert_equal_states(read_torch_file('x.pth'), small_state())


@BOTH_FORMATS
def test_numbers_among_the_weights_are_not_lost(legacy):
    """Whoever converts has to account for them."""
    torch_writer.save('x.pth', {**small_state(), 'steps': 7, 'scale': 0.5}, legacy=legacy)
    found = read_torch_file('x.pth')
    assert found['steps'] == 7 and found['scale'] == 0.5 and len(found) == 5


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_from_2_on_is_read(protocol, monkeypatch):
    class OtherProtocol(torch_writer._Pickler):
        def __new__(cls, file, *arguments):
            return super().__new__(cls)

        def __init__(self, file, *arguments):
            super().__init__(file, *arguments)
            pickle.Pickler.__init__(self, file, protocol)

    monkeypatch.setattr(torch_writer, '_Pickler', OtherProtocol)
    torch_writer.save('x.pth', beside('state_dict'))
    assert_equal_states(read_torch_file('x.pth'), small_state())


def test_python_2_wrote_texts_and_dictionaries_differently():
    """The pickle of an OrderedDict of one tensor, as Python 2 wrote it."""
    tree = (b'\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x06weightq\x03'
            b'ctorch._utils\n_rebuild_tensor_v2\nq\x04((U\x07storageq\x05ctorch\nFloatStorage\nq\x06U\x03123q\x07U\x03cpuq\x08K\x02Ntq\tQK\x00K\x02\x85q\nK\x01'
            b'\x85q\x0b\x89ccollections\nOrderedDict\nq\x0c]q\r\x85q\x0eRq\x0ftq\x10Rq\x11ea\x85q\x12Rq\x13.')
    storages = {'123': make_storage(np.array([1, 2], np.float32))}
    torch_writer.write_legacy('x.pth', torch_writer.legacy_pickles(tree, storages), storages)
    assert_equal_states(read_torch_file('x.pth'), {'weight': np.array([1, 2], np.float32)})


# Pickles that ask for more

SHELL, PYTHON = f'touch {PWNED}', f'open({PWNED!r}, "w").close()'


def text(value: str) -> bytes:
    """The instruction that puts a text."""
    return b'X' + struct.pack('<I', len(value)) + value.encode()


class Evil:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class EvilState:
    """Pickles as an object with a call in its state."""

    def __init__(self):
        self.hidden = Evil(os.system, SHELL)


# name -> (pickle, what it asks for first). Python's own unpickler runs all but the last group.
ATTACKS = {
    'reduce': (b'\x80\x02cos\nsystem\n' + text(SHELL) + b'\x85R.', 'os.system'),
    'posix': (b'\x80\x02cposix\nsystem\n' + text(SHELL) + b'\x85R.', 'posix.system'),
    'subprocess': (b'\x80\x02csubprocess\ncall\n]' + text('touch') + b'a' + text(PWNED) + b'a\x85R.',
                   'subprocess.call'),
    'eval': (b'\x80\x02cbuiltins\neval\n' + text(PYTHON) + b'\x85R.', 'builtins.eval'),
    'eval_of_python_2': (b'\x80\x02c__builtin__\neval\n' + text(PYTHON) + b'\x85R.', '__builtin__.eval'),
    'exec': (b'\x80\x02cbuiltins\nexec\n' + text(PYTHON) + b'\x85R.', 'builtins.exec'),
    'open': (b'\x80\x02cbuiltins\nopen\n' + text(PWNED) + text('w') + b'\x86R.', 'builtins.open'),
    'getattr': (b'\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\n' + text('os') + b'\x85R' + text('system')
                + b'\x86R' + text(SHELL) + b'\x85R.', 'builtins.getattr'),
    'protocol_0': (b'cos\nsystem\n(V' + SHELL.encode() + b'\ntR.', 'os.system'),
    'inst': (b'(V' + SHELL.encode() + b'\nios\nsystem\n.', 'os.system'),
    'obj': (b'(cos\nsystem\n' + text(SHELL) + b'o.', 'os.system'),
    'stack_global': (b'\x80\x04\x8c\x02os\x8c\x06system\x93' + text(SHELL) + b'\x85R.', 'os.system'),
    'extension': (b'\x80\x02\x82\xf0' + text(SHELL) + b'\x85R.', 'extension 240'),
    'setstate': (pickle.dumps(EvilState(), 2), f'{__name__}.EvilState|copy_?reg._reconstructor'),
    'framed': (pickle.dumps({'state_dict': Evil(os.system, SHELL)}, 4), 'posix.system'),
    'popped': (b'\x80\x02cos\nsystem\n' + text(SHELL) + b'\x85R0}.', 'os.system'),
    'second_of_two': (b'\x80\x02ccollections\nOrderedDict\n)R0cos\nsystem\n' + text(SHELL) + b'\x85R.', 'os.system'),
}
# Python would end with an error or without a call, as far as they are known today; here they are refused all the same.
ASKED_ONLY = {
    'newobj': (b'\x80\x02csubprocess\nPopen\n' + text(SHELL) + b'\x85\x81.', 'subprocess.Popen'),
    'newobj_ex': (b'\x80\x04csubprocess\nPopen\n' + text(SHELL) + b'\x85}\x92.', 'subprocess.Popen'),
    'dotted': (b'\x80\x04' + text('collections') + text('OrderedDict.__init__.__globals__') + b'\x93.',
               'collections.OrderedDict.__init__.__globals__'),
    'inside_numpy': (b'\x80\x02cnumpy\nload\n' + text('x.npy') + b'\x85R.', 'numpy.load'),
    'inside_torch': (b'\x80\x02ctorch\nload\n' + text('x.pth') + b'\x85R.', 'torch.load'),
    'own_function': (b'\x80\x02csrc.system.files\nwrite_bytes\n' + text(PWNED) + b'C\x00\x86R.',
                     'src.system.files.write_bytes'),
    'storage_called': (b'\x80\x02ctorch\nFloatStorage\nK\x05\x85R.', 'torch.FloatStorage'),
    'number_called': (b'\x80\x02K\x05K\x05\x85R.', 'what is no name'),
    'escape_sequence': (b'\x80\x02cos\nsys\x1b[31mtem\n)R.', r'os.sys\?\[31mtem'),
}


@pytest.fixture
def registered_extension():
    """The extension registry of the process holds os.system, and the pickle module has met it before."""
    copyreg.add_extension('posix', 'system', 240)
    pickle.loads(b'\x80\x02\x82\xf0.')
    yield
    copyreg.remove_extension('posix', 'system', 240)
    copyreg.clear_extension_cache()


@pytest.mark.parametrize('name', ATTACKS)
def test_the_attacks_are_real(name, registered_extension):
    """Python's own unpickler runs them, so the tests below can fail."""
    pickle.loads(ATTACKS[name][0])
    assert os.path.exists(PWNED)
    os.remove(PWNED)


def write_zip(content: bytes) -> None:
    torch_writer.write_zip('evil.pth', content, {})


def write_legacy_with(place: int):
    """Return a function that puts a pickle into that place of the five of a legacy file."""
    def write(content: bytes) -> None:
        storages = {}
        tree = torch_writer.pickle_tree(small_state(), storages, legacy=True)
        pickles = torch_writer.legacy_pickles(tree, storages)
        pickles[place] = content
        torch_writer.write_legacy('evil.pth', pickles, storages)
    return write


PLACES = {'zip': write_zip, **{f'legacy_{place}': write_legacy_with(place) for place in range(5)}}
ALL_ATTACKS = {**ATTACKS, **ASKED_ONLY}


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('name', ALL_ATTACKS)
def test_a_callable_is_refused_by_name_and_does_not_run(name, place, registered_extension):
    content, asks_for = ALL_ATTACKS[name]
    if place.startswith('legacy') and not content.startswith(b'\x80'):
        content = b'\x80\x02' + content
    PLACES[place](content)
    with pytest.raises(RefusedPickleError, match=f'evil.pth is refused: it (asks for|calls) ({asks_for})') as error:
        read_torch_file('evil.pth')
    assert str(error.value).isprintable()


HIDING_PLACES = {
    'optimizer': lambda evil: {'state_dict': small_state(), 'optimizer': {'state': {0: {'step': evil}}}},
    'list': lambda evil: {'state_dict': small_state(), 'scores': [1, [evil]]},
    'among_weights': lambda evil: {**small_state(), 'layer.9.weight': evil},
    'metadata': lambda evil: with_attribute(small_state(), evil),
    'argument': lambda evil: {'state_dict': small_state(), 'more': collections.Counter({'a': evil})},
}


def with_attribute(state, evil):
    state._metadata = {'': evil}
    return state


@BOTH_FORMATS
@pytest.mark.parametrize('place', HIDING_PLACES)
def test_no_place_beside_the_weights_hides_a_call(place, legacy):
    torch_writer.save('evil.pth', HIDING_PLACES[place](Evil(os.system, SHELL)), legacy=legacy)
    with pytest.raises(RefusedPickleError, match='evil.pth is refused: it asks for posix.system'):
        read_torch_file('evil.pth')


class Net:
    """A network as a program of its own defines it."""

    def __init__(self):
        self.weights = small_state()


@BOTH_FORMATS
def test_a_whole_model_is_refused_with_what_would_do(legacy):
    torch_writer.save('net.pth', Net(), legacy=legacy)
    with pytest.raises(ValueError, match=r'net.pth is refused: it asks for .*, .*torch.save\(model.state_d') as error:
        read_weights('net.pth')
    assert f'{__name__}.Net' in str(error.value)


# What a state or an argument cannot change

HARMLESS = {
    'state_of_a_name': b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}' + text('__code__') + b'K\x01sb.',
    'state_of_a_dictionary': b'\x80\x02}}' + text('__class__') + b'ctorch\nFloatStorage\nsb.',
    'name_as_parameter': b'\x80\x02ctorch._utils\n_rebuild_parameter\nctorch._utils\n_rebuild_tensor\n\x85R)R.',
    'persistent_text': b'\x80\x02Pos.system\n.',
    'persistent_call': (b'\x80\x02(' + text('storage') + b'ccollections\nOrderedDict\n' + text('0') + text('cpu')
                        + b'K\x01tQ.'),
}


@pytest.mark.parametrize('name', HARMLESS)
def test_known_names_cannot_be_turned_into_others(name):
    torch_writer.write_zip('x.pth', HARMLESS[name], {})
    with pytest.raises(ValueError, match='x.pth'):
        read_torch_file('x.pth')
    torch_writer.save('x.pth', beside('state_dict'))
    assert_equal_states(read_torch_file('x.pth'), small_state())


# Files that ask for memory or time

def shared_storage_many_times() -> None:
    storage = make_storage(np.zeros(200_000, np.float32))
    torch_writer.save('bomb.pth', {f'w{index}': Window(storage, 0, (200_000,), (1,)) for index in range(1000)})


def repeated_pairs() -> None:
    """One list of pairs, handed over a hundred thousand times."""
    pairs = b''.join(text(f'{index}') + b'K\x01\x86' for index in range(5000))
    calls = b'ccollections\nOrderedDict\nh\x00\x85R' * 100_000
    torch_writer.write_zip('bomb.pth', b'\x80\x02](' + pairs + b'eq\x00' + b'(' + calls + b't.', {})


def compressed() -> None:
    torch_writer.write_zip('bomb.pth', b'\x80\x02' + bytes(50 << 20), {}, compression=zipfile.ZIP_DEFLATED)


def raw(content: bytes):
    return lambda: torch_writer.write_zip('bomb.pth', b'\x80\x02' + content, {})


BOMBS = {
    'memo': (raw(b'Nr' + struct.pack('<I', 0xffffffff) + b'.'), 'holds no state dict'),
    'key_nested_deeply': (raw(b'}N' + b'\x85' * 100_000 + b'Ns.'), 'holds no state dict'),
    'list_nested_deeply': (raw(b']' * 100_000 + b'a' * 99_999 + b'.'), 'holds no state dict'),
    'itself_inside': (raw(b'}q\x00' + text('state_dict') + b'h\x00s.'), 'holds no state dict'),
    'text': (raw(b'\x8d' + struct.pack('<Q', 1 << 40) + b'.'), 'damaged .* too early or is too large'),
    'number': (raw(b'\x8b' + struct.pack('<i', 1 << 30) + b'.'), 'damaged .* too early or is too large'),
    'decimal_number': (raw(b'L' + b'9' * 60_000 + b'L\n.'), 'damaged'),
    'repeated_pairs': (repeated_pairs, 'much more than tensors'),
    'shared_storage': (shared_storage_many_times, 'more than 4 times as large as the file'),
    'compressed': (compressed, 'is a compressed archive'),
    'expanded': (lambda: torch_writer.save('bomb.pth', {'w': Window(make_storage(np.ones(1)), 0, (1 << 40,), (0,))}),
                 'more than 4 times as large as the file'),
    'expanded_little': (lambda: torch_writer.save('bomb.pth', {'w': Window(make_storage(np.ones(2)), 0, (9,), (0,))}),
                        'holds a tensor of 9 values that repeats the 2'),
}


@pytest.mark.parametrize('name', BOMBS)
def test_a_file_gets_no_more_memory_and_time_than_its_size_deserves(name):
    write, message = BOMBS[name]
    write()
    tracemalloc.start()
    # Of this process: the machine may be busy with others.
    begin = time.process_time()
    with pytest.raises(ValueError, match='bomb.pth.*' + message):
        read_torch_file('bomb.pth')
    assert time.process_time() - begin < 5
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_pickle_has_a_longest_length(monkeypatch):
    torch_writer.save('x.pth', small_state())
    monkeypatch.setattr(src.checkpoints.pickles, 'MAX_INSTRUCTIONS', 50)
    with pytest.raises(RefusedPickleError, match='x.pth is refused: it holds much more than tensors'):
        read_torch_file('x.pth')


# Broken files

def state_file(path: str, *, legacy: bool = False, cut=None, **entries) -> None:
    """Write a state dict with further entries, and cut the file."""
    torch_writer.save(path, {**small_state(), **entries}, legacy=legacy)
    if cut is not None:
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[:int(len(content) * cut) if cut > 0 else cut])


def window(offset: int, shape: tuple, strides: tuple, *, legacy: bool = False):
    return lambda path: state_file(path, legacy=legacy, w=Window(make_storage(np.arange(6.0)), offset, shape, strides))


def rezip(change):
    """Write a state dict and then the archive anew, entry by entry, as `change` leaves [(name, content)]."""
    def write(path: str) -> None:
        state_file(path)
        with zipfile.ZipFile(path) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in change(entries):
                archive.writestr(name, content)
    return write


def content(value: bytes):
    return lambda path: Path(path).write_bytes(value)


def two_descriptions(path: str) -> None:
    tree = b'\x80\x02(' + b''.join(
        b'(' + text('storage') + b'ctorch\n' + kind + b'\n' + text('0') + text('cpu') + b'K\x06tQ'
        for kind in (b'FloatStorage', b'DoubleStorage')) + b't.'
    torch_writer.write_zip(path, tree, {'0': make_storage(np.zeros(6))})


LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 136\n'
NO_TORCH_FILE = r'is no file that torch.save has written \(\d+ bytes\)'
# name -> (file name, what writes it, the message behind the file name)
BROKEN = {
    'empty': ('x.pth', content(b''), NO_TORCH_FILE),
    'garbage': ('x.pth', content(bytes(range(256)) * 9), NO_TORCH_FILE),
    'garbage_after_the_mark': ('x.pth', content(b'\x80\x02' + b'\xff' * 99), 'is damaged or no PyTorch file'),
    'text': ('x.pth', content(b'weights\n'), NO_TORCH_FILE),
    'web_page': ('x.pth', content(b'\n<!DOCTYPE html><html>404</html>'), 'is a web page'),
    'lfs_pointer': ('x.pth', content(LFS), 'is a pointer of Git LFS, .* git lfs pull'),
    'lfs_pointer_as_safetensors': ('x.safetensors', content(LFS), 'is a pointer of Git LFS'),
    'web_page_as_ckpt': ('x.ckpt', content(b'<html>'), 'is a web page'),
    'safetensors_garbage': ('x.safetensors', content(b'\x80\x02}.'), 'is damaged or no safetensors file'),
    'safetensors_as_pth': ('x.pth', content(struct.pack('<Q', 2) + b'{}'), NO_TORCH_FILE),
    'pth_as_safetensors': ('x.safetensors', state_file, 'is damaged or no safetensors file'),
    'other_ending': ('x.onnx', state_file, r'is no file of weights by its name; known endings: \.ckpt, \.safetensors'),
    'missing': ('x.pth', lambda path: None, 'does not exist'),
    'plain_pickle': ('x.pth', content(pickle.dumps({'a': 1}, 2)), 'is a pickle, but not one that torch.save has'),
    'other_legacy_version': ('x.pth', content(pickle.dumps(torch_writer.LEGACY_HEAD[0], 2) + pickle.dumps(1002, 2)),
                             'is of an unknown version of the legacy format'),
    **{f'zip_cut_{cut}': ('x.pth', lambda path, cut=cut: state_file(path, cut=cut), 'is damaged or no PyTorch file')
       for cut in (0.01, 0.3, 0.7, -1)},
    **{f'legacy_cut_{cut}': ('x.pth', lambda path, cut=cut: state_file(path, legacy=True, cut=cut), 'is damaged')
       for cut in (0.01, 0.1, 0.5, 0.8, 0.95, -1)},
    'zip_of_something_else': ('x.pth', rezip(lambda entries: [('readme.txt', b'hello')]),
                              'is a zip archive, but not one that torch.save has written'),
    'two_pickles': ('x.pth', rezip(lambda entries: [*entries, ('other/data.pkl', b'\x80\x02}.')]),
                    'is a zip archive, but not one'),
    'torchscript': ('x.pth', rezip(lambda entries: [*entries, ('archive/constants.pkl', b'\x80\x02}.')]),
                    'is a TorchScript program'),
    'one_name_twice': ('x.pth', rezip(lambda entries: [*entries, ('archive/data/0', b'')]), 'two entries of one name'),
    'storage_missing': ('x.pth', rezip(lambda entries: [each for each in entries if each[0] != 'archive/data/1']),
                        'is damaged .*archive/data/1'),
    'storage_too_short': ('x.pth', rezip(lambda entries: [(name, each[:20] if name.endswith('/data/1') else each)
                                                          for name, each in entries]),
                          'storage 1 has 20 bytes instead of 24'),
    'storage_in_two_ways': ('x.pth', two_descriptions, "storage '0' is described in two ways"),
    'other_byte_order': ('x.pth', rezip(lambda entries: [(name, b'middle' if name.endswith('byteorder') else each)
                                                         for name, each in entries]), 'is damaged'),
    'tensor_beyond_its_storage': ('x.pth', window(3, (4,), (1,)), 'a tensor reaches beyond its storage'),
    'strides_beyond_the_storage': ('x.pth', window(0, (2, 2), (5, 1)), 'a tensor reaches beyond its storage'),
    'legacy_tensor_beyond': ('x.pth', window(3, (4,), (1,), legacy=True), 'a tensor reaches beyond its storage'),
    'stride_negative': ('x.pth', window(5, (6,), (-1,)), 'a tensor is described wrongly'),
    'offset_negative': ('x.pth', window(-1, (2,), (1,)), 'a tensor is described wrongly'),
    'shape_negative': ('x.pth', window(0, (-2,), (1,)), 'a tensor is described wrongly'),
    'shape_huge': ('x.pth', window(0, (1 << 70,), (0,)), 'a tensor is described wrongly'),
    'shape_and_strides_differ': ('x.pth', window(0, (2, 3), (1,)), 'a tensor is described wrongly'),
    'axes_without_end': ('x.pth', window(0, (1,) * 99, (1,) * 99), 'a tensor is described wrongly'),
    'no_tensors': ('x.pth', lambda path: torch_writer.save(path, {'epoch': 3, 'args': {'lr': 0.1}}),
                   'holds no state dict; looked at .*, found epoch, args'),
    'single_tensor': ('x.pth', lambda path: torch_writer.save(path, np.ones(3)), 'holds no state dict; .* a tensor'),
    'list_of_tensors': ('x.pth', lambda path: torch_writer.save(path, [np.ones(3)], legacy=True), 'found a list'),
    'name_with_escapes': ('x.pth', lambda path: state_file(path, **{'w\x1b[2J': np.ones(2)}), 'is none of a weight'),
}


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_file_is_told_by_name_and_reason(name, capfd):
    file_name, write, message = BROKEN[name]
    write(file_name)
    with pytest.raises(ValueError, match=f'{file_name} .*{message}') as error:
        read_weights(file_name)
    assert '\n' not in str(error.value) and len(str(error.value)) < 400
    assert capfd.readouterr().err == ''


def test_legacy_storages_are_those_of_the_tree():
    storages = {}
    tree = torch_writer.pickle_tree(small_state(), storages, legacy=True)
    fewer = dict(list(storages.items())[:2])
    torch_writer.write_legacy('x.pth', torch_writer.legacy_pickles(tree, fewer), fewer)
    with pytest.raises(ValueError, match='x.pth is damaged'):
        read_torch_file('x.pth')
    more = {**storages, '1': make_storage(np.ones(2))}
    torch_writer.write_legacy('x.pth', torch_writer.legacy_pickles(tree, more), more)
    with pytest.raises(ValueError, match='x.pth is damaged .*not those that it announces'):
        read_torch_file('x.pth')


# Chance

@pytest.mark.filterwarnings('ignore:invalid escape sequence')
@pytest.mark.parametrize('kind', ['zip', 'pickle_in_zip', 'legacy'])
def test_files_with_flipped_bytes_end_in_a_message_or_in_arrays(kind, empty_folder):
    """A flip may leave another number or name; it may never do anything else."""
    storages = {}
    tree = torch_writer.pickle_tree(beside('state_dict'), storages, legacy=kind == 'legacy')
    torch_writer.save('x.pth', beside('state_dict'), legacy=kind == 'legacy')
    original = tree if kind == 'pickle_in_zip' else Path('x.pth').read_bytes()
    rng = np.random.default_rng(11)
    outcomes = collections.Counter()
    for _ in range(150):
        changed = bytearray(original)
        for place in rng.integers(len(original), size=rng.integers(1, 5)):
            changed[place] = rng.integers(256)
        if kind == 'pickle_in_zip':
            torch_writer.write_zip('x.pth', bytes(changed), storages)
        else:
            Path('x.pth').write_bytes(changed)
        begin = time.monotonic()
        try:
            found = read_torch_file('x.pth')
            assert all(isinstance(value, np.ndarray) for value in found.values())
            outcomes['arrays'] += 1
        except ValueError as error:
            assert str(error).startswith('x.pth ')
            outcomes['message'] += 1
        assert time.monotonic() - begin < 5
    assert os.listdir(empty_folder) == ['x.pth']
    assert outcomes['message'] > 10
