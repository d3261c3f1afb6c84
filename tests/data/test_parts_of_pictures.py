"""Only the rows of a picture that a crop needs are decoded, and only that part is mirrored: the pixels stay equal."""
import dataclasses
import struct
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from src.data import images, samples, turbojpeg
from src.data.crops import Crop
from src.data.image_headers import shortened_jpeg
from src.data.images import read_part, read_picture
from src.data.people import People
from src.data.photo_changes import PhotoChanges
from src.data.regions import Region, mirrored_part, region_of_crop
from src.data.samples import PersonSamples, cut_crop
from src.data.skeletons import COCO
from src.data.turbojpeg import LIBRARY_VARIABLE
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.mspn.crops import MSPNCrops

WIDTH, HEIGHT = 150, 203
REAL = Path(__file__).resolve().parents[3] / 'shared/data'
on_linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='elsewhere pictures are decoded whole')


def painted(width=WIDTH, height=HEIGHT):
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 1)


def encoded(*options, picture=None):
    return cv2.imencode('.jpg', painted() if picture is None else picture, list(options))[1].tobytes()


def with_exif(content, orientation, order='<'):
    entry = struct.pack(order + 'HHIHH', 0x0112, 3, 1, orientation, 0)
    payload = b'Exif\0\0' + (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(order + 'IH', 8, 1) + entry
    payload += struct.pack(order + 'I', 0)
    return content[:2] + b'\xff\xe1' + struct.pack('>H', len(payload) + 2) + payload + content[2:]


def sampled(factor):
    return encoded(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)


SHORTENED = {
    '4:2:0': sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420), '4:2:2': sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    '4:4:4': sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444), '4:4:0': sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    '4:1:1': sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411), 'grey': encoded(picture=painted()[..., 0]),
    'optimised': encoded(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    'EXIF, upright': with_exif(encoded(), 1), 'EXIF, upright, big-endian': with_exif(encoded(), 1, '>')}
WHOLE = {
    'restarts': encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 3), 'progressive': encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'turned': with_exif(encoded(), 6),
    'upside down': with_exif(encoded(), 3, '>'), 'PNG': cv2.imencode('.png', painted())[1].tobytes(),
    'EXIF that is none': with_exif(encoded(), 1).replace(b'II*\0', b'XX*\0')}


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    monkeypatch.setattr(images, '_named', set())


@pytest.fixture(params=['OpenCV', 'libturbojpeg'])
def decoder(request, monkeypatch):
    """Both ways of decoding less than the whole picture."""
    if request.param == 'OpenCV':
        monkeypatch.setattr(images, 'decode_region', lambda *_: None)
    elif not turbojpeg.usable_samplings():
        pytest.skip(f'libturbojpeg 3 is not installed (or name its file in {turbojpeg.LIBRARY_VARIABLE})')
    return request.param


def read(tmp_path, content, rows, size=(WIDTH, HEIGHT), honour_exif=True):
    path = tmp_path / 'picture'
    path.write_bytes(content)
    region = Region(0, 0, size[0], rows)
    return read_part(str(path), np.array(size), region, honour_exif=honour_exif), read_picture(
        str(path), honour_exif=honour_exif)


@on_linux
@pytest.mark.parametrize('kind', SHORTENED)
def test_upper_rows_are_those_of_the_picture(tmp_path, monkeypatch, capfd, kind):
    monkeypatch.setattr(images, 'decode_region', lambda *_: None)
    for rows in (1, 15, 16, 17, 100, 150):
        upper, whole = read(tmp_path, SHORTENED[kind], rows)
        assert rows < len(upper) <= rows + 32 and whole.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_array_equal(upper[:rows], whole[:rows])
    for rows in (HEIGHT - 10, HEIGHT):
        upper, whole = read(tmp_path, SHORTENED[kind], rows)
        np.testing.assert_array_equal(upper, whole)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('kind', WHOLE)
def test_what_cannot_be_shortened_is_read_whole(tmp_path, decoder, kind):
    if kind == 'restarts' and decoder == 'libturbojpeg':
        return
    size = (HEIGHT, WIDTH) if kind == 'turned' else (WIDTH, HEIGHT)
    np.testing.assert_array_equal(*read(tmp_path, WHOLE[kind], 20, size))


@on_linux
def test_a_picture_that_is_not_to_be_turned_is_shortened(tmp_path, decoder):
    upper, whole = read(tmp_path, WHOLE['turned'], 20, honour_exif=False)
    assert len(upper) < HEIGHT
    np.testing.assert_array_equal(upper[:20], whole[:20])


def test_where_warnings_cannot_be_caught_the_picture_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'can_listen', lambda: False)
    monkeypatch.setattr(images, 'decode_region', lambda *_: None)
    np.testing.assert_array_equal(*read(tmp_path, encoded(), 20))


def test_a_scan_for_each_component_is_not_shortened():
    content = encoded()
    scan = content.index(b'\xff\xda')
    assert shortened_jpeg(content, 20) is not None
    assert shortened_jpeg(content[:scan + 4] + b'\1' + content[scan + 5:], 20) is None


@pytest.mark.parametrize('length', range(2, 40, 3))
def test_broken_headers_are_not_shortened(length):
    assert shortened_jpeg(encoded()[:length], 1) is None


@on_linux
def test_damage_is_told_where_a_crop_shows_it(tmp_path, decoder, capfd):
    content = encoded()
    start = content.index(b'\xff\xda')
    upper, lower = (start + (len(content) - start) * part // 10 for part in (1, 8))
    for place, is_told in ((lower, False), (upper, True)):
        damaged = content[:place] + b'\xff\xd9' * 30 + content[place + 60:]
        path = tmp_path / f'{place}.jpg'
        path.write_bytes(damaged)
        rows = read_part(str(path), np.array([WIDTH, HEIGHT]), Region(0, 0, WIDTH, 80), honour_exif=True)
        assert ('is damaged' in capfd.readouterr().err) == is_told
        np.testing.assert_array_equal(rows[:80], read_picture(str(path))[:80])


def random_crops():
    rng = np.random.default_rng(3)
    for number in range(60):
        center = rng.uniform(-30, 230, 2).astype(np.float32)
        scale = np.array([0.75, 1], np.float32) * np.float32(rng.uniform(0.05, 1.5))
        yield Crop(center, scale, float(rng.choice([0, rng.uniform(-80, 80)])), flip=bool(number % 2),
                   udp=bool(number % 3 == 0))
    # Far outside, and no extent at all.
    yield Crop(np.array([5000.0, -4000], np.float32), np.array([1.0, 1], np.float32))
    yield Crop(np.array([50.0, 40], np.float32), np.array([0.0, 0], np.float32))


def test_a_crop_depends_on_its_region_alone():
    picture, size = painted(), (48, 64)
    for crop in random_crops():
        matrix = crop.matrix(size)
        region = region_of_crop(matrix, size, (WIDTH, HEIGHT))
        assert 0 <= region.left < region.right <= WIDTH and 0 <= region.top < region.bottom <= HEIGHT
        other = ~picture
        other[region.slices] = picture[region.slices]
        np.testing.assert_array_equal(cv2.warpAffine(picture, matrix, size), cv2.warpAffine(other, matrix, size))
        out = np.empty((64, 48, 3), np.uint8)
        cut_crop(picture, crop, out)
        np.testing.assert_array_equal(
            out, cv2.warpAffine(cv2.flip(picture, 1) if crop.flip else picture, matrix, size, flags=cv2.INTER_LINEAR))


def test_regions():
    region = Region(3, 4, 10, 20)
    assert region.mirrored(100) == (90, 4, 97, 20) and region.mirrored(100).mirrored(100) == region
    np.testing.assert_array_equal(mirrored_part(painted(), region)[4:20, 140:147], painted()[4:20, 3:10][:, ::-1])


PLAIN = PhotoChanges()
RULES = {'mspn': MSPNCrops(), 'simple_pose': SimplePoseCrops(), 'udp': SimplePoseCrops(udp=True),
         'mipnet': MIPNetCrops()}


def made_samples(folder, rule, photo=PLAIN):
    rng = np.random.default_rng(1)
    (folder / 'one.jpg').write_bytes(encoded())
    keypoints = np.concatenate([rng.integers(20, 140, (6, 17, 2)), np.full((6, 17, 1), 2)], axis=2)
    boxes = np.column_stack([rng.uniform(0, 70, (6, 2)), rng.uniform(30, 90, (6, 2))])
    people = People(np.array([1]), np.array([b'one.jpg']), np.array([[WIDTH, HEIGHT]]), np.zeros(6, np.int32), boxes,
                    np.ones(6), keypoints)
    return PersonSamples(people, np.array([str(folder / 'one.jpg').encode()]), rule, COCO, (64, 48), photo=photo)


def every_sample(source, epochs=4):
    for epoch in range(epochs):
        for index in range(len(source)):
            out = np.empty((*source.input_shape, 3), np.uint8)
            yield (out, *source.training_sample(index, epoch, out))


@pytest.mark.parametrize('photo', [PLAIN, PhotoChanges(0.7, 0.4)], ids=['plain', 'changed photo'])
@pytest.mark.parametrize('rule', RULES)
def test_training_samples_equal_those_from_whole_pictures(tmp_path, decoder, rule, photo):
    source = made_samples(tmp_path, RULES[rule], photo)
    unknown = dataclasses.replace(source, people=dataclasses.replace(source.people,
                                                                     picture_sizes=np.zeros((1, 2), np.int64)))
    with mock.patch.object(samples, 'mirrored_part', lambda picture, region: cv2.flip(picture, 1)):
        expected = list(every_sample(unknown))
    for ours, theirs in zip(every_sample(source), expected):
        for array, other in zip(ours, theirs):
            np.testing.assert_array_equal(array, other)


@on_linux
def test_fewer_rows_are_decoded_for_training_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(images, 'decode_region', lambda *_: None)
    source, heights = made_samples(tmp_path, RULES['simple_pose']), []
    decode = images._imdecode

    def count(*arguments):
        picture = decode(*arguments)
        heights.append(len(picture))
        return picture

    with mock.patch.object(images, '_imdecode', count):
        list(every_sample(source))
    assert len(heights) == 24 and np.mean(heights) < 0.9 * HEIGHT


@pytest.mark.skipif(not REAL.is_dir(), reason='the real pictures (../shared/data) are not here')
def test_parts_of_real_pictures(decoder):
    paths = [*sorted(REAL.glob('coco-mini/*2017/*.jpg'))[::8], *sorted(REAL.glob('mpii/**/*.jpg'))[:2],
             *sorted(REAL.glob('crowdpose/**/*.jpg'))[:2]]
    assert len(paths) > 15
    for path in paths:
        whole = read_picture(str(path), honour_exif=False)
        height, width = whole.shape[:2]
        region = Region(width // 3, height // 5, width * 2 // 3, height * 3 // 5)
        part = read_part(str(path), np.array((width, height)), region, honour_exif=False)
        np.testing.assert_array_equal(part[region.slices], whole[region.slices])


needs_library = pytest.mark.skipif(
    not turbojpeg.usable_samplings(), reason=f'libturbojpeg 3 is not installed (nor named in {LIBRARY_VARIABLE})')


@needs_library
@pytest.mark.parametrize('kind', [*SHORTENED, 'restarts'])
def test_any_region_is_that_of_the_picture(kind):
    content = {**SHORTENED, **WHOLE}[kind]
    whole, rng = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), np.random.default_rng(2)
    for _ in range(40):
        left, right = sorted(rng.choice(WIDTH + 1, 2, replace=False).tolist())
        top, bottom = sorted(rng.choice(HEIGHT + 1, 2, replace=False).tolist())
        region = Region(left, top, right, bottom)
        part = turbojpeg.decode_region(content, region, (WIDTH, HEIGHT))
        assert part.shape == (bottom, WIDTH, 3)
        np.testing.assert_array_equal(part[region.slices], whole[region.slices])


@needs_library
def test_what_is_left_to_opencv():
    region = Region(0, 0, 10, 10)
    for content in (WHOLE['progressive'], WHOLE['PNG'], encoded()[:300], encoded()[:len(encoded()) // 20]):
        assert turbojpeg.decode_region(content, region, (WIDTH, HEIGHT)) is None
        # The decoder is not confused by what it could not read.
        assert turbojpeg.decode_region(encoded(), region, (WIDTH, HEIGHT)) is not None
    assert turbojpeg.decode_region(encoded(), region, (WIDTH, HEIGHT - 1)) is None
    assert turbojpeg.decode_region(encoded(), region, (WIDTH, HEIGHT)) is not None


@pytest.fixture
def find_library(monkeypatch):
    def find(name):
        monkeypatch.setenv(LIBRARY_VARIABLE, name)
        turbojpeg._library.cache_clear()
        turbojpeg.usable_samplings.cache_clear()
        return turbojpeg.usable_samplings()

    yield find
    monkeypatch.undo()
    turbojpeg._library.cache_clear()
    turbojpeg.usable_samplings.cache_clear()


@pytest.mark.parametrize('name', ['none', '/nowhere/libturbojpeg.so.0', 'libc.so.6'])
def test_without_the_library_opencv_decodes(find_library, name, tmp_path):
    assert not find_library(name)
    assert turbojpeg.decode_region(encoded(), Region(0, 0, 10, 10), (WIDTH, HEIGHT)) is None
    part, whole = read(tmp_path, encoded(), 20)
    np.testing.assert_array_equal(part[:20], whole[:20])


@needs_library
def test_a_library_of_other_pixels_is_not_used(monkeypatch):
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *arguments: decode(*arguments) ^ 1)
    turbojpeg.usable_samplings.cache_clear()
    try:
        assert not turbojpeg.usable_samplings()
    finally:
        turbojpeg.usable_samplings.cache_clear()
