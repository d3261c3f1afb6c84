"""A network of two convolutions and a data set of five keypoints, both outside of the package, go the whole way: train,
resume, evaluate, draw, export and back, without a change of a file of `src`."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from script_runs import ROOT

from src.config import load_recipe
from src.data.skeletons import COCO
from src.flags import load_plugin
from src.synthetic.writing import write_synthetic_coco
from src.system.errors import PoseError

TOYS = ROOT / 'tests' / 'toys'
KEPT = ('nose', 'left_wrist', 'right_wrist', 'left_ankle', 'right_ankle')
RECIPE = '''
BASE: base
MODEL: {NAME: toy, NUM_JOINTS: 5, IMAGE_SIZE: [64, 64]}
TOY: {CHANNELS: 4, HEATMAP_SIZE: [16, 16]}
DATASET: {PROTOCOL: toy_people, SKELETON: toy_people, ROOT: data}
TRAIN: {BATCH_SIZE: 4, END_EPOCH: 2, NUM_PARALLEL_WORKERS: 1, EVAL_EPOCHS: 2, CKPT_SAVE_PATH: out/pose.ckpt}
TEST: {USE_GT_BBOX: true}
'''


def fingerprint() -> str:
    """Of all files of the package."""
    content = hashlib.sha256()
    for path in sorted((ROOT / 'src').rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            content.update(path.read_bytes())
    return content.hexdigest()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with the plugins, a recipe, and a small data set of five keypoints."""
    folder = tmp_path_factory.mktemp('toys')
    shutil.copytree(TOYS, folder / 'mine')
    (folder / 'toy.yaml').write_text(RECIPE)
    write_synthetic_coco(str(folder / 'coco'), num_train=6, num_val=3, seed=1, image_size=(200, 160))
    rows = [COCO.keypoint_names.index(name) for name in KEPT]
    (folder / 'data' / 'labels').mkdir(parents=True)
    for split, name in (('train2017', 'train'), ('val2017', 'val')):
        content = json.loads((folder / 'coco' / 'annotations' / f'person_keypoints_{split}.json').read_text())
        for each in content['annotations']:
            table = np.reshape(each['keypoints'], (17, 3))[rows]
            each.update(keypoints=table.ravel().tolist(), num_keypoints=int((table[:, 2] > 0).sum()))
        content['categories'][0]['keypoints'] = list(KEPT)
        (folder / 'data' / 'labels' / f'{name}.json').write_text(json.dumps(content))
        shutil.move(folder / 'coco' / split, folder / 'data' / split)
    return folder


def call(place: Path, script: str, *words: str) -> str:
    environment = {**os.environ, 'POSE_PLUGINS': 'mine/toy_pose:mine/toy_people.py'}
    done = subprocess.run([sys.executable, str(ROOT / f'{script}.py'), *words], cwd=place, capture_output=True,
                          text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_network_and_a_data_set_of_ones_own_go_the_whole_way(place):
    before = fingerprint()
    out = call(place, 'train', '--recipe', 'toy.yaml', '--max_steps', '1')
    assert 'recipe: toy.yaml (toy_4)' in out and 'stopped' not in out
    out = call(place, 'train', '--recipe', 'toy.yaml', '--resume', 'auto')
    assert 'resumed after step 1' in out and out.strip().endswith('checkpoint: out/pose.ckpt')
    assert 'epoch: 2 AP: ' in out
    out = call(place, 'eval', '--ckpt_path', 'out/pose.ckpt')
    assert 'network: toy_4' in out and 'left_ankle' in out and out.splitlines()[-1].startswith('AP ')
    assert {len(each['keypoints']) for each in json.loads((place / 'results.json').read_text())} == {15}
    out = call(place, 'export', '--ckpt_path', 'out/pose.ckpt', '--file_name', 'toy.onnx')
    assert 'written: toy.onnx (toy_4' in out
    (place / 'boxes.json').write_text(json.dumps([
        {'image_id': 1, 'category_id': 1, 'bbox': [20, 10, 80, 120], 'score': 0.9}]))
    out = call(place, 'infer', '--model_file', 'toy.onnx', '--data_url', 'data/val2017', '--det_file_url', 'boxes.json',
               '--score_thresh', '-9', '--img_save_dir', 'drawn')
    assert '1 of 1 poses' in out and (place / 'drawn' / '1_res.jpg').exists()
    assert fingerprint() == before


@pytest.mark.parametrize('name, message', [
    ('nowhere.py', 'the plugin nowhere.py should be a .py file, or a folder with an __init__.py'),
    ('boxes.txt', 'the plugin boxes.txt should be a .py file'),
    ('empty.py', r"the plugin empty.py should have SKELETON, DATASET, MODEL or several of them at its top level, has "
     r"\['OTHER'\]"),
    ('taken.py', 'there is a skeleton coco already; give yours another name')])
def test_a_wrong_plugin_is_explained(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    Path('boxes.txt').touch()
    Path('empty.py').write_text('OTHER = 1\n')
    Path('taken.py').write_text('from src.data.skeletons import Skeleton\n'
                                "SKELETON = Skeleton('coco', ('a',), (), (1,), ())\n")
    with pytest.raises(PoseError, match=message):
        load_plugin(name)


def test_a_recipe_for_a_plugin_that_was_not_loaded_is_explained(place):
    with pytest.raises(PoseError, match='MODEL.NAME should be one of .*, is .toy.|unknown config key'):
        load_recipe(str(place / 'toy.yaml'))
