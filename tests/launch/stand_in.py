"""Launches with a stand-in for Python that writes down how it was called and then waits, fails or ends."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from script_runs import ROOT

from src.launch.rank_tables import Server, make_rank_table
from src.launch.scripts import main
from src.system.command_line import run_command
from src.system.files import write_json

SCRIPTS = ROOT / 'scripts'
JOB_VARIABLES = ('RANK_TABLE_FILE', 'RANK_SIZE', 'RANK_ID', 'DEVICE_ID', 'ASCEND_DEVICE_ID', 'MS_ROLE',
                 'MS_WORKER_NUM', 'MINDSPORE_HCCL_CONFIG_PATH', 'OMPI_COMMAND', 'PMIX_RANK')

STAND_IN = '''#!{python} -SE
import json, os, signal, sys, time

if sys.argv[1].endswith('/scripts/launch.py'):
    if sys.argv[2:3] == ['check'] and 'REAL_CHECK' not in os.environ:
        sys.exit(0)
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
name = os.environ.get('RANK_ID', 'one')
if os.environ.get('MS_ROLE') == 'MS_SCHED':
    name = 'scheduler'
here = os.path.join(os.environ['RECORDS'], name)
stops = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: stops.append(number))
record = dict(words=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ), pid=os.getpid())
temporary = '%s.%d.tmp' % (here, os.getpid())
with open(temporary, 'w') as file:
    json.dump(record, file)
os.rename(temporary, here + '.json')
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
        if 'LINGERS' in os.environ:
            time.sleep(0.5)
            open(here + '.left', 'w').close()
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

    def call(self, monkeypatch, capsys, script: str, words: str, **variables):
        """As `run`, for what ends before anything is started: inside this process, without the shell."""
        monkeypatch.chdir(self.folder)
        for name in (*JOB_VARIABLES, 'DEVICE_TARGET', 'STOP_SECONDS', 'SERVER_ID', 'MASTER_PORT'):
            monkeypatch.delenv(name, raising=False)
        for name, value in {'PYTHON': str(self.python), **variables}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            run_command(lambda: main([script[:-len('.sh')], *words.split()]))
        except SystemExit as end:
            return (end.code, *capsys.readouterr())
        raise AssertionError('it did not end')

    def finish(self, process: subprocess.Popen):
        out, err = process.communicate(timeout=40)
        return process.returncode, out, err

    def record(self, name) -> dict:
        """Return how the stand-in called `name` (a rank, one or scheduler) was started, once it was."""
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

    def edited_launcher(self, *edits) -> Path:
        """Return the scripts beside a copy of the launcher with edits (file, old text, new text)."""
        root = self.records / 'checkout'
        (root / 'src').mkdir(parents=True)
        for path in (*ROOT.glob('src/[!_]*'), ROOT / 'src' / '__init__.py', ROOT / 'train.py'):
            if path.name != 'launch':
                (root / path.relative_to(ROOT)).symlink_to(path)
        shutil.copytree(ROOT / 'src' / 'launch', root / 'src' / 'launch')
        shutil.copytree(SCRIPTS, root / 'scripts')
        for name, old, new in edits:
            path = root / 'src' / 'launch' / name
            text = path.read_text()
            assert text.count(old) == 1, old
            path.write_text(text.replace(old, new))
        return root / 'scripts'

    def table(self, *device_lists) -> str:
        """Write the rank table of servers with these devices and return its name."""
        servers = [Server(f'10.0.0.{number}', tuple(devices), tuple(f'192.98.{number}.{each}' for each in devices))
                   for number, devices in enumerate(device_lists, 1)]
        write_json(str(self.folder / 'table.json'), make_rank_table(servers))
        return 'table.json'

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()
