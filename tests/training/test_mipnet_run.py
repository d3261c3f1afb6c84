"""A training of MIPNet from its recipe to its checkpoint, and its start from a trained pose network."""
import re

import numpy as np
import pytest
from script_runs import SIMPLE_POSE, TINY
from training_runs import assert_same_ending, rows_of, train_here

from src.checkpoints.ckpt import read_checkpoint
from src.synthetic.writing import write_synthetic_coco

NUM_PEOPLE = 5
SMALL = f'--input_shape 64 64 {TINY[SIMPLE_POSE]}'
FLAGS = (f'--recipe mipnet_small_pairs_160x128 --data_url {{data}} --ckpt_save_path pose.ckpt --batch_size 1 '
         f'{SMALL} TRAIN.EMA_DECAY=0.9 TRAIN.KEEP_STATES=1 TRAIN.DROP_REMAINDER=false DATASET.ROT_FACTOR=30')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=4, num_val=2, seed=1, image_size=(240, 180))
    return folder


def weights_of(path):
    return read_checkpoint(str(path))[0]


def test_a_training_that_is_resumed_ends_as_one_that_is_not(data, tmp_path):
    """With a running average and a single crop in each step, interrupted in the middle of an epoch."""
    whole, halves = tmp_path / 'whole', tmp_path / 'halves'
    status, out = train_here(whole, data, '--epoch 2', flags=FLAGS)
    assert status == 0, out
    assert f'data: {NUM_PEOPLE} people' in out
    losses = [row['loss'] for row in rows_of(whole)]
    assert len(losses) == 2 * NUM_PEOPLE and sum(losses[NUM_PEOPLE:]) < sum(losses[:NUM_PEOPLE])
    assert train_here(halves, data, '--epoch 2 --max_steps 7', flags=FLAGS)[0] == 0
    status, out = train_here(halves, data, '--epoch 2 --resume auto', flags=FLAGS)
    assert status == 0, out
    assert_same_ending(halves, whole)


def test_a_trained_pose_network_is_the_start(data, tmp_path):
    """All of its weights, the head with them; the modulation, which it has not, keeps its initial weights."""
    status, out = train_here(tmp_path, data, '', flags=(
        f'--recipe {SIMPLE_POSE} --data_url {{data}} --ckpt_save_path simple.ckpt --epoch 0 --batch_size 2 {SMALL} '
        'GENERAL.SEED=5'))
    assert status == 0, out
    starts = {}
    for name, flag in (('started', '--pretrained_path simple.ckpt'), ('fresh', '')):
        status, out = train_here(tmp_path, data, f'--ckpt_save_path {name}.ckpt --epoch 0 {flag}', flags=FLAGS)
        assert status == 0, out
        starts[name] = weights_of(tmp_path / f'{name}.ckpt')
        if flag:
            taken, total, parts = re.search(r'start: (\d+) of (\d+) parameters from simple.ckpt \(.+\); '
                                            r'initial weights: (.+)', out).groups()
    pose = weights_of(tmp_path / 'simple.ckpt')
    modulation = [name for name in starts['started'] if name not in pose]
    assert (int(taken), int(total), parts) == (len(pose), len(pose) + len(modulation), 'layer3_se, layer4_se')
    assert modulation and all(name.startswith(('layer3_se.', 'layer4_se.')) for name in modulation)
    for name, value in starts['started'].items():
        np.testing.assert_array_equal(value, pose[name] if name in pose else starts['fresh'][name])
    assert any(not np.array_equal(pose[name], starts['fresh'][name]) for name in pose)
