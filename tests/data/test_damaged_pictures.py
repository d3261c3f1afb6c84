"""JPEGs that a decoder reads with a warning which names no file."""
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from src.data import images
from src.data.decoder_warnings import decode_and_listen
from src.data.images import read_picture

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the stream is taken on Linux only')


def jpeg(seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8)
    return cv2.imencode('.jpg', cv2.GaussianBlur(noise, (9, 9), 3), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def without_middle(content: bytes) -> bytes:
    return content[:len(content) // 2] + content[len(content) // 2 + 300:]


DAMAGES = {'a part is missing': without_middle,
           'cut and ended': lambda content: content[:len(content) // 2] + b'\xff\xd9',
           'bytes before the end': lambda content: content[:-2] + b'abc' * 30 + b'\xff\xd9'}


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.setattr(images, '_named', set())


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_picture_is_named_once(tmp_path, capfd, damage):
    whole, broken = tmp_path / 'whole.jpg', tmp_path / 'broken.jpg'
    whole.write_bytes(jpeg())
    broken.write_bytes(damage(jpeg()))
    for _ in range(2):
        assert read_picture(str(whole)).shape == read_picture(str(broken)).shape
    err = capfd.readouterr().err
    assert err.count('\n') == 1, err
    assert f'warning: the picture {broken} is damaged' in err and 'Corrupt JPEG data' in err


def test_threads_do_not_blame_each_others_pictures(tmp_path, capfd):
    for number in range(24):
        content = jpeg(number)
        (tmp_path / f'{number}.jpg').write_bytes(without_middle(content) if number % 5 == 2 else content)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_picture, [str(tmp_path / f'{number}.jpg') for number in range(24)]))
    named = {line.split('/')[-1].split('.jpg')[0] for line in capfd.readouterr().err.splitlines()}
    assert named == {str(number) for number in range(24) if number % 5 == 2}


PROGRAM = '''
import ctypes, os, sys
import cv2, numpy as np
from src.data.decoder_warnings import decode_and_listen
libc = ctypes.CDLL(None)
stream = lambda: ctypes.c_void_p.in_dll(libc, 'stderr')
libc.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
def decode():
    libc.fputs(b"of another library\\n", stream())
    print('of Python', file=sys.stderr, flush=True)
    if not os.fork():
        libc.fputs(b"of a child\\n", stream())
        os._exit(0)
    os.wait()
    return 3
before = stream().value
assert decode_and_listen(decode) == (3, '')
assert stream().value == before
'''


def test_what_others_print_comes_out(tmp_path):
    done = subprocess.run([sys.executable, '-c', PROGRAM], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stderr.splitlines()) == ['of Python', 'of a child', 'of another library']


def test_a_decoder_that_fails_leaves_the_stream_as_it_was(capfd):
    for _ in range(2):
        with pytest.raises(RuntimeError):
            decode_and_listen(lambda: (_ for _ in ()).throw(RuntimeError()))
    assert decode_and_listen(lambda: 1) == (1, '')
