"""infer.py on pictures, folders, videos and lists: what it writes, what its flags do, what it says of bad inputs."""
import csv
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_inputs import BOXES, frames_of, moving_square, write_pose_network
from script_runs import MSPN, SIMPLE_POSE

from src.inference.command import suggested_threshold
from src.media.inputs import find_inputs
from src.system.errors import PoseError


def test_a_photo_is_one_command(call, material):
    outcome = call('{material}/photos/Käse.bmp')
    assert outcome.status == 0, outcome.err
    assert 'the whole picture is taken for one person; --detector FILE.onnx finds people' in outcome.out
    assert sorted(os.listdir('res_img')) == ['Käse.png', 'results.json']
    record, = outcome.results
    assert record['bbox'] == [0, 0, 160, 120] and record['file_name'] == 'Käse.bmp' and record['person'] == 1
    assert record['category_id'] == 1 and len(record['keypoints']) == 51 and record['image_id'] == 1
    drawn, plain = cv2.imread('res_img/Käse.png').astype(int), moving_square(1)[0].astype(int)
    assert drawn.shape == plain.shape and np.abs(drawn - plain).max() > 100


def test_a_folder_a_video_and_tables(call):
    outcome = call('{material}/photos {material}/clip.mp4 --detector {material}/detector.onnx --jsonl --csv')
    assert outcome.status == 0, outcome.err
    assert sorted(os.listdir('res_img')) == ['Käse.png', 'b 10.jpg', 'b 2.png', 'clip.mp4', 'frames.jsonl',
                                             'keypoints.csv', 'results.json']
    assert 'video of 12 frames, 10 frames per second; its sound is left out' in outcome.out
    frames, rate = frames_of('res_img/clip.mp4')
    assert len(frames) == 12 and rate == 10 and frames[0].shape == (120, 160, 3)
    # In the order of the numbers in the names, then the video; two people each, surest first.
    names = [record['file_name'] for record in outcome.results][::2]
    assert names == ['Käse.bmp', 'b 2.png', 'b 10.jpg'] + ['clip.mp4'] * 12
    assert [record['image_id'] for record in outcome.results][::2] == list(range(1, 16))
    assert [record['person'] for record in outcome.results] == [1, 2] * 15
    assert [record.get('frame') for record in outcome.results][6::2] == list(range(12))
    lines = [json.loads(line) for line in Path('res_img/frames.jsonl').read_text().splitlines()]
    assert [person for line in lines for person in line['people']] == outcome.results
    rows = list(csv.DictReader(Path('res_img/keypoints.csv').read_text().splitlines()))
    assert len(rows) == 30 * 17 and list(rows[0]) == ['file', 'frame', 'person', 'keypoint', 'x', 'y', 'score']
    assert [rows[17][key] for key in ('person', 'keypoint')] == ['2', 'nose']
    assert float(rows[17]['x']) == outcome.results[1]['keypoints'][0]


def test_boxes_of_a_detector_lead_to_poses_in_them(call):
    outcome = call('{material}/photos/b*.png --detector {material}/detector.onnx')
    # The detector's input of 128 shows the picture of 160 x 120 with a scale of 0.8 and 16 rows above it.
    assert [record['bbox'] for record in outcome.results] == [[27.5, 22.5, 25, 75], [87.5, 22.5, 25, 75]]
    for record, (*_, score) in zip(outcome.results, BOXES):
        assert record['box_score'] == pytest.approx(score, abs=1e-5)
        assert record['score'] == pytest.approx(0.9 * score, abs=1e-3)
        places = np.reshape(record['keypoints'], (17, 3))
        x, y, width, height = record['bbox']
        assert (places[:, 0] > x - width).all() and (places[:, 0] < x + 2 * width).all()
        assert (places[:, 1] > y - 0.2 * height).all() and (places[:, 1] < y + 1.2 * height).all()


def test_the_score_of_a_box_does_not_decide_what_is_drawn(call):
    """Both keypoints' scores are 0.9; times those of the boxes they are 0.81 and 0.54."""
    outcome = call('{material}/photos/b*.png --detector {material}/detector.onnx --score_thresh 0.7')
    assert '2 of 2 poses on 1 frames are drawn' in outcome.out
    assert [record['score'] for record in outcome.results] == pytest.approx([0.81, 0.54], abs=1e-3)


def test_an_annotation_file_gives_pictures_boxes_and_ids(call, material, tmp_path):
    content = {'images': [{'id': 70, 'file_name': 'b 2.png', 'width': 160, 'height': 120},
                          {'id': 30, 'file_name': 'val/b 10.jpg', 'width': 160, 'height': 120}],
               'annotations': [{'image_id': 70, 'category_id': 1, 'bbox': [10, 20, 30, 40]},
                               {'image_id': 70, 'category_id': 1, 'bbox': [10, 20, 300, 40], 'iscrowd': 1},
                               {'image_id': 70, 'category_id': 18, 'bbox': [0, 0, 9, 9]}]}
    (tmp_path / 'people.json').write_text(json.dumps(content))
    outcome = call('people.json --data_url {material}/photos')
    assert outcome.status == 0, outcome.err
    assert 'boxes: 1 of the annotation file' in outcome.out
    assert [(record['image_id'], record['bbox']) for record in outcome.results] == [(70, [10, 20, 30, 40])]
    assert sorted(os.listdir('res_img')) == ['b 10.jpg', 'b 2.png', 'results.json']


def test_a_list_names_pictures_from_where_it_lies(call, material):
    (material / 'list.txt').write_text('# two of them\nphotos/b 2.png\n\n' + str(material / 'photos' / 'b 10.jpg'))
    outcome = call('{material}/list.txt')
    assert [record['file_name'] for record in outcome.results] == ['b 2.png', 'b 10.jpg']


def test_pictures_named_by_numbers_keep_them_as_ids(call, material, tmp_path):
    (tmp_path / 'numbered').mkdir()
    for number in (9, 10, 124):
        cv2.imwrite(f'numbered/{number:012d}.jpg', moving_square(1)[0])
    assert [record['image_id'] for record in call('numbered').results] == [9, 10, 124]


def test_two_pictures_of_one_name_and_no_picture_twice(call, tmp_path):
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(f'{folder}/a.jpg', moving_square(1)[0])
    outcome = call('one two/a.jpg one/a.jpg')
    assert outcome.status == 0 and len(outcome.results) == 2
    assert sorted(os.listdir('res_img')) == ['a.jpg', 'a_2.jpg', 'results.json']


def test_nobody_drawn_says_what_to_type(call):
    outcome = call('{material}/photos/b*.png --score_thresh 0.95')
    assert outcome.status == 0 and '0 of 1 poses on 1 frames are drawn' in outcome.out
    told = re.search(r'nobody scores above 0.95; the highest score is ([\d.]+), and --score_thresh ([\d.]+) draws it',
                     outcome.out)
    assert float(told[1]) == pytest.approx(0.9, abs=1e-3)
    assert '1 of 1 poses' in call('{material}/photos/b*.png --score_thresh ' + told[2]).out
    assert suggested_threshold(0.5) == 0.49 and suggested_threshold(0.507) == 0.5


@pytest.mark.parametrize('recipe, peak, drawn', [(SIMPLE_POSE, 0.41, 1), (SIMPLE_POSE, 0.39, 0), (MSPN, 60.0, 1),
                                                 (MSPN, 20.0, 0)])
def test_thresholds_are_those_of_the_network(call, tmp_path, recipe, peak, drawn):
    """MSPN's scores begin at 0.5; a blur takes two thirds of its single cells."""
    write_pose_network(tmp_path / 'other.onnx', recipe, peak)
    outcome = call('{material}/photos/b*.png', model='--model_file other.onnx')
    assert f'{drawn} of 1 poses' in outcome.out, outcome.out


def squares_of(picture, color, tolerance=40):
    return (np.abs(picture.astype(int) - color).max(axis=2) < tolerance).sum()


def test_flags_of_inputs_do_what_they_say(call, material, monkeypatch):
    picture = '{material}/photos/b*.png --detector {material}/detector.onnx '

    def drawing(flags=''):
        assert call(picture + flags).status == 0
        return cv2.imread('res_img/b 2.png')

    plain = drawing()
    drawings = {flag: drawing(flag) for flag in ('--labels none', '--labels score', '--labels both', '--no_boxes',
                                                 '--line_width 9', '--person_colors')}
    for flag, changed in drawings.items():
        assert (changed != plain).any(), flag
    assert (drawings['--labels both'] != drawings['--labels score']).any()
    black = drawing('--black')
    assert (black[40:60, 130:] == 0).all() and not (plain[40:60, 130:] == 0).all()
    # A thousand pixels of grey: the corners of the boxes are among what is drawn.
    assert squares_of(drawings['--no_boxes'], (90, 90, 90), 2) > squares_of(plain, (90, 90, 90), 2)
    assert len(call(picture + '--detector_thresh 0.7').results) == 1
    for flag in ('jsonl', 'csv'):
        name = {'jsonl': 'frames.jsonl', 'csv': 'keypoints.csv'}[flag]
        Path('res_img', name).unlink(missing_ok=True)
        call(picture)
        assert not Path('res_img', name).exists()
        call(picture + f'--{flag}')
        assert Path('res_img', name).exists()
    shown = []
    monkeypatch.setattr('src.inference.command._has_display', lambda: True)
    monkeypatch.setattr(cv2, 'imshow', lambda _, drawn: shown.append(drawn), raising=False)
    monkeypatch.setattr(cv2, 'waitKey', lambda _: -1, raising=False)
    assert call(picture + '--show').status == 0
    assert len(shown) == 1


def test_detectors_run_where_they_are_told_to(call, monkeypatch):
    from src.detection import detector
    seen = []
    load = detector.load_graph
    monkeypatch.setattr(detector, 'load_graph', lambda path, runtime, **options: seen.append(
        (runtime, options['threads'])) or load(path, runtime, **options))
    for flags in ('', '--runtime openvino', '--threads 1'):
        assert call('{material}/photos/b*.png --detector {material}/detector.onnx ' + flags).status == 0
    assert seen == [('onnxruntime', 0), ('openvino', 0), ('onnxruntime', 1)]


def test_boxes_by_hand_are_on_every_picture(call):
    outcome = call('{material}/photos --box 1 2 30 90 --box 60 6 50 80')
    assert sorted(map(tuple, (record['bbox'] for record in outcome.results))) == sorted(
        [(1, 2, 30, 90), (60, 6, 50, 80)] * 3)


def test_people_are_followed_between_detections(call, monkeypatch):
    """The detector looks at every fifth frame; the boxes in between come from the poses, and numbers stay."""
    calls = []
    from src.detection import PersonDetector
    look = PersonDetector.__call__
    monkeypatch.setattr(PersonDetector, '__call__', lambda self, picture: calls.append(1) or look(self, picture))
    outcome = call('{material}/clip.mp4 --detector {material}/detector.onnx --detect_every 5 --track')
    assert outcome.status == 0, outcome.err
    assert len(calls) == 3 and len(frames_of('res_img/clip.mp4')[0]) == 12
    per_frame = [{record['person'] for record in outcome.results if record['frame'] == frame} for frame in range(12)]
    assert per_frame[:5] == [{1, 2}] * 5
    assert len({tuple(record['bbox']) for record in outcome.results}) > 4


@pytest.mark.parametrize('smooth', ['live', 'file'])
def test_smoothing_keeps_frames_and_numbers(call, smooth):
    outcome = call(f'{{material}}/clip.mp4 --detector {{material}}/detector.onnx --smooth {smooth}')
    assert outcome.status == 0, outcome.err
    assert [record['frame'] for record in outcome.results] == sorted(list(range(12)) * 2)
    assert {record['person'] for record in outcome.results} == {1, 2}
    assert len(frames_of('res_img/clip.mp4')[0]) == 12


def test_pictures_of_an_annotation_file_in_the_layout_of_coco(tmp_path):
    for folder in ('annotations', 'val2017'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'annotations' / 'person_keypoints_val2017.json').write_text(json.dumps({
        'images': [{'id': 3, 'file_name': 'a.png', 'width': 20, 'height': 10}], 'annotations': []}))
    word = str(tmp_path / 'annotations' / 'person_keypoints_val2017.json')
    with pytest.raises(PoseError, match=f'which is not in {tmp_path}/annotations or {tmp_path}/val2017; give'):
        find_inputs([word])
    (tmp_path / 'val2017' / 'a.png').write_bytes(b'')
    found, = find_inputs([word])
    assert (found.path, found.image_id) == (str(tmp_path / 'val2017' / 'a.png'), 3)
