"""Keypoints of one's own travel: the page docs/own_data.md is followed as written, then the skeleton file is gone and
what was written works elsewhere."""
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from own_data_commands import page_commands, run_command_of_page
from script_runs import ROOT, run_script

from src import PoseEstimator
from src.checkpoints.ckpt import read_checkpoint, read_entries
from src.config import from_json
from src.datasets.registry import configured_skeleton
from src.export.model_file import open_model_file
from src.synthetic.animals import KEYPOINTS, LIMBS


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """The folder of somebody who has followed the page, with two steps of training."""
    folder = tmp_path_factory.mktemp('page')
    for words in page_commands():
        is_training = words[0] == 'train.py'
        if words[:2] == ['-m', 'src.data_tools.draw'] or 'yolo' in words:
            continue
        assert run_command_of_page([*words, *(('--max_steps', '2') if is_training else ())], folder) == 0, words
        if is_training:
            (folder / 'own/skeleton.yaml').unlink()
    return folder


def test_every_file_of_a_training_carries_the_keypoints(followed):
    for carried in (read_checkpoint(str(followed / 'runs/dog.ckpt'))[1], from_json(read_entries(
            str(next((followed / 'runs/dog_states').glob('*.ckpt'))))[1]['config'], 'state')):
        skeleton = configured_skeleton(carried)
        assert skeleton.keypoint_names == KEYPOINTS and skeleton.flip_index.tolist() == [0, 2, 1, 3, 5, 4, 7, 6]
    for runtime in ('onnxruntime', 'openvino'):
        model = open_model_file(str(followed / 'runs/dog.onnx'), runtime)
        assert configured_skeleton(model.config).keypoint_names == KEYPOINTS
        assert model.facts['keypoint_names'] == list(KEYPOINTS)


def test_the_pictures_are_drawn(followed):
    results = json.loads((followed / 'runs/drawn/results.json').read_text())
    assert {len(each['keypoints']) for each in results} == {24}
    assert len(list((followed / 'runs/drawn').glob('*_res.jpg'))) == len(results) == 5
    assert len(list((followed / 'runs/drawn_onnx').glob('*_res.jpg'))) == 5


def test_an_estimator_elsewhere_needs_nothing_else_and_no_mindspore(followed, tmp_path):
    shutil.copy(followed / 'runs/dog.onnx', tmp_path)
    picture = np.full((120, 160, 3), 128, np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    program = ('import sys, cv2\nfrom src import PoseEstimator\n'
               "e = PoseEstimator('dog.onnx')\nprint(*e.keypoint_names, e(cv2.imread('a.png')).keypoints.shape[1])\n"
               "assert 'mindspore.common' not in sys.modules\n")
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          env={'PYTHONPATH': str(ROOT), 'PATH': ''})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*KEYPOINTS, '8']
    estimator = PoseEstimator(str(followed / 'runs/dog.ckpt'))
    assert estimator.keypoint_names == KEYPOINTS and estimator.skeleton.links == LIMBS


def test_other_keypoints_than_those_of_the_checkpoint_are_refused(followed, capsys):
    path = followed / 'own/annotations/person_keypoints_val2017.json'
    content = json.loads(path.read_text())
    content['categories'][0]['keypoints'][0] = 'tail'
    (followed / 'other.json').write_text(json.dumps(content))
    assert run_script('eval', f'--ckpt_path {followed}/runs/dog.ckpt --data_url {followed}/own --gt_file_url '
                      f'{followed}/other.json --use_gt_bbox --save_path {followed}/r.json') == 2
    err = capsys.readouterr().err
    assert 'its 8 keypoints are not the 8 of the dog layout: it has tail, it lacks nose' in err
