"""Trainings that are killed, stopped and starved for real, and that end as if nothing had happened.

A kill here is SIGKILL to a process with two loader workers, at a moment chosen by a seeded dice among compiling,
stepping and saving; with a state after every step most of the time is saving. Chains of kills run side by side.
"""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from script_runs import TOY
from training_runs import (
    STEPS_PER_EPOCH,
    Training,
    assert_same_ending,
    rows_of,
    states_of,
    steps_of,
    train_here,
    unfinished_files_of,
)

from src.checkpoints.ckpt import read_entries
from src.synthetic.writing import write_synthetic_coco

pytestmark = pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='processes are found through /proc')

EPOCHS = 12
STEPS = EPOCHS * STEPS_PER_EPOCH
PLAIN = f'{TOY} TRAIN.SAVE_STEPS=1 --epoch {EPOCHS} --num_parallel_workers 2'
# Two batches of one make a step, and everything that a step may carry along goes into the states.
RICH = (f'{TOY} TRAIN.SAVE_STEPS=1 TRAIN.BATCH_SIZE=1 TRAIN.ACCUMULATE=2 TRAIN.EMA_DECAY=0.9 TRAIN.CLIP_NORM=0.01 '
        f'--epoch {EPOCHS}')

# Runs train.py and dies in the middle of its n-th save of a state: half of the file is written.
DIE_WHILE_SAVING = '''
import os, runpy, signal, sys
import src
import mindspore as ms
save, left = ms.save_checkpoint, [{number}]
def save_half(entries, path, **options):
    save(entries, path, **options)
    left[0] -= 'step_' in path
    if not left[0]:
        os.chmod(path, 0o644)
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
ms.save_checkpoint = save_half
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_synthetic_coco(str(folder), num_train=6, num_val=2, seed=1, image_size=(200, 160))
    return folder


def run_to_the_end(folder, data, arguments):
    """Let a run end undisturbed, and return what it printed."""
    with Training(folder, data, arguments) as training:
        assert training.wait() == 0, training.out
        training.wait_for_the_group()
    assert steps_of(folder) == STEPS
    return training.out


def kill(folder, data, arguments, after_steps, delay):
    """Go on from the newest state, and be killed so many steps (0: while the graph compiles) and seconds later."""
    before = steps_of(folder)
    with Training(folder, data, f'{arguments} --resume auto') as training:
        if after_steps:
            training.wait_until(lambda: training.steps >= before + after_steps)
        else:
            training.wait_until(lambda: 'the first step compiles' in training.out)
        time.sleep(delay)
        os.kill(training.process.pid, signal.SIGKILL)
        assert training.wait() == -signal.SIGKILL, f'was not killed: {training.out}'
        training.wait_for_the_group()


def die_while_saving(folder, data, arguments, number):
    """Go on from the newest state, and be killed when half of the n-th state from then is written."""
    with Training(folder, data, f'{arguments} --resume auto',
                  program=DIE_WHILE_SAVING.format(number=number)) as training:
        assert training.wait() == -signal.SIGKILL, training.out
        training.wait_for_the_group()
    assert unfinished_files_of(folder), 'the kill did not hit a save'


def run_chain(folder, data, arguments, seed, kills):
    """Kill a training again and again, then let it end; return what it was resumed from."""
    dice, resumed = random.Random(seed), []
    for kind in kills:
        if kind == 'save':
            die_while_saving(folder, data, arguments, dice.randint(1, 4))
        else:
            kill(folder, data, arguments, dice.randint(1, 4) if kind == 'step' else 0, dice.uniform(0, 0.06))
        newest = max(states_of(folder), default='none')
        resumed.append(newest)
    assert f'from pose_states/{newest}' in run_to_the_end(folder, data, f'{arguments} --resume auto')
    return resumed


CHAINS = {'plain': (PLAIN, 3, ('start', 'step', 'save')), 'rich': (RICH, 4, ('step', 'save'))}


@pytest.fixture(scope='module')
def runs(data, tmp_path_factory):
    """{'plain' or 'rich': (folder of an undisturbed run, folder of a chain of kills, the states resumed from)}."""
    folders = {name: (tmp_path_factory.mktemp('whole'), tmp_path_factory.mktemp('killed')) for name in CHAINS}

    def run(name):
        arguments, seed, kills = CHAINS[name]
        whole, killed = folders[name]
        run_to_the_end(whole, data, arguments)
        return name, (whole, killed, run_chain(killed, data, arguments, seed, kills))

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(run, CHAINS))


# SIGKILL

@pytest.mark.parametrize('name', CHAINS)
def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(runs, name):
    whole, killed, resumed = runs[name]
    # The chain did go on, up to a kill that was not the end. A kill during the first save after a start gains nothing.
    steps = [int(state[len('step_'):-len('.ckpt')]) for state in resumed if state != 'none']
    assert len(steps) >= len(CHAINS[name][2]) - 1 and steps == sorted(steps)
    assert steps[0] < steps[-1] < STEPS or len(steps) == 1
    assert any(step % STEPS_PER_EPOCH for step in steps), 'no kill in the middle of an epoch'
    assert_same_ending(killed, whole)
    assert list(states_of(whole)) == [f'step_{step:08d}.ckpt' for step in range(STEPS - 2, STEPS + 1)]


def test_an_older_state_leads_to_the_same_end(runs, data, tmp_path):
    """--resume PATH goes back, sets the newer states aside, and writes their metrics anew."""
    whole, *_ = runs['plain']
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    newer = states_of(folder)
    older = f'pose_states/step_{STEPS - 2:08d}.ckpt'
    out = run_to_the_end(folder, data, f'{PLAIN} --resume {older}')
    assert f'resumed after step {STEPS - 2} from {older}' in out
    assert out.count('loss is') == 2
    aside = states_of(folder / 'pose_earlier_1')
    assert aside == {name: newer[name] for name in list(newer)[1:]}
    shutil.rmtree(folder / 'pose_earlier_1')
    assert_same_ending(folder, whole)


def test_a_finished_run_has_nothing_left_to_do(runs, data, tmp_path):
    whole, *_ = runs['rich']
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    status, out = train_here(folder, data, f'{RICH} --resume auto')
    assert status == 0 and f'resumed after step {STEPS} from' in out
    assert 'loss is' not in out and out.splitlines()[-1] == 'checkpoint: pose.ckpt'
    assert '"fps": 0.0' in out.splitlines()[-2]
    assert rows_of(folder) == rows_of(whole)
    assert_same_ending(folder, whole)


def test_damage_to_the_newest_state_costs_one_step(runs, data, tmp_path):
    whole, *_ = runs['plain']
    folder = tmp_path / 'run'
    shutil.copytree(whole, folder)
    newest = folder / 'pose_states' / f'step_{STEPS:08d}.ckpt'
    newest.write_bytes(newest.read_bytes()[:-1])
    out = run_to_the_end(folder, data, f'{PLAIN} --resume auto')
    assert f'warning: pose_states/{newest.name} is damaged' in out and 'taking the state before it' in out
    assert f'resumed after step {STEPS - 1} from' in out and out.count('loss is') == 1
    assert_same_ending(folder, whole)


# SIGTERM and Ctrl-C

def stop(training, send, seconds=15):
    """Ask a training to stop and see it end politely, in time and with all its processes."""
    assert len(training.group()) >= 3, 'there are no loader processes'
    asked = time.monotonic()
    send()
    assert training.wait(60) == 0, training.out
    training.wait_for_the_group()
    assert time.monotonic() - asked < seconds
    lines = training.out.splitlines()
    step = training.steps
    assert lines[-1] == f'checkpoint: pose.ckpt (stopped after step {step} of {STEPS}; --resume auto goes on)'
    assert max(states_of(training.folder)) == f'step_{step:08d}.ckpt'
    assert unfinished_files_of(training.folder) == []
    assert 'Traceback' not in training.out and 'Error' not in training.out
    return step


def test_stopped_runs_end_politely_and_go_on(runs, data, tmp_path, capfd):
    """By SIGTERM to the main process, by Ctrl-C to the whole group; and meanwhile nobody else may train here."""
    whole, *_ = runs['plain']
    folder = tmp_path / 'run'
    # No states on the way: what is saved is saved because of the signal.
    arguments = PLAIN.replace('TRAIN.SAVE_STEPS=1', 'TRAIN.SAVE_STEPS=0 TRAIN.KEEP_STATES=9')
    with Training(folder, data, arguments) as training:
        training.wait_until(lambda: training.steps >= 1)
        os.kill(training.process.pid, signal.SIGSTOP)
        before = sorted(str(path) for path in folder.rglob('*'))
        for again in ('', '--resume auto'):
            assert train_here(folder, data, f'{arguments} {again}')[0] == 2
            assert capfd.readouterr().err == ('error: another process is training into pose.ckpt; choose another '
                                              '--ckpt_save_path\n')
        # Neither may another run write to one of its files, by whatever name.
        metrics = f'{folder}/../run/pose_metrics.jsonl'
        assert train_here(folder, data, f'{arguments} --ckpt_save_path other.ckpt --metrics_path {metrics}')[0] == 2
        assert capfd.readouterr().err == (f'error: another process is training into {metrics}; choose another '
                                          '--metrics_path\n')
        assert sorted(str(path) for path in folder.rglob('*')) == before
        os.kill(training.process.pid, signal.SIGCONT)
        first = stop(training, lambda: os.kill(training.process.pid, signal.SIGTERM))
        assert ('SIGTERM: saving and stopping within a few steps or after the evaluation; a second signal ends the run '
                'at once') in training.out
    with Training(folder, data, f'{arguments} --resume auto') as training:
        training.wait_until(lambda: training.steps >= first + 2)
        second = stop(training, lambda: os.killpg(training.process.pid, signal.SIGINT))
        assert f'resumed after step {first} from' in training.out
        # While a graph runs MindSpore turns the one into the other.
        assert len(re.findall('^SIG(?:INT|TERM): saving and stopping', training.out, re.M)) == 1
    assert first < second < STEPS
    assert f'resumed after step {second} from' in run_to_the_end(folder, data, f'{PLAIN} --resume auto')
    assert_same_ending(folder, whole)


def test_a_dead_loader_is_an_error_and_costs_nothing(runs, data, tmp_path):
    """The run saves and stops; that must not look like a polite stop, and --resume auto goes on as if undisturbed."""
    whole, *_ = runs['plain']
    folder = tmp_path / 'run'
    arguments = PLAIN.replace('TRAIN.SAVE_STEPS=1', 'TRAIN.SAVE_STEPS=0 TRAIN.KEEP_STATES=9')
    with Training(folder, data, arguments) as training:
        training.wait_until(lambda: training.steps >= 2)
        victim = next(pid for pid in training.group() if pid != training.process.pid)
        os.kill(victim, signal.SIGKILL)
        assert training.wait(60) == 2, training.out
        training.wait_for_the_group()
        step, lines = training.steps, training.out.splitlines()
    assert 2 <= step < STEPS and max(states_of(folder)) == f'step_{step:08d}.ckpt'
    assert lines[-2] == f'checkpoint: pose.ckpt (stopped after step {step} of {STEPS}; --resume auto goes on)'
    assert re.fullmatch(rf'error: loader process [12] of 2 \(pid {victim}\) was killed \(SIGKILL\) while it read '
                        r'\d+\.jpg, \d+\.jpg; the system does that where memory runs out .*', lines[-1])
    assert lines[-1][len('error: '):] + ': saving and stopping within a few steps or after the evaluation' in lines
    assert 'SIGTERM' not in training.out and 'Traceback' not in training.out
    assert f'resumed after step {step} from' in run_to_the_end(folder, data, f'{PLAIN} --resume auto')
    assert_same_ending(folder, whole)


# Full disks

def limit_files(number_of_bytes):
    """Let no file of this process grow beyond a size, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_of_bytes, resource.RLIM_INFINITY))


@pytest.mark.skipif(not hasattr(resource, 'prlimit'), reason='needs prlimit')
def test_a_full_disk_stops_saving_and_not_the_training(data, tmp_path):
    """The disk fills up, is full for a while, and has room again."""
    folder = tmp_path / 'run'
    with Training(folder, data, 'TRAIN.SAVE_STEPS=1 --epoch 100000') as training:
        def limit(number_of_bytes):
            resource.prlimit(training.process.pid, resource.RLIMIT_FSIZE, (number_of_bytes, resource.RLIM_INFINITY))

        training.wait_until(lambda: training.steps >= 4)
        limit(100_000)
        training.wait_until(lambda: 'the run goes on' in training.out)
        whole = states_of(folder)
        # On and on without a new state, through the end of an epoch.
        begun = training.steps
        training.wait_until(lambda: training.steps >= begun + STEPS_PER_EPOCH)
        assert states_of(folder) == whole and len(whole) > 0
        limit(resource.RLIM_INFINITY)
        training.wait_until(lambda: max(states_of(folder)) > max(whole))
        os.kill(training.process.pid, signal.SIGTERM)
        assert training.wait(60) == 0, training.out
        warnings = [line for line in training.out.splitlines() if line.startswith('warning: cannot write')]
        assert any('the checkpoint pose.ckpt' in line for line in warnings)
        newest = f'the run goes on, the newest whole state is pose_states/{max(whole)}'
        assert all(line.endswith(newest) for line in warnings) and len(warnings) > STEPS_PER_EPOCH
    for path in [folder / 'pose.ckpt', *(folder / 'pose_states').glob('step_*')]:
        assert read_entries(str(path), needs_checksum=True)[0]
    assert unfinished_files_of(folder) == []
    assert [row['step'] for row in rows_of(folder)] == [
        step % STEPS_PER_EPOCH + 1 for step in range(len(rows_of(folder)))]


def test_a_disk_that_stays_full_is_an_error_at_the_end(data, tmp_path):
    """Nothing could be saved: that must not look like success."""
    folder = tmp_path / 'run'
    with Training(folder, data, '--epoch 1', prepare=lambda: limit_files(100_000)) as training:
        assert training.wait() == 2, training.out
        lines = training.out.splitlines()
    # The state comes first: it continues the run, and the weights are in it.
    assert lines[-1].startswith('error: cannot write the checkpoint pose_states/step_')
    warnings = [line for line in lines if line.startswith('warning: cannot write')]
    assert len(warnings) == 2 and all(line.endswith('the newest whole state is none') for line in warnings)
    assert not (folder / 'pose.ckpt').exists() and states_of(folder) == {} and unfinished_files_of(folder) == []
    assert len(rows_of(folder)) == STEPS_PER_EPOCH


def test_room_for_the_weights_alone_is_used(data, tmp_path):
    """A state needs three times as much."""
    folder = tmp_path / 'run'
    with Training(folder, data, '--epoch 1 --max_steps 2', prepare=lambda: limit_files(1_500_000)) as training:
        assert training.wait() == 2, training.out
        *_, last = training.out.splitlines()
    assert last.startswith('error: cannot write the checkpoint pose_states/step_00000002.ckpt: ')
    assert last.endswith('; the weights of step 2 are in pose.ckpt, there is no whole state')
    weights, texts = read_entries(str(folder / 'pose.ckpt'), needs_checksum=True)
    assert weights and 'config' in texts
    assert states_of(folder) == {} and unfinished_files_of(folder) == []


# Runs a command in a folder `disk` that is a file system of 4.2 MB, and keeps what it left there.
SMALL_DISK = ('mkdir disk && mount -t tmpfs -o size=4200k tmpfs disk && cd disk && '
              '("$@"; echo $? >../status; cp -a . ../left)')


def small_disks_can_be_made() -> bool:
    return shutil.which('unshare') is not None and not subprocess.run(
        ['unshare', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], capture_output=True, check=False).returncode


@pytest.mark.skipif(not small_disks_can_be_made(), reason='only root may mount a small file system')
def test_a_whole_state_is_never_given_for_one_that_does_not_fit(data, tmp_path):
    """On a disk with room for a state and two checkpoints of weights; the state of step 1 is there."""
    with Training(tmp_path, data, '--epoch 1 --max_steps 2 --set TRAIN.SAVE_STEPS=1 TRAIN.KEEP_STATES=1',
                  under=('unshare', '--mount', 'sh', '-c', SMALL_DISK, 'sh')) as training:
        training.wait()
        *_, last = training.out.splitlines()
    assert (tmp_path / 'status').read_text() == '2\n', training.out
    assert re.fullmatch(
        r'error: cannot write the checkpoint pose_states/step_00000002.ckpt: .*; the weights of step 2 are in '
        r'pose.ckpt, the newest whole state is pose_states/step_00000001.ckpt', last)
    left = tmp_path / 'left'
    assert list(states_of(left)) == ['step_00000001.ckpt'] and unfinished_files_of(left) == []
    state, _ = read_entries(str(left / 'pose_states' / 'step_00000001.ckpt'), needs_checksum=True)
    weights, _ = read_entries(str(left / 'pose.ckpt'), needs_checksum=True)
    assert any(not np.array_equal(weights[name], state[name]) for name in weights)
