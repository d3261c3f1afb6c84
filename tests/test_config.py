"""Recipes, flags and overrides: what resolves to which value, what is refused, and the learning rates of a run."""
import argparse
import re

import numpy as np
import pytest
from easydict import EasyDict

from src.config import (
    DEFAULT_RECIPE,
    differing_keys,
    from_json,
    heatmap_size_key,
    input_shape,
    load_recipe,
    parse_value,
    recipe_names,
    resolve,
    set_value,
    to_json,
)
from src.data.skeletons import get_skeleton
from src.flags import TEST_FLAGS, TRAIN_FLAGS, add_config_flags, read_overrides
from src.models.registry import heatmap_section, known_networks, network_name
from src.training.schedules import learning_rates

# The flag table of train.py.
TRAIN_DEFAULTS = {
    'lr': 5e-4, 'min_lr': 0.0, 'epoch': 5, 'pretrained': True, 'batch_size': 62, 'stage_num': 2,
    'img_means': [0.406, 0.456, 0.485], 'img_stds': [0.225, 0.224, 0.229], 'keypoint_num': 17,
    'input_shape': [256, 192], 'output_shape': [64, 48], 'upsample_channel_num': 256, 'ohkm': True, 'topk': 8,
    'coarse_to_fine': True, 'num_parallel_workers': 4, 'pretrained_path': './mspn.ckpt',
    'ckpt_save_path': './mspn_new.ckpt', 'gt_file_url': './annotation/gt_json/train_val_minus_minival_2014.json'}


def value_of(config, key):
    section, name = key.split('.')
    return config[section][name]


def parse(words, flags=TRAIN_FLAGS, recipe=DEFAULT_RECIPE):
    """Command-line words -> resolved configuration, as the scripts do it."""
    parser = argparse.ArgumentParser()
    add_config_flags(parser, flags, default_recipe=DEFAULT_RECIPE)
    tree = load_recipe(recipe)
    return resolve(tree, read_overrides(parser.parse_args(words.split()), flags, tree))


# Recipes

@pytest.mark.parametrize('name', recipe_names())
def test_shipped_recipe(name):
    config = load_recipe(name)
    assert resolve(config, {}) == config
    network, variant, dataset, size = re.fullmatch(r'(\w+?)_(\w+)_([a-z0-9]+)_(\d+x\d+)', name).groups()
    height, width = map(int, size.split('x'))
    assert input_shape(config) == (height, width)
    assert value_of(config, heatmap_size_key(config)) == [width // 4, height // 4]
    families = {'mspn': 'mspn', 'simplepose': 'pose_resnet', 'hrnet': 'hrnet', 'mipnet': 'mipnet'}
    family = 'pose_mobilenet' if variant.startswith('mobilenetv2') else families[network]
    assert family == config.MODEL.NAME
    if not variant.endswith('small'):
        assert network_name(config) in known_networks()
        assert f'{network}_{variant}_'.startswith(f'{network_name(config)}_')
    protocol = 'coco' if dataset in ('synthetic', 'pairs', 'people18k') else dataset
    layout = 'coco' if dataset == 'ochuman' else protocol
    assert (protocol, layout) == (config.DATASET.PROTOCOL, config.DATASET.SKELETON)
    assert get_skeleton(config.DATASET.SKELETON).num_keypoints == config.MODEL.NUM_JOINTS


def test_default_recipe_is_shipped_and_base_is_none():
    assert DEFAULT_RECIPE in recipe_names() and 'base' not in recipe_names()


def test_recipe_does_not_share_its_values():
    one, other = load_recipe(DEFAULT_RECIPE), load_recipe(DEFAULT_RECIPE)
    one.MODEL.IMAGE_SIZE[0] = 1
    assert other.MODEL.IMAGE_SIZE == [192, 256]
    resolved = resolve(other, {'TRAIN.LR': 1})
    resolved.DATASET.MEANS[0] = 9
    assert other.DATASET.MEANS[0] == 0.406 and other.TRAIN.LR == 5e-4


@pytest.mark.parametrize('flag, default', TRAIN_DEFAULTS.items(), ids=TRAIN_DEFAULTS)
def test_defaults_of_the_training_flags(flag, default):
    config = load_recipe(DEFAULT_RECIPE)
    key = heatmap_size_key(config) if TRAIN_FLAGS[flag] == 'HEATMAP_SIZE' else TRAIN_FLAGS[flag]
    value = value_of(config, key)
    # Shapes are (height, width), the tree's sizes (width, height).
    assert (value[::-1] if flag in ('input_shape', 'output_shape') else value) == default
    assert type(value) is type(default)


def test_defaults_of_the_simple_pose_keys():
    config = load_recipe('simplepose_r50_coco_256x192')
    expected = {
        'POSE_RESNET.HEATMAP_SIZE': [48, 64], 'MODEL.IMAGE_SIZE': [192, 256], 'MODEL.NUM_JOINTS': 17,
        'POSE_RESNET.NUM_LAYERS': 50, 'POSE_RESNET.DECONV_WITH_BIAS': False, 'POSE_RESNET.NUM_DECONV_LAYERS': 3,
        'POSE_RESNET.NUM_DECONV_FILTERS': [256] * 3, 'POSE_RESNET.NUM_DECONV_KERNELS': [4] * 3,
        'POSE_RESNET.FINAL_CONV_KERNEL': 1, 'POSE_RESNET.TARGET_TYPE': 'gaussian', 'POSE_RESNET.SIGMA': 2,
        'LOSS.USE_TARGET_WEIGHT': True, 'DATASET.FLIP': True, 'DATASET.ROT_FACTOR': 40, 'DATASET.SCALE_FACTOR': 0.3,
        'DATASET.TRAIN_SET': 'train2017', 'DATASET.TEST_SET': 'val2017', 'TRAIN.BATCH_SIZE': 64,
        'TRAIN.BEGIN_EPOCH': 0, 'TRAIN.END_EPOCH': 140, 'TRAIN.LR': 0.001, 'TRAIN.LR_FACTOR': 0.1,
        'TRAIN.LR_STEP': [90, 120], 'TRAIN.SCHEDULE': 'step', 'TRAIN.WEIGHT_DECAY': 0, 'TEST.BATCH_SIZE': 32,
        'TEST.FLIP_TEST': True, 'TEST.POST_PROCESS': True, 'TEST.SHIFT_HEATMAP': True, 'TEST.USE_GT_BBOX': False,
        'TEST.OKS_THRE': 0.9, 'TEST.IN_VIS_THRE': 0.2, 'TEST.BBOX_THRE': 1, 'TEST.IMAGE_THRE': 0, 'TEST.NMS_THRE': 1,
        'TEST.OKS_NMS': True, 'TEST.COCO_BBOX_FILE': 'experiments/COCO_val2017_detections_AP_H_56_person.json',
        'DATASET.MEANS': [0.485, 0.456, 0.406], 'DATASET.STDS': [0.229, 0.224, 0.225]}
    assert {key: value_of(config, key) for key in expected} == expected
    large = load_recipe('simplepose_r152_coco_384x288')
    assert (large.POSE_RESNET.NUM_LAYERS, large.POSE_RESNET.SIGMA, large.POSE_RESNET.HEATMAP_SIZE,
            large.MODEL.IMAGE_SIZE) == (152, 3, [72, 96], [288, 384])


def test_settings_of_the_mspn_release():
    config = load_recipe('mspn_2stg_coco_256x192')
    expected = {'TRAIN.LR': 5e-4, 'TRAIN.LR_TIMES_DEVICES': True, 'TRAIN.BATCH_SIZE': 32, 'TRAIN.WARMUP_STEPS': 2400,
                'TRAIN.WARMUP_FACTOR': 0.1, 'TRAIN.WEIGHT_DECAY': 1e-5, 'TRAIN.SCHEDULE': 'linear',
                'DATASET.ROT_FACTOR': 45, 'DATASET.SCALE_FACTOR': 0.25, 'DATASET.HALF_BODY_PROBABILITY': 0.3,
                'DATASET.RANDOM_EXTENSION': True, 'TEST.BLUR_KERNEL': 5, 'TEST.OKS_NMS': False,
                'TEST.IMAGE_THRE': 0, 'MODEL.STEM_POOL': 'symmetric', 'DATASET.NORMALISE_BEFORE_SCALING': False}
    assert {key: value_of(config, key) for key in expected} == expected
    port = load_recipe(DEFAULT_RECIPE)
    assert port.MODEL.STEM_POOL == 'same' and port.DATASET.NORMALISE_BEFORE_SCALING
    assert (port.TRAIN.SCHEDULE, port.TRAIN.WEIGHT_DECAY, port.TRAIN.WARMUP_STEPS) == ('cosine', 0, 0)


@pytest.mark.parametrize('name, expected', [
    ('mipnet_hrnet_w32_coco_256x192', ('hrnet', 32, 2, [0, 0, 1, 1], [192, 256], 2, 32, 110, [70, 100])),
    ('mipnet_hrnet_w48_coco_384x288', ('hrnet', 48, 2, [0, 0, 1, 1], [288, 384], 3, 10, 110, [70, 100])),
    ('mipnet_hrnet_w32_3inst_coco_256x192', ('hrnet', 32, 3, [0, 0, 1, 1], [192, 256], 2, 20, 110, [70, 100])),
    ('mipnet_hrnet_w48_4inst_coco_384x288', ('hrnet', 48, 4, [0, 0, 1, 1], [288, 384], 3, 16, 110, [70, 100])),
    ('mipnet_hrnet_w32_crowdpose_384x288', ('hrnet', 32, 2, [0, 0, 1, 1], [288, 384], 3, 32, 210, [170, 200])),
    ('mipnet_hrnet_w48_crowdpose_256x192', ('hrnet', 48, 2, [0, 0, 1, 1], [192, 256], 2, 10, 210, [170, 200])),
    ('mipnet_r101_crowdpose_384x288', ('pose_resnet', 101, 2, [0, 0, 0, 1], [288, 384], 3, 16, 210, [90, 120])),
    ('mipnet_hrnet_w48_ochuman_384x288', ('hrnet', 48, 2, [0, 0, 1, 1], [288, 384], 3, 10, 110, [70, 100])),
    ('mipnet_r152_coco_384x288', ('pose_resnet', 152, 2, [0, 0, 1, 1], [288, 384], 3, 32, 110, [70, 100]))])
def test_settings_of_the_mipnet_release(name, expected):
    config = load_recipe(name)
    backbone = config.MIPNET.BACKBONE
    size = config.HRNET.WIDTH if backbone == 'hrnet' else config.POSE_RESNET.NUM_LAYERS
    train, data = config.TRAIN, config.DATASET
    assert (backbone, size, config.MIPNET.NUM_INSTANCES, config.MIPNET.SE_MODULES, config.MODEL.IMAGE_SIZE,
            config[heatmap_section(config)].SIGMA, train.BATCH_SIZE, train.END_EPOCH, train.LR_STEP) == expected
    assert (train.LR, train.WEIGHT_DECAY, train.WARMUP_STEPS, train.SCHEDULE) == (1e-3, 0, 0, 'step')
    augmentation = (data.ROT_FACTOR, data.SCALE_FACTOR, data.HALF_BODY_PROBABILITY, data.COLOR_RGB)
    published = {'hrnet': (45, 0.35, 0.3, True), 'pose_resnet': (40, 0.3, 0, False)}
    assert augmentation == published[backbone]
    # More than two people: the release drops the last incomplete batch.
    assert (config.MIPNET.NUM_INSTANCES > 2) == train.DROP_REMAINDER
    joints = {'crowdpose': 14}.get(data.PROTOCOL, 17)
    assert (joints, joints == 17) == (config.MODEL.NUM_JOINTS, config.TEST.OKS_NMS)


def test_the_small_pair_differs_in_the_network_alone():
    one, two = load_recipe('simplepose_small_pairs_160x128'), load_recipe('mipnet_small_pairs_160x128')
    assert differing_keys(one, two) == ['MODEL.NAME', 'MIPNET.BACKBONE']


# Of each data set: rotation and scale factors, probability of half bodies, ground-truth boxes, OKS-NMS, epochs.
FAMILIES = {
    'mspn_2stg_mpii_256x256': (60, 0.25, 0.5, True, False, 331),
    'mspn_4stg_mpii_256x256': (60, 0.25, 0.5, True, False, 331),
    'mspn_2stg_crowdpose_256x192': (45, 0.25, 0.3, True, False, 164),
    'simplepose_r50_mpii_256x256': (30, 0.25, 0, True, False, 140),
    'simplepose_r152_mpii_384x384': (30, 0.25, 0, True, False, 140),
    'simplepose_r101_crowdpose_256x192': (40, 0.3, 0, True, True, 140),
    'hrnet_w32_coco_256x192': (45, 0.35, 0.3, False, True, 210),
    'hrnet_w48_coco_384x288': (45, 0.35, 0.3, False, True, 210),
    'hrnet_w32_mpii_256x256': (30, 0.25, 0, True, False, 210),
    'hrnet_w48_mpii_256x256': (30, 0.25, 0, True, False, 210),
    'hrnet_w48_crowdpose_384x288': (45, 0.35, 0.3, True, False, 210),
}


@pytest.mark.parametrize('name', FAMILIES)
def test_published_settings_of_the_data_sets(name):
    config, (network, variant, dataset, size) = load_recipe(name), name.split('_')
    keys = ('DATASET.ROT_FACTOR', 'DATASET.SCALE_FACTOR', 'DATASET.HALF_BODY_PROBABILITY', 'TEST.USE_GT_BBOX',
            'TEST.OKS_NMS', 'TRAIN.END_EPOCH')
    assert tuple(value_of(config, key) for key in keys) == FAMILIES[name]
    expected = {'TEST.BLUR_KERNEL': 9 if (network, dataset) == ('mspn', 'mpii') else 5,
                # The pixel constants are in the order of the network's input.
                'DATASET.COLOR_RGB': network == 'hrnet', 'DATASET.STDS': [0.225, 0.224, 0.229] if network == 'mspn'
                else [0.229, 0.224, 0.225]}
    if network == 'hrnet':
        expected.update({'HRNET.WIDTH': int(variant[1:]), 'HRNET.SIGMA': 3 if size == '384x288' else 2,
                         'TRAIN.LR': 1e-3, 'TRAIN.LR_STEP': [170, 200], 'TRAIN.WEIGHT_DECAY': 0,
                         'TRAIN.BATCH_SIZE': 24 if name == 'hrnet_w48_coco_384x288' else 32})
    assert {key: value_of(config, key) for key in expected} == expected


def test_recipe_of_ones_own(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text(f'BASE: {DEFAULT_RECIPE}\nTRAIN: {{LR: 1e-3, END_EPOCH: 7}}\n')
    config = load_recipe(str(path))
    assert config.TRAIN.LR == 0.001 and config.TRAIN.END_EPOCH == 7 and config.TRAIN.BATCH_SIZE == 62
    further = tmp_path / 'further.yaml'
    further.write_text(f'BASE: {path}\nTRAIN: {{END_EPOCH: 8}}\n')
    assert load_recipe(str(further)).TRAIN.LR == 0.001


@pytest.mark.parametrize('text, message', [
    ('TRAIN: {RATE: 1}', "unknown config key 'TRAIN.RATE'.* known here: TRAIN.BATCH_SIZE, .*TRAIN.LR"),
    ('TRAINING: {LR: 1}', "unknown config key 'TRAINING.LR'; did you mean TRAIN.LR. known here: .*TRAIN, TEST"),
    ('TRAIN: 3', 'TRAIN should be a section of keys, is 3'),
    ('- 1', 'should hold sections such as TRAIN, holds a list'), ('', 'holds null'),
    ('TRAIN: [', 'is not a YAML file'), ('TRAIN: {LR: fast}', 'TRAIN.LR: should be a number'),
    ('BASE: hrnet', "unknown recipe 'hrnet'.* --list_recipes shows all"), ('BASE: mine.yaml', 'builds on itself'),
    ('MODEL: {IMAGE_SIZE: [288, 384]}', 'POSE_RESNET.HEATMAP_SIZE should be a quarter'),
    ('MODEL: {NAME: vitpose}', 'MODEL.NAME should be one of mspn, pose_resnet, pose_mobilenet, hrnet, mipnet, is '
                               "'vitpose'"),
    ('DATASET: {PROTOCOL: mpii}', 'DATASET.PROTOCOL mpii needs DATASET.SKELETON mpii, not coco'),
    ('MIPNET: {SE_MODULES: [true, false]}', 'MIPNET.SE_MODULES should have 4 values, one for each place')], ids=str)
def test_wrong_recipe_is_explained(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.yaml').write_text(text)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        load_recipe('mine.yaml')


# Values

@pytest.mark.parametrize('value, like, expected', [
    *[(text, False, True) for text in ('true', 'True', ' YES ', 'on', '1', True, 1)],
    *[(text, True, False) for text in ('false', 'False', 'no', 'OFF', '0', False, 0)],
    *[(text, [1, 2], [256, 192]) for text in ('[256,192]', '256,192', '256 192', '(256, 192)', ' [ 256 , 192 ] ',
                                              [256, 192], (256, 192), ['256', 192.0])],
    ('0.406, 0.456 0.485', [1.0], [0.406, 0.456, 0.485]), ('90', [1, 2], [90]), ('[]', [1], []),
    ('5e-4', 0.1, 5e-4), (5, 0.1, 5.0), ('.5', 0.1, 0.5), ('62', 1, 62), (62.0, 1, 62), ('-3', 1, -3),
    ('./a b.ckpt', '', './a b.ckpt'), (None, 'x', ''), (2017, '', '2017')])
def test_values(value, like, expected):
    parsed = parse_value(value, like)
    assert parsed == expected and type(parsed) is type(expected)


@pytest.mark.parametrize('value, like, message', [
    ('maybe', True, 'should be true or false'), ('', True, 'should be true or false'), (2, True, 'true or false'),
    ('ten', 1, 'a whole number'), ('1.5', 1, 'a whole number'), (1.5, 1, 'a whole number'), (True, 1, 'a whole number'),
    ('fast', 0.1, 'should be a number'), ('nan', 0.1, 'finite'), ('-inf', 0.1, 'finite'), (None, 0.1, 'a number'),
    ([1], 0.1, 'a number'), (5, [1], 'should be a list'), ('256 wide', [1], 'a whole number'),
    ('1.5 2', [1], 'a whole number'), ([1], 'x', 'should be text')])
def test_values_of_another_kind(value, like, message):
    with pytest.raises(ValueError, match=message):
        parse_value(value, like)


@pytest.mark.parametrize('key', ['TRAIN.RATE', 'TRAIN', 'LR', 'train.lr', '', 'TRAIN.LR.X'])
def test_unknown_keys(key):
    with pytest.raises(ValueError, match='unknown config key'):
        set_value(load_recipe(DEFAULT_RECIPE), key, 1)


# Overrides

def test_overrides_of_the_command_line():
    config = parse('--lr 5e-3 --epoch 9 --ohkm false --img_means [0.1,0.2,0.3] --img_stds 1 2 3 --pretrained no '
                   '--batchsize 7 --data_url /data --set TRAIN.SEED=3'.replace('TRAIN.SEED', 'GENERAL.SEED'))
    assert (config.TRAIN.LR, config.TRAIN.END_EPOCH, config.LOSS.OHKM) == (5e-3, 9, False)
    assert config.DATASET.MEANS == [0.1, 0.2, 0.3] and config.DATASET.STDS == [1, 2, 3]
    assert not config.MODEL.INIT_WEIGHTS and config.TRAIN.BATCH_SIZE == 7
    assert config.DATASET.ROOT == '/data' and config.GENERAL.SEED == 3


@pytest.mark.parametrize('words', ['--input_shape 384 288', '--input_shape [384,288]', '--input_shape 384,288',
                                   '--input_shape 384 288 --output_shape 96 72', '--set MODEL.IMAGE_SIZE=[288,384]'])
@pytest.mark.parametrize('recipe', ['mspn_2stg_coco_256x192', 'simplepose_r50_coco_256x192'])
def test_heatmap_follows_the_input(recipe, words):
    config = parse(words, recipe=recipe)
    assert config.MODEL.IMAGE_SIZE == [288, 384]
    assert value_of(config, heatmap_size_key(config)) == [72, 96]


@pytest.mark.parametrize('words, message', [
    ('--input_shape 384 288 --output_shape 64 48', r'MSPN.HEATMAP_SIZE should be a quarter of .* is \[48, 64\]'),
    ('--output_shape 96 72', 'MSPN.HEATMAP_SIZE should be a quarter'),
    ('--input_shape 250 192', 'positive multiples of 32'), ('--input_shape 272 192', 'positive multiples of 32'),
    ('--input_shape 256', 'positive multiples of 32'),
    ('--lr 0', 'TRAIN.LR should be positive, is 0'), ('--min_lr=-1', 'TRAIN.MIN_LR should be zero or more'),
    ('--topk 18', 'LOSS.TOPK 18 is more than the 17'), ('--img_means 1 2', 'should have 3 values'),
    ('--epoch 1.5', 'TRAIN.END_EPOCH: should be a whole number'), ('--set TRAIN.LR', 'should be KEY=VALUE'),
    ('--set TRAIN.BEGIN_EPOCH=6', 'should not be above TRAIN.END_EPOCH 5'), ('--batch_size 0', 'positive'),
    ('--set TRAIN.SCHEDULE=wavy', 'should be one of step, linear, cosine'), ('--img_stds 1 0 1', 'STDS.*positive'),
    ('--set A.B=1', "unknown config key 'A.B'")])
def test_wrong_overrides(words, message):
    with pytest.raises(ValueError, match=message):
        parse(words)


def test_an_emptied_list_can_be_filled_again():
    """A checkpoint may carry LR_STEP: []."""
    carried = resolve(load_recipe(DEFAULT_RECIPE), {'TRAIN.LR_STEP': '[]'})
    assert resolve(carried, {'TRAIN.LR_STEP': '90'}).TRAIN.LR_STEP == [90]


@pytest.mark.parametrize('kernel', [0, 1, 4, -5])
def test_impossible_blur_kernel(kernel):
    with pytest.raises(ValueError, match='TEST.BLUR_KERNEL'):
        parse(f'--set TEST.BLUR_KERNEL={kernel}')


def test_unknown_flag(capsys):
    with pytest.raises(SystemExit):
        parse('--learning_rate 1')
    assert '--learning_rate' in capsys.readouterr().err


def test_set_wins_over_a_flag():
    assert parse('--lr 1 --set TRAIN.LR=2').TRAIN.LR == 2
    assert parse('--set TRAIN.LR=2 --set TRAIN.LR=3 DATASET.ROOT=a=b').DATASET.ROOT == 'a=b'


@pytest.mark.parametrize('flags', [TRAIN_FLAGS, TEST_FLAGS], ids=['train', 'test'])
def test_flags_set_keys_that_exist(flags):
    config = load_recipe(DEFAULT_RECIPE)
    for key in flags.values():
        value_of(config, heatmap_size_key(config) if key == 'HEATMAP_SIZE' else key)


def test_test_flags():
    config = parse('--batch_size 3 --num_parallel_workers 1 --det_file_url d.json --gt_file_url g.json', TEST_FLAGS)
    assert (config.TEST.BATCH_SIZE, config.TEST.NUM_PARALLEL_WORKERS) == (3, 1)
    assert (config.TEST.COCO_BBOX_FILE, config.DATASET.TEST_JSON) == ('d.json', 'g.json')
    assert config.TRAIN.BATCH_SIZE == 62


def test_early_stop_needs_evaluations():
    with pytest.raises(ValueError, match='TRAIN.EARLY_STOP counts evaluations .* set TRAIN.EVAL_EPOCHS'):
        parse('--set TRAIN.EARLY_STOP=2')
    assert parse('--set TRAIN.EARLY_STOP=2 TRAIN.EVAL_EPOCHS=1').TRAIN.EARLY_STOP == 2


@pytest.mark.parametrize('words, key, value', [
    ('--amp_level O3', 'TRAIN.AMP_LEVEL', 'O3'), ('--max_steps 7', 'TRAIN.MAX_STEPS', 7),
    ('--set TRAIN.CLIP_NORM=0', 'TRAIN.CLIP_NORM', 0.0), ('--set TRAIN.EMA_DECAY=0.999', 'TRAIN.EMA_DECAY', 0.999),
    ('--set TRAIN.SAVE_MINUTES=0', 'TRAIN.SAVE_MINUTES', 0.0), ('--set TRAIN.LOSS_SCALE=1e9', 'TRAIN.LOSS_SCALE', 1e9),
    ('--set TRAIN.TENSORBOARD=yes', 'TRAIN.TENSORBOARD', True), ('--set TRAIN.SYNC_BN=yes', 'TRAIN.SYNC_BN', True)])
def test_settings_of_the_training(words, key, value):
    got = value_of(parse(words), key)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize('name', [name for name in recipe_names() if 'people18k' not in name])
def test_recipes_leave_the_published_training_as_it_was(name):
    """Accumulation, clipping, running average, evaluations and limits are for those who ask for them."""
    train = load_recipe(name).TRAIN
    assert (train.ACCUMULATE, train.CLIP_NORM, train.EMA_DECAY, train.SYNC_BN) == (1, 0, 0, False)
    assert (train.MAX_STEPS, train.EVAL_EPOCHS, train.EARLY_STOP, train.TENSORBOARD) == (0, -1, 0, False)
    assert train.SAVE_MINUTES == 5 and train.KEEP_STATES == 3


def test_differing_keys():
    config = load_recipe(DEFAULT_RECIPE)
    other = resolve(config, {'TRAIN.LR': 1, 'DATASET.MEANS': '1 2 3'})
    assert differing_keys(config, config) == []
    assert differing_keys(config, other) == differing_keys(other, config) == ['DATASET.MEANS', 'TRAIN.LR']


# Configuration inside a checkpoint

@pytest.mark.parametrize('name', recipe_names())
def test_json_round_trip(name):
    config = load_recipe(name)
    text = to_json(config)
    assert '\n' not in text
    again = from_json(text, 'a.ckpt')
    assert again == config and isinstance(again.TRAIN, EasyDict)


def test_json_of_an_older_version_gets_the_defaults():
    assert from_json('{"TRAIN": {"LR": 0.5}}', 'a.ckpt').TRAIN.LR == 0.5
    assert from_json('{}', 'a.ckpt') == load_recipe('simplepose_r50_coco_256x192')


@pytest.mark.parametrize('text, message', [
    ('{', 'a.ckpt: its configuration is damaged'), ('[]', 'damaged'), ('{"TRAIN": 3}', 'damaged'),
    ('{"TRAIN": {"RATE": 1}}', "a.ckpt: unknown config key 'TRAIN.RATE'"),
    ('{"TRAIN": {"LR": "x"}}', 'a.ckpt: TRAIN.LR: should be a number'),
    ('{"MODEL": {"NAME": "vitpose"}}', 'MODEL.NAME should be one of')])
def test_wrong_json_is_explained(text, message):
    with pytest.raises(ValueError, match=message):
        from_json(text, 'a.ckpt')


# Learning rates

def rates_of(recipe, steps_per_epoch, num_devices=1, **train):
    config = load_recipe(recipe)
    config.TRAIN.update(train)
    return learning_rates(config.TRAIN, steps_per_epoch=steps_per_epoch, num_devices=num_devices)


def test_cosine_by_epochs():
    rates = rates_of(DEFAULT_RECIPE, 7)
    assert rates.shape == (35,) and rates.dtype == np.float32
    by_epoch = rates.reshape(5, 7)
    np.testing.assert_array_equal(by_epoch, by_epoch[:, :1].repeat(7, axis=1))
    np.testing.assert_allclose(by_epoch[:, 0], [5e-4, 4.523e-4, 3.273e-4, 1.727e-4, 4.775e-5], rtol=3e-4)
    assert rates_of(DEFAULT_RECIPE, 7, MIN_LR=1e-4)[-1] == pytest.approx(1e-4 + 4e-4 * 4.775e-5 / 5e-4, rel=1e-4)


def test_step_at_90_and_120():
    rates = rates_of('simplepose_r50_coco_256x192', 3)
    assert rates.shape == (420,)
    for first, last, rate in ((0, 90, 1e-3), (90, 120, 1e-4), (120, 140, 1e-5)):
        np.testing.assert_allclose(rates[3 * first:3 * last], rate, rtol=1e-6)
    np.testing.assert_allclose(rates_of('simplepose_r50_coco_256x192', 3, LR_STEP=[]), 1e-3, rtol=1e-6)


def test_linear_with_warm_up():
    rates = rates_of('mspn_2stg_coco_256x192', 600, END_EPOCH=160)
    step = np.arange(96000)
    expected = np.where(step < 2400, 0.1 + 0.9 * step / 2400, 1 - (step - 2400) / (96000 - 2400)) * 5e-4
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert rates[0] == pytest.approx(5e-5) and rates.argmax() == 2400 and rates[2400] == pytest.approx(5e-4)
    assert 0 < rates[-1] < 1e-8 and (np.diff(rates[2400:]) < 0).all()


def test_rates_scale_with_the_devices_where_published():
    np.testing.assert_allclose(rates_of('mspn_2stg_coco_256x192', 60, 8), 8 * rates_of('mspn_2stg_coco_256x192', 60))
    for recipe in (DEFAULT_RECIPE, 'simplepose_r50_coco_256x192'):
        np.testing.assert_array_equal(rates_of(recipe, 4, 8), rates_of(recipe, 4))


def test_a_run_shorter_than_its_warm_up():
    rates = rates_of('mspn_2stg_coco_256x192', 10, END_EPOCH=2)
    np.testing.assert_allclose(rates, 5e-4 * (0.1 + 0.9 * np.arange(20) / 2400), rtol=1e-6)
    assert rates_of('mspn_2stg_coco_256x192', 10, END_EPOCH=0).shape == (0,)


@pytest.mark.parametrize('recipe', recipe_names())
def test_rates_of_every_recipe_are_positive(recipe):
    rates = rates_of(recipe, 5)
    assert np.isfinite(rates).all() and (rates > 0).all() and rates.max() <= load_recipe(recipe).TRAIN.LR * 1.0001


@pytest.mark.parametrize('key, value', [
    ('DATASET.SCALE_FACTOR', '1.5'), ('DATASET.SCALE_FACTOR', '1'), ('DATASET.ROT_FACTOR', '-5'),
    ('MSPN.PLANES', '8 16 -1 4'), ('MSPN.BLOCKS', '0 1 1 1'), ('TRAIN.LR_STEP', '-3'), ('TEST.OKS_THRE', '-1'),
    ('DATASET.STDS', '0 1 1'), ('TRAIN.AMP_LEVEL', 'O4'), ('TRAIN.AMP_LEVEL', 'o2'), ('TRAIN.ACCUMULATE', '0'),
    ('TRAIN.CLIP_NORM', '-1'), ('TRAIN.EMA_DECAY', '1'), ('TRAIN.EMA_DECAY', '-0.1'), ('TRAIN.LOSS_SCALE', '1'),
    ('TRAIN.LOSS_SCALE', '0'), ('TRAIN.LOSS_SCALE_WINDOW', '0'), ('TRAIN.MAX_SKIPPED_STEPS', '0'),
    ('TRAIN.MAX_STEPS', '-1'), ('TRAIN.SAVE_MINUTES', '-1'), ('TRAIN.SAVE_STEPS', '-1'), ('TRAIN.KEEP_STATES', '0'),
    ('TRAIN.EVAL_EPOCHS', '-2'), ('TRAIN.EARLY_STOP', '-1'), ('TRAIN.STEPS_AHEAD', '-2')])
def test_values_out_of_range(key, value):
    with pytest.raises(ValueError, match=f'{key} should'):
        resolve(load_recipe(DEFAULT_RECIPE), {key: value})
