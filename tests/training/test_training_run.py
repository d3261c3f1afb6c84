"""Between the steps of a training: evaluations, the best checkpoint, early ends, and what a run leaves behind."""
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from mindspore import Parameter, Tensor, nn
from script_runs import TOY, run_script
from training_runs import (
    STEPS_PER_EPOCH,
    assert_same_ending,
    rows_of,
    states_of,
    train_here,
    unfinished_files_of,
    untimed_rows_of,
)

from src.checkpoints.ckpt import read_checkpoint, read_entries
from src.checkpoints.names import named_parameters
from src.config import load_recipe
from src.data.skeletons import COCO
from src.metrics.coco import evaluate_coco
from src.synthetic.writing import write_synthetic_coco
from src.system.device import Processes
from src.system.errors import PoseError
from src.training import run as training_run
from src.training.run import TrainingRun
from src.training.states import Progress


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=6, num_val=2, seed=1, image_size=(200, 160))
    return folder


def annotations_of(data) -> str:
    return f'{data}/annotations/person_keypoints_train2017.json'


# The people of the training, whom even a tiny network learns by heart within seconds.
def evaluated_settings(data) -> str:
    return (f'TEST.USE_GT_BBOX=true DATASET.TEST_SET=train2017 DATASET.TEST_JSON={annotations_of(data)} '
            'DATASET.FLIP=false DATASET.ROT_FACTOR=0 DATASET.SCALE_FACTOR=0 TRAIN.SCHEDULE=step TRAIN.LR=0.003 '
            'TRAIN.BATCH_SIZE=4 TRAIN.KEEP_STATES=13 TRAIN.EVAL_EPOCHS=10 TRAIN.EMA_DECAY=0.9 --epoch 35')


def values_of(path) -> dict:
    return read_checkpoint(str(path))[0]


def is_equal(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


# Evaluation

EVALUATED = re.compile(r'^epoch: (\d+) AP: (-?\d\.\d{4}) with ground-truth boxes( \(best so far\))?, evaluated in '
                       r'\d+\.\d s$', re.M)


@pytest.fixture(scope='module')
def evaluated(data, tmp_path_factory):
    """A training of 35 epochs with a running average, evaluated every ten epochs and at the end; what it printed."""
    folder = tmp_path_factory.mktemp('evaluated')
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    status, out = train_here(folder, data, evaluated_settings(data))
    assert status == 0
    left = {child.pid for child in psutil.Process().children(recursive=True)} - children
    return folder, out, left


def evaluations_of(folder) -> list:
    return [row for row in rows_of(folder) if 'AP' in row]


def test_evaluations_are_told_and_logged(evaluated):
    folder, out, _ = evaluated
    rows = evaluations_of(folder)
    told = EVALUATED.findall(out)
    assert [(row['epoch'], f'{row["AP"]:.4f}') for row in rows] == [(int(epoch), ap) for epoch, ap, _ in told]
    assert [row['epoch'] for row in rows] == [10, 20, 30, 35]
    assert {tuple(row) for row in rows} == {
        ('epoch', 'step', *(f'{kind}{which}' for kind in ('AP', 'AR') for which in ('', '50', '75', ' (M)', ' (L)')))}
    # The network does learn, and is told to be the best so far where it is.
    scores = [row['AP'] for row in rows]
    assert scores[-1] > 0.1 and len(set(scores)) > 2
    assert [bool(best) for *_, best in told] == [score > max([-1, *scores[:number]])
                                                 for number, score in enumerate(scores)]
    # An evaluation stands behind the last step of its epoch.
    everything = rows_of(folder)
    for row in rows:
        before = everything[everything.index(row) - 1]
        assert 'loss' in before and (before['epoch'], before['step']) == (row['epoch'], row['step'])


def test_evaluations_leave_no_loader_processes(evaluated):
    """They are started once for every evaluation."""
    *_, left = evaluated
    assert {pid for pid in left if psutil.pid_exists(pid)} == set()


@pytest.mark.parametrize('checkpoint', ['pose_best.ckpt', 'pose.ckpt'])
def test_a_checkpoint_scores_what_the_training_said_to_the_last_digit(evaluated, data, tmp_path, checkpoint, capfd):
    folder, *_ = evaluated
    rows = evaluations_of(folder)
    expected = max(rows, key=lambda row: row['AP']) if checkpoint == 'pose_best.ckpt' else rows[-1]
    capfd.readouterr()
    assert run_script('eval', f'--ckpt_path {folder}/{checkpoint} --use_gt_bbox --save_path {tmp_path}/r.json') == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1].startswith(f'AP {expected["AP"]:.4f} with ')
    metrics = evaluate_coco(annotations_of(data), json.loads((tmp_path / 'r.json').read_text()), COCO)
    assert metrics == {key: expected[key] for key in metrics} and len(metrics) == 10


def test_checkpoints_hold_the_running_average(evaluated):
    folder, *_ = evaluated
    name = max(states_of(folder))
    entries, _ = read_entries(str(folder / 'pose_states' / name), needs_checksum=True)
    average = {key[len('ema.'):]: value for key, value in entries.items() if key.startswith('ema.')}
    weights = {key: entries[key] for key in average}
    assert is_equal(values_of(folder / 'pose.ckpt'), average) and not is_equal(average, weights)


def test_the_curve_shows_the_evaluations(evaluated):
    pytest.importorskip('matplotlib')
    folder, *_ = evaluated
    assert (folder / 'pose_curve.png').stat().st_size > 10_000


def test_the_state_remembers_the_evaluations(evaluated):
    folder, *_ = evaluated
    name = max(states_of(folder))
    _, texts = read_entries(str(folder / 'pose_states' / name), needs_checksum=True)
    rows = evaluations_of(folder)
    best = max(rows, key=lambda row: row['AP'])
    told = json.loads(texts['progress'])
    assert (told['best_ap'], told['best_epoch']) == (best['AP'], best['epoch'])
    assert told['evaluations_without_gain'] == len(rows) - 1 - rows.index(best)


def test_a_resumed_run_has_the_evaluations_of_an_undisturbed_one(evaluated, data, tmp_path):
    """The best checkpoint as well: best AP and running average go on from the state."""
    whole, *_ = evaluated
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    # Of epoch 23, and the best one is to be found anew.
    oldest = min(states_of(folder))
    assert oldest == 'step_00000046.ckpt' and max(evaluations_of(whole), key=lambda row: row['AP'])['epoch'] > 23
    (folder / 'pose_best.ckpt').unlink()
    assert train_here(folder, data, f'{evaluated_settings(data)} --resume pose_states/{oldest}')[0] == 0
    assert untimed_rows_of(folder) == untimed_rows_of(whole)
    for name in ('pose.ckpt', 'pose_best.ckpt'):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert states_of(folder) == states_of(whole)


@pytest.mark.parametrize('moment', ['before', 'after'])
def test_whoever_dies_in_an_evaluation_repeats_it_and_nothing_else(evaluated, data, tmp_path, monkeypatch, moment):
    """Before it has a result, and after the result was logged but not saved."""
    whole, *_ = evaluated
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    (folder / 'pose_best.ckpt').unlink()
    settings = f'{evaluated_settings(data)} --resume'
    evaluate = TrainingRun._evaluate

    def die(run, epoch):
        if moment == 'after':
            evaluate(run, epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, '_evaluate', die)
    assert train_here(folder, data, f'{settings} pose_states/{min(states_of(folder))}')[0]
    monkeypatch.undo()
    assert max(states_of(folder)) == f'step_{30 * 2:08d}.ckpt'

    status, out = train_here(folder, data, f'{settings} auto')
    assert status == 0 and EVALUATED.findall(out)[0][0] == '30'
    assert len(re.findall('^epoch: .*loss is', out, re.M)) == 5 * 2
    assert untimed_rows_of(folder) == untimed_rows_of(whole)
    for name in ('pose.ckpt', 'pose_best.ckpt'):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_best_checkpoint_that_could_not_be_written_keeps_no_other_from_it(evaluated, data, tmp_path, monkeypatch):
    whole, *_ = evaluated
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    (folder / 'pose_best.ckpt').unlink()
    save, refused = training_run.save_checkpoint, []

    def refuse_first(path, *arguments):
        if path.endswith('_best.ckpt') and not refused:
            refused.append(path)
            raise OSError(28, f'cannot write {path}: No space left on device')
        save(path, *arguments)

    monkeypatch.setattr(training_run, 'save_checkpoint', refuse_first)
    status, out = train_here(folder, data, f'{evaluated_settings(data)} --resume pose_states/{min(states_of(folder))}')
    assert status == 0 and 'pose_best.ckpt: No space left' in out
    # Whatever the refused one scored, the next is the best that there is.
    assert [bool(best) for *_, best in EVALUATED.findall(out)] == [True, True]
    assert is_equal(values_of(folder / 'pose_best.ckpt'), values_of(folder / 'pose.ckpt'))


# An early stop

FLAT = f'{TOY} TEST.USE_GT_BBOX=true TRAIN.EVAL_EPOCHS=1 TRAIN.EARLY_STOP={{}} --lr 1e-12 --epoch 9'


def test_early_stop(data, tmp_path):
    """A network that learns nothing has its best epoch first; then it takes two without gain."""
    status, out = train_here(tmp_path, data, FLAT.format(2))
    assert status == 0
    assert re.search(r'^early stop: no gain in 2 evaluations; the best is AP -?\d\.\d{4} of epoch 1$', out, re.M)
    assert out.splitlines()[-1] == 'checkpoint: pose.ckpt'
    assert [row['epoch'] for row in evaluations_of(tmp_path)] == [1, 2, 3]
    assert max(states_of(tmp_path)) == f'step_{3 * STEPS_PER_EPOCH:08d}.ckpt'
    assert (tmp_path / 'pose_best.ckpt').exists()

    # It has ended, and knows it.
    before, rows = states_of(tmp_path), rows_of(tmp_path)
    status, out = train_here(tmp_path, data, f'{FLAT.format(2)} --resume auto')
    assert status == 0 and 'loss is' not in out and out.splitlines()[-1] == 'checkpoint: pose.ckpt'
    assert states_of(tmp_path) == before and rows_of(tmp_path) == rows

    # With more patience it goes on, counting from where it was.
    status, out = train_here(tmp_path, data, f'{FLAT.format(4)} --resume auto')
    assert status == 0 and 'early stop: no gain in 4 evaluations' in out
    assert [row['epoch'] for row in evaluations_of(tmp_path)] == [1, 2, 3, 4, 5]


# Limits, and runs one after the other

PLAIN = f'{TOY} TRAIN.SAVE_STEPS=1 TRAIN.SCHEDULE=step TRAIN.LR_STEP=[2] --num_parallel_workers 1 --epoch 3'


@pytest.fixture(scope='module')
def plain(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('plain')
    assert train_here(folder, data, PLAIN)[0] == 0
    return folder


def test_max_steps_ends_a_run_that_can_go_on(plain, data, tmp_path):
    """In the middle of an epoch, at its end, and on to the end of the run."""
    for limit, taken in ((2, 2), (STEPS_PER_EPOCH, 2), (STEPS_PER_EPOCH, 0)):
        status, out = train_here(tmp_path, data, f'{PLAIN} --max_steps {limit} --resume auto')
        assert status == 0 and out.count('loss is') == taken
        assert out.splitlines()[-1] == (f'checkpoint: pose.ckpt (ended after step {limit} of {3 * STEPS_PER_EPOCH}; '
                                        '--resume auto goes on)')
        assert max(states_of(tmp_path)) == f'step_{limit:08d}.ckpt'
        assert is_equal(values_of(tmp_path / 'pose.ckpt'), values_of(
            tmp_path / 'pose_states' / f'step_{limit:08d}.ckpt'))
    assert train_here(tmp_path, data, f'{PLAIN} --resume auto')[0] == 0
    assert_same_ending(tmp_path, plain)


def test_a_run_of_another_recipe_is_refused_and_stays(plain, data, tmp_path, capfd):
    folder = tmp_path / 'run'
    shutil.copytree(plain, folder)
    capfd.readouterr()
    assert train_here(folder, data, f'{PLAIN} --resume auto --lr 0.5 --set TRAIN.KEEP_STATES=2')[0] == 2
    error = capfd.readouterr().err
    assert re.fullmatch(r'error: pose_states/step_00000012.ckpt is of another run: TRAIN.LR is 0.5, was 0.002\. .*\n',
                        error)
    assert_same_ending(folder, plain)


def test_a_run_on_other_people_is_refused(plain, data, tmp_path, capfd):
    folder, other = tmp_path / 'run', tmp_path / 'data'
    shutil.copytree(plain, folder)
    shutil.copytree(data, other)
    capfd.readouterr()
    # The same people in another folder are the same people.
    assert train_here(folder, other, f'{PLAIN} --resume auto')[0] == 0
    path = other / 'annotations' / 'person_keypoints_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'][0] += 1
    path.write_text(json.dumps(content))
    assert train_here(folder, other, f'{PLAIN} --resume auto')[0] == 2
    assert 'another run: the people of the annotation file are others' in capfd.readouterr().err


def test_a_new_run_sets_the_earlier_one_aside(plain, data, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(plain, folder)
    status, out = train_here(folder, data, f'{PLAIN} --set GENERAL.SEED=7')
    assert status == 0
    assert 'a run was here before: its files are now in pose_earlier_1 (--resume auto would have continued it)' in out
    assert_same_ending(folder / 'pose_earlier_1', plain)
    assert len(rows_of(folder)) == 3 * STEPS_PER_EPOCH
    assert not is_equal(values_of(folder / 'pose.ckpt'), values_of(plain / 'pose.ckpt'))


def test_a_finished_run_can_be_made_longer_with_a_step_schedule(plain, data, tmp_path):
    assert train_here(tmp_path, data, PLAIN.replace('--epoch 3', '--epoch 1'))[0] == 0
    status, out = train_here(tmp_path, data, f'{PLAIN} --resume auto')
    assert status == 0 and f'resumed after step {STEPS_PER_EPOCH} from' in out
    assert_same_ending(tmp_path, plain)


def test_tensorboard_events_of_a_run(data, tmp_path):
    pytest.importorskip('tensorboardX')
    status, _ = train_here(tmp_path, data, 'TRAIN.TENSORBOARD=true --epoch 1')
    assert status == 0 and len(os.listdir(tmp_path / 'pose_events')) == 1


# Failures to save, and when a state is due

class Recorder:
    """Stands for the states of a run: writes down what is saved, or fails as a full disk does."""

    folder = 'states'

    def __init__(self):
        self.saved, self.is_full = [], False

    def paths(self):
        return [f'states/step_{step}.ckpt' for step in reversed(self.saved)]

    def save(self, state, progress):
        if self.is_full:
            raise OSError('cannot write the checkpoint states/x.ckpt: No space left on device')
        self.saved.append(progress.step)


class NoStep:
    average = None

    def state(self, network):
        return {}


def make_run(said, **train):
    config = load_recipe('base')
    config.TRAIN.update(train)
    return TrainingRun(config=config, processes=Processes('CPU'), files=None, states=Recorder(), log=None, network=None,
                       step=NoStep(), progress=Progress(), evaluation=None, evaluation_network=None,
                       steps_per_epoch=100, say=said.append)


def go(run, *steps):
    for step in steps:
        run.progress.step = step
        run.after_step(step)
    return run.states.saved


def test_states_are_due_by_steps():
    assert go(make_run([], SAVE_STEPS=4, SAVE_MINUTES=0), *range(1, 14)) == [4, 8, 12]
    assert go(make_run([], SAVE_STEPS=0, SAVE_MINUTES=0), *range(1, 14)) == []


def test_states_are_due_by_minutes(monkeypatch):
    """Counted from the last save, whatever it was for."""
    now = [1000.0]
    monkeypatch.setattr('src.training.run.time.monotonic', lambda: now[0])
    run = make_run([], SAVE_STEPS=7, SAVE_MINUTES=0.5)
    for step, seconds in ((1, 29), (2, 1), (3, 29), (4, 2), (5, 20), (6, 5), (7, 1), (8, 29), (9, 1)):
        now[0] += seconds
        go(run, step)
    assert run.states.saved == [2, 4, 7, 9]


def test_a_full_disk_is_told_and_tried_again_later():
    said = []
    run = make_run(said, SAVE_STEPS=2, SAVE_MINUTES=0)
    go(run, 1, 2)
    run.states.is_full = True
    go(run, 3, 4)
    assert said == ['warning: cannot write the checkpoint states/x.ckpt: No space left on device; the run goes on, the '
                    'newest whole state is states/step_2.ckpt']
    run.states.is_full = False
    assert go(run, 5, 6) == [2, 6] and len(said) == 1
    run.states.is_full = True
    with pytest.raises(OSError, match='cannot write'):
        run.save_state(must=True)


@pytest.fixture
def ending(monkeypatch, tmp_path):
    """Return a run after 4 steps, with a state of step 2, and the kinds of files that are written at its end."""
    written, is_full = [], []

    def save(path, *_):
        if is_full:
            raise OSError(f'cannot write the checkpoint {path}: No space left on device')
        written.append('weights')

    monkeypatch.setattr('src.training.run.save_checkpoint', save)
    monkeypatch.chdir(tmp_path)
    run = make_run([], SAVE_STEPS=2, SAVE_MINUTES=0)
    run.network, run.files = nn.ReLU(), SimpleNamespace(ckpt='pose.ckpt')
    go(run, 1, 2)
    run.finish()
    assert run.states.saved == [2] and written == ['weights']
    run.states.is_full = True
    go(run, 3, 4)
    return run, written, is_full


def test_a_run_ends_with_its_last_state(ending):
    """Also where the last save on the way has failed."""
    run, written, _ = ending
    run.states.is_full = False
    run.finish()
    assert run.states.saved == [2, 4] and written == ['weights'] * 2


def test_a_state_that_cannot_be_written_costs_no_weights(ending):
    """They need a third of the room."""
    run, written, _ = ending
    with pytest.raises(OSError) as caught:
        run.finish()
    assert str(caught.value) == (
        'cannot write the checkpoint states/x.ckpt: No space left on device; the weights of step 4 are in pose.ckpt, '
        'the newest whole state is states/step_2.ckpt')
    assert written == ['weights'] * 2 and run.states.saved == [2]


def test_weights_that_cannot_be_written_cost_no_state(ending):
    run, written, is_full = ending
    run.states.is_full = False
    is_full.append(True)
    with pytest.raises(OSError) as caught:
        run.finish()
    assert str(caught.value) == (
        'cannot write the checkpoint pose.ckpt: No space left on device; pose.ckpt holds the weights of step 2, the '
        'newest whole state is states/step_4.ckpt')
    assert written == ['weights'] and run.states.saved == [2, 4]


@pytest.mark.parametrize('is_there', [False, True])
def test_a_run_that_could_write_nothing_says_so(ending, is_there):
    """And of an earlier checkpoint it does not say more than it knows."""
    run, _, is_full = ending
    is_full.append(True)
    run.states.saved.clear()
    run.saved_weights_step = None
    if is_there:
        Path('pose.ckpt').touch()
    with pytest.raises(OSError) as caught:
        run.finish()
    weights = 'pose.ckpt is that of an earlier start' if is_there else 'there is no pose.ckpt'
    assert str(caught.value) == (
        'cannot write the checkpoint states/x.ckpt: No space left on device; cannot write the checkpoint pose.ckpt: No '
        f'space left on device; {weights}, there is no whole state')


def test_broken_moments_cost_no_weights(ending, monkeypatch):
    run, written, _ = ending

    def refuse(*_):
        raise PoseError('the checkpoint x.ckpt is not written: 1 parameters hold NaN or infinity')

    monkeypatch.setattr(run.states, 'save', refuse)
    with pytest.raises(ValueError, match='hold NaN or infinity; the weights of step 4 are in pose.ckpt, the newest'):
        run.finish()
    assert written == ['weights'] * 2


class Evaluates:
    """Stands for an evaluation that fails."""

    def __init__(self, error):
        self.error = error

    def measure(self, network):
        raise self.error


@pytest.mark.parametrize('error, kind, reason', [
    (PoseError('the picture 7.jpg is truncated'), PoseError, 'the picture 7.jpg is truncated'),
    (TypeError('int() and None'), PoseError, 'TypeError: int() and None'),
    (MemoryError(), PoseError, 'MemoryError')])
def test_an_evaluation_that_fails_says_what_is_there(ending, monkeypatch, error, kind, reason):
    """The state as well, which is tried once more where it could not be written before."""
    run, _, _ = ending
    run.states.is_full = False
    run.config.TRAIN.EVAL_EPOCHS, run.evaluation, run.steps_per_epoch = 1, Evaluates(error), 4
    monkeypatch.setattr(run, '_fill_evaluation_network', lambda: None)
    with pytest.raises(kind) as caught:
        run.evaluate_if_due()
    assert str(caught.value) == (
        f'the evaluation after epoch 1 failed: {reason}; pose.ckpt holds the weights of step 2, the newest whole state '
        'is states/step_4.ckpt (--resume auto repeats the evaluation, TRAIN.EVAL_EPOCHS=0 leaves it out)')
    assert run.states.saved == [2, 4] and run.progress.evaluated_step == 0


@pytest.mark.parametrize('error', [ImportError('no matplotlib'), AttributeError('_ARRAY_API not found')])
def test_a_curve_that_cannot_be_drawn_is_no_failure(monkeypatch, tmp_path, error):
    def fail(*_, **__):
        raise error

    said, path = [], tmp_path / 'metrics.jsonl'
    path.touch()
    run = make_run(said)
    run.files = SimpleNamespace(metrics=str(path), curve='curve.png', stem='pose')
    monkeypatch.setattr('src.training.run.draw_loss_curve', fail)
    run.draw_curve()
    assert said == [f'note: no picture of the training curve: {error}']


def test_an_interrupted_evaluation_is_no_failure(ending, monkeypatch):
    run, _, _ = ending
    run.config.TRAIN.EVAL_EPOCHS, run.evaluation, run.steps_per_epoch = 1, Evaluates(KeyboardInterrupt()), 4
    monkeypatch.setattr(run, '_fill_evaluation_network', lambda: None)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate_if_due()


@pytest.mark.parametrize('has_average', [True, False])
def test_the_running_average_is_what_is_evaluated_and_saved(has_average, monkeypatch):
    run, saved = make_run([]), []
    run.network, run.evaluation_network, run.files = nn.Dense(2, 1), nn.Dense(2, 1), SimpleNamespace(ckpt='pose.ckpt')
    weights = named_parameters(run.network)
    averages = [Parameter(Tensor(np.full(each.shape, number, np.float32)), name=f'ema.{name}')
                for number, (name, each) in enumerate(weights.items(), start=5)]
    run.step = SimpleNamespace(average=SimpleNamespace(averages=averages) if has_average else None)
    expected = averages if has_average else list(weights.values())
    monkeypatch.setattr('src.training.run.save_checkpoint', lambda path, weights, config: saved.append(weights))
    run.save_weights(must=True)
    run._fill_evaluation_network()
    for result in (saved[0], named_parameters(run.evaluation_network)):
        assert list(result) == list(weights)
        for ours, each in zip(result.values(), expected):
            np.testing.assert_array_equal(ours.asnumpy(), each.asnumpy())


def test_other_processes_than_the_first_save_nothing():
    run = make_run([], SAVE_STEPS=1)
    run.processes = Processes('CPU', 1, 2)
    assert go(run, 1, 2) == []
    run.save_weights(must=True)


def test_nothing_half_done_is_left(plain, evaluated):
    assert unfinished_files_of(plain) == unfinished_files_of(evaluated[0]) == []
