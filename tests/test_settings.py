"""Every setting reaches its part: a change of a key of base.yaml, or of a flag, changes what the scripts do with it.

A row changes one thing and runs the root script, before and after, up to the part that should notice. Nothing looks at
the configuration itself: what is compared has been built, drawn, computed, written or passed on.
"""
import itertools
import re
from typing import Any, Callable, Dict, NamedTuple

import numpy as np
import pytest
from golden_data import operator_by_operator
from mindspore import Parameter, Tensor
from script_runs import ROOT
from settings_runs import (
    AT_THE_LOOP,
    PREDICTED,
    TINY_NETWORK,
    TWO_KINDS,
    WITHOUT_CURVE,
    WITHOUT_GRAPH,
    Run,
    Scripts,
    end_with,
    replace,
    watch,
)

from src.checkpoints.names import named_parameters
from src.config import key_comments, load_recipe, resolve
from src.system.device import Processes

BASE = load_recipe('base')
KEYS = [f'{section}.{name}' for section, values in BASE.items() for name in values]


@pytest.fixture(scope='module')
def scripts(tmp_path_factory):
    return Scripts(tmp_path_factory.mktemp('settings'))


class Observation(NamedTuple):
    """A run of a script and what to look at in it.

    Attributes:
        look: run -> arrays, numbers and text that the changed setting should change.
        script: that is run.
        places: where it is watched, see `Scripts.run`.
        flags: of every run.
    """

    look: Callable[[Run], Any]
    script: str
    places: Dict[str, Callable]
    flags: str = ''


def at_the_loop(look) -> Observation:
    """Of what train.py hands to the loop over the steps; full networks, nothing compiled."""
    return Observation(look, 'train', AT_THE_LOOP)


def at_the_loop_alone(look) -> Observation:
    """The same without the time that building a full network takes, where that is not looked at."""
    return Observation(look, 'train', {**AT_THE_LOOP, **TINY_NETWORK})


def of_a_loop(look) -> Observation:
    """Of a whole training whose steps do nothing."""
    return Observation(look, 'train', WITHOUT_GRAPH)


def of_a_training(look) -> Observation:
    """Of a whole training of a tiny network."""
    return Observation(look, 'train', {**WITHOUT_CURVE, **TINY_NETWORK})


def of_an_evaluation(look, flags: str = '--ckpt_path {folder}/start.ckpt') -> Observation:
    return Observation(look, 'eval', PREDICTED, flags)


INFERENCE_BOXES = ' --data_url {folder}/data/val2017 --det_file_url {folder}/boxes.json'
INFERENCE = '--ckpt_path {folder}/start.ckpt' + INFERENCE_BOXES


def of_an_inference(look, flags: str = INFERENCE) -> Observation:
    return Observation(look, 'infer', PREDICTED, flags)


# What is looked at. Training:

def weights(run: Run):
    return {name: each.asnumpy() for name, each in named_parameters(run['step'].loss_graph.network).items()}


def shapes(run: Run):
    return {name: each.shape for name, each in weights(run).items()}


def pooled(run: Run):
    network = run['step'].loss_graph.network
    pool = network.top.pool if hasattr(network, 'top') else network.maxpool
    return pool(Tensor(np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8))).asnumpy()


def normalised(run: Run):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 3), np.uint8)
    return run['step'].loss_graph.normaliser(Tensor(pixels)).asnumpy()


def _batches(run: Run):
    if 'an epoch' not in run.found:
        run.found['an epoch'] = list(itertools.islice(run['batches'], 4))
    return run.found['an epoch']


def crops(run: Run):
    """Pictures, joints and validity, whoever comes first."""
    people = [row for batch in _batches(run) for row in zip(*batch)]
    return [row[:3] for row in sorted(people, key=lambda row: row[3])]


def order(run: Run):
    return [rows for *_, rows in _batches(run)]


def targets(run: Run):
    _, joints, validity, _ = _batches(run)[0]
    labels, label_weights = run['step'].loss_graph.targets(Tensor(joints), Tensor(validity))
    return [each.asnumpy() for each in (labels if isinstance(labels, tuple) else (labels,))] + [label_weights.asnumpy()]


def loss(run: Run):
    *labels, label_weights = targets(run)
    label_weights = np.arange(label_weights.size).reshape(label_weights.shape) % 3
    outputs = [np.random.default_rng(number).random(labels[0].shape, np.float32) for number in range(4)]
    is_mspn = len(labels) > 1
    values = (tuple(map(Tensor, outputs)),) if is_mspn else Tensor(outputs[0])
    labels = tuple(map(Tensor, labels)) if is_mspn else Tensor(labels[0])
    return run['step'].loss_graph.loss(values, labels, Tensor(label_weights.astype(np.float32))).asnumpy()


def names_of_pictures(run: Run):
    return str(run['describe_rows'].__self__.paths)


def found(*names: str):
    return lambda run: [run[name] for name in names]


def metrics_rows(run: Run):
    assert run.status == 0, run.err
    return run.rows


def files(run: Run):
    return run.files


def trained_weights(run: Run):
    from src.checkpoints.ckpt import read_checkpoint
    assert run.status == 0, run.err
    return read_checkpoint(str(run.folder / 'pose.ckpt'))[0]


def end(run: Run):
    return run.status, re.sub(r'run_\w+', '', run.err)


# Evaluation and inference:

def heatmaps(run: Run):
    samples = run['samples']
    return run['predictor'].run(samples.test_samples(np.arange(2))[0])[0]


def decoded(run: Run):
    samples = run['samples']
    shape = (2, samples.skeleton.num_keypoints, samples.input_shape[0] // 4, samples.input_shape[1] // 4)
    _, centers, scales = samples.test_samples(np.arange(2))
    return run['predictor'].decode(np.random.default_rng(0).random(shape, np.float32), centers, scales)


def centers_and_scales(run: Run):
    return run['samples'].test_samples(np.arange(2))[1:]


def boxes(run: Run):
    samples = run['samples']
    return samples.people.boxes_xywh, samples.people.box_scores, str(samples.paths)


def results(run: Run):
    return run.json('results.json')


def numbers(run: Run):
    """The lines with metrics."""
    assert run.status == 0, run.err
    return re.findall(r'= (-?\d\.\d+)', run.out)


def evaluator(run: Run):
    """Who computed them; the numbers themselves are the same."""
    assert run.status == 0, run.err
    return re.findall('^evaluator: .*', run.out, re.M), 'official' in run.found


def canonical(value: Any) -> Any:
    """Return what compares with ==."""
    if isinstance(value, dict):
        return {key: canonical(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(each) for each in value]
    if isinstance(value, (Tensor, Parameter)):
        value = value.asnumpy()
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    return value


class Row(NamedTuple):
    """A setting that is changed, and what has to change with it.

    Attributes:
        key: of base.yaml, or a flag with its '--'.
        value: another one than in `start` and `also`; further keys may have to change with it.
        look: the observation.
        start: one of STARTS.
        also: settings before and after the change, in the recipe.
        given: the same, on the command line.
    """

    key: str
    value: Any
    look: Observation
    start: str = 'simplepose'
    also: Dict[str, Any] = {}
    given: Dict[str, Any] = {}

    def __str__(self) -> str:
        return f'{self.key}-{self.look.look.__name__}-{self.start}'


def rates_of_two() -> Observation:
    """Of the learning rates where there are two processes."""
    def calculate(seen, original):
        def end_with_rates(*values, **named):
            seen['rates'] = original(*values, **named)
            raise SystemExit(0)
        return end_with_rates

    return Observation(found('rates'), 'train', {
        'src.system.device.join_processes': replace(lambda *_: Processes('CPU', 0, 2)),
        'src.training.schedules.learning_rates': calculate})


def device(script: str) -> Observation:
    flags = {'train': '', 'eval': '--ckpt_path {folder}/start.ckpt', 'infer': INFERENCE,
             'export': '--ckpt_path {folder}/start.ckpt'}
    return Observation(found('target', 'device_id'), script, TWO_KINDS, flags[script])


def rows(keys: str, values, looks, **options):
    """Return the rows of several keys with one way of looking, or of one key with several."""
    looks = looks if isinstance(looks, list) else [looks]
    return [Row(key, value, look, **options) for key, value in zip(keys.split(), values) for look in looks]


SHAPES, WEIGHTS, RATES = at_the_loop(shapes), at_the_loop(weights), at_the_loop_alone(found('rates'))
CROPS, ORDER, TARGETS, LOSS = (at_the_loop_alone(each) for each in (crops, order, targets, loss))
HEATMAPS, DECODED, BOXES, RESULTS = (of_an_evaluation(each) for each in (heatmaps, decoded, boxes, results))
INFERRED = [of_an_inference(each) for each in (heatmaps, decoded)]
RANKED = [RESULTS, of_an_inference(lambda run: run.json('res_img/results.json'))]
FILES, METRICS_ROWS = of_a_loop(files), of_a_loop(metrics_rows)
TRAINED = of_a_training(trained_weights)
NORMALISED = [at_the_loop_alone(normalised), HEATMAPS, INFERRED[0]]

KEY_ROWS = [
    *(Row('DEVICE.TARGET', 'GPU', device(script), also={'DEVICE.TARGET': 'CPU'})
      for script in ('train', 'eval', 'infer', 'export')),
    *(Row('DEVICE.ID', 1, device(script), also={'DEVICE.TARGET': 'GPU'})
      for script in ('train', 'eval', 'infer', 'export')),
    *rows('GENERAL.SEED', [2], [WEIGHTS, ORDER]),
    # Everybody in one batch, or it would show in whom the order leaves out.
    *rows('GENERAL.SEED', [2], CROPS, also={'TRAIN.BATCH_SIZE': 100, 'TRAIN.DROP_REMAINDER': False}),
    *rows('MODEL.NAME', ['mspn'], [SHAPES, TARGETS, LOSS, CROPS, DECODED, RESULTS]),
    *rows('MODEL.NAME', ['mipnet'], [SHAPES, CROPS]),
    *rows('MODEL.INIT_WEIGHTS', ['true'], [WEIGHTS], also={'MODEL.PRETRAINED': '{folder}/start.ckpt'}),
    *rows('MODEL.PRETRAINED', ['{folder}/start.ckpt'], [WEIGHTS], also={'MODEL.INIT_WEIGHTS': 'true'}),
    *rows('MODEL.NUM_JOINTS', [16], [Observation(end, 'train', AT_THE_LOOP), Observation(end, 'eval', PREDICTED,
                                                                                          HEATMAPS.flags)]),
    *rows('MODEL.IMAGE_SIZE', [[96, 64]], [CROPS, TARGETS, HEATMAPS, DECODED]),
    *rows('MODEL.STEM_POOL', ['same'], at_the_loop(pooled)),
    *rows('MODEL.STEM_POOL', ['same'], at_the_loop(pooled), start='mspn'),
    *rows('MODEL.STEM_POOL', ['same'], at_the_loop(pooled), start='mipnet_resnet'),
    *rows('MODEL.STEM_CHANNELS', [4], SHAPES),
    *rows('MSPN.STAGE_NUM MSPN.UPSAMPLE_CHANNEL_NUM MSPN.PLANES MSPN.BLOCKS',
          [2, 4, [4, 8, 16, 16], [1, 1, 1, 2]], SHAPES, start='mspn'),
    *rows('MSPN.HEAD_SCALE', [2.0], WEIGHTS, start='mspn'),
    *rows('POSE_RESNET.NUM_LAYERS POSE_RESNET.DECONV_WITH_BIAS POSE_RESNET.NUM_DECONV_FILTERS '
          'POSE_RESNET.NUM_DECONV_KERNELS POSE_RESNET.FINAL_CONV_KERNEL',
          [34, 'true', [8, 8, 4], [4, 4, 2], 3], SHAPES),
    # A MIPNet takes all options of what it modulates; one of each stands for them.
    *rows('POSE_RESNET.DECONV_WITH_BIAS', ['true'], SHAPES, start='mipnet_resnet'),
    *rows('POSE_MOBILENET.WIDTH POSE_MOBILENET.LAST_CHANNELS POSE_MOBILENET.NUM_DECONV_FILTERS', [0.5, 0, [8, 8, 4]],
          SHAPES, start='mobilenet'),
    Row('POSE_MOBILENET.SIGMA', 3.0, TARGETS, 'mobilenet'),
    *rows('HRNET.WIDTH', [8], SHAPES, start='mipnet'),
    *(Row('POSE_RESNET.SIGMA', 3.0, TARGETS, start) for start in ('simplepose', 'mipnet_resnet')),
    *rows('HRNET.WIDTH HRNET.MODULES HRNET.BLOCKS', [8, [1, 2, 1], 2], SHAPES, start='hrnet'),
    *(Row('HRNET.SIGMA', 3.0, TARGETS, start) for start in ('hrnet', 'mipnet')),
    *rows('MIPNET.BACKBONE', ['pose_resnet'], SHAPES, start='mipnet'),
    *rows('MIPNET.NUM_INSTANCES', [3], [
        at_the_loop(lambda run: run['step'].loss_graph.network.codes), CROPS, TARGETS,
        of_an_evaluation(lambda run: run['predictor'].num_hypotheses), RESULTS], start='mipnet'),
    *rows('MIPNET.SE_MODULES', [[True, True, True, True]], SHAPES, start='mipnet'),
    *rows('MIPNET.SE_MODULES', [[True, True, True, True]], SHAPES, start='mipnet_resnet'),
    *rows('MIPNET.DECAY_THRE', [0.9], RANKED, start='mipnet'),
    *rows('LOSS.USE_TARGET_WEIGHT', ['false'], LOSS),
    *rows('LOSS.OHKM LOSS.TOPK LOSS.COARSE_TO_FINE', ['false', 4, 'false'], LOSS, start='mspn'),
    *rows('DATASET.PROTOCOL', ['ochuman'], of_an_evaluation(end)),
    *rows('DATASET.PROTOCOL', ['mpii'], of_an_inference(centers_and_scales), start='mspn_of_16'),
    *rows('DATASET.SKELETON', ['crowdpose'], [Observation(end, 'train', AT_THE_LOOP)]),
    *rows('DATASET.ROOT', ['{folder}/other'], [at_the_loop_alone(names_of_pictures), BOXES]),
    *rows('DATASET.TRAIN_JSON', ['{folder}/other/annotations/person_keypoints_train2017.json'], CROPS),
    *rows('DATASET.TEST_JSON', ['{folder}/other/annotations/person_keypoints_val2017.json'], of_an_evaluation(boxes),
          also={'TEST.USE_GT_BBOX': 'true'}),
    *rows('DATASET.CATEGORY', ['dog'], [Observation(end, 'train', AT_THE_LOOP), of_an_evaluation(end)]),
    *rows('DATASET.EXIF', ['upright'], [at_the_loop_alone(lambda run: run['describe_rows'].__self__.honour_exif),
                                        of_an_evaluation(lambda run: run['samples'].honour_exif)]),
    *(Row('DATASET.ENCODING', 'dark', TARGETS, start) for start in ('simplepose', 'mobilenet', 'hrnet', 'mipnet')),
    *(Row('DATASET.ENCODING', 'udp', look, start, {'TEST.SHIFT_HEATMAP': 'false'})
      for start in ('simplepose', 'mipnet') for look in (CROPS, TARGETS, DECODED)),
    Row('DATASET.ENCODING', 'udp', INFERRED[1], also={'TEST.SHIFT_HEATMAP': 'false'}),
    *rows('DATASET.TRAIN_SET', ['val2017'], at_the_loop_alone(names_of_pictures)),
    *rows('DATASET.TEST_SET', ['train2017'], BOXES),
    *rows('DATASET.COLOR_RGB DATASET.MEANS DATASET.STDS DATASET.NORMALISE_BEFORE_SCALING',
          ['true', [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 'true'], NORMALISED),
    *(row for start in ('simplepose', 'mspn', 'mipnet') for row in rows(
        'DATASET.FLIP DATASET.ROT_FACTOR DATASET.SCALE_FACTOR DATASET.HALF_BODY_PROBABILITY',
        ['false', 10, 0.1, 1.0], CROPS, start=start)),
    *rows('DATASET.RANDOM_EXTENSION', ['false'], CROPS, start='mspn'),
    *rows('DATASET.CUT_OFF_PROBABILITY DATASET.COVER_PROBABILITY DATASET.COLOR_JITTER', [1.0, 1.0, 0.5], CROPS),
    *rows('DATASET.ABSENT_AS_EMPTY', ['true'], CROPS, also={'DATASET.CUT_OFF_PROBABILITY': 1.0}),
    *rows('DATASET.PRECUT', ['precut'], FILES),
    *rows('TRAIN.BATCH_SIZE', [4], ORDER),
    *rows('TRAIN.DROP_REMAINDER', ['false'], METRICS_ROWS, also={'TRAIN.BATCH_SIZE': 3}),
    *rows('TRAIN.NUM_PARALLEL_WORKERS', [2], Observation(found('num_workers'), 'train', {
        **TINY_NETWORK, 'src.data.loader.iterate_in_processes': end_with('source'),
        'src.data.loader.cpu_count': replace(lambda: 8)}), also={'TRAIN.NUM_PARALLEL_WORKERS': 3}),
    *rows('TRAIN.BEGIN_EPOCH TRAIN.END_EPOCH', [1, 3], METRICS_ROWS),
    *rows('TRAIN.LR TRAIN.SCHEDULE TRAIN.MIN_LR TRAIN.WARMUP_STEPS', [0.5, 'linear', 1e-4, 2], RATES),
    *rows('TRAIN.LR_TIMES_DEVICES', ['true'], rates_of_two()),
    *rows('TRAIN.LR_FACTOR TRAIN.LR_STEP', [0.5, [2]], RATES, also={'TRAIN.SCHEDULE': 'step', 'TRAIN.LR_STEP': [1]}),
    *rows('TRAIN.WARMUP_FACTOR', [0.5], RATES, also={'TRAIN.WARMUP_STEPS': 2}),
    *rows('TRAIN.WEIGHT_DECAY TRAIN.CLIP_NORM TRAIN.EMA_DECAY TRAIN.AMP_LEVEL', [0.1, 1e-9, 0.9, 'O2'], TRAINED),
    *rows('TRAIN.FREEZE', ['trunk'], at_the_loop(lambda run: len(run['step'].optimizer.parameters))),
    *rows('TRAIN.RECOMPUTE', ['true'], Observation(
        lambda run: len(run['step'] and run.found.get('recomputed', ())), 'train',
        {**AT_THE_LOOP, 'src.training.setup.recompute_blocks': watch('recomputed', result=1)})),
    *rows('TRAIN.PRINT_STEP', [1], of_a_loop(lambda run: re.findall(r' step \d+ of \d+: loss', run.out))),
    # Half a batch twice instead of a batch once: the same people in a step.
    Row('TRAIN.ACCUMULATE', {'TRAIN.ACCUMULATE': 2, 'TRAIN.BATCH_SIZE': 2}, TRAINED, also={'TRAIN.BATCH_SIZE': 4}),
    *rows('TRAIN.ACCUMULATE', [2], ORDER),
    *rows('TRAIN.SYNC_BN', ['true'], at_the_loop(lambda run: len(run['step'] and run.found.get('synchronised', ())))),
    *rows('TRAIN.LOSS_SCALE TRAIN.LOSS_SCALE_WINDOW', [256.0, 2], of_a_training(metrics_rows),
          given={'TRAIN.AMP_LEVEL': 'O2'}),
    *rows('TRAIN.MAX_SKIPPED_STEPS', [2], of_a_loop(end), given={'TRAIN.AMP_LEVEL': 'O2'}),
    *rows('TRAIN.STEPS_AHEAD', [2], at_the_loop(found('steps_ahead'))),
    *rows('TRAIN.MAX_STEPS', [3], METRICS_ROWS),
    *rows('TRAIN.SAVE_MINUTES TRAIN.SAVE_STEPS TRAIN.KEEP_STATES TRAIN.CKPT_SAVE_PATH',
          [1e-9, 3, 1, './other.ckpt'], FILES),
    *rows('TRAIN.SAVE_EPOCHS', [1], FILES),
    *rows('TRAIN.KEEP_CHECKPOINTS', [1], FILES, also={'TRAIN.SAVE_EPOCHS': 1}),
    *rows('TRAIN.EVAL_EPOCHS', [1], [METRICS_ROWS, FILES]),
    *rows('TRAIN.EARLY_STOP', [1], METRICS_ROWS, also={'TRAIN.EVAL_EPOCHS': 1, 'TRAIN.END_EPOCH': 4}),
    *rows('TRAIN.TENSORBOARD', ['true'], of_a_loop(lambda run: run.status or len(run.found.get('events', ())))),
    *rows('TEST.BATCH_SIZE', [3], [of_an_evaluation(lambda run: run['predictor'].batch_size),
                                   of_an_inference(lambda run: run['predictor'].batch_size)]),
    *rows('TEST.NUM_PARALLEL_WORKERS', [1], [of_an_evaluation(found('num_threads')),
                                             of_an_inference(found('num_threads'))]),
    *rows('TEST.FLIP_TEST TEST.MULTI_SHIFT TEST.SHIFT_HEATMAP', ['false', 4.0, 'false'], [HEATMAPS, INFERRED[0]]),
    *rows('TEST.POST_PROCESS', ['false'], [DECODED, INFERRED[1]]),
    *(Row('TEST.DECODER', rule, look, start) for start in ('simplepose', 'mspn') for rule in ('dark', 'udp')
      for look in (DECODED, INFERRED[1])),
    *rows('TEST.DECODER_KERNEL', [17], [DECODED, INFERRED[1]], also={'TEST.DECODER': 'dark'}),
    *rows('TEST.DECODER_KERNEL', [17], DECODED, also={'TEST.DECODER': 'udp'}, start='mspn'),
    *rows('TEST.BLUR_KERNEL', [9], [DECODED, INFERRED[1]], start='mspn'),
    *rows('TEST.USE_GT_BBOX TEST.COCO_BBOX_FILE TEST.IMAGE_THRE', ['true', '{folder}/fewer_boxes.json', 0.5], BOXES),
    *rows('TEST.MODEL_FILE', ['{folder}/random.ckpt'], of_an_evaluation(found('weights'), flags=''),
          also={'TEST.MODEL_FILE': '{folder}/start.ckpt'}),
    *rows('TEST.OKS_NMS TEST.SOFT_NMS TEST.OKS_THRE TEST.IN_VIS_THRE', ['false', 'true', 0.5, 0.5], RANKED),
    *rows('TEST.EVALUATOR', ['pycocotools'], Observation(evaluator, 'eval', {
        **PREDICTED, 'src.metrics.coco.run_coco_evaluator': watch('official')}, '--ckpt_path {folder}/start.ckpt'),
          also={'TEST.USE_GT_BBOX': 'true'}),
    *rows('TEST.CROWDPOSE_RULE', ['recount'], of_an_evaluation(numbers), start='crowdpose',
          also={'TEST.USE_GT_BBOX': 'true'}),
]


def observed(scripts: Scripts, row: Row, *, is_changed: bool, repetition: int = 0) -> Any:
    look, changes = row.look, row.value if isinstance(row.value, dict) else {row.key: row.value}
    run = scripts.run(look.script, row.start, row.also, {**row.given, **(changes if is_changed else {})}, look.flags,
                      look.places, repetition=repetition)
    # Compiling these few operators would take longer than all the rest.
    with operator_by_operator():
        return canonical(look.look(run))


@pytest.mark.parametrize('row', KEY_ROWS, ids=str)
def test_a_setting_reaches_its_part(row, scripts):
    assert observed(scripts, row, is_changed=True) != observed(scripts, row, is_changed=False)


@pytest.mark.parametrize('row', {(row.look.script, row.look.look): row for row in KEY_ROWS}.values(), ids=str)
def test_an_observation_is_the_same_without_a_change(row, scripts):
    assert observed(scripts, row, is_changed=False, repetition=1) == observed(scripts, row, is_changed=False)


# Of those that are not unused there is a single value, and others are refused.
WITHOUT_EFFECT = {
    **dict.fromkeys(('MSPN.HEATMAP_SIZE', 'POSE_RESNET.HEATMAP_SIZE', 'POSE_MOBILENET.HEATMAP_SIZE',
                     'HRNET.HEATMAP_SIZE'), 'always a quarter of IMAGE_SIZE'),
    'POSE_RESNET.TARGET_TYPE': 'gaussian is the only one', 'POSE_RESNET.NUM_DECONV_LAYERS': '3 is the only number',
    'TEST.BBOX_THRE': 'unused', 'TEST.NMS_THRE': 'unused'}


def test_every_key_is_shown_to_have_an_effect_or_said_to_have_none():
    assert sorted({row.key for row in KEY_ROWS} | set(WITHOUT_EFFECT)) == sorted(KEYS)
    assert not {row.key for row in KEY_ROWS} & set(WITHOUT_EFFECT)


@pytest.mark.parametrize('key', WITHOUT_EFFECT)
def test_the_list_of_keys_says_which_have_no_effect(key):
    section, name = key.split('.')
    assert WITHOUT_EFFECT[key] in key_comments()[key]
    if WITHOUT_EFFECT[key] == 'unused':
        sources = [*ROOT.glob('*.py'), *(ROOT / 'src').rglob('*.py')]
        assert not [path for path in sources if name in path.read_text(encoding='utf-8')]
        return
    model = section.lower()
    other = {'TARGET_TYPE': 'offset', 'NUM_DECONV_LAYERS': 2}.get(name, [8, 8])
    with pytest.raises(ValueError, match=f'{key} should be'):
        resolve(load_recipe('base'), {'MODEL.NAME': model, key: other})


# Flags of the scripts

CONFIG_FLAGS = {
    'train': {'data_url': 'DATASET.ROOT', 'gt_file_url': 'DATASET.TRAIN_JSON', 'pretrained_path': 'MODEL.PRETRAINED',
              'ckpt_save_path': 'TRAIN.CKPT_SAVE_PATH', 'num_parallel_workers': 'TRAIN.NUM_PARALLEL_WORKERS',
              'device_target': 'DEVICE.TARGET', 'device_id': 'DEVICE.ID', 'lr': 'TRAIN.LR', 'min_lr': 'TRAIN.MIN_LR',
              'epoch': 'TRAIN.END_EPOCH', 'pretrained': 'MODEL.INIT_WEIGHTS', 'batch_size': 'TRAIN.BATCH_SIZE',
              'batchsize': 'TRAIN.BATCH_SIZE', 'stage_num': 'MSPN.STAGE_NUM', 'img_means': 'DATASET.MEANS',
              'img_stds': 'DATASET.STDS', 'keypoint_num': 'MODEL.NUM_JOINTS', 'input_shape': 'MODEL.IMAGE_SIZE',
              'output_shape': 'POSE_RESNET.HEATMAP_SIZE', 'amp_level': 'TRAIN.AMP_LEVEL',
              'max_steps': 'TRAIN.MAX_STEPS', 'upsample_channel_num': 'MSPN.UPSAMPLE_CHANNEL_NUM', 'ohkm': 'LOSS.OHKM',
              'topk': 'LOSS.TOPK', 'coarse_to_fine': 'LOSS.COARSE_TO_FINE', 'skeleton': 'DATASET.SKELETON'},
    'eval': {'data_url': 'DATASET.ROOT', 'gt_file_url': 'DATASET.TEST_JSON', 'det_file_url': 'TEST.COCO_BBOX_FILE',
             'num_parallel_workers': 'TEST.NUM_PARALLEL_WORKERS', 'device_target': 'DEVICE.TARGET',
             'device_id': 'DEVICE.ID', 'batch_size': 'TEST.BATCH_SIZE', 'skeleton': 'DATASET.SKELETON',
             'evaluator': 'TEST.EVALUATOR'},
    'infer': {'num_parallel_workers': 'TEST.NUM_PARALLEL_WORKERS', 'device_target': 'DEVICE.TARGET',
              'device_id': 'DEVICE.ID', 'batch_size': 'TEST.BATCH_SIZE', 'skeleton': 'DATASET.SKELETON'},
    'export': {'device_target': 'DEVICE.TARGET', 'device_id': 'DEVICE.ID'},
    'param_convert': {},
}
NEEDED = {'train': '', 'eval': '--ckpt_path {folder}/start.ckpt', 'infer': '--ckpt_path {folder}/start.ckpt',
          'export': '--ckpt_path {folder}/start.ckpt'}


@pytest.mark.parametrize('script, flag', [(script, flag) for script, flags in CONFIG_FLAGS.items() for flag in flags])
def test_a_classic_flag_sets_its_key(script, flag, scripts):
    """In the script itself; that the key reaches its part is shown above."""
    place = 'training.arguments' if script == 'train' else 'checkpoints.configuration'
    places = {f'src.{place}.resolve': end_with('recipe', 'overrides')}
    words, expected = ('9 7', '7 9') if flag.endswith('shape') else ('5 6 7', '5 6 7')
    run = scripts.run(script, 'simplepose', {}, {}, f'{NEEDED[script]} --{flag} {words}', places)
    key = CONFIG_FLAGS[script][flag]
    assert run['overrides'].pop(key) == expected
    # Whoever names start weights wants them.
    assert run['overrides'] == ({'MODEL.INIT_WEIGHTS': 'true'} if key == 'MODEL.PRETRAINED' else {})


class FlagRow(NamedTuple):
    """A flag of a script that is no key: the words before and after, and what has to change."""

    script: str
    flag: str
    before: str
    after: str
    look: Callable[[Run], Any]
    places: Dict[str, Callable] = PREDICTED
    start: str = 'simplepose'

    def __str__(self) -> str:
        return f'{self.script}-{self.flag}'


CKPT = '--ckpt_path {folder}/start.ckpt'
MODEL_FILE = {'src.evaluation.load_model.open_model_file': end_with('path', 'runtime')}
PLAN = {'src.export.write.build_exported_model': end_with('config', 'network', 'plan', 'flip_index'),
        'src.system.files.check_writable': watch('written', result=None)}
PICTURES = {'src.export.example_crops.load_boxed_pictures': end_with('crops', 'input_shape', 'skeleton', 'folder',
                                                                         'boxes')}
EXPORTED = f'{CKPT} --file_format ONNX'

FLAG_ROWS = [
    FlagRow('train', 'metrics_path', '', '--metrics_path other.jsonl', files, WITHOUT_GRAPH),
    FlagRow('train', 'resume', '', '--resume nothing.ckpt', end, WITHOUT_GRAPH),
    FlagRow('train', 'resume', '', '--resume auto', lambda run: 'no state in' in run.out, WITHOUT_GRAPH),
    *(row for script in ('eval', 'infer') for row in (
        FlagRow(script, 'ckpt_path', CKPT + INFERENCE_BOXES * (script == 'infer'),
                '--ckpt_path {folder}/random.ckpt' + INFERENCE_BOXES * (script == 'infer'), found('weights')),
        FlagRow(script, 'model_file', '--model_file a.onnx', '--model_file b.onnx', found('path'), MODEL_FILE),
        FlagRow(script, 'runtime', '--model_file a.onnx', '--model_file a.onnx --runtime openvino', found('runtime'),
                MODEL_FILE),
        FlagRow(script, 'precision', '--model_file a.onnx', '--model_file a.onnx --precision bf16', found('precision'),
                MODEL_FILE),
        FlagRow(script, 'threads', '--model_file a.onnx', '--model_file a.onnx --threads 3', found('threads'),
                MODEL_FILE))),
    FlagRow('eval', 'use_gt_bbox', CKPT, f'{CKPT} --use_gt_bbox', boxes),
    FlagRow('eval', 'save_path', CKPT, f'{CKPT} --save_path other.json', files),
    FlagRow('eval', 'submission', CKPT, f'{CKPT} --submission sent.json', files),
    FlagRow('eval', 'report', CKPT, f'{CKPT} --report page.html', files),
    FlagRow('eval', 'compare', CKPT, f'{CKPT} --compare {{folder}}/random.ckpt', files),
    FlagRow('infer', 'score_thresh', f'{INFERENCE} --score_thresh 0', f'{INFERENCE} --score_thresh 0.4',
            lambda run: [len(values[1]) for values, _ in run['drawn']]),
    FlagRow('infer', 'keypoint_thresh', INFERENCE, f'{INFERENCE} --keypoint_thresh 0.4',
            lambda run: [named['keypoint_score_thresh'] for _, named in run['drawn']]),
    FlagRow('infer', 'data_url', INFERENCE, INFERENCE.replace('/data/', '/other/'), boxes),
    FlagRow('infer', 'det_file_url', INFERENCE, INFERENCE.replace('/boxes', '/fewer_boxes'), boxes),
    FlagRow('infer', 'img_save_dir', INFERENCE, f'{INFERENCE} --img_save_dir other', files),
    FlagRow('export', 'ckpt_path', CKPT, '--ckpt_path {folder}/random.ckpt',
            lambda run: run['network'].parameters_dict(), PLAN),
    FlagRow('export', 'file_name', CKPT, f'{CKPT} --file_name other', found('written'), PLAN),
    *(FlagRow('export', flag, CKPT, f'{CKPT} --{flag} {value}', lambda run: str(run['plan']), PLAN) for flag, value in (
        ('file_format', 'ONNX'), ('batch_size', '3'), ('input', 'pixels'), ('with_decode', ''), ('flip_test', ''))),
    FlagRow('export', 'opset', EXPORTED, f'{EXPORTED} --opset 15', lambda run: str(run['plan']), PLAN),
    FlagRow('export', 'hypotheses', EXPORTED, f'{EXPORTED} --hypotheses all', lambda run: str(run['plan']), PLAN),
    FlagRow('export', 'data_url', f'{CKPT} --data_url a', f'{CKPT} --data_url b', found('folder'), PICTURES),
    FlagRow('export', 'det_file_url', f'{CKPT} --data_url a', f'{CKPT} --data_url a --det_file_url b', found('boxes'),
            PICTURES),
]
# Those that other tests show: (script, flag) -> where.
SHOWN_ELSEWHERE = {
    **{('infer', flag): 'test_infer_inputs.py::test_flags_of_inputs_do_what_they_say' for flag in (
        'detector', 'detector_thresh', 'detect_every', 'box', 'track', 'smooth', 'jsonl', 'csv', 'show', 'labels',
        'no_boxes', 'line_width', 'black', 'person_colors')},
    **{(script, 'weights'): 'test_zoo.py::test_weights_by_name_in_python_and_in_the_scripts'
       for script in ('eval', 'infer')},
    ('eval', 'compare_recipe'): 'test_compared_networks.py::test_a_network_without_a_recipe_inside',
    ('export', 'int8'): 'test_runtimes.py::test_int8_files_compute_in_integers_and_nearly_the_same',
    ('export', 'float16'): 'test_runtimes.py::test_weights_in_float16_take_half_the_size',
    ('export', 'calibration_people'): 'test_runtimes.py::test_int8_files_compute_in_integers_and_nearly_the_same',
    ('param_convert', 'input'): 'test_param_convert.py::test_a_whole_network_becomes_a_checkpoint_with_its_recipe',
    ('param_convert', 'output'): 'test_param_convert.py::test_a_whole_network_becomes_a_checkpoint_with_its_recipe',
    ('param_convert', 'float16'):
        'test_param_convert.py::test_a_file_in_float16_has_half_the_size_and_what_is_beyond_stays_float32',
    ('param_convert', 'ignore'): 'test_param_convert.py::test_what_is_left_over_is_an_error_unless_it_is_named',
    ('param_convert', 'first_stage_only'):
        'test_param_convert.py::test_an_imagenet_start_fills_all_stages_of_an_mspn_or_the_first',
}


@pytest.mark.parametrize('row', FLAG_ROWS, ids=str)
def test_a_flag_reaches_its_part(row, scripts):
    before, after = (canonical(row.look(scripts.run(row.script, row.start, {}, {}, flags, row.places)))
                     for flags in (row.before, row.after))
    assert before != after


@pytest.mark.parametrize('script', CONFIG_FLAGS)
def test_every_flag_is_shown_to_have_an_effect(script, scripts):
    seen = {}

    def parse(parser, *_):
        seen.update(parser._option_string_actions)
        raise SystemExit(0)

    scripts.run(script, 'simplepose', {}, {}, '', {'src.system.printing.ArgumentParser.parse_args': replace(parse)})
    shown = {*CONFIG_FLAGS[script], *(row.flag for row in FLAG_ROWS if row.script == script),
             *(flag for of, flag in SHOWN_ELSEWHERE if of == script)}
    # Every test of this file gives a recipe and --set; the other two are shown in test_plugins.py and test_config.py.
    assert {flag.lstrip('-') for flag in seen} - {'h', 'help', 'recipe', 'set', 'plugin', 'list_recipes'} == shown


@pytest.mark.parametrize('place', sorted(set(SHOWN_ELSEWHERE.values())))
def test_what_is_shown_elsewhere_is_there(place):
    file, _, name = place.partition('::')
    path = next((ROOT / 'tests').rglob(file))
    assert f'def {name}(' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('named', ['{folder}/boxes.json', ''])
def test_boxes_of_two_kinds_contradict_each_other(named, scripts):
    """Whichever way they are asked for: neither may be dropped without a word."""
    flags = CKPT + f' --det_file_url {named}' * bool(named)
    run = scripts.run('eval', 'simplepose', {}, {'TEST.USE_GT_BBOX': 'true'}, flags, PREDICTED)
    assert run.status == (2 if named else 0)
    assert ('give --det_file_url or --use_gt_bbox, not both' in run.err) == bool(named)
