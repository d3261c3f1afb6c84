"""MIPNet in eval.py, infer.py and export.py: every person of a box, from checkpoints and from exported files."""
import contextlib
import io
import json
import os
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from golden_data import load_seeded
from script_runs import SIMPLE_POSE, run_script
from test_runtimes import assert_same_poses

from src.checkpoints.ckpt import save_checkpoint
from src.config import load_recipe, resolve
from src.models.registry import build_configured_network
from src.synthetic.writing import write_synthetic_coco

TINY_MIPNET = {'MODEL.NAME': 'mipnet', 'MODEL.IMAGE_SIZE': '64 96', 'MODEL.STEM_CHANNELS': 8, 'HRNET.WIDTH': 8,
               'HRNET.MODULES': '1 1 1', 'HRNET.BLOCKS': 1, 'DATASET.COLOR_RGB': True,
               'DATASET.MEANS': '0.4 0.45 0.5', 'TEST.BATCH_SIZE': 4}


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Pictures with boxes and the checkpoint of a small MIPNet with made-up weights, in the current folder."""
    folder = tmp_path_factory.mktemp('mipnet')
    write_synthetic_coco(str(folder / 'data'), num_train=1, num_val=4, seed=3, image_size=(240, 180))
    config = resolve(load_recipe(SIMPLE_POSE), TINY_MIPNET)
    network = build_configured_network(config)
    load_seeded(network)
    save_checkpoint(str(folder / 'pose.ckpt'), network, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def run(script: str, arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = run_script(script, arguments)
    assert status == 0, out.getvalue()
    return out.getvalue()


def evaluate(source: str, flags: str = '') -> tuple:
    out = run('eval', f'{source} --data_url data --use_gt_bbox --save_path results.json {flags}')
    return out, json.loads(Path('results.json').read_text())


@pytest.fixture(scope='module')
def evaluated(material):
    """What eval.py says of the checkpoint, without suppression, and the poses."""
    return evaluate('--ckpt_path pose.ckpt', '--set TEST.OKS_NMS=false')


def num_people() -> int:
    annotations = json.loads(Path('data/annotations/person_keypoints_val2017.json').read_text())['annotations']
    return sum(any(each['keypoints']) and not each['iscrowd'] for each in annotations)


def test_evaluation_merges_both_hypotheses(evaluated):
    out, results = evaluated
    assert len(results) == 2 * num_people()
    assert all(set(record) == {'image_id', 'category_id', 'keypoints', 'score'} for record in results)
    lines = out.splitlines()
    assert re.fullmatch(r'AP -?\d\.\d{4} with .*', lines[-1])
    assert [re.fullmatch(r'(primary|second) alone: AP -?\d\.\d{4}', line).group(1) for line in lines[-3:-1]] == [
        'primary', 'second']


@pytest.mark.parametrize('ending, runtime, flags', [
    ('.onnx', 'onnxruntime', ''), ('.onnx', 'openvino', '--hypotheses all --flip_test --with_decode --input pixels'),
    ('.mindir', 'mindir', '--hypotheses all --batch_size dynamic')])
def test_evaluation_of_a_file_is_that_of_the_checkpoint(ending, runtime, flags, evaluated):
    out = run('export', f'--ckpt_path pose.ckpt --file_name exported{ending} {flags}')
    note = 'note: the file computes one person of a box at a time, whom its input codes names'
    assert (note in out) == ('all' not in flags) and 'checked in ' in out
    ours = evaluate(f'--model_file exported{ending} --runtime {runtime}', '--set TEST.OKS_NMS=false')[1]
    assert_same_poses(ours, evaluated[1])


def test_inference_says_which_hypothesis_a_pose_is(material):
    def infer(score_thresh: float) -> int:
        """Return the number of people drawn."""
        out = run('infer', '--ckpt_path pose.ckpt --data_url data/val2017 --det_file_url '
                  'data/annotations/val2017_detections.json --img_save_dir drawn --keypoint_thresh -100 '
                  f'--score_thresh {score_thresh} --set TEST.OKS_NMS=false')
        return int(re.search(r'(\d+) of \d+ poses score above', out).group(1))

    assert infer(-1) > 4
    records = json.loads(Path('drawn/results.json').read_text())
    counts = Counter(record['hypothesis'] for record in records)
    assert set(counts) == {0, 1} and counts[0] == counts[1] > 4
    for number in (1, 2, 3, 4):
        before = cv2.imread(f'data/val2017/{number:012d}.jpg').astype(int)
        after = cv2.imread(f'drawn/{number}_res.jpg').astype(int)
        assert np.abs(before - after).max() > 100
    # The threshold is lowered for further people as their scores are.
    scores = sorted(record['score'] * (2 if record['hypothesis'] else 1) for record in records)
    middle = (scores[len(scores) // 2] + scores[len(scores) // 2 - 1]) / 2
    assert infer(middle) == len(scores) // 2


@pytest.mark.parametrize('setting, message', [
    ('MIPNET.NUM_INSTANCES=3', 'was exported with MIPNET.NUM_INSTANCES=2; 3 needs another export'),
    ('MIPNET.SE_MODULES=[true,true,true,true]', 'was exported with MIPNET.SE_MODULES=.*needs another export'),
    ('HRNET.WIDTH=32', 'was exported with HRNET.WIDTH=8'), ('HRNET.BLOCKS=4', 'was exported with HRNET.BLOCKS=1'),
    ('DATASET.COLOR_RGB=false', 'was exported with DATASET.COLOR_RGB=True')])
def test_what_a_file_has_inside_cannot_be_set(setting, message, material):
    if not os.path.exists('fixed.onnx'):
        run('export', '--ckpt_path pose.ckpt --file_name fixed.onnx')
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        status = run_script('eval', f'--model_file fixed.onnx --data_url data --use_gt_bbox --set {setting}')
    assert status == 2 and re.search(message, err.getvalue()), err.getvalue()
