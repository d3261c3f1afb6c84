"""Result files of other programs: the same poses in each format are the same records."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_up_data import write_json

from src.data.keypoint_names import open_annotations
from src.data.skeletons import COCO, MPII
from src.metrics.other_results import OPENPOSE_NAMES
from src.metrics.results_file import load_results
from src.system.errors import PoseError

SIZES = {7: (200, 100), 12: (160, 240)}
NAMES = {7: 'first.jpg', 12: 'inner/000012.png'}
STEMS = {7: 'first', 12: '000012'}


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    images = [{'id': number, 'file_name': NAMES[number], 'width': width, 'height': height}
              for number, (width, height) in SIZES.items()]
    path = write_json(tmp_path_factory.mktemp('truth') / 'gt.json', {
        'images': images, 'annotations': [], 'categories': [
            {'id': 1, 'name': 'person', 'keypoints': list(COCO.keypoint_names), 'skeleton': []}]})
    return open_annotations(str(path), COCO)


@pytest.fixture(scope='module')
def poses():
    """{image id: [(keypoints (17, 3) as x, y, score; score of the person)]}"""
    rng = np.random.default_rng(1)
    return {number: [(np.concatenate([rng.uniform(2, size, (17, 2)), rng.uniform(0.2, 1, (17, 1))], 1), score)
                     for score in (0.75, 0.5)[:people]] for (number, size), people in zip(SIZES.items(), (2, 1))}


def loaded(path, file, *, skeleton=COCO) -> tuple:
    """Return {image id: [keypoints (K, 3)]}, {image id: [score]}, and the notes."""
    records, notes = load_results(str(path), file, skeleton)
    found, scores = {}, {}
    for record in records:
        found.setdefault(record['image_id'], []).append(np.array(record['keypoints']).reshape(-1, 3))
        scores.setdefault(record['image_id'], []).append(record['score'])
    return found, scores, notes


def assert_equal_poses(found, poses, *, atol=1e-9):
    assert sorted(found) == sorted(poses)
    for number, people in poses.items():
        np.testing.assert_allclose(found[number], [keypoints for keypoints, _ in people], atol=atol)


def test_lists_of_coco_mmpose_detectron2_and_ultralytics(file, poses, tmp_path):
    flat = [{'image_id': number, 'category_id': 1, 'keypoints': keypoints.reshape(-1).tolist(), 'score': score,
             'bbox': [1, 2, 3, 4]} for number, people in poses.items() for keypoints, score in people]
    nested = [{**entry, 'keypoints': np.reshape(entry['keypoints'], (17, 3)).tolist()} for entry in flat]
    by_stem = [{**entry, 'image_id': STEMS[entry['image_id']]} for entry in flat]
    for entries in (flat, nested, by_stem):
        found, scores, notes = loaded(write_json(tmp_path / 'results.json', entries), file)
        assert_equal_poses(found, poses)
        assert scores == {7: [0.75, 0.5], 12: [0.75]} and not notes


@pytest.mark.parametrize('layout', ['list', 'dict', 'nested'])
def test_a_folder_of_mmposes_inferencer(file, poses, tmp_path, layout):
    for number, people in poses.items():
        instances = [{'keypoints': keypoints[:, :2].tolist(), 'keypoint_scores': keypoints[:, 2].tolist(),
                      'bbox': [[1, 2, 3, 4]], 'bbox_score': score} for keypoints, score in people]
        write_json(tmp_path / f'{STEMS[number]}.json', {
            'list': instances, 'dict': {'meta_info': {}, 'instance_info': instances}, 'nested': [instances]}[layout])
    found, scores, notes = loaded(tmp_path, file)
    assert_equal_poses(found, poses)
    assert scores[12] == [pytest.approx(0.75 * poses[12][0][0][:, 2].mean())] and not notes


@pytest.mark.parametrize('end, score', [('', None), (' 0.625', 0.625), (' 0.625 3', 0.625)])
def test_a_folder_of_ultralytics(file, poses, tmp_path, end, score):
    """Places are shares of the picture's size; of another class than 0 nothing is taken."""
    for number, people in poses.items():
        shares = [(keypoints / (*SIZES[number], 1)).reshape(-1) for keypoints, _ in people]
        lines = [f'0 0.5 0.5 0.2 0.2 {" ".join(f"{value:.7f}" for value in each)}{end}' for each in shares]
        (tmp_path / f'{STEMS[number]}.txt').write_text('\n'.join([*lines, lines[0].replace('0 0.5', '16 0.5', 1), '']))
    found, scores, notes = loaded(tmp_path, file)
    assert_equal_poses(found, poses, atol=1e-4)
    mean = poses[12][0][0][:, 2].mean()
    assert scores[12] == [pytest.approx(score or mean, abs=1e-6)]
    assert ['--save_conf' in each for each in notes] == ([] if score else [True])


def test_ultralytics_without_scores_of_keypoints(file, tmp_path):
    (tmp_path / 'first.txt').write_text('0 0.5 0.5 0.2 0.2 ' + '0.25 0.5 ' * 16 + '0 0 0.5')
    found, scores, _ = loaded(tmp_path, file)
    assert found[7][0].tolist() == [[50, 50, 1]] * 16 + [[0, 0, 0]] and scores[7] == [0.5]


@pytest.mark.parametrize('count', [25, 18])
def test_a_folder_of_openpose(file, poses, tmp_path, count):
    for number, people in poses.items():
        written = []
        for keypoints, _ in people:
            of_names = dict(zip(COCO.keypoint_names, keypoints.tolist()))
            written.append({'person_id': [-1], 'pose_keypoints_2d': [
                value for name in OPENPOSE_NAMES[count] for value in of_names.get(name, [5.0, 6.0, 0.7])]})
        write_json(tmp_path / f'{STEMS[number]}_keypoints.json', {'version': 1.3, 'people': written})
    found, scores, notes = loaded(tmp_path, file)
    assert_equal_poses(found, poses)
    assert scores[12] == [pytest.approx(poses[12][0][0][:, 2].mean())] and 'OpenPose gives persons no score' in notes[0]


def test_published_order_of_openpose():
    """BODY_25 and COCO as in OpenPose's documentation of its output."""
    body, coco = OPENPOSE_NAMES[25], OPENPOSE_NAMES[18]
    assert len(body) == 25 and len(coco) == 18
    assert [body.index(name) for name in ('nose', 'neck', 'right_shoulder', 'left_wrist', 'right_hip', 'left_ankle',
                                          'right_eye', 'left_eye', 'right_ear', 'left_ear')] == [
        0, 1, 2, 7, 9, 14, 15, 16, 17, 18]
    assert [coco.index(name) for name in ('right_hip', 'left_hip', 'right_eye', 'left_ear')] == [8, 11, 14, 17]


OPENPOSE = {'people': [{'pose_keypoints_2d': [1.5, 2.5, 1] * 25}]}
FAULTS = {
    'empty': ({}, 'should hold one .json file per picture .* has 0 and 0'),
    'both': ({'first.txt': '', 'first.json': '[]'}, 'has 1 and 1'),
    'unknown': ({'other.json': '[]'}, 'no pose in its 1 files; 1 are of no picture of .*, such as other'),
    'words': ({'first.txt': '0 1 x'}, 'first.txt, line 1 should hold numbers'),
    'count': ({'first.txt': '0 0.5 0.5 0.2 0.2 1 1'}, 'line 1 has 7 numbers; of 17 keypoints it should have 56'),
    'not openpose': ({'first_keypoints.json': '{}'}, "should have a list 'people'"),
    'hands': ({'first_keypoints.json': json.dumps({'people': [{'pose_keypoints_2d': [1.5] * 63}]})},
              'has 21 keypoints; OpenPose has 25'),
    'shares': ({'first_keypoints.json': json.dumps({'people': [{'pose_keypoints_2d': [0.5] * 75}]})},
               'run OpenPose without --keypoint_scale'),
    'nothing': ({'first_keypoints.json': json.dumps({'people': [{'pose_keypoints_2d': None}]})},
                "'pose_keypoints_2d' should be a list of numbers, is None"),
    'instances': ({'first.json': '[{"keypoints": [[1, 2]], "keypoint_scores": [1, 1]}]'},
                  'has 1 keypoints and 2 keypoint_scores'),
    'nan': ({'first.json': '[{"keypoints": [[1, NaN]], "keypoint_scores": [1]}]'}, 'should be a list of numbers'),
    'no instances': ({'first.json': '{"a": 1}'}, 'should be a list of instances'),
    'damaged': ({'first.json': '[{'}, 'first.json')}


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_named(file, tmp_path, name):
    files, message = FAULTS[name]
    for each, content in files.items():
        (tmp_path / each).write_text(content)
    with pytest.raises(PoseError, match=message):
        load_results(str(tmp_path), file, COCO)


def test_what_openpose_does_not_find_cannot_be_scored(file, tmp_path):
    write_json(tmp_path / 'first_keypoints.json', OPENPOSE)
    few = [name for name in MPII.keypoint_names if name in OPENPOSE_NAMES[25]]
    assert len(few) >= 8, 'MPII is scored on what there is'
    found, _, _ = loaded(tmp_path, file, skeleton=MPII)
    assert (found[7][0][:, 2] > 0).sum() == len(few)


def test_files_of_other_pictures_are_counted(file, tmp_path):
    for stem in ('first', 'holiday'):
        write_json(tmp_path / f'{stem}_keypoints.json', OPENPOSE)
    assert any(re.search('left out 1 files of pictures .* such as holiday_keypoints.json', note)
               for note in loaded(tmp_path, file)[2])


def test_a_single_file_of_a_folder_is_explained(file, tmp_path):
    path = Path(write_json(tmp_path / 'x.json', OPENPOSE))
    with pytest.raises(PoseError, match='name the folder of such files'):
        load_results(str(path), file, COCO)
