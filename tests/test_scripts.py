"""From annotated pictures to a checkpoint, numbers and drawings: the three scripts, end to end."""
import collections
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from script_runs import MSPN, ROOT, SIMPLE_POSE, TINY, TOY, run_script
from test_annotations import with_orientation

from src.checkpoints.ckpt import read_checkpoint
from src.config import DEFAULT_RECIPE, load_recipe
from src.data.skeletons import COCO
from src.synthetic.writing import write_synthetic_coco

COCO_MINI = ROOT.parent / 'shared' / 'data' / 'coco-mini'
RECIPES = sorted(TINY)
PROCESS_ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}


@dataclass(frozen=True)
class Trained:
    """A finished training: its recipe, its folder with pose.ckpt, and what it printed."""

    recipe: str
    folder: Path
    out: str

    @property
    def checkpoint(self) -> str:
        return str(self.folder / 'pose.ckpt')

    @property
    def num_steps(self) -> int:
        return len(re.findall(r'^epoch: \d+ step: ', self.out, re.M))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=6, num_val=4, seed=1, image_size=(240, 180))
    return folder


@pytest.fixture(scope='module', params=RECIPES)
def trained(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    out = train(request.param, data, folder / 'pose.ckpt', '--epoch 2')
    return Trained(request.param, folder, out)


def run(script: str, arguments: str) -> str:
    """Run a script that should succeed and return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = run_script(script, arguments)
    assert status == 0, out.getvalue()
    return out.getvalue()


def train(recipe: str, data: Path, checkpoint: Path, arguments: str) -> str:
    return run('train', f'--recipe {recipe} --data_url {data} --ckpt_save_path {checkpoint} --batch_size 3 '
               f'--input_shape 128 96 {TINY[recipe]} {arguments}')


def load_json(path: Path):
    return json.loads(Path(path).read_text())


def load_arrays(checkpoint: Path) -> dict:
    """Return {name: array} of a checkpoint."""
    return read_checkpoint(str(checkpoint))[0]


def assert_coco_results(results: list, image_ids: set) -> None:
    assert results
    for record in results:
        assert set(record) == {'image_id', 'category_id', 'keypoints', 'score'}
        assert record['image_id'] in image_ids and record['category_id'] == 1
        assert len(record['keypoints']) == 51
        assert np.isfinite(record['keypoints']).all() and np.isfinite(record['score'])


def assert_ten_numbers(out: str) -> None:
    lines = re.findall(r'^ Average (?:Precision  |Recall     )\((A[PR])\) @\[ IoU=([0-9.:]+) *\| area= *(\w+) '
                       r'\| maxDets= 20 \] = -?\d\.\d{3}$', out, re.M)
    rows = [('0.50:0.95', 'all'), ('0.50', 'all'), ('0.75', 'all'), ('0.50:0.95', 'medium'), ('0.50:0.95', 'large')]
    assert lines == [(kind, *row) for kind in ('AP', 'AR') for row in rows]


# Training

def test_training_prints_the_classic_lines(trained):
    steps = re.findall(r'^epoch: (\d+) step: (\d+), loss is ([-+.\de]+)$', trained.out, re.M)
    num_steps = len(steps) // 2
    assert num_steps >= 2
    assert [(int(epoch), int(step)) for epoch, step, _ in steps] == [
        (epoch, step) for epoch in (1, 2) for step in range(1, num_steps + 1)]
    assert len(re.findall(r'^Epoch time: \d+\.\d+ ms, per step time: \d+\.\d+ ms$', trained.out, re.M)) == 2


def test_training_logs_every_step(trained):
    lines = (trained.folder / 'pose_metrics.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines]
    printed = re.findall(r'^epoch: (\d+) step: (\d+), loss is ([-+.\de]+)$', trained.out, re.M)
    assert [(record['epoch'], record['step'], f'{record["loss"]:.6g}') for record in records] == [
        (int(epoch), int(step), loss) for epoch, step, loss in printed]
    for record in records:
        assert set(record) == {'epoch', 'step', 'loss', 'lr', 'seconds', 'data_seconds'}
        assert record['loss'] > 0 and record['lr'] >= 0 and record['seconds'] > record['data_seconds'] >= 0


def test_training_ends_with_its_speed_and_its_checkpoint(trained):
    speed, checkpoint = trained.out.splitlines()[-2:]
    assert checkpoint == f'checkpoint: {trained.checkpoint}'
    assert speed.startswith('speed: ')
    numbers = json.loads(speed[len('speed: '):])
    assert set(numbers) == {'fps', 'step_ms', 'data_wait_share', 'steps', 'warm_up_steps', 'devices', 'device_target',
                            'batch_size', 'recipe'}
    assert numbers['fps'] == pytest.approx(3 / numbers['step_ms'] * 1000, rel=1e-2) and numbers['fps'] > 0
    assert 0 <= numbers['data_wait_share'] < 1 and numbers['steps'] + numbers['warm_up_steps'] == trained.num_steps
    assert (numbers['devices'], numbers['device_target'], numbers['batch_size']) == (1, 'CPU', 3)
    assert numbers['recipe'] == trained.recipe


def test_checkpoint_carries_its_configuration(trained, data):
    weights, config = read_checkpoint(trained.checkpoint)
    recipe = load_recipe(trained.recipe)
    assert config.MODEL.STEM_CHANNELS == 8 and config.TRAIN.END_EPOCH == 2 and config.TRAIN.BATCH_SIZE == 3
    root = config.DATASET.ROOT
    assert root == str(data)
    assert config.MODEL.IMAGE_SIZE == [96, 128] and config.TRAIN.LR == recipe.TRAIN.LR
    assert weights and all(np.isfinite(value).all() for value in weights.values())
    has_matplotlib = importlib.util.find_spec('matplotlib') is not None
    assert sorted(os.listdir(trained.folder)) == [
        'pose.ckpt', *['pose_curve.png'] * has_matplotlib, 'pose_metrics.jsonl', 'pose_states']
    # One state for each epoch, and the lock, which holds nothing.
    assert sorted(os.listdir(trained.folder / 'pose_states')) == [
        '.lock', *(f'step_{step:08d}.ckpt' for step in (trained.num_steps // 2, trained.num_steps))]


def test_training_can_start_from_a_checkpoint(trained, data, tmp_path):
    out = train(trained.recipe, data, tmp_path / 'next.ckpt',
                f'--epoch 0 --pretrained true --pretrained_path {trained.checkpoint}')
    start, count, total = re.search(r'^(start): (\d+) of (\d+) parameters from', out, re.M).groups()
    assert start and count == total
    wanted, got = load_arrays(trained.checkpoint), load_arrays(tmp_path / 'next.ckpt')
    assert set(wanted) == set(got)
    assert all(np.array_equal(wanted[name], got[name]) for name in wanted)


def test_the_state_of_a_run_can_be_evaluated_and_trained_from(trained, data, tmp_path):
    """Its weights are those of the checkpoint; what belongs to the optimiser is left out."""
    state = trained.folder / 'pose_states' / f'step_{trained.num_steps:08d}.ckpt'
    wanted, got = load_arrays(trained.checkpoint), load_arrays(state)
    assert list(wanted) == list(got) and all(np.array_equal(wanted[name], got[name]) for name in wanted)
    train(trained.recipe, data, tmp_path / 'next.ckpt', f'--epoch 0 --pretrained_path {state}')
    started = load_arrays(tmp_path / 'next.ckpt')
    assert all(np.array_equal(wanted[name], started[name]) for name in wanted)


def test_weights_depend_on_the_seed_and_on_nothing_else(data, tmp_path):
    """Neither on the run nor on the number of loader processes, of which 0 and 1 are the same thread."""
    runs = {}
    for name, arguments in (('0', '--num_parallel_workers 0'), ('2', '--num_parallel_workers 2'),
                            ('other', '--num_parallel_workers 0 --set GENERAL.SEED=2')):
        train(SIMPLE_POSE, data, tmp_path / f'{name}.ckpt', f'--epoch 1 {TOY} {arguments}')
        runs[name] = load_arrays(tmp_path / f'{name}.ckpt')
    different = [key for key, value in runs['0'].items() if not np.array_equal(value, runs['2'][key])]
    assert not different, different[:3]
    assert not np.array_equal(runs['0']['conv1.weight'], runs['other']['conv1.weight'])


# A run that is killed

SAVE_HALF = '''
import os, runpy, signal, sys
import src
import mindspore as ms
save = ms.save_checkpoint
def save_half(entries, path, **options):
    save(entries, path, **options)
    os.chmod(path, 0o644)
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
ms.save_checkpoint = save_half
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def test_kill_in_the_middle_of_saving_keeps_the_last_checkpoint(data, tmp_path):
    """The worst moment: half of the new file is written and the old one is still wanted."""
    path = tmp_path / 'pose.ckpt'
    train(SIMPLE_POSE, data, path, '--epoch 0')
    before = path.read_bytes()
    arguments = (f'--recipe {SIMPLE_POSE} --data_url {data} --ckpt_save_path {path} --batch_size 3 --epoch 0 '
                 f'{TINY[SIMPLE_POSE]} GENERAL.SEED=2').split()
    done = subprocess.run([sys.executable, '-c', SAVE_HALF, str(ROOT / 'train.py'), *arguments],
                          env=PROCESS_ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before


def test_kill_during_training_leaves_no_half_checkpoint(data, tmp_path):
    path = tmp_path / 'pose.ckpt'
    arguments = (f'--recipe {SIMPLE_POSE} --data_url {data} --ckpt_save_path {path} --batch_size 3 --epoch 100000 '
                 f'{TINY[SIMPLE_POSE]}').split()
    process = subprocess.Popen([sys.executable, str(ROOT / 'train.py'), *arguments], stdout=subprocess.PIPE, text=True,
                               env=PROCESS_ENVIRONMENT)
    try:
        # The line of the third epoch comes right before its checkpoint is written.
        seen = 0
        while seen < 3:
            line = process.stdout.readline()
            assert line, 'the training ended by itself'
            seen += line.startswith('Epoch time')
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    weights, config = read_checkpoint(str(path))
    assert weights and config.TRAIN.END_EPOCH == 100000
    for line in (tmp_path / 'pose_metrics.jsonl').read_text().splitlines()[:-1]:
        json.loads(line)


# Evaluation and inference

@pytest.mark.parametrize('boxes', ['--use_gt_bbox', '--det_file_url {data}/annotations/val2017_detections.json'])
def test_evaluation_prints_ten_numbers_and_writes_results(trained, data, tmp_path, boxes):
    out = run('eval', f'--ckpt_path {trained.checkpoint} --save_path {tmp_path}/new/results.json '
              + boxes.format(data=data))
    assert_ten_numbers(out)
    people = len(load_json(data / 'annotations' / 'val2017_detections.json'))
    assert re.search(rf'^AP -?\d\.\d{{4}} with {people} of {people} .* on 4 pictures', out, re.M)
    results = load_json(tmp_path / 'new' / 'results.json')
    assert_coco_results(results, {1, 2, 3, 4})
    assert sorted(os.listdir(tmp_path / 'new')) == ['results.json', 'results_settings.json']


@pytest.fixture
def reads(monkeypatch):
    """How often each JSON file is parsed, whoever parses it."""
    seen = collections.Counter()
    load = json.loads

    def count(text, **options):
        if len(text) > 1000:
            seen[hash(text)] += 1
        return load(text, **options)

    monkeypatch.setattr('src.system.files.json.loads', count)
    return seen


@pytest.mark.parametrize('boxes', ['--use_gt_bbox', ''])
def test_an_evaluation_parses_each_file_once(trained, data, tmp_path, reads, boxes):
    """The annotation file serves people, pictures, the evaluator and the table of keypoints."""
    boxes = boxes or f'--det_file_url {data}/annotations/val2017_detections.json'
    run('eval', f'--ckpt_path {trained.checkpoint} --data_url {data} --save_path {tmp_path}/r.json {boxes}')
    assert reads and set(reads.values()) == {1}


def test_a_training_with_evaluation_parses_each_file_once(data, tmp_path, reads):
    train(SIMPLE_POSE, data, tmp_path / 'pose.ckpt', 'TRAIN.EVAL_EPOCHS=1 TEST.USE_GT_BBOX=true --epoch 2')
    assert len(reads) == 2 and set(reads.values()) == {1}


def test_evaluation_takes_data_and_recipe_from_the_checkpoint_or_from_the_flags(trained, data, tmp_path):
    copy = shutil.copytree(data, tmp_path / 'copy')
    out = run('eval', f'--ckpt_path {trained.checkpoint} --save_path {tmp_path}/results.json --use_gt_bbox '
              f'--recipe {trained.recipe} --data_url {copy} {TINY[trained.recipe]} MODEL.IMAGE_SIZE=[96,128]')
    assert f'recipe: {trained.recipe}' in out and f'ground truth: {copy}' in out


def test_inference_draws_every_picture_and_names_what_has_no_partner(trained, data, tmp_path):
    shutil.copytree(data / 'val2017', tmp_path / 'pictures')
    # A photograph that lies on its side.
    photograph = tmp_path / 'pictures' / '000000000002.jpg'
    photograph.write_bytes(with_orientation(photograph.read_bytes(), 6))
    boxes = load_json(data / 'annotations' / 'val2017_detections.json')
    boxes = [box for box in boxes if box['image_id'] != 3] + [{**boxes[0], 'image_id': 77}]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    out = run('infer', f'--ckpt_path {trained.checkpoint} --data_url {tmp_path}/pictures --score_thresh -1 '
              f'--keypoint_thresh -1 --det_file_url {tmp_path}/boxes.json --img_save_dir {tmp_path}/drawn')
    assert 'boxes without a picture: image ids 77\n' in out
    assert 'pictures without a box: image ids 3\n' in out
    assert '1 on unknown images' in out
    assert sorted(os.listdir(tmp_path / 'drawn')) == [f'{number}_res.jpg' for number in (1, 2, 3, 4)] + ['results.json']
    assert_coco_results(load_json(tmp_path / 'drawn' / 'results.json'), {1, 2, 4})
    for number in (1, 2, 3, 4):
        before = cv2.imread(str(tmp_path / 'pictures' / f'{number:012d}.jpg')).astype(int)
        after = cv2.imread(str(tmp_path / 'drawn' / f'{number}_res.jpg')).astype(int)
        assert before.shape == after.shape == ((240, 180, 3) if number == 2 else (180, 240, 3))
        # JPEG changes every pixel a little, a drawing some of them a lot.
        assert (np.abs(before - after).max() > 120) == (number != 3)
    # People are drawn above the threshold, not at it.
    scores = [record['score'] for record in load_json(tmp_path / 'drawn' / 'results.json')]
    threshold = sorted(scores)[len(scores) // 2]
    out = run('infer', f'--ckpt_path {trained.checkpoint} --data_url {tmp_path}/pictures --score_thresh {threshold!r} '
              f'--det_file_url {tmp_path}/boxes.json --img_save_dir {tmp_path}/drawn')
    assert f'\n{sum(score > threshold for score in scores)} of {len(scores)} poses score above' in out


@pytest.mark.parametrize('recipe, threshold', [(MSPN, 0.7), (SIMPLE_POSE, 0.2)])
def test_what_an_inference_draws_unless_told_otherwise(recipe, threshold, monkeypatch):
    """People above 0.7; keypoints by the network, since MSPN's scores begin at 0.5."""
    from src.inference import numbered
    assert numbered.CLASSIC_SCORE == 0.7
    thresholds, nobody = [], np.zeros(0, int)
    monkeypatch.setattr('src.visualization.write_picture', lambda *_: None)
    monkeypatch.setattr('src.visualization.draw_people',
                        lambda *_, **options: thresholds.append(options['keypoint_score_thresh']))
    poses = SimpleNamespace(people=nobody, keypoints=np.zeros((0, 17, 3)), hypotheses=nobody)
    people = SimpleNamespace(image_index=nobody, boxes_xywh=np.zeros((0, 4)))
    numbered.draw_results(SimpleNamespace(keypoint_thresh=None, img_save_dir='.'), load_recipe(recipe), people, poses,
                          nobody, np.zeros(0), SimpleNamespace(image_ids=[1], paths=[b'1.jpg'], read=str), COCO, [])
    assert thresholds == [threshold]


# Recipes and shell scripts

def test_default_recipe_is_that_of_the_course_port(data, tmp_path):
    recipe = load_recipe(DEFAULT_RECIPE)
    assert recipe.MODEL.STEM_POOL == 'same' and recipe.DATASET.NORMALISE_BEFORE_SCALING is True
    for name in ('mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192'):
        other = load_recipe(name)
        assert other.MODEL.STEM_POOL == 'symmetric' and other.DATASET.NORMALISE_BEFORE_SCALING is False
    # Its own training set, train2014, is not here.
    out = run('train', f'--data_url {data} --epoch 0 --ckpt_save_path {tmp_path}/pose.ckpt --batch_size 3 '
              f'{TINY[MSPN]} DATASET.TRAIN_SET=train2017')
    assert f'recipe: {DEFAULT_RECIPE} (mspn_2stg)' in out
    _, config = read_checkpoint(str(tmp_path / 'pose.ckpt'))
    assert config.MODEL.STEM_POOL == 'same' and config.DATASET.NORMALISE_BEFORE_SCALING is True


@pytest.mark.parametrize('path', sorted((ROOT / 'scripts').glob('*.sh')), ids=lambda path: path.name)
def test_shell_script_has_no_syntax_error(path):
    done = subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


# Real pictures

@pytest.fixture(scope='module')
def trained_on_coco(tmp_path_factory):
    if not COCO_MINI.is_dir():
        pytest.skip(f'needs {COCO_MINI}, a small part of COCO that is not in the repository')
    folder = tmp_path_factory.mktemp('coco')
    people = sum(any(each['keypoints'][2::3]) for each in
                 load_json(COCO_MINI / 'annotations' / 'person_keypoints_train2017.json')['annotations'])
    # Two steps, the remainder left out.
    out = train(SIMPLE_POSE, COCO_MINI, folder / 'pose.ckpt', f'--epoch 1 --batch_size {people // 2}')
    return Trained(SIMPLE_POSE, folder, out)


def labelled_people() -> list:
    annotations = load_json(COCO_MINI / 'annotations' / 'person_keypoints_val2017.json')['annotations']
    return [each for each in annotations if each['num_keypoints'] > 0 and not each['iscrowd']]


def test_training_on_coco(trained_on_coco):
    assert re.findall(r'^epoch: 1 step: (\d), loss is', trained_on_coco.out, re.M) == ['1', '2']


@pytest.mark.parametrize('kind', ['ground_truth', 'detections'])
def test_evaluation_on_coco(trained_on_coco, tmp_path, kind):
    people = labelled_people()
    boxes = '--use_gt_bbox'
    if kind == 'detections':
        (tmp_path / 'boxes.json').write_text(json.dumps(
            [{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'], 'score': 1.0} for each in people]))
        boxes = f'--det_file_url {tmp_path}/boxes.json'
    out = run('eval', f'--ckpt_path {trained_on_coco.checkpoint} --save_path {tmp_path}/results.json {boxes}')
    assert_ten_numbers(out)
    # The annotation file has people without keypoints and a crowd as well.
    offered = 118 if kind == 'ground_truth' else len(people)
    assert f'{len(people)} of {offered} ' in out
    results = load_json(tmp_path / 'results.json')
    assert_coco_results(results, {each['image_id'] for each in people})


def test_inference_on_coco(trained_on_coco, tmp_path):
    image_ids = sorted({each['image_id'] for each in labelled_people()})[:5]
    os.mkdir(tmp_path / 'pictures')
    for image_id in image_ids:
        shutil.copy(COCO_MINI / 'val2017' / f'{image_id:012d}.jpg', tmp_path / 'pictures')
    (tmp_path / 'boxes.json').write_text(json.dumps(
        [{'image_id': each['image_id'], 'category_id': 1, 'bbox': each['bbox'], 'score': 1.0}
         for each in labelled_people() if each['image_id'] in image_ids]))
    out = run('infer', f'--ckpt_path {trained_on_coco.checkpoint} --data_url {tmp_path}/pictures --score_thresh 0 '
              f'--det_file_url {tmp_path}/boxes.json --img_save_dir {tmp_path}/drawn')
    assert 'without a' not in out
    assert set(os.listdir(tmp_path / 'drawn')) == {f'{image_id}_res.jpg' for image_id in image_ids} | {'results.json'}
    assert_coco_results(load_json(tmp_path / 'drawn' / 'results.json'), set(image_ids))
