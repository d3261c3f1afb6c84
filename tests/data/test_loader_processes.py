"""Loader processes change nothing but the speed, and whatever becomes of one of them, nobody waits for it."""
import faulthandler
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from src.data import loader as batches
from src.data import loader_processes
from src.data.loader_processes import (
    SourceDefectError,
    WorkerDiedError,
    fit_into_memory,
    free_memory,
    iterate_in_processes,
    make_here,
)
from src.system.errors import PoseError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not loader_processes.can_fork(), reason='this system cannot fork')


class Squares:
    """Items of one to three rows; item `bad` is made by `misbehave` where a loader makes it."""

    largest_shape = (3, 5)

    def __init__(self, count=11, bad=None, misbehave=None):
        self.count, self.bad, self.misbehave, self.parent = count, bad, misbehave, os.getpid()

    def __len__(self):
        return self.count

    def make(self, number, out):
        if number == self.bad and os.getpid() != self.parent:
            self.misbehave()
        rows = number % 3 + 1
        out[:rows] = number
        return number ** 2, np.arange(rows, dtype=np.int32)

    def describe(self, number):
        return f'item {number}'


def items_of(source, num_workers=2, num_slots=2, on_death=None):
    return list(iterate_in_processes(source, num_workers=num_workers, num_slots=num_slots,
                                     on_death=on_death or pytest.fail))


def assert_right(items, count=11):
    assert len(items) == count
    for number, (array, square, rows) in enumerate(items):
        assert array.dtype == np.uint8 and array.shape == (number % 3 + 1, 5) and (array == number).all()
        assert square == number ** 2 and rows.tolist() == list(range(number % 3 + 1))


def loaders():
    """The loader processes of this process that live."""
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def no_loader_is_left():
    before = {child.pid for child in loaders()}
    yield
    assert {child.pid for child in loaders()} == before


@pytest.mark.parametrize('num_workers, num_slots', [(1, 1), (1, 4), (2, 1), (2, 4), (3, 2), (5, 4)])
def test_items_come_in_order_and_stay_as_they_are(num_workers, num_slots):
    """Also those that are kept while their slot is filled anew."""
    assert_right(items_of(Squares(), num_workers, num_slots))
    assert_right([make_here(Squares(), number) for number in range(11)])


@pytest.mark.parametrize('count', [0, 1, 2])
def test_fewer_items_than_loaders(count):
    assert_right(items_of(Squares(count), 4), count)


def test_a_caller_that_leaves_ends_the_loaders():
    items = iterate_in_processes(Squares(1000), num_workers=2, num_slots=2, on_death=pytest.fail)
    next(items)
    assert len(loaders()) >= 2
    items.close()


# Deaths

def die(number):
    def misbehave():
        # It would print where a crash came from.
        faulthandler.disable()
        os.kill(os.getpid(), number)
    return misbehave


@pytest.mark.parametrize('misbehave, message', [
    (die(signal.SIGKILL), r'was killed \(SIGKILL\) while it read item 5; the system does that where memory runs out '
                          r'\(\d+ MB are free now\): fewer TRAIN.NUM_PARALLEL_WORKERS or a smaller batch need less$'),
    (die(signal.SIGSEGV), r'crashed \(SIGSEGV\) while it read item 5; is one of the pictures damaged\?$'),
    (lambda: os._exit(3), r'ended with status 3 while it read item 5$')], ids=['killed', 'crashed', 'left'])
def test_a_death_is_told_and_the_items_still_come(misbehave, message):
    deaths = []
    assert_right(items_of(Squares(bad=5, misbehave=misbehave), on_death=deaths.append))
    (death,) = deaths
    assert isinstance(death, WorkerDiedError)
    assert_matches(str(death), r'^loader process 2 of 2 \(pid \d+\) ' + message)


def assert_matches(text, pattern):
    assert re.search(pattern, text), text


@pytest.mark.parametrize('victim', [0, 1])
def test_a_loader_that_is_killed_from_outside_is_noticed(victim):
    """When its turn comes: four items may have been made before, and the one that it owes is made here."""
    deaths, seen = [], []
    items = iterate_in_processes(Squares(1000), num_workers=2, num_slots=2, on_death=deaths.append)
    for item in items:
        seen.append(item)
        if len(seen) == 7:
            sorted(loaders(), key=lambda child: child.pid)[-2:][victim].kill()
        if deaths:
            break
    items.close()
    assert 7 < len(seen) <= 7 + 4 + 2
    assert_right(seen, len(seen))
    assert f'loader process {victim + 1} of 2' in str(deaths[0])


def test_without_anybody_to_tell_a_death_is_an_error(monkeypatch):
    monkeypatch.setattr(batches, 'cpu_count', lambda: 2)
    with pytest.raises(WorkerDiedError, match=r'loader process 1 of 2 .*SIGKILL'):
        list(batches.iterate_batches(Squares(bad=0, misbehave=die(signal.SIGKILL)), num_workers=2))


def test_loaders_take_no_signal_to_the_group():
    """Their parent ends them: a step that is being taken still needs its batch."""
    items = iterate_in_processes(Squares(), num_workers=2, num_slots=1, on_death=pytest.fail)
    seen = [next(items)]
    for child in sorted(loaders(), key=lambda child: child.pid)[-2:]:
        for number in loader_processes.STOP_SIGNALS:
            child.send_signal(number)
    time.sleep(0.1)
    assert_right(seen + list(items))


PARENT = '''
import os, signal, sys, psutil
sys.path[:0] = [{root!r}, {tests!r}]
from test_loader_processes import Squares
from src.data.loader_processes import iterate_in_processes
items = iterate_in_processes(Squares(1000), num_workers=2, num_slots=2, on_death=print)
next(items)
print(*(child.pid for child in psutil.Process().children()), flush=True)
{end}
'''


@pytest.mark.parametrize('end, status', [('os.kill(os.getpid(), signal.SIGKILL)', -signal.SIGKILL),
                                         ('os._exit(4)', 4), ('sys.exit(5)', 5)], ids=['killed', 'left', 'ended'])
def test_loaders_go_with_their_parent(end, status):
    """However it ends, and it does not wait for them."""
    program = PARENT.format(root=str(ROOT), tests=str(Path(__file__).parent), end=end)
    done = subprocess.run([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == status
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < deadline, 'a loader outlives its parent'
        time.sleep(0.01)


# Errors

def fail_by(error):
    def misbehave():
        raise error
    return misbehave


@pytest.mark.parametrize('error, text', [
    (PoseError('a.jpg is no picture'), 'a.jpg is no picture'),
    (OSError(5, 'Input/output error'), 'Input/output error'), (MemoryError(), 'MemoryError()')], ids=repr)
def test_what_the_user_can_mend_arrives_as_it_was_said(error, text):
    with pytest.raises(ValueError) as caught:
        items_of(Squares(bad=3, misbehave=fail_by(error)))
    assert text in str(caught.value) and 'Traceback' not in str(caught.value)


def test_a_defect_arrives_with_its_traceback():
    with pytest.raises(SourceDefectError) as caught:
        items_of(Squares(bad=3, misbehave=fail_by(KeyError('joints'))))
    assert str(caught.value).startswith('Traceback') and 'in misbehave' in str(caught.value)
    assert str(caught.value).rstrip().endswith("KeyError: 'joints'")


# Memory

@pytest.mark.parametrize('free, expected', [
    (None, (4, 4)), (3200, (4, 4)), (3199, (4, 3)), (800, (4, 1)), (799, (3, 1)), (200, (1, 1)), (199, (0, 1)),
    (0, (0, 1))])
def test_loaders_take_at_most_half_of_the_free_memory(free, expected):
    assert fit_into_memory(4, 4, 100, free) == expected


def test_free_memory_is_that_of_the_control_group_where_it_is_less(tmp_path, monkeypatch):
    whole = free_memory()
    assert 50e6 < whole <= psutil.virtual_memory().total
    monkeypatch.setattr(loader_processes, 'CONTROL_GROUPS', tmp_path)
    (tmp_path / 'memory.max').write_text('64000000\n')
    (tmp_path / 'memory.current').write_text('24000000\n')
    assert free_memory() == 40_000_000
    (tmp_path / 'memory.current').write_text('65000000\n')
    assert free_memory() == 0
    (tmp_path / 'memory.max').write_text('max\n')
    assert free_memory() > 40_000_000
    (tmp_path / 'memory').mkdir()
    (tmp_path / 'memory' / 'memory.limit_in_bytes').write_text('9000000\n')
    (tmp_path / 'memory' / 'memory.usage_in_bytes').write_text('2000000\n')
    assert free_memory() == 7_000_000


@pytest.mark.parametrize('free, line', [
    (120, 'there are 2 with 1 each'), (59, 'there are none, a thread makes them'), (10_000, None)])
def test_scarce_memory_is_said_and_changes_nothing_else(free, line, monkeypatch):
    monkeypatch.setattr(batches, 'cpu_count', lambda: 2)
    monkeypatch.setattr(batches, 'free_memory', lambda: free * 10 ** 6)
    source, lines = Squares(), []
    monkeypatch.setattr(batches, 'largest_bytes', lambda _: 20 * 10 ** 6)
    assert_right(list(batches.iterate_batches(source, num_workers=2, say=lines.append)))
    expected = [f'note: 2 loader processes need 160 MB for the batches that they make ahead, and {free} MB of memory '
                f'are free: {line}'] if line else []
    assert lines == expected


LOAD = '''
import os, sys
sys.path.insert(0, {root!r})
import numpy as np
from src.data.loader import iterate_batches

class Noise:
    largest_shape = (64, 256, 192, 3)

    def __len__(self):
        return 12

    def make(self, number, out):
        out[:] = number
        return (np.full(64, number),)

    def describe(self, number):
        return str(number)

print(os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize)
print(*(int(pixels.sum()) // pixels.size for pixels, _ in iterate_batches(Noise(), num_workers=2)))
'''


@pytest.mark.parametrize('size', [64, 1])
def test_containers_with_little_shared_memory(size):
    """A batch of 64 pictures has 9.4 MB, and eight are made ahead; /dev/shm has so many MB, 64 in Docker."""
    if not shutil.which('unshare') or subprocess.run(['unshare', '-m', 'true'], capture_output=True).returncode:
        pytest.skip('no mount namespace of its own for this user')
    script = f'mount -t tmpfs -o size={size}m tmpfs /dev/shm && exec "$0" -c "$1"'
    done = subprocess.run(['unshare', '-m', 'sh', '-c', script, sys.executable, LOAD.format(root=str(ROOT))],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(size * 2 ** 20), ' '.join(map(str, range(12)))]


def test_where_no_process_can_be_started_a_thread_does_the_work(monkeypatch):
    monkeypatch.setattr(batches, 'cpu_count', lambda: 2)
    forked = []

    def refuse():
        if forked:
            raise BlockingIOError(11, 'Resource temporarily unavailable')
        forked.append(True)
        return fork()

    fork, lines = os.fork, []
    monkeypatch.setattr(os, 'fork', refuse)
    assert_right(list(batches.iterate_batches(Squares(), num_workers=2, say=lines.append)))
    assert forked and lines == ['note: no loader processes can be started (Resource temporarily unavailable); a thread '
                                'makes the batches']
