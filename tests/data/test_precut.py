"""People that were cut out once: the samples are the same, and nothing wrong or half-written is ever used."""
import dataclasses
import errno
import json
import os
import shutil
from unittest import mock

import cv2
import numpy as np
import pytest

from src.data import precut_writing
from src.data.images import read_part, read_picture
from src.data.people import People
from src.data.photo_changes import PhotoChanges
from src.data.precut_writing import precut_samples
from src.data.samples import PersonSamples
from src.data.skeletons import COCO
from src.models.common.crops import SimplePoseCrops
from src.models.mipnet.crops import MIPNetCrops
from src.models.mspn.crops import MSPNCrops
from src.system.errors import PoseError

SIZES = np.array([[150, 203], [180, 90], [64, 64]])
RULES = {'mspn': MSPNCrops(), 'simple_pose': SimplePoseCrops(), 'mipnet': MIPNetCrops()}
FILES = ('settings.json', 'plan.npz', 'checksums.bin', 'pixels.bin')
PLAIN = PhotoChanges()


def made_samples(folder, rule='simple_pose', photo=PLAIN, seed=1):
    rng = np.random.default_rng(5)
    for number, (width, height) in enumerate(SIZES):
        noise = rng.integers(0, 255, (height, width, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.jpg'), cv2.GaussianBlur(noise, (3, 3), 1))
    index = np.array([1, 0, 2, 1, 0, 0, 2, 1], np.int32)
    sides = SIZES[index]
    start = rng.uniform(0, 0.5, (8, 2)) * sides
    boxes = np.column_stack([start, rng.uniform(0.2, 0.45, (8, 2)) * sides])
    keypoints = np.concatenate([boxes[:, None, :2] + rng.random((8, 17, 2)) * boxes[:, None, 2:],
                                np.full((8, 17, 1), 2)], axis=2).astype(np.int64)
    names = np.array([b'0.jpg', b'1.jpg', b'2.jpg'])
    people = People(np.arange(3), names, SIZES.astype(np.int64), index, boxes, np.ones(8), keypoints)
    paths = np.array([os.fsencode(folder / os.fsdecode(name)) for name in names])
    return PersonSamples(people, paths, RULES[rule], COCO, (64, 48), seed=seed, photo=photo)


def every_sample(source, epochs=5):
    found = []
    for epoch in range(epochs):
        for index in range(len(source)):
            out = np.empty((*source.input_shape, 3), np.uint8)
            found.append((out, *source.training_sample(index, epoch, out)))
    return found


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        for array, expected in zip(one, other):
            np.testing.assert_array_equal(array, expected)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def lines():
    return []


@pytest.fixture
def source(tmp_path):
    return made_samples(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'precut'


def cut(source, folder, say=lambda line: None):
    return precut_samples(source, str(folder), say)


@pytest.mark.parametrize('photo', [PLAIN, PhotoChanges(0.7, 0.4)], ids=['plain', 'changed photo'])
@pytest.mark.parametrize('rule', RULES)
def test_the_samples_are_the_same(tmp_path, folder, rule, photo):
    source = made_samples(tmp_path, rule, photo, seed=7)
    assert_equal(every_sample(cut(source, folder)), every_sample(source))


def test_pictures_are_hardly_ever_read(source, folder):
    kept = cut(source, folder)
    with mock.patch('src.data.samples.read_part', side_effect=read_part) as whole:
        every_sample(kept, 10)
    assert whole.call_count < 80 / 8


def test_what_is_not_kept_is_cut_from_the_picture(source, folder, monkeypatch):
    monkeypatch.setattr(precut_writing, 'DRAWS', 1)
    monkeypatch.setattr(precut_writing, 'ROOM', 0)
    kept = cut(source, folder)
    with mock.patch('src.data.samples.read_part', side_effect=read_part) as whole:
        assert_equal(every_sample(kept), every_sample(source))
    assert whole.call_count > len(source) * 5


def test_sizes_that_the_annotation_file_does_not_state(source, folder):
    unknown = dataclasses.replace(source, people=dataclasses.replace(source.people,
                                                                     picture_sizes=np.zeros((3, 2), np.int64)))
    assert_equal(every_sample(cut(unknown, folder)), every_sample(source))


def test_the_size_is_said_before_anything_is_written(source, folder, lines):
    def say(line):
        lines.append((line, sorted(path.name for path in folder.glob('*.bin'))))

    kept = cut(source, folder, say)
    (first, files), (last, _) = lines
    assert f'8 people need {kept.precut.plan.num_bytes / 1e9:.2f} GB' in first and 'are free' in first and not files
    assert last.startswith('precut people: 8 in ')
    assert (folder / 'pixels.bin').stat().st_size == kept.precut.plan.num_bytes
    lines.clear()
    with mock.patch.object(precut_writing, '_write_pixels') as write:
        cut(source, folder, say)
    assert not write.called and len(lines) == 1


@pytest.mark.parametrize('pictures', [0, 1, 2])
def test_an_interrupted_run_is_continued(tmp_path, source, folder, monkeypatch, pictures):
    monkeypatch.setattr(precut_writing, 'SYNCED_BYTES', 1)
    expected = contents_of_a_run(source, tmp_path / 'other')
    read = []

    class Killed(BaseException):
        pass

    def until_killed(path, **options):
        if len(read) == pictures:
            raise Killed
        read.append(path)
        return read_picture(path, **options)

    with pytest.raises(Killed):
        cut(dataclasses.replace(source, read=until_killed), folder)
    assert not (folder / 'pixels.bin').exists()
    # What a kill can leave: half of a region, and a checksum of pixels that a loss of power took away.
    for name, rest in (('pixels.bin.part', b'half a region'), ('checksums.bin.part', b'12345678')):
        with open(folder / name, 'ab') as file:
            file.write(rest)
    again = mock.Mock(wraps=read_picture)
    cut(dataclasses.replace(source, read=again), folder)
    assert again.call_count == 3 - pictures
    assert contents(folder) == expected


def contents_of_a_run(source, folder):
    cut(source, folder)
    return contents(folder)


CHANGES = {
    'annotated people': lambda source: dataclasses.replace(
        source, people=dataclasses.replace(source.people, boxes_xywh=source.people.boxes_xywh + 1)),
    'crop rule': lambda source: dataclasses.replace(source, crops=SimplePoseCrops(scale_factor=0.4)),
    'input height and width': lambda source: dataclasses.replace(source, input_shape=(96, 72)),
    'photo changes': lambda source: dataclasses.replace(source, photo=PhotoChanges(0.1, 0)),
    'pictures are turned by EXIF': lambda source: dataclasses.replace(source, honour_exif=True)}


@pytest.mark.parametrize('what', CHANGES)
def test_people_for_other_data_or_settings_are_refused(source, folder, what):
    cut(source, folder)
    with pytest.raises(PoseError, match=f'were cut for other data or settings: {what}: .* there, .* here; name anothe'):
        cut(CHANGES[what](source), folder)


def test_the_seed_may_be_another(source, folder):
    cut(source, folder)
    other = dataclasses.replace(source, seed=99)
    assert_equal(every_sample(cut(other, folder)), every_sample(other))


def test_changed_pictures_are_noticed(source, folder, tmp_path):
    cut(source, folder)
    with open(tmp_path / '1.jpg', 'ab') as file:
        file.write(b'more')
    with pytest.raises(PoseError, match='were cut from pictures that have changed since; remove the folder'):
        cut(source, folder)
    (tmp_path / '1.jpg').unlink()
    with pytest.raises(PoseError, match=r'cannot read the picture .*1.jpg: No such file'):
        cut(source, folder)


def flip_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    'a byte of the pixels': (lambda folder: flip_byte(folder / 'pixels.bin', -5), r'the pixels of person \d+ in '),
    'a byte of a checksum': (lambda folder: flip_byte(folder / 'checksums.bin', 0), 'the pixels of person'),
    'pixels cut off': (lambda folder: os.truncate(folder / 'pixels.bin', 1000), 'are not of the size that plan.npz'),
    'no checksums': (lambda folder: (folder / 'checksums.bin').unlink(), 'cannot read .*checksums.bin: No such file'),
    'no plan': (lambda folder: (folder / 'plan.npz').unlink(), 'cannot read .*plan.npz'),
    'half a plan': (lambda folder: os.truncate(folder / 'plan.npz', 300), 'cannot read .*plan.npz'),
    'a byte of the plan': (lambda folder: flip_byte(folder / 'plan.npz', 150), 'plan.npz.*; remove the folder'),
    'settings': (lambda folder: (folder / 'settings.json').write_text('[]'), 'format: None there'),
    'half the settings': (lambda folder: os.truncate(folder / 'settings.json', 9), 'settings.json is not a JSON file')}


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_files_are_refused(source, folder, damage):
    cut(source, folder)
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(PoseError, match=message):
        every_sample(cut(source, folder))


def test_pixels_that_shrink_while_they_are_read(source, folder):
    kept = cut(source, folder)
    os.truncate(folder / 'pixels.bin', 1000)
    with pytest.raises(PoseError, match='pixels.bin has become shorter; remove the folder'):
        every_sample(kept)


def test_too_little_space_is_said_first(source, folder, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: mock.Mock(free=1000))
    with pytest.raises(PoseError, match=r'has too little space: 0.00 GB are needed, 0.00 GB are free; name another'):
        cut(source, folder)
    monkeypatch.undo()
    cut(source, folder)


def test_a_disk_that_fills_up_loses_nothing(source, folder, monkeypatch):
    monkeypatch.setattr(precut_writing, 'SYNCED_BYTES', 1)
    sync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return sync(handle)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(PoseError, match='cannot write people into .*: No space left on device; what is written so far'):
        cut(source, folder)
    monkeypatch.undo()
    assert_equal(every_sample(cut(source, folder)), every_sample(source))


def test_a_folder_that_cannot_be_made(source, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(PoseError, match=r'cannot write people into .*file/precut \(DATASET.PRECUT\)'):
        cut(source, tmp_path / 'file/precut')


def test_settings_are_readable(source, folder):
    cut(source, folder)
    settings = json.loads((folder / 'settings.json').read_text())
    assert settings['crop rule'].startswith('SimplePoseCrops(scale_factor=0.3') and settings['format'] == '1'
