"""The states that continue a run: whatever has happened to a file, it is named or passed over, never half believed."""
import binascii
import dataclasses
import errno
import json
import os
import pickle
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from mindspore.train.checkpoint_pb2 import Checkpoint
from script_runs import MSPN, SIMPLE_POSE

from src.checkpoints.ckpt import CONFIG_KEY, read_checkpoint, save_checkpoint, write_checkpoint
from src.config import load_recipe, resolve, to_json
from src.data.coco import load_coco_people
from src.data.loader import BatchPlan
from src.data.skeletons import COCO
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes
from src.training.files import RunFiles
from src.training.run import people_checksum, resume_run, share_progress
from src.training.schedules import learning_rates
from src.training.states import FREE_KEYS, PROGRESS_KEY, Progress, RunIdentity, RunStates

STEPS_PER_EPOCH = 4
ALONE = Processes('CPU')
WEIGHTS = (b'conv1.weight', b'moment1.conv1.weight')


def make_state(seed: int = 0) -> dict:
    """A state as `TrainStep.state` names it, small, with values of its own for every seed."""
    rng = np.random.default_rng(seed)
    shapes = {'conv1.weight': (8, 3, 7, 7), 'bn1.gamma': (8,), 'beta1_power': (), 'moment1.conv1.weight': (8, 3, 7, 7)}
    state = {name: Parameter(Tensor(rng.standard_normal(shape).astype(np.float32)), name=name)
             for name, shape in shapes.items()}
    return {**state, 'step_index': Parameter(Tensor(seed, ms.int32), name='step_index')}


def values_of(state: dict) -> dict:
    return {name: parameter.asnumpy().copy() for name, parameter in state.items()}


def is_equal(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one)


def identity_of(recipe: str = SIMPLE_POSE, *, joint_batch_size: int = 3, data: int = 7, num_devices: int = 1,
                **overrides) -> RunIdentity:
    """The identity of a run of four steps an epoch."""
    config = resolve(load_recipe(recipe), {f'TRAIN.{key}' if '.' not in key else key: value
                                           for key, value in overrides.items()})
    rates = learning_rates(config.TRAIN, steps_per_epoch=STEPS_PER_EPOCH, num_devices=num_devices)
    return RunIdentity(config, rates, joint_batch_size, STEPS_PER_EPOCH, data)


def states_of(folder, *, keep: int = 3, **options) -> RunStates:
    return RunStates(str(folder), identity_of(**options), keep=keep)


def names(folder) -> list:
    return sorted(os.listdir(folder))


@pytest.fixture
def saved(tmp_path):
    """Two states, of steps 5 and 6, made with seeds of the same numbers."""
    states = states_of(tmp_path / 'states')
    for step in (5, 6):
        states.save(make_state(step), Progress(step=step, skipped=1, best_ap=0.25, best_epoch=1))
    return states


def resume_by_name(states: RunStates, path: str, match: str) -> str:
    """Try to load a state that should be refused, and return the message; nothing may have changed."""
    state = make_state(0)
    before = values_of(state)
    with pytest.raises(ValueError, match=match) as caught:
        states.resume(path, state)
    assert is_equal(values_of(state), before)
    return str(caught.value)


# Saving and loading

def test_a_state_comes_back_bit_by_bit(saved):
    state = make_state(0)
    progress, path = saved.resume_newest(state, pytest.fail)
    assert is_equal(values_of(state), values_of(make_state(6)))
    assert progress == Progress(step=6, skipped=1, best_ap=0.25, best_epoch=1)
    assert path == saved.paths()[0] == os.path.join(saved.folder, 'step_00000006.ckpt')
    assert saved.resume(saved.paths()[1], state).step == 5
    assert is_equal(values_of(state), values_of(make_state(5)))


def test_a_loaded_state_shares_nothing_with_the_next_one(saved):
    """Training changes its parameters in place."""
    one, other = make_state(0), make_state(0)
    saved.resume_newest(one, pytest.fail)
    ms.ops.assign_add(one['conv1.weight'], Tensor(np.ones((8, 3, 7, 7), np.float32)))
    saved.resume_newest(other, pytest.fail)
    assert is_equal(values_of(other), values_of(make_state(6)))


def test_no_state_is_no_error(tmp_path):
    state = make_state(0)
    for folder in (tmp_path, tmp_path / 'missing'):
        assert states_of(folder).resume_newest(state, pytest.fail) is None
    assert is_equal(values_of(state), values_of(make_state(0)))


@pytest.mark.parametrize('progress', [
    Progress(), Progress(123456, 30, 3, 0.1 + 0.2, 77, 4), Progress(1, best_ap=-1.0), Progress(2, best_ap=1e-300)])
def test_progress_is_kept_to_the_last_bit(tmp_path, progress):
    """By files, and by the message with which rank 0 tells the others."""
    rates = np.zeros(progress.step, np.float32)
    states = RunStates(str(tmp_path), dataclasses.replace(identity_of(), rates=rates), keep=1)
    states.save(make_state(1), progress)
    assert states.resume_newest(make_state(0), pytest.fail)[0] == progress
    assert share_progress(progress, ALONE) == progress


@pytest.mark.parametrize('keep, left', [(1, [9]), (2, [8, 9]), (3, [7, 8, 9]), (9, [3, 4, 5, 6, 7, 8, 9])])
def test_the_newest_states_are_kept(tmp_path, keep, left):
    states = states_of(tmp_path, keep=keep)
    for step in range(3, 10):
        states.save(make_state(step), Progress(step=step))
        assert len(states.paths()) == min(keep, step - 2)
    assert names(tmp_path) == [f'step_{step:08d}.ckpt' for step in left]


def test_saving_a_step_again_replaces_its_state_and_no_other(saved):
    saved.save(make_state(50), Progress(step=5))
    assert len(saved.paths()) == 2
    state = make_state(0)
    saved.resume(saved.paths()[1], state)
    assert is_equal(values_of(state), values_of(make_state(50)))


def test_states_sort_by_number_not_by_letter(tmp_path):
    states = states_of(tmp_path)
    for step in (99_999_999, 100_000_000):
        states.save(make_state(1), Progress(step=step))
    assert [os.path.basename(path) for path in states.paths()] == ['step_100000000.ckpt', 'step_99999999.ckpt']
    assert states.paths(after=99_999_999) == states.paths()[:1] and states.paths(after=10 ** 9) == []


STRANGE = ('step_abc.ckpt', 'step_-5.ckpt', 'step_1.5.ckpt', 'step_1e9.ckpt', 'step_12 (copy).ckpt', 'step_.ckpt',
           'step_9.ckpt.bak', 'xstep_9.ckpt', '.step_00000009.ckpt', 'step_0x10.ckpt', 'notes.txt')


def test_files_with_other_names_are_no_states_and_stay(saved):
    for name in STRANGE:
        Path(saved.folder, name).write_bytes(b'mine')
    assert [os.path.basename(path) for path in saved.paths()] == ['step_00000006.ckpt', 'step_00000005.ckpt']
    assert saved.resume_newest(make_state(0), pytest.fail)[0].step == 6
    for step in range(7, 12):
        saved.save(make_state(step), Progress(step=step))
    saved.remove_leftovers()
    assert set(STRANGE) <= set(names(saved.folder))


def test_a_folder_of_any_name(tmp_path):
    states = states_of(tmp_path / 'a [b]*? c')
    states.save(make_state(1), Progress(step=1))
    (tmp_path / 'a [b]*? c' / '.step_00000002.ckpt.77.tmp.ckpt').touch()
    states.remove_leftovers()
    assert names(states.folder) == ['step_00000001.ckpt']
    assert states.resume_newest(make_state(0), pytest.fail)[0].step == 1


def test_leftovers_of_killed_saves_are_removed(saved):
    folder = Path(saved.folder)
    for name in ('.step_00000007.ckpt.123.tmp.ckpt', '.step_00000007.ckpt.4.tmp.tmp'):
        (folder / name).write_bytes(b'half')
    saved.remove_leftovers()
    assert names(folder) == ['step_00000005.ckpt', 'step_00000006.ckpt']


def test_a_state_is_also_a_checkpoint_of_weights(saved):
    weights, config = read_checkpoint(saved.paths()[0])
    assert list(weights) == ['conv1.weight', 'bn1.gamma'] and config == saved.identity.config


def test_of_a_state_with_a_running_average_the_average_counts(tmp_path):
    state = make_state(1)
    state['ema.conv1.weight'] = Parameter(Tensor(np.full((8, 3, 7, 7), 0.5, np.float32)), name='ema.conv1.weight')
    path = states_of(tmp_path).save(state, Progress(step=1))
    weights, _ = read_checkpoint(path)
    assert list(weights) == ['conv1.weight'] and (weights['conv1.weight'] == 0.5).all()


# Damage

def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1:]


def weights_of(content: bytes, name: bytes) -> int:
    """The place of a byte amid the values of a parameter."""
    return content.index(name) + len(name) + 2000


DAMAGES = {
    'empty': lambda content: b'',
    'one_byte': lambda content: content[:1],
    'a_tenth': lambda content: content[:len(content) // 10],
    'half': lambda content: content[:len(content) // 2],
    'without_a_quarter': lambda content: content[:3 * len(content) // 4],
    'one_byte_short': lambda content: content[:-1],
    'cut_in_the_checksum': lambda content: content[:-5],
    'cut_behind_the_mark_of_the_checksum': lambda content: content[:-10],
    'cut_in_the_mark_of_the_checksum': lambda content: content[:-13],
    'without_checksum': lambda content: content[:-17],
    'one_byte_more': lambda content: content + b'\0',
    'first_byte_lost': lambda content: content[1:],
    'byte_flipped_in_weights': lambda content: flip(content, weights_of(content, WEIGHTS[0])),
    'byte_flipped_in_a_moment': lambda content: flip(content, weights_of(content, WEIGHTS[1])),
    'byte_flipped_in_a_name': lambda content: flip(content, content.index(b'bn1.gamma') + 1),
    'byte_flipped_in_a_type': lambda content: flip(content, content.index(b'Float32') + 3),
    'byte_flipped_in_the_configuration': lambda content: flip(content, content.index(CONFIG_KEY.encode()) + 200),
    'byte_flipped_in_the_progress': lambda content: flip(content, content.index(PROGRESS_KEY.encode()) + 60),
    'byte_flipped_in_the_mark_of_the_checksum': lambda content: flip(content, len(content) - 17),
    'byte_flipped_in_the_checksum': lambda content: flip(content, len(content) - 1),
    'first_byte_flipped': lambda content: flip(content, 0),
    'a_block_of_zeros': lambda content: content[:4096] + bytes(512) + content[4608:],
    'zeros_at_the_end': lambda content: content[:-300] + bytes(300),
    'all_zeros': lambda content: bytes(len(content)),
    'two_parts_swapped': lambda content: content[4096:8192] + content[:4096] + content[8192:],
    'a_text': lambda content: b'step: 6\n',
    'a_picture': lambda content: b'\x89PNG\r\n\x1a\n' + bytes(range(256)) * 8,
    'a_pickle': lambda content: pickle.dumps({'conv1.weight': [1.0]}),
    'a_text_with_a_checksum_mark': lambda content: b'step: 6\n' + b'crc_num' + bytes(10),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_state_is_named_and_passed_over(saved, damage):
    newest, older = saved.paths()
    content = Path(newest).read_bytes()
    damaged = DAMAGES[damage](content)
    assert damaged != content
    Path(newest).write_bytes(damaged)

    message = resume_by_name(saved, newest, 'damaged')
    assert newest in message and f'{len(damaged)} bytes' in message

    said, state = [], make_state(0)
    progress, path = saved.resume_newest(state, said.append)
    assert (progress.step, path) == (5, older) and is_equal(values_of(state), values_of(make_state(5)))
    assert len(said) == 1 and said[0] == f'warning: {message}; taking the state before it'


def test_no_flipped_byte_and_no_cut_goes_unnoticed(saved):
    """Anywhere in the file, by chance."""
    path = saved.paths()[0]
    content = Path(path).read_bytes()
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(content), 40):
        Path(path).write_bytes(flip(content, int(place)))
        resume_by_name(saved, path, 'damaged')
    for length in rng.integers(0, len(content), 20):
        Path(path).write_bytes(content[:int(length)])
        resume_by_name(saved, path, 'damaged')
    Path(path).write_bytes(content)
    assert saved.resume(path, make_state(0)).step == 6


def test_when_every_state_is_damaged_there_is_no_silent_new_start(saved):
    state, said = make_state(0), []
    for path in saved.paths():
        Path(path).write_bytes(Path(path).read_bytes()[:-1])
    with pytest.raises(ValueError, match=r'all 2 states in .*states are damaged; move it away to start anew') as caught:
        saved.resume_newest(state, said.append)
    assert saved.folder in str(caught.value)
    assert [path in text for path, text in zip(saved.paths(), said)] == [True, True]
    assert is_equal(values_of(state), values_of(make_state(0))) and len(saved.paths()) == 2


@pytest.mark.parametrize('path, message', [
    ('none.ckpt', 'none.ckpt does not exist'), ('', 'does not exist'), ('step_00000006.pth', 'should be a MindSpore'),
    ('folder.ckpt', 'folder.ckpt does not exist')])
def test_a_state_that_is_none(saved, path, message):
    folder = Path(saved.folder)
    (folder / 'step_00000006.pth').write_bytes(Path(saved.paths()[0]).read_bytes())
    (folder / 'folder.ckpt').mkdir()
    resume_by_name(saved, str(folder / path), message)


def test_a_checkpoint_of_weights_is_no_state(saved):
    path = saved.paths()[0]
    save_checkpoint(path, make_state(6), saved.identity.config)
    message = resume_by_name(saved, path, 'is a checkpoint of weights, not the state of a run')
    assert path in message and '--pretrained_path' in message
    assert saved.resume_newest(make_state(0), lambda text: None)[0].step == 5


def test_a_checkpoint_of_mindspore_itself_is_no_state(saved):
    path = saved.paths()[0]
    os.remove(path)
    ms.save_checkpoint([{'name': name, 'data': value} for name, value in make_state(6).items()], path)
    assert path in resume_by_name(saved, path, 'is damaged: it ends without a checksum')


GOOD = {**dataclasses.asdict(Progress(step=6)), 'run': {}}


@pytest.mark.parametrize('text', [
    '{', '[]', '6', 'null', '{}', json.dumps({**GOOD, 'run': None}), json.dumps({**GOOD, 'run': 'x'}),
    json.dumps({**GOOD, 'step': '6'}), json.dumps({**GOOD, 'step': -1}), json.dumps({**GOOD, 'step': None}),
    json.dumps({**GOOD, 'step': 6.5}), json.dumps({**GOOD, 'step': float('nan')}), json.dumps({**GOOD, 'skipped': '1'}),
    json.dumps({**GOOD, 'best_ap': float('nan')}), json.dumps({**GOOD, 'best_ap': 10 ** 400}), '[' * 10 ** 5,
    json.dumps(GOOD).replace('"step": 6', '"step": ' + '7' * 5000), json.dumps({**GOOD, 'evaluated_step': None}),
    json.dumps({key: value for key, value in GOOD.items() if key != 'skipped'}),
    json.dumps({key: value for key, value in GOOD.items() if key != 'run'})])
def test_damaged_progress_with_a_right_checksum(saved, text):
    path = saved.paths()[0]
    write_checkpoint(path, make_state(6), {CONFIG_KEY: to_json(saved.identity.config), PROGRESS_KEY: text})
    assert resume_by_name(saved, path, 'damaged') == f'{path}: its progress is damaged'
    assert saved.resume_newest(make_state(0), lambda text: None)[0].step == 5


def test_a_short_parameter_with_a_right_checksum(saved):
    """MindSpore's own loader would fill it with zeros."""
    path = saved.paths()[0]
    message = Checkpoint()
    message.ParseFromString(Path(path).read_bytes()[:-17])
    entry = next(value for value in message.value if value.tag == 'moment1.conv1.weight')
    entry.tensor.tensor_content = entry.tensor.tensor_content[:-8]
    content = message.SerializeToString()
    Path(path).write_bytes(content + b'crc_num' + binascii.crc32(content).to_bytes(10, 'big'))
    assert 'moment1.conv1.weight has 4696 bytes, but 4704 are needed' in resume_by_name(saved, path, 'damaged')
    assert saved.resume_newest(make_state(0), lambda text: None)[0].step == 5


def test_damaged_configuration_with_a_right_checksum(saved):
    path = saved.paths()[0]
    write_checkpoint(path, make_state(6), {CONFIG_KEY: '{"TRAIN": 3}', PROGRESS_KEY: json.dumps(GOOD)})
    assert path in resume_by_name(saved, path, 'its configuration is damaged')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('name', ['conv1.weight', 'moment1.conv1.weight', 'beta1_power'])
def test_values_that_are_no_numbers_are_neither_written_nor_read(saved, monkeypatch, name, value):
    state = make_state(7)
    content = state[name].asnumpy().copy()
    content.reshape(-1)[-1] = value
    state[name].set_data(Tensor(content))
    with pytest.raises(ValueError, match=f'step_00000007.ckpt is not written: 1 parameters hold NaN .* {name}'):
        saved.save(state, Progress(step=7))
    assert names(saved.folder) == ['step_00000005.ckpt', 'step_00000006.ckpt']
    with monkeypatch.context() as patch:
        patch.setattr('src.checkpoints.ckpt.np.isfinite', np.ones_like)
        path = saved.save(state, Progress(step=7))
    assert path in resume_by_name(saved, path, f'is damaged: 1 parameters hold NaN or infinity, e.g. {name}')


@pytest.mark.parametrize('change, message', [
    (lambda state: state.pop('bn1.gamma'), r"missing \[\], unexpected \['bn1.gamma'\]"),
    (lambda state: state.update(more=state['bn1.gamma']), r"missing \['more'\], unexpected \[\]"),
    (lambda state: state.update({'bn1.gamma': Parameter(Tensor(np.zeros(9, np.float32)))}),
     r"of another shape or type \['bn1.gamma'\]"),
    (lambda state: state.update({'bn1.gamma': Parameter(Tensor(np.zeros(8, np.float16)))}),
     r"of another shape or type \['bn1.gamma'\]")], ids=['unexpected', 'missing', 'shape', 'type'])
def test_a_state_of_other_parameters_is_refused(saved, change, message):
    state = make_state(0)
    change(state)
    before = values_of(state)
    with pytest.raises(ValueError, match=f'step_00000006.ckpt does not fit the run: .*{message}'):
        saved.resume_newest(state, pytest.fail)
    assert is_equal(values_of(state), before)


# A state of another run

def other_run(folder, **options) -> str:
    """The message with which a run that differs in `options` refuses the newest state, naming it."""
    states = states_of(folder, **options)
    message = resume_by_name(states, states.paths()[0], 'is of another run: ')
    assert message.startswith(states.paths()[0]) and 'give it as --pretrained_path' in message
    # Whole and of another run: nothing older is taken instead, and nobody starts anew behind the user's back.
    with pytest.raises(ValueError) as caught:
        states.resume_newest(make_state(0), pytest.fail)
    assert str(caught.value) == message
    return message


@pytest.mark.parametrize('options, part', [
    ({'recipe': MSPN}, 'MODEL.NAME is mspn, was pose_resnet'),
    ({'GENERAL.SEED': 2}, 'GENERAL.SEED is 2, was 1'),
    ({'LR': 0.5}, 'TRAIN.LR is 0.5, was 0.002'),
    ({'SCHEDULE': 'linear'}, 'TRAIN.SCHEDULE is linear, was cosine'),
    ({'ACCUMULATE': 2}, 'TRAIN.ACCUMULATE is 2, was 1'),
    ({'EMA_DECAY': 0.5}, 'TRAIN.EMA_DECAY is 0.5, was 0'),
    ({'CLIP_NORM': 1}, 'TRAIN.CLIP_NORM is 1.0, was 0'),
    ({'AMP_LEVEL': 'O3'}, 'TRAIN.AMP_LEVEL is O3, was O2'),
    ({'WEIGHT_DECAY': 1}, 'TRAIN.WEIGHT_DECAY is 1.0, was 0'),
    ({'DROP_REMAINDER': 'false'}, 'TRAIN.DROP_REMAINDER is False, was True'),
    ({'DATASET.ROT_FACTOR': 1}, 'DATASET.ROT_FACTOR is 1.0, was 0'),
    ({'DATASET.MEANS': '1 2 3'}, 'DATASET.MEANS is [1.0, 2.0, 3.0], was [0.485'),
    ({'MODEL.STEM_CHANNELS': 8}, 'MODEL.STEM_CHANNELS is 8, was 16'),
    ({'joint_batch_size': 6}, 'the batch of all devices together is 6, was 3'),
    ({'data': 8}, 'the people of the annotation file are others')], ids=str)
def test_another_run_is_named(saved, options, part):
    message = other_run(saved.folder, **options)
    assert part in message
    if 'recipe' not in options:
        assert ';' not in message.split('. To start')[0], 'more is named than what differs'


def test_an_epoch_of_another_length_is_named(saved):
    """The number of devices can change it by one at the same joint batch."""
    saved.identity = dataclasses.replace(saved.identity, steps_per_epoch=STEPS_PER_EPOCH + 1)
    message = resume_by_name(saved, saved.paths()[0], 'is of another run: ')
    assert f'an epoch has {STEPS_PER_EPOCH + 1} steps, had {STEPS_PER_EPOCH}' in message


@pytest.mark.parametrize('options, is_alike', [
    ({}, True), ({'DATASET.ROOT': 'x', 'DEVICE.ID': 3, 'NUM_PARALLEL_WORKERS': 9, 'CKPT_SAVE_PATH': 'x.ckpt'}, True),
    ({'LR': 0.5}, False), ({'SAVE_STEPS': 3}, False), ({'EVAL_EPOCHS': 1}, False), ({'data': 8}, False),
    ({'joint_batch_size': 4}, False), ({'END_EPOCH': 9}, False), ({'MAX_STEPS': 9}, False)], ids=str)
def test_processes_that_were_started_alike_have_the_same_checksum(options, is_alike):
    """On several servers the files may lie elsewhere; nothing that makes one process wait for another may differ."""
    assert (identity_of(**options).checksum() == identity_of().checksum()) == is_alike


def test_all_differences_are_named_at_once(saved):
    message = other_run(saved.folder, LR=0.5, joint_batch_size=6, data=8, **{'GENERAL.SEED': 2})
    for part in ('TRAIN.LR', 'GENERAL.SEED', 'batch of all devices', 'people of the annotation file'):
        assert part in message


def test_other_learning_rates_by_the_number_of_devices_are_named(tmp_path):
    states = states_of(tmp_path, LR_TIMES_DEVICES='true')
    states.save(make_state(1), Progress(step=1))
    assert 'the learning rates of the steps taken are others' in other_run(
        tmp_path, LR_TIMES_DEVICES='true', num_devices=2)


@pytest.mark.parametrize('schedule, end, step, is_right', [
    ('step', 20, 6, True), ('step', 2, 6, True), ('step', 1, 6, False), ('step', 3, 12, True), ('step', 2, 12, False),
    ('linear', 20, 6, False), ('linear', 2, 6, False), ('linear', 3, 6, True), ('cosine', 20, 6, False),
    ('cosine', 3, 6, True)])
def test_the_end_may_move_where_the_steps_taken_stay_the_same(tmp_path, schedule, end, step, is_right):
    """A run of three epochs is to have `end`: a step schedule lets it, the others would have begun in another way."""
    options = {'SCHEDULE': schedule, 'LR_STEP': '2', 'DATASET.FLIP': 'true'}
    states_of(tmp_path, END_EPOCH=3, **options).save(make_state(step), Progress(step=step))
    states = states_of(tmp_path, END_EPOCH=end, **options)
    if is_right:
        assert states.resume_newest(make_state(0), pytest.fail)[0].step == step
    else:
        with pytest.raises(ValueError, match='another run: the learning rates of the steps taken are others'):
            states.resume_newest(make_state(0), pytest.fail)


@pytest.mark.parametrize('overrides', [
    {'DATASET.ROOT': 'elsewhere', 'DATASET.TRAIN_JSON': 'other.json', 'DATASET.TEST_JSON': 'x',
     'DATASET.TRAIN_SET': 'a', 'DATASET.TEST_SET': 'b'},
    {'NUM_PARALLEL_WORKERS': 9, 'BATCH_SIZE': 5, 'CKPT_SAVE_PATH': 'b.ckpt', 'KEEP_STATES': 9, 'SAVE_STEPS': 3},
    {'MAX_STEPS': 9, 'SAVE_MINUTES': 1, 'EVAL_EPOCHS': 1, 'EARLY_STOP': 3, 'MAX_SKIPPED_STEPS': 7, 'TENSORBOARD': 'on'},
    {'DEVICE.TARGET': 'Ascend', 'DEVICE.ID': 3, 'TEST.BATCH_SIZE': 9, 'TEST.FLIP_TEST': 'no', 'BEGIN_EPOCH': 1},
    {'MODEL.PRETRAINED': 'x.ckpt', 'MODEL.INIT_WEIGHTS': 'on'}], ids=['data', 'places', 'limits', 'device', 'start'])
def test_what_does_not_change_the_steps_may_differ(saved, overrides):
    states = states_of(saved.folder, **overrides)
    assert states.resume_newest(make_state(0), pytest.fail)[0].step == 6


def test_free_keys_exist():
    config = load_recipe('base')
    keys = [f'{section}.{name}' for section in config for name in config[section]]
    for free in FREE_KEYS:
        assert any(key.startswith(free) for key in keys), free


# What makes a step: whole sections, and of others these keys.
STEP_SECTIONS = ('GENERAL', 'MSPN', 'POSE_RESNET', 'HRNET', 'MIPNET', 'LOSS')
STEP_KEYS = {
    'MODEL': 'NAME NUM_JOINTS IMAGE_SIZE STEM_POOL STEM_CHANNELS',
    'DATASET': 'PROTOCOL SKELETON COLOR_RGB MEANS STDS NORMALISE_BEFORE_SCALING FLIP ROT_FACTOR SCALE_FACTOR '
               'HALF_BODY_PROBABILITY RANDOM_EXTENSION',
    'TRAIN': 'DROP_REMAINDER LR LR_TIMES_DEVICES SCHEDULE LR_FACTOR LR_STEP MIN_LR WARMUP_STEPS WARMUP_FACTOR '
             'WEIGHT_DECAY ACCUMULATE CLIP_NORM EMA_DECAY SYNC_BN AMP_LEVEL LOSS_SCALE LOSS_SCALE_WINDOW'}


def test_what_makes_a_step_may_not_differ():
    config = load_recipe('base')
    keys = [f'{section}.{name}' for section in STEP_SECTIONS for name in config[section]]
    keys += [f'{section}.{name}' for section, names in STEP_KEYS.items() for name in names.split()]
    assert not [key for key in keys if key.startswith(FREE_KEYS)]
    # None of them is a key of the past.
    assert not [key for key in keys if key.split('.')[1] not in config[key.split('.')[0]]]


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(root), num_train=3, num_val=1, seed=2, image_size=(200, 160))
    return load_coco_people(str(root / 'annotations' / 'person_keypoints_train2017.json'), COCO, sample_rule='mspn')


@pytest.mark.parametrize('field', ['file_names', 'image_index', 'boxes_xywh', 'keypoints'])
def test_the_checksum_of_the_people_sees_every_change(people, field):
    assert people_checksum(people) == people_checksum(people.select(np.arange(len(people))))
    changed = getattr(people, field).copy()
    flat = changed.reshape(-1)
    flat[-1] = b'y' + flat[-1][1:] if field == 'file_names' else flat[-1] + 1
    assert people_checksum(dataclasses.replace(people, **{field: changed})) != people_checksum(people)


def test_the_checksum_of_the_people_sees_order_and_number(people):
    sums = {people_checksum(people.select(rows)) for rows in (
        np.arange(len(people)), np.arange(len(people))[::-1], np.arange(len(people) - 1))}
    assert len(sums) == 3


# Writing that fails

def no_space(*_, **__):
    raise OSError(errno.ENOSPC, 'No space left on device')


def half_a_checkpoint(error):
    """A stand-in for MindSpore's saving that stops in the middle, with its own temporary file or with ours."""
    save = ms.save_checkpoint

    def fail(entries, path, **options):
        save(entries, path, **options)
        os.chmod(path, 0o644)
        os.truncate(path, os.path.getsize(path) // 2)
        Path(path[:-len('.ckpt')] + '.tmp').write_bytes(b'half')
        raise error
    return fail


FAILURES = {
    'rename': ('src.checkpoints.ckpt.os.replace', no_space), 'sync': ('src.checkpoints.ckpt.os.fsync', no_space),
    'chmod': ('src.checkpoints.ckpt.os.chmod', no_space), 'folder': ('src.system.files.os.makedirs', no_space),
    'half': ('src.checkpoints.ckpt.ms.save_checkpoint', half_a_checkpoint(OSError(errno.ENOSPC, 'No space left'))),
    'half_by_mindspore': ('src.checkpoints.ckpt.ms.save_checkpoint', half_a_checkpoint(RuntimeError('write failed')))}


@pytest.mark.parametrize('failure', FAILURES)
def test_a_failed_save_leaves_the_earlier_states(saved, monkeypatch, failure):
    saved.keep = 1
    before = {name: Path(saved.folder, name).read_bytes() for name in names(saved.folder)}
    with monkeypatch.context() as patch:
        patch.setattr(*FAILURES[failure])
        with pytest.raises(OSError, match='cannot write') as caught:
            saved.save(make_state(7), Progress(step=7))
    assert saved.folder in str(caught.value)
    assert {name: Path(saved.folder, name).read_bytes() for name in names(saved.folder)} == before
    assert saved.resume_newest(make_state(0), pytest.fail)[0].step == 6
    # The next one succeeds and does what the failed one would have done.
    saved.save(make_state(8), Progress(step=8))
    assert names(saved.folder) == ['step_00000008.ckpt']


@pytest.mark.parametrize('error', [KeyboardInterrupt(), MemoryError()], ids=['ctrl_c', 'memory'])
def test_an_interrupted_save_leaves_nothing(saved, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr('src.checkpoints.ckpt.ms.save_checkpoint', half_a_checkpoint(error))
        with pytest.raises(type(error)):
            saved.save(make_state(7), Progress(step=7))
    assert names(saved.folder) == ['step_00000005.ckpt', 'step_00000006.ckpt']


def test_a_failed_replacement_keeps_what_was_there(saved, monkeypatch):
    path = Path(saved.paths()[0])
    before = path.read_bytes()
    monkeypatch.setattr('src.checkpoints.ckpt.os.replace', no_space)
    with pytest.raises(OSError):
        saved.save(make_state(60), Progress(step=6))
    assert path.read_bytes() == before


# The files of a run

def write_run(files: RunFiles, mark: bytes) -> None:
    for path in (files.ckpt, files.best, files.metrics, files.curve, os.path.join(files.events, 'events'),
                 os.path.join(files.states, 'step_00000001.ckpt'), os.path.join(files.states, 'step_00000002.ckpt')):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(mark)


def listing(folder: Path) -> list:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


RUN_FILES = ['pose.ckpt', 'pose_best.ckpt', 'pose_curve.png', 'pose_events/events', 'pose_metrics.jsonl',
             'pose_states/step_00000001.ckpt', 'pose_states/step_00000002.ckpt']


def test_an_earlier_run_is_set_aside_whole(tmp_path):
    files, said = RunFiles(str(tmp_path / 'pose.ckpt')), []
    (tmp_path / 'mine.txt').touch()
    for number in (1, 2):
        write_run(files, b'run %d' % number)
        files.set_aside_earlier_run(said.append)
    assert listing(tmp_path) == sorted(['mine.txt', *(f'pose_earlier_{number}/{name}' for number in (1, 2)
                                                      for name in RUN_FILES)])
    for number in (1, 2):
        assert {(tmp_path / f'pose_earlier_{number}' / name).read_bytes() for name in RUN_FILES} == {b'run %d' % number}
        assert str(tmp_path / f'pose_earlier_{number}') in said[number - 1] and '--resume auto' in said[number - 1]


def test_without_states_nothing_is_set_aside(tmp_path):
    """Then the checkpoint was made by --epoch 0, and the curve belongs to nothing."""
    files = RunFiles(str(tmp_path / 'pose.ckpt'))
    for path in (files.ckpt, files.curve):
        Path(path).touch()
    files.set_aside_earlier_run(pytest.fail)
    assert listing(tmp_path) == ['pose.ckpt', 'pose_curve.png']


@pytest.mark.parametrize('name', ['pose_metrics.jsonl', 'pose_best.ckpt'])
def test_a_run_whose_states_are_gone_is_set_aside_as_well(tmp_path, name):
    files = RunFiles(str(tmp_path / 'pose.ckpt'))
    for path in (files.ckpt, tmp_path / name):
        Path(path).touch()
    files.set_aside_earlier_run(lambda text: None)
    assert listing(tmp_path) == ['pose_earlier_1/pose.ckpt', f'pose_earlier_1/{name}']


def test_metrics_of_an_earlier_run_may_lie_on_another_file_system(tmp_path, monkeypatch):
    """Where a rename cannot reach."""
    def rename(source, target):
        raise OSError(errno.EXDEV, 'Invalid cross-device link', source, None, target)

    files = RunFiles(str(tmp_path / 'pose.ckpt'), str(tmp_path / 'elsewhere' / 'steps.jsonl'))
    write_run(files, b'run 1')
    monkeypatch.setattr('os.rename', rename)
    files.set_aside_earlier_run(lambda text: None)
    assert 'pose_earlier_1/steps.jsonl' in listing(tmp_path) and not os.path.exists(files.metrics)
    assert not os.path.exists(files.ckpt)


def test_a_kill_while_an_earlier_run_is_set_aside_loses_nothing(tmp_path, monkeypatch):
    """The next start still knows it as a run."""
    files, moves = RunFiles(str(tmp_path / 'pose.ckpt')), []

    def die(source, target):
        if len(moves) == 3:
            raise KeyboardInterrupt
        moves.append(os.rename(source, target))

    write_run(files, b'run 1')
    with monkeypatch.context() as patch:
        patch.setattr('src.training.files.shutil.move', die)
        with pytest.raises(KeyboardInterrupt):
            files.set_aside_earlier_run(lambda text: None)
    files.set_aside_earlier_run(lambda text: None)
    moved = listing(tmp_path)
    assert all(name.startswith(('pose_earlier_1/', 'pose_earlier_2/')) for name in moved)
    assert sorted(name.partition('/')[2] for name in moved) == RUN_FILES


def test_leftovers_beside_the_checkpoint_are_removed(tmp_path):
    files = RunFiles(str(tmp_path / 'po[s]e.ckpt'))
    theirs = ['.po[s]e.ckpt.12.tmp.ckpt', '.po[s]e.ckpt.12.tmp.tmp', '.po[s]e_best.ckpt.3.tmp.ckpt',
              'po[s]e_metrics.jsonl.44.tmp', 'po[s]e_curve.png.5.tmp']
    mine = ['.other.ckpt.12.tmp.ckpt', 'po[s]e.ckpt', 'po[s]e_metrics.jsonl', 'po[s]e.ckpt.bak', 'pose.jsonl.tmp']
    for name in theirs + mine:
        (tmp_path / name).touch()
    files.remove_leftovers()
    assert names(tmp_path) == sorted(mine)


def test_two_runs_into_the_same_files(tmp_path):
    """As two processes do; test_resume.py does it with real ones."""
    first, second = (RunFiles(str(tmp_path / 'pose.ckpt')) for _ in range(2))
    RunFiles(str(tmp_path / 'other.ckpt')).lock()
    first.lock()
    with pytest.raises(ValueError, match=r'another process is training into .*pose.ckpt; choose another'):
        second.lock()
    del first
    second.lock()


@pytest.mark.parametrize('other, shared, choose', [
    # The metrics of the other run are one of our files, or inside our folders.
    (('other.ckpt', 'pose_metrics.jsonl'), 'pose_metrics.jsonl', '--metrics_path'),
    (('other.ckpt', 'pose.ckpt'), 'pose.ckpt', '--metrics_path'),
    (('other.ckpt', 'pose_best.ckpt'), 'pose_best.ckpt', '--metrics_path'),
    (('other.ckpt', 'link/pose_curve.png'), 'link/pose_curve.png', '--metrics_path'),
    (('other.ckpt', './pose_states/step_00000001.ckpt'), './pose_states/step_00000001.ckpt', '--metrics_path'),
    (('other.ckpt', 'pose_events/events'), 'pose_events/events', '--metrics_path'),
    # Its checkpoint is one of our files; it has our files altogether.
    (('pose_best.ckpt',), 'pose_best.ckpt', '--ckpt_save_path'),
    (('pose.ckpt', 'its.jsonl'), 'pose.ckpt', '--ckpt_save_path'),
    (('link/./pose.ckpt',), 'link/./pose.ckpt', '--ckpt_save_path')])
def test_runs_share_no_file(tmp_path, monkeypatch, other, shared, choose):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to('.')
    first = RunFiles(str(tmp_path / 'pose.ckpt'))
    first.lock()
    write_run(first, b'of the first')
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')}
    for resume in (None, 'auto'):
        with pytest.raises(ValueError) as caught:
            begin(tmp_path, resume, files=RunFiles(*other))
        assert str(caught.value) == f'another process is training into {shared}; choose another {choose}'
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')} == before
    # And the other way round.
    for path in (tmp_path / 'pose_states' / '.lock', tmp_path / 'pose.ckpt'):
        path.unlink()
    del first
    second = RunFiles(*other)
    second.lock()
    with pytest.raises(ValueError, match='another process is training into pose'):
        RunFiles('pose.ckpt').lock()
    del second


def test_the_default_metrics_may_be_those_that_another_run_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = RunFiles('other.ckpt', 'pose_metrics.jsonl')
    first.lock()
    with pytest.raises(ValueError, match='pose_metrics.jsonl; choose another --ckpt_save_path or --metrics_path$'):
        RunFiles('pose.ckpt').lock()
    # Beside each other they do not disturb.
    RunFiles('pose.ckpt', 'mine.jsonl').lock()
    del first


@pytest.mark.parametrize('metrics, what', [
    ('pose.ckpt', 'is the checkpoint'), ('./pose_best.ckpt', 'is the best checkpoint'),
    ('link/pose_curve.png', 'is the curve'),
    ('pose_states', 'lies among the states'), ('pose_states/step_00000001.ckpt', 'lies among the states'),
    ('pose_events/steps.jsonl', 'lies among the events')])
def test_metrics_are_no_other_file_of_the_same_run(tmp_path, monkeypatch, metrics, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to('.')
    with pytest.raises(ValueError) as caught:
        RunFiles('pose.ckpt', metrics).lock()
    assert str(caught.value).startswith(f'--metrics_path {metrics} {what}')
    assert str(caught.value).endswith(' of the run itself; choose another place')
    assert names(tmp_path) == ['link']
    RunFiles('pose.ckpt', 'pose_metrics.jsonl').lock()


def test_a_run_on_a_file_system_without_locks_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('src.system.file_locks.fcntl.flock', refuse)
    files = RunFiles(str(tmp_path / 'pose.ckpt'))
    *_, said = begin(tmp_path, None, files=files)
    assert said[0].startswith(f'note: no locks on the file system of {files.ckpt}, ')
    assert said[0].endswith(': nobody would notice another run into it')


# How a run begins

def begin(tmp_path, resume, *, files=None, **options):
    """Call `resume_run` as train.py does; return the progress, the state and what was said."""
    said, state = [], make_state(0)
    files = files or RunFiles(str(tmp_path / 'pose.ckpt'))
    states = states_of(files.states, **options)
    return resume_run(resume, files, states, state, ALONE, said.append), values_of(state), said


def save_steps(tmp_path, *steps) -> RunStates:
    states = states_of(tmp_path / 'pose_states', keep=9)
    for step in steps:
        states.save(make_state(step), Progress(step=step))
    return states


def test_a_new_run_begins_where_it_is_told(tmp_path):
    files, states = RunFiles(str(tmp_path / 'pose.ckpt')), states_of(tmp_path / 'pose_states')
    assert resume_run(None, files, states, make_state(0), ALONE, pytest.fail, first_step=8) == Progress(
        step=8, evaluated_step=8)


def test_auto_takes_the_newest_and_begins_without_any(tmp_path):
    progress, state, said = begin(tmp_path, 'auto')
    assert progress == Progress() and is_equal(state, values_of(make_state(0)))
    assert said == [f'no state in {tmp_path}/pose_states yet: a new run']
    save_steps(tmp_path, 3, 5)
    progress, state, said = begin(tmp_path, 'auto')
    assert progress.step == 5 and is_equal(state, values_of(make_state(5)))
    assert said == [f'resumed after step 5 from {tmp_path}/pose_states/step_00000005.ckpt']


def test_going_back_sets_the_newer_states_aside(tmp_path):
    """Otherwise a kill before the first save would let --resume auto jump ahead, over steps without metrics."""
    save_steps(tmp_path, 3, 5, 7, 8)
    progress, state, said = begin(tmp_path, f'{tmp_path}/pose_states/step_00000005.ckpt')
    assert progress.step == 5 and is_equal(state, values_of(make_state(5)))
    assert listing(tmp_path) == [*(f'pose_earlier_1/pose_states/step_0000000{step}.ckpt' for step in (7, 8)),
                                 'pose_states/.lock', *(f'pose_states/step_0000000{step}.ckpt' for step in (3, 5))]
    assert said[1] == f'2 newer states are now in {tmp_path}/pose_earlier_1'
    assert begin(tmp_path, 'auto')[0].step == 5


def test_a_state_of_the_newest_step_sets_nothing_aside(tmp_path):
    save_steps(tmp_path, 3, 5)
    begin(tmp_path, f'{tmp_path}/pose_states/step_00000005.ckpt')
    assert not (tmp_path / 'pose_earlier_1').exists()


@pytest.mark.parametrize('resume', ['auto', 'path'])
def test_a_refused_start_moves_nothing(tmp_path, resume):
    """Neither for a run of other settings nor for a damaged state."""
    states = save_steps(tmp_path, 3, 5)
    before = listing(tmp_path)
    where = 'auto' if resume == 'auto' else states.paths()[1]
    with pytest.raises(ValueError, match='another run'):
        begin(tmp_path, where, LR=0.5)
    for path in states.paths():
        Path(path).write_bytes(b'damaged')
    with pytest.raises(ValueError, match='damaged'):
        begin(tmp_path, where)
    assert listing(tmp_path) == sorted([*before, 'pose_states/.lock'])


def test_leftovers_are_removed_before_a_run_begins(tmp_path):
    save_steps(tmp_path, 3)
    for name in ('.pose.ckpt.12.tmp.ckpt', 'pose_states/.step_00000004.ckpt.12.tmp.ckpt'):
        (tmp_path / name).write_bytes(b'half')
    begin(tmp_path, 'auto')
    assert listing(tmp_path) == ['pose_states/.lock', 'pose_states/step_00000003.ckpt']


def test_nobody_touches_the_files_of_a_run_that_goes_on(tmp_path):
    files = RunFiles(str(tmp_path / 'pose.ckpt'))
    begin(tmp_path, None, files=files)
    save_steps(tmp_path, 3)
    (tmp_path / 'pose_states' / '.step_00000004.ckpt.12.tmp.ckpt').touch()
    before = listing(tmp_path)
    for resume in (None, 'auto', f'{tmp_path}/pose_states/step_00000003.ckpt'):
        with pytest.raises(ValueError, match='another process is training'):
            begin(tmp_path, resume)
    assert listing(tmp_path) == before


@pytest.mark.parametrize('step, evaluated, kept', [
    (1, 0, 1), (3, 0, 3), (4, 4, 5), (4, 0, 4), (5, 4, 6), (8, 8, 10), (8, 4, 9)])
def test_metrics_are_kept_up_to_the_state(tmp_path, step, evaluated, kept):
    """The evaluation at the end of an epoch belongs to it, unless the state was saved before it."""
    files, plan = RunFiles(str(tmp_path / 'pose.ckpt')), BatchPlan(8, 2, 3, seed=1)
    rows = []
    for number in range(12):
        rows.append({'epoch': number // 4 + 1, 'step': number % 4 + 1, 'loss': 1.0})
        if number % 4 == 3:
            rows.append({'epoch': number // 4 + 1, 'step': 4, 'AP': 0.5})
    Path(files.metrics).write_text(''.join(json.dumps(row) + '\n' for row in rows))
    with files.open_log(load_recipe(SIMPLE_POSE), plan, Progress(step=step, evaluated_step=evaluated),
                        ALONE):
        pass
    assert [json.loads(line) for line in Path(files.metrics).read_text().splitlines()] == rows[:kept]


def test_a_new_run_that_begins_with_a_later_epoch_has_metrics_of_its_own(tmp_path):
    files, plan = RunFiles(str(tmp_path / 'pose.ckpt')), BatchPlan(8, 2, 3, seed=1)
    Path(files.metrics).write_text('{"epoch": 1, "step": 1, "loss": 1.0}\n')
    config = resolve(load_recipe(SIMPLE_POSE), {'TRAIN.BEGIN_EPOCH': 1})
    for step, kept in ((plan.steps_per_epoch + 1, 1), (plan.steps_per_epoch, 0)):
        files.open_log(config, plan, Progress(step=step), ALONE).close()
        assert len(Path(files.metrics).read_text().splitlines()) == kept


def test_only_the_first_process_writes_metrics(tmp_path):
    files, plan = RunFiles(str(tmp_path / 'pose.ckpt')), BatchPlan(8, 2, 3, seed=1)
    with files.open_log(load_recipe(SIMPLE_POSE), plan, Progress(), Processes('CPU', 1, 2)) as log:
        log.write(epoch=1, step=1, loss=1.0)
    assert names(tmp_path) == []
