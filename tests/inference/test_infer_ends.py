"""infer.py where something ends early or is wrong: what stays is whole, and one line says what it was."""
import importlib.util
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from made_up_detectors import write_graph
from made_up_inputs import frames_of, moving_square, write_video

# Ends before the end

def test_ctrl_c_leaves_a_playable_video_and_whole_json(call, monkeypatch):
    """What the signal calls is called, without a signal to the process that runs the tests."""
    from src.inference import drawings
    write, count = drawings.DrawingFolder.write, []

    def interrupt(self, frame, drawing):
        count.append(1)
        if len(count) == 3:
            signal.getsignal(signal.SIGINT)(signal.SIGINT, None)
        write(self, frame, drawing)

    monkeypatch.setattr(drawings.DrawingFolder, 'write', interrupt)
    monkeypatch.setattr('src.inference.pipeline.FRAMES_IN_BATCH', 1)
    monkeypatch.setattr('src.inference.command.DRAWINGS_AHEAD', 0)
    before = signal.getsignal(signal.SIGINT)
    outcome = call('{material}/clip.mp4 --jsonl')
    assert outcome.status == 'interrupted' and signal.getsignal(signal.SIGINT) is before
    frames, _ = frames_of('res_img/clip.mp4')
    assert 3 <= len(frames) < 12 and len(outcome.results) == len(frames)
    assert f'stopped after {len(frames)} frames; everything up to there is whole' in outcome.out
    assert len(Path('res_img/frames.jsonl').read_text().splitlines()) == len(frames)
    assert not [name for name in os.listdir('res_img') if name.startswith('.')]


def test_a_full_disk_leaves_a_playable_video_and_whole_json(call, monkeypatch):
    free = iter([10 ** 9] * 4 + [1000] * 99)
    monkeypatch.setattr('src.media.videos.SECONDS_BETWEEN_LOOKS', -1)
    monkeypatch.setattr('src.media.videos.shutil.disk_usage', lambda _: SimpleNamespace(free=next(free)))
    outcome = call('{material}/clip.mp4')
    assert outcome.status == 2
    assert re.search(r'clip.mp4 ends after 4 frames: fewer than 32 MB are free', outcome.err)
    assert len(frames_of('res_img/clip.mp4')[0]) == 4 and len(outcome.results) == 12


class Camera:
    """Sends a frame every few milliseconds, the first two of them empty, until somebody unplugs it."""

    def __init__(self, _):
        self._frames, self._count = moving_square(30), 0

    def isOpened(self):  # noqa: N802  OpenCV's name
        return True

    def get(self, what):
        return {cv2.CAP_PROP_FPS: 100.0}.get(what, -1.0)

    def read(self):
        time.sleep(0.01)
        self._count += 1
        is_there = 2 < self._count <= 32
        return is_there, self._frames[self._count - 3] if is_there else None

    def release(self):
        pass


def test_a_camera_is_looked_at_as_fast_as_it_goes_and_recorded_in_its_time(call, monkeypatch):
    from src.inference.box_poses import BoxPoser
    pose = BoxPoser.by_protocol

    def slow_pose(*values):
        time.sleep(0.05)
        return pose(*values)

    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    monkeypatch.setattr(BoxPoser, 'by_protocol', slow_pose)
    monkeypatch.setattr('src.media.videos.MAX_BROKEN_FRAMES', 3)
    outcome = call('0')
    monkeypatch.undo()
    assert outcome.status == 0, outcome.err
    assert 'camera_0: camera, 100 frames per second' in outcome.out
    numbers = [record['frame'] for record in outcome.results]
    assert numbers == sorted(set(numbers)) and 2 <= len(numbers) < 25 and numbers[0] == 2
    frames, rate = frames_of(outcome.folder / 'camera_0.mp4')
    assert rate == 100 and len(frames) == numbers[-1] - 1


def test_a_truncated_video_plays_to_where_it_goes(call, tmp_path):
    writer = cv2.VideoWriter('cut.avi', cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (160, 120))
    for picture in moving_square(20):
        writer.write(picture)
    writer.release()
    content = Path('cut.avi').read_bytes()
    Path('cut.avi').write_bytes(content[:len(content) // 2])
    outcome = call('cut.avi')
    assert outcome.status == 0, outcome.err
    frames, _ = frames_of('res_img/cut.mp4')
    assert 0 < len(frames) < 20 and len(outcome.results) == len(frames)


def test_broken_frames_keep_the_time_of_a_video(call, monkeypatch):
    from src.media import videos
    read = videos.Video.__iter__
    monkeypatch.setattr(videos.Video, '__iter__', lambda self: (
        (number, picture) for number, picture in read(self) if number not in (4, 5)))
    outcome = call('{material}/clip.mp4')
    assert 'frames 4 to 5 cannot be decoded' in outcome.out
    assert len(frames_of('res_img/clip.mp4')[0]) == 12 and len(outcome.results) == 10


def test_one_broken_picture_costs_itself_alone(call, tmp_path):
    (tmp_path / 'mixed').mkdir()
    cv2.imwrite('mixed/good.jpg', moving_square(1)[0])
    Path('mixed/broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 no end')
    outcome = call('mixed')
    assert outcome.status == 2 and len(outcome.results) == 1
    assert '1 of 2 inputs or files failed, all others are in ./res_img; the first: mixed/broken.jpg is not a '\
        'picture' in outcome.err
    assert sorted(os.listdir('res_img')) == ['good.jpg', 'results.json']


def test_pictures_that_leave_no_room_for_each_other_come_one_by_one(call, monkeypatch):
    """As photos of 100 megapixels do: nobody may wait for the other."""
    monkeypatch.setattr('src.inference.command.BYTES_UNDER_WAY', 1)
    outcome = call('{material}/photos {material}/clip.mp4 --detector {material}/detector.onnx')
    assert outcome.status == 0 and len(outcome.results) == 30


# Bad inputs, and what is said of them

def prepare(folder: Path) -> None:
    """Everything that somebody may give by mistake."""
    files = {'text.mp4': b'this is no video\n', 'empty.mp4': b'', 'text.jpg': b'this is no picture', 'empty.jpg': b'',
             'noise.xyz': b'\x01\x02\x03', 'list.txt': b'nobody.jpg\n', 'comments.txt': b'# nothing\n',
             'latin.txt': b'caf\xe9.jpg\n', 'people.json': b'[]', 'gone.json': json.dumps(
                 {'images': [{'id': 1, 'file_name': 'gone.jpg', 'width': 9, 'height': 9}],
                  'annotations': []}).encode(), 'detector.onnx': b'no graph'}
    files['boxed.json'] = files['gone.json'].replace(b'gone.jpg', b'good.png')
    for name, content in files.items():
        (folder / name).write_bytes(content)
    cv2.imwrite(str(folder / 'good.png'), moving_square(1)[0])
    cv2.imwrite(str(folder / 'pixel.png'), np.zeros((1, 1, 3), np.uint8))
    header = bytearray((folder / 'pixel.png').read_bytes())
    header[16:24] = (20000).to_bytes(4, 'big') * 2
    (folder / 'huge.png').write_bytes(header)
    (folder / 'empty').mkdir()
    (folder / 'texts').mkdir()
    (folder / 'texts' / 'a.txt').write_text('a')
    os.mkfifo(folder / 'pipe.jpg')
    write_graph(folder / 'classifier.onnx', {'logits': np.zeros((1, 1000))})
    video = Path(write_video(folder / 'whole.mp4', moving_square(5))).read_bytes()
    (folder / 'half.mp4').write_bytes(video[:len(video) // 2])


BAD = [
    ('text.mp4', 'text.mp4 is no video that OpenCV can read, or it is damaged'),
    ('empty.mp4', 'the video empty.mp4 is empty'),
    ('half.mp4', 'half.mp4 is no video that OpenCV can read, or it is damaged'),
    ('text.jpg', 'text.jpg is not a picture that OpenCV can read'),
    ('empty.jpg', 'the picture empty.jpg is empty'),
    ('pipe.jpg', 'cannot read the picture pipe.jpg: it is a named pipe'),
    ('huge.png', 'the picture huge.png of 20000 x 20000 pixels is larger than the bound of 250000000 pixels'),
    ('noise.xyz', 'noise.xyz is neither a picture nor a video that OpenCV can read'),
    ('nobody.jpg', 'nobody.jpg does not exist; give a picture, a video, a folder'),
    ('77', 'there is no camera 77 that can be opened'),
    ('empty', 'the folder empty holds nothing'),
    ('texts', 'the folder texts holds 1 files, none of which is a picture or a video'),
    ('none*.jpg', 'the pattern none*.jpg matches no file'),
    ('text*/*.txt', 'the pattern text*/*.txt matches 1 files, none of which is a picture'),
    ('list.txt', 'nobody.jpg does not exist (line of list.txt, line 1)'),
    ('comments.txt', 'the list comments.txt names no picture'),
    ('latin.txt', 'the list latin.txt is no text in UTF-8'),
    ('people.json', 'people.json should be a COCO annotation file'),
    ('gone.json', 'gone.json names the picture gone.jpg, which is not in .; give its folder with --data_url'),
    ('good.png --detector classifier.onnx', 'none of a known detector: \'logits\' (1, 1000); this looks like a '
                                            'classifier'),
    ('good.png --detector detector.onnx', 'detector.onnx (8 bytes) is damaged, no ONNX file'),
    ('good.png --detector none.onnx', 'the detector none.onnx does not exist'),
    ('good.png --box 1 2 0 4', '--box should be left, top, width and height in pixels, the last two above 0, is 1 2 0'),
    ('good.png --box 1 2 3 4 --detector detector.onnx', 'give --box or --detector, not both'),
    ('good.png --detect_every 0', '--detect_every should be 1 or more, is 0'),
    ('good.png --line_width -3', '--line_width should be 1 or more, is -3'),
    ('good.png --det_file_url people.json', '--det_file_url is for the numbered pictures of --data_url'),
    ('boxed.json --box 1 2 3 4', 'an annotation file as INPUT has its own boxes: give it without --box and'),
    ('good.png --data_url texts', '--data_url is for an annotation file as INPUT, or for numbered pictures'),
    ('good.png --img_save_dir .', 'the drawing of good.png would overwrite it: give another folder'),
    ('good.png --show', '--show needs a display'),
    ('0 --smooth file', 'for a camera choose --smooth live'),
]


@pytest.mark.parametrize('words, message', BAD, ids=[words for words, _ in BAD])
def test_what_is_wrong_is_said_in_one_line(words, message, call, tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    outcome = call(words)
    assert outcome.status == 2
    assert outcome.err.startswith('error: ') and outcome.err.count('\n') == 1
    assert message in outcome.err
    assert (tmp_path / 'good.png').read_bytes() == cv2.imencode('.png', moving_square(1)[0])[1].tobytes()


def test_a_picture_of_one_pixel_is_a_picture(call, tmp_path):
    prepare(tmp_path)
    outcome = call('pixel.png')
    assert outcome.status == 0, outcome.err
    assert cv2.imread('res_img/pixel.png').shape == (1, 1, 3) and len(outcome.results) == 1


# Weights that nobody named

def test_without_weights_the_bundled_network_is_taken_and_said(call, material, tmp_path, monkeypatch):
    from src.inference import bundled
    (tmp_path / 'weights').mkdir()
    monkeypatch.setattr(bundled, 'FOLDER', str(tmp_path / 'weights'))
    monkeypatch.setattr(bundled.bundled_weights, '__defaults__', (str(tmp_path / 'weights'),))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxruntime' else find_spec(name))
    outcome = call('{material}/photos', model='')
    assert outcome.status == 2
    assert re.search(r'no weights were given and the bundled network .*pose_small.safetensors is not there; give the '
                     'name of published weights with --weights .*, a checkpoint with --ckpt_path, or an exported model '
                     'with --model_file', outcome.err)
    # Where ONNX Runtime is installed it is the ONNX file.
    monkeypatch.setattr(importlib.util, 'find_spec', find_spec)
    assert 'pose_small.onnx is not there' in call('{material}/photos', model='').err
    (tmp_path / 'weights' / 'pose_small.onnx').write_bytes((material / 'pose.onnx').read_bytes())
    outcome = call('{material}/photos', model='')
    assert outcome.status == 0, outcome.err
    assert re.search('weights: .*pose_small.onnx, since none are named; better ones are published weights', outcome.out)
    assert len(outcome.results) == 3


def test_the_bundled_weights_come_with_their_recipe(tmp_path, monkeypatch):
    from src.config import recipe_names
    from src.inference import bundled
    (tmp_path / 'pose_small.safetensors').write_bytes(b'weights')
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxruntime' else find_spec(name))
    assert bundled.bundled_weights(str(tmp_path)) == (str(tmp_path / 'pose_small.safetensors'), bundled.RECIPE)
    assert bundled.RECIPE in recipe_names()
    monkeypatch.chdir(tmp_path)
    for name in ('mspn.ckpt', 'mspn_new.ckpt'):
        Path(name).write_bytes(b'')
        assert bundled.default_weights() == (f'./{name}', None)
    assert str(Path(sys.modules['src'].__file__).resolve().parents[1] / 'weights') == bundled.FOLDER
