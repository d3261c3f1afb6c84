"""Tiny trainings in folders of their own, inside the test's process and as processes that can be killed.

Every training runs in its folder and writes to `pose.ckpt` there, so two trainings of the same settings have the same
configuration, and what they leave can be compared byte by byte.
"""
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from script_runs import ROOT, SIMPLE_POSE, TINY, run_script

# Eight people, two in a step: four steps an epoch.
STEPS_PER_EPOCH = 4
FLAGS = (f'--recipe {SIMPLE_POSE} --data_url {{data}} --ckpt_save_path pose.ckpt --batch_size 2 --input_shape 64 64 '
         f'{TINY[SIMPLE_POSE]} DATASET.ROT_FACTOR=30 DATASET.SCALE_FACTOR=0.3')
TIMES = ('seconds', 'data_seconds')


def train_here(folder: Path, data: Path, arguments: str, *, script: str = 'train', flags: str = FLAGS) -> tuple:
    """Run a script in `folder`, inside this process; return its exit status and what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = run_script(script, f'{flags.format(data=data)} {arguments}')
    finally:
        os.chdir(before)
    return status, out.getvalue()


class Training:
    """train.py as a process in a group of its own, with the loader processes that it starts.

    Args:
        folder: working folder; made.
        arguments: behind FLAGS.
        program: Python code that runs instead of train.py, with the path of train.py as its first argument.
        prepare: called in the new process before Python starts.
        under: words of a command that runs the words behind it.
    """

    def __init__(self, folder: Path, data: Path, arguments: str, *, program: str = '',
                 prepare: Optional[Callable[[], None]] = None, under: Sequence[str] = ()):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.output = folder, folder / 'log.txt'
        words = [*under, sys.executable, *(['-c', program] if program else []), str(ROOT / 'train.py'),
                 *f'{FLAGS.format(data=data)} {arguments}'.split()]
        with open(self.output, 'wb') as file:
            self.process = subprocess.Popen(words, cwd=folder, stdout=file, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare,
                                            env={**os.environ, 'PYTHONPATH': str(ROOT)})

    def __enter__(self) -> 'Training':
        return self

    def __exit__(self, *_) -> None:
        # A number without processes may be that of a stranger by now.
        if self.process.poll() is None or self.group():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def out(self) -> str:
        return self.output.read_text()

    @property
    def steps(self) -> int:
        """Steps that its metrics file holds, also those of the run that it continues."""
        return steps_of(self.folder)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for something that happens while the training runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f'ended with {self.process.returncode}: {self.out[-2000:]}'
            assert time.monotonic() < end, f'waited {seconds} s: {self.out[-2000:]}'
            time.sleep(0.005)

    def wait(self, seconds: float = 120) -> int:
        """Return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'still running after {seconds} s: {self.out[-2000:]}') from None

    def group(self) -> List[int]:
        """Return the living processes of the group."""
        members = []
        for entry in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                fields = Path('/proc', entry, 'stat').read_text().rpartition(')')[2].split()
                if int(fields[2]) == self.process.pid and fields[0] != 'Z':
                    members.append(int(entry))
        return members

    def wait_for_the_group(self, seconds: float = 20) -> None:
        """Wait until the loader processes have gone as well."""
        end = time.monotonic() + seconds
        while self.group():
            assert time.monotonic() < end, f'processes {self.group()} are left after {seconds} s'
            time.sleep(0.01)


def rows_of(folder: Path) -> List[dict]:
    """Return the metrics, all lines whole but perhaps the last."""
    try:
        lines = (folder / 'pose_metrics.jsonl').read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith(b'\n')]


def steps_of(folder: Path) -> int:
    """Return the number of the last step in the metrics, counted through the epochs."""
    steps = [(row['epoch'] - 1) * STEPS_PER_EPOCH + row['step'] for row in rows_of(folder) if 'loss' in row]
    return max(steps, default=0)


def untimed_rows_of(folder: Path) -> List[dict]:
    """Return the metrics without what differs between two runs of the same steps."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows_of(folder)]


def states_of(folder: Path) -> Dict[str, bytes]:
    """Return {file name: content} of the states."""
    return {path.name: path.read_bytes() for path in sorted((folder / 'pose_states').glob('*.ckpt'))}


def unfinished_files_of(folder: Path) -> List[str]:
    """Return what a run that is over should not leave."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if '.tmp' in path.name)


def assert_same_ending(folder: Path, reference: Path) -> None:
    """The same weights, the same states, the same metrics but for the seconds, nothing half done."""
    assert (folder / 'pose.ckpt').read_bytes() == (reference / 'pose.ckpt').read_bytes()
    mine, expected = states_of(folder), states_of(reference)
    assert list(mine) == list(expected) and len(mine) > 0
    different = [name for name in mine if mine[name] != expected[name]]
    assert not different
    rows = rows_of(folder)
    assert untimed_rows_of(folder) == untimed_rows_of(reference)
    assert all(row[key] >= 0 for row in rows if 'loss' in row for key in TIMES)
    assert unfinished_files_of(folder) == []
