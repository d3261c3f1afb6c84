"""What the page of demo.py does with uploads, without the page."""
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from made_up_inputs import frames_of
from script_runs import run_script

from src.inference import demo as demo_module
from src.inference.demo import AUTOMATIC, BUNDLED, WHOLE_PICTURE, Choices, PoseDemo
from src.inference.drawings import DrawingOptions
from src.system.errors import PoseError

DRAWING = DrawingOptions(0.4, 0.2)
CHOICES = Choices('pose.onnx', 'detector.onnx', DRAWING)


@pytest.fixture
def demo(material, tmp_path):
    (tmp_path / 'results').mkdir()
    return PoseDemo([str(material / 'pose.onnx')], [], [str(material / 'detector.onnx')],
                    folder=str(tmp_path / 'results'))


def test_a_picture_comes_back_with_its_people(demo, material):
    photo = str(material / 'photos' / 'b 2.png')
    found = demo.run(photo, CHOICES)
    assert found.headline == '2 people' and found.notes[-1].endswith(' s, pose.onnx') and found.video is None
    before, after = cv2.imread(photo), cv2.imread(found.picture)
    assert before.shape == after.shape and (np.abs(before.astype(int) - after) > 60).sum() > 500
    assert [row[:2] for row in found.rows] == [[1, 'yes'], [2, 'yes']] and len(found.rows[0]) == len(found.columns)
    records = json.loads(Path(found.results).read_text())
    assert [record['person'] for record in records] == [1, 2] and records[0]['file_name'] == 'b 2.png'
    assert found.rows[0][3] == f'{records[0]["box_score"]:.3f}' == '0.900'
    assert found.rows[0][4] == ', '.join(f'{value:.0f}' for value in records[0]['bbox'])


def test_thresholds_decide_who_counts(demo, material):
    photo = str(material / 'photos' / 'b 2.png')
    fewer = demo.run(photo, replace(CHOICES, detector_threshold=0.7))
    assert fewer.headline == '1 person' and len(fewer.rows) == 1
    nobody = demo.run(photo, replace(CHOICES, drawing=DrawingOptions(0.95, 0.2)))
    assert nobody.headline == 'nobody' and nobody.rows[0][1] == 'no'
    assert nobody.notes[0] == 'nobody is above the threshold of people; the highest score is 0.900'
    without_boxes = demo.run(photo, replace(CHOICES, detector_threshold=0.95))
    assert without_boxes.headline == 'nobody' and 'found no box' in without_boxes.notes[0]
    whole = demo.run(photo, replace(CHOICES, detector=WHOLE_PICTURE))
    assert whole.headline == '1 person' and whole.rows[0][4] == '0, 0, 160, 120'


def test_other_drawing_options_need_no_network(demo, material):
    found = demo.run(str(material / 'photos' / 'b 2.png'), CHOICES)
    with mock.patch.object(demo_module.PoseEstimator, 'frames', side_effect=AssertionError):
        again = demo.redraw(found, replace(CHOICES, drawing=DrawingOptions(0.4, 0.2, is_black=True)))
        fewer = demo.redraw(found, replace(CHOICES, drawing=DrawingOptions(0.95, 0.2)))
    assert again.picture != found.picture and (cv2.imread(again.picture)[-1, :60] < 20).all()
    assert again.headline == '2 people' and again.results == found.results and fewer.headline == 'nobody'


def test_a_video_comes_back_in_a_format_of_browsers(demo, material):
    clip = str(material / 'clip.mp4')
    found = demo.run(clip, CHOICES)
    assert found.headline == '2 people at once, 12 frames' and found.picture is None and found.frame is None
    assert 'Follow people' in found.notes[0] and found.video.endswith('clip_poses.webm')
    assert Path(found.video).read_bytes()[:4] == b'\x1a\x45\xdf\xa3'
    frames, rate = frames_of(found.video)
    assert (len(frames), rate, frames[0].shape) == (12, 10, (120, 160, 3))
    assert found.rows == [[1, 12, 0, 11, '0.900'], [2, 12, 0, 11, '0.900']]
    assert len(json.loads(Path(found.results).read_text())) == 24
    demo.max_frames = 5
    cut = demo.run(clip, replace(CHOICES, tracking='smooth live', detect_every=2))
    assert cut.headline == '2 people, 5 frames' and cut.notes[0] == 'only the first 5 frames were taken'
    assert len(frames_of(cut.video)[0]) == 5


@pytest.mark.parametrize('name, content, message', [
    ('notes.txt', b'/etc/passwd\n', '^notes.txt is neither a picture nor a video by its name: pictures end in .jpg'),
    ('boxes.json', b'[]', '^boxes.json is neither a picture nor a video'),
    ('photo', b'', '^photo is neither'), ('empty.jpg', b'', '^the picture empty.jpg is empty$'),
    ('text.png', b'some text', '^text.png is not a picture that OpenCV can read'),
    ('empty.mp4', b'', '^the video empty.mp4 is empty$'), ('text.webm', b'some text', '^text.webm is no video'),
    ('', None, 'choose a picture or a video first')])
def test_other_files_are_refused_in_one_line(name, content, message, demo, tmp_path):
    """A text file is not followed as a list of inputs, and the folder of the uploads is not told."""
    path = str(tmp_path / name) if name else None
    if path:
        Path(path).write_bytes(content)
    with pytest.raises(PoseError, match=message) as refusal:
        demo.run(path, CHOICES)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize('change, message', [
    ({'weights': '/etc/passwd'}, 'choose weights from the list'), ({'detector': '/etc/passwd'}, 'choose a detector'),
    ({'runtime': 'abacus'}, 'abacus')])
def test_only_the_choices_of_the_page_are_taken(change, message, demo, material):
    with pytest.raises(PoseError, match=message):
        demo.run(str(material / 'photos' / 'b 2.png'), replace(CHOICES, **change))


def test_users_at_once_get_their_own_results(demo, material, tmp_path):
    for width in range(60, 140, 20):
        cv2.imwrite(str(tmp_path / f'{width}.png'), np.full((90, width, 3), 127, np.uint8))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda width: demo.run(str(tmp_path / f'{width}.png'), CHOICES), range(60, 140, 20)))
    assert [cv2.imread(each.picture).shape[1] for each in found] == [60, 80, 100, 120]
    assert len({each.results for each in found}) == 4


def test_few_results_are_kept(demo, material, monkeypatch):
    monkeypatch.setattr(demo_module, 'KEPT_RESULTS', 2)
    kept = [demo.run(str(material / 'photos' / 'b 2.png'), CHOICES).results for _ in range(3)]
    assert [os.path.exists(each) for each in kept] == [False, True, True]


def test_what_there_is_to_choose(demo, material, tmp_path):
    assert demo.weights[0] == 'pose.onnx' and BUNDLED not in demo.weights[:1]
    assert 'hrnet_w32_coco_256x192 (MMPose, AP 0.746)' in demo.weights
    assert not [each for each in demo.weights if '_imagenet' in each]
    assert demo.detectors == ['detector.onnx', WHOLE_PICTURE] and demo.runtimes[0] == AUTOMATIC
    # Of published weights the recipe is asked, and nothing is downloaded.
    with mock.patch.object(demo_module, 'PoseEstimator', side_effect=AssertionError):
        assert demo.thresholds('mspn_2stg_coco_256x192 (MMPose, AP 0.754)').person == 0.7
    assert demo.thresholds('pose.onnx') == (0.4, 0.2)
    assert demo.detector_threshold(WHOLE_PICTURE) == demo.detector_threshold('detector.onnx') == 0.3
    first = PoseDemo([], ['mspn_2stg_coco_256x192'], folder=str(tmp_path))
    assert first.weights[0] == 'mspn_2stg_coco_256x192 (MMPose, AP 0.754)'
    with pytest.raises(PoseError, match='no published weights are called nothing'):
        PoseDemo([], ['nothing'], folder=str(tmp_path))
    with pytest.raises(PoseError, match='the file nowhere.onnx does not exist'):
        PoseDemo(['nowhere.onnx'], folder=str(tmp_path))
    both = [str(material / 'pose.onnx'), str(tmp_path / 'pose.onnx')]
    Path(both[1]).write_bytes(Path(both[0]).read_bytes())
    assert PoseDemo(both, folder=str(tmp_path)).weights[:2] == both


@pytest.mark.parametrize('words, message', [
    ('--max_frames 0', '--max_frames should be 1 or more, is 0'), ('--port 70000', 'from 0 to 65535, is 70000'),
    ('--model_file nowhere.onnx', 'the file nowhere.onnx does not exist'),
    ('--model_file {material}/pose.onnx', r'the page needs Gradio \(.*\): pip install -r requirements-demo.txt')])
def test_the_command_refuses_what_cannot_work(words, message, material, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.setattr('signal.signal', lambda *_: None)
    assert run_script('demo', words.format(material=material)) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: ') and err.count('\n') == 1 and re.search(message, err)
