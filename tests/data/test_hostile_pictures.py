"""Pictures that claim to be huge, and devices named like pictures: refused before they cost memory or time."""
import os
import resource
import socket
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from script_runs import ROOT

from src.data.image_headers import claimed_size
from src.data.images import find_numbered_pictures, read_picture
from src.system.device import MAX_PIXELS
from src.system.files import check_writable, open_regular, read_json

SIDE = 32000
NOISE = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)


def encode(extension, *flags):
    done, encoded = cv2.imencode(extension, NOISE, list(flags))
    assert done
    return encoded.tobytes()


def claim(content, place, form, *values):
    """Write numbers over a header."""
    return content[:place] + struct.pack(form, *values) + content[place + struct.calcsize(form):]


def jpeg(*, progressive=False):
    content = encode('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))
    return claim(content, content.index(b'\xff\xc2' if progressive else b'\xff\xc0') + 5, '>HH', SIDE, SIDE)


def png():
    content = claim(encode('.png'), 16, '>II', SIDE, SIDE)
    return claim(content, 29, '>I', zlib.crc32(content[12:29]))


def gif():
    head = b'GIF89a' + struct.pack('<HHBBB', SIDE, SIDE, 0x80, 0, 0) + b'\0\0\0\xff\xff\xff'
    return head + b'\x2c' + struct.pack('<HHHHB', 0, 0, SIDE, SIDE, 0) + b'\x02\x02\x4c\x01\x00;'


def tiff(order):
    entries = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 8), (262, 3, 1), (273, 4, 8), (279, 4, SIDE * SIDE)]
    packed = b''.join(struct.pack(order + 'HHI' + ('I' if kind == 4 else 'HH'), tag, kind, 1, *(
        [value] if kind == 4 else [value, 0])) for tag, kind, value in entries)
    return ({'<': b'II', '>': b'MM'}[order] + struct.pack(order + 'HI', 42, 8) + struct.pack(order + 'H', len(entries))
            + packed + bytes(4))


HUGE = {
    'jpeg': jpeg, 'jpeg_progressive': lambda: jpeg(progressive=True), 'png': png, 'gif': gif,
    'jpeg_behind_a_thumbnail': lambda: (b'\xff\xd8\xff\xe1' + struct.pack('>H', len(encode('.jpg')) + 2)
                                        + encode('.jpg') + jpeg()[2:]),
    'bmp': lambda: claim(encode('.bmp'), 18, '<ii', SIDE, -SIDE), 'tiff': lambda: tiff('<'),
    'tiff_big_endian': lambda: tiff('>'),
    # 14 bits are all that these two have.
    'webp': lambda: claim(encode('.webp', cv2.IMWRITE_WEBP_QUALITY, 50), 26, '<HH', 16383, 16383),
    'webp_lossless': lambda: claim(encode('.webp', cv2.IMWRITE_WEBP_QUALITY, 101), 21, '<I', 2 ** 28 - 1),
    # Formats whose header only OpenCV reads.
    'ppm': lambda: b'P6 %d %d 255\n' % (SIDE, SIDE) + bytes(100),
    'sun_raster': lambda: struct.pack('>8I', 0x59a66a95, SIDE, SIDE, 24, 0, 1, 0, 0) + bytes(100),
}


@pytest.mark.parametrize('kind', HUGE)
def test_claim_of_a_huge_picture_costs_nothing(tmp_path, kind):
    path = tmp_path / '1.jpg'
    path.write_bytes(HUGE[kind]())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = f'{path} .*the bound of 250000000 pixels; to read it, raise OPENCV_IO_MAX_IMAGE_PIXELS'
    with pytest.raises(ValueError, match=message) as caught:
        read_picture(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes
    if kind not in ('ppm', 'sun_raster'):
        assert ' x '.join(['16384' if kind == 'webp_lossless' else '16383' if kind == 'webp' else '32000'] * 2) in str(
            caught.value)


@pytest.mark.parametrize('extension, flags', [
    ('.jpg', ()), ('.jpg', (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), ('.png', ()), ('.bmp', ()), ('.tiff', ()),
    ('.webp', (cv2.IMWRITE_WEBP_QUALITY, 50)), ('.webp', (cv2.IMWRITE_WEBP_QUALITY, 101))])
def test_size_in_the_header_is_that_of_the_picture(extension, flags):
    content = encode(extension, *flags)
    assert claimed_size(content) == (53, 37)
    for length in range(len(content) if len(content) < 4000 else 300):
        assert claimed_size(content[:length]) in (None, (53, 37))


def test_extended_webp_and_other_files():
    head = b'RIFF' + bytes(4) + b'WEBPVP8X' + struct.pack('<II', 10, 2)
    assert claimed_size(head + (SIDE - 1).to_bytes(3, 'little') + (6).to_bytes(3, 'little')) == (SIDE, 7)
    assert claimed_size(b'some text') is None and claimed_size(b'') is None


def test_the_bound_is_above_100_megapixels_and_can_be_changed(tmp_path, monkeypatch):
    assert MAX_PIXELS > 150_000_000
    path = str(tmp_path / '1.png')
    cv2.imwrite(path, NOISE)
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', str(37 * 53))
    assert read_picture(path).shape == (37, 53, 3)
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', str(37 * 53 - 1))
    with pytest.raises(ValueError, match='1.png of 53 x 37 pixels is larger than the bound of 1960 pixels'):
        read_picture(path)


@pytest.mark.parametrize('modules, bound, shown', [
    ('cv2, src', None, 'the bound of 250000000 pixels'), ('src, cv2', '1000', 'the bound of 1000 pixels')])
def test_bound_holds_whatever_is_imported_first(tmp_path, modules, bound, shown):
    """And a user's own value stays."""
    path = tmp_path / '1.jpg'
    path.write_bytes(jpeg())
    program = (f'import {modules}\nfrom src.data.images import read_picture\n'
               f'try: read_picture({str(path)!r})\nexcept ValueError as error: print(error)')
    environment = {key: value for key, value in os.environ.items() if key != 'OPENCV_IO_MAX_IMAGE_PIXELS'}
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          env={**environment, **({'OPENCV_IO_MAX_IMAGE_PIXELS': bound} if bound else {})})
    assert shown in done.stdout, done.stderr


def test_a_file_of_more_bytes_than_any_picture_is_not_read(tmp_path):
    path = tmp_path / '1.jpg'
    with open(path, 'wb') as file:
        file.truncate(10 ** 12)
    with pytest.raises(ValueError, match='1.jpg of 1000000000000 bytes is larger than the bound'):
        read_picture(str(path))


# What is no regular file

def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    # Names of sockets are short, paths of tests long.
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def make_device(path):
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('make', [make_pipe, make_socket, make_device])
def test_what_never_ends_is_not_opened(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / '1.jpg')
    cv2.imwrite(str(tmp_path / 'whole.png'), NOISE)
    (tmp_path / '2.png').symlink_to('whole.png')
    said = []
    pictures = find_numbered_pictures(str(tmp_path), said.append)
    assert pictures.image_ids.tolist() == [2]
    assert any('1.jpg: it is a named pipe, a socket or a device' in line for line in said), said
    with pytest.raises(ValueError, match='cannot read .*1.jpg: it is a named pipe, a socket or a device'):
        read_json(str(tmp_path / '1.jpg'))
    with pytest.raises(OSError, match='not a regular file'):
        open_regular(str(tmp_path / '1.jpg'))
    with pytest.raises(OSError, match='1.jpg should be a file to write, is a pipe or device'):
        check_writable(str(tmp_path / '1.jpg'))
