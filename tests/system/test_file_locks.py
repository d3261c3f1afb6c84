"""Locks of files: whatever way a path is spelled, whoever dies, and nothing left behind."""
import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import ROOT

from src.system.file_locks import FileInUseError, FileLocks, check_unlocked

# Takes a lock, forks a process that outlives it, says the number of that, and waits.
HOLD = """
import os, sys, time
from src.system.file_locks import FileLocks
locks = FileLocks(sys.argv[1:])
child = os.fork()
if not child:
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


@contextlib.contextmanager
def another_process(*paths):
    """Yield a process that holds locks, and the number of a child that it has forked."""
    with subprocess.Popen([sys.executable, '-c', HOLD, *map(str, paths)], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}) as process:
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_refused(*paths, shared=None, folders=()):
    """Both ways, with nothing written."""
    before = sorted(Path('.').rglob('*'))
    for attempt in (lambda: FileLocks(paths, folders), lambda: check_unlocked([*paths, *folders])):
        with pytest.raises(FileInUseError) as caught:
            attempt()
        assert caught.value.path == (shared or paths[-1])
    assert sorted(Path('.').rglob('*')) == before


@pytest.mark.parametrize('other', ['a.jsonl', './a.jsonl', 'x/../a.jsonl', 'x//..//a.jsonl', 'link/a.jsonl', 'a_link',
                                   '{here}/a.jsonl', 'chain'])
def test_a_file_is_the_same_however_it_is_spelled(here, other):
    (here / 'x' / 'y').mkdir(parents=True)
    (here / 'link').symlink_to('.')
    (here / 'a_link').symlink_to('a.jsonl')
    (here / 'chain').symlink_to('link/a_link')
    other = other.format(here=here)
    locks = FileLocks(['a.jsonl'])
    assert_refused(other)
    del locks
    locks = FileLocks([other])
    assert_refused('a.jsonl')
    # The way back from a link begins where it leads.
    (here / 'there').symlink_to('x/y')
    FileLocks(['b.jsonl', 'x/a.jsonl', 'a.jsonl.lock', 'there/../a.jsonl'])
    del locks
    assert FileLocks(['a.jsonl']).unwatched == []


def test_a_link_that_becomes_a_file_stays_locked(here):
    """Files are replaced when they are written: from then on the link is no link any more."""
    (here / 'steps').symlink_to('target')
    locks = FileLocks(['steps'])
    (here / 'steps').unlink()
    (here / 'steps').touch()
    assert_refused('steps')
    assert_refused('target')
    del locks


def test_the_target_of_a_link_may_lie_where_nobody_can_write(here):
    """Root may write everywhere but under a file."""
    (here / 'blocked').touch()
    (here / 'steps').symlink_to('blocked/target')
    locks = FileLocks(['steps'])
    assert_refused('steps')
    del locks


def test_a_folder_and_the_files_inside_exclude_each_other(here):
    """Also where they are locked at the same time, after both have looked."""
    locks = FileLocks(['events'], ['states'])
    for name in ('states/step_1.ckpt', 'events/file', './states/.lock'):
        assert_refused(name)
    assert_refused('mine', folders=['states'], shared='states')
    FileLocks(['other/states', 'states_of_others'])
    del locks
    for folder in ('events', 'states'):
        Path(folder).mkdir(exist_ok=True)
        locks = FileLocks([f'{folder}/file'])
        before = sorted(Path('.').rglob('*'))
        with pytest.raises(FileInUseError) as caught:
            FileLocks(['events'], ['states'])
        assert caught.value.path == folder
        assert set(Path('.').rglob('*')) - set(before) <= {Path('states/.lock')}
        del locks


def test_locks_are_all_or_none_and_leave_nothing(here):
    locks = FileLocks(['b'])
    with pytest.raises(FileInUseError):
        FileLocks(['a', 'b', 'c'])
    rest = FileLocks(['a', 'c'])
    assert sorted(os.listdir()) == ['.a.lock', '.b.lock', '.c.lock']
    del locks, rest
    assert os.listdir() == []


def test_one_process_may_name_a_file_twice(here):
    locks = FileLocks(['a', './a'])
    assert_refused('a')
    del locks
    FileLocks(['a'])


def test_the_lock_of_a_killed_process_is_free_though_its_children_live(here):
    """Loader processes may outlive the training that has forked them."""
    with another_process('a.ckpt', 'b') as (process, child):
        assert_refused('mine', 'a.ckpt')
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert (here / '.a.ckpt.lock').exists()
        locks = FileLocks(['a.ckpt'])
        assert_refused('a.ckpt')
        del locks
    assert os.listdir() == ['.b.lock']


def test_a_child_that_ends_frees_nothing(here):
    locks = FileLocks(['a'])
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            del locks
            gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert_refused('a')
    del locks


def test_a_process_that_ends_by_itself_leaves_nothing(here):
    code = 'import sys\nfrom src.system.file_locks import FileLocks\nlocks = FileLocks(["a"])\nsys.exit("an error")'
    done = subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=False)
    assert done.returncode == 1 and os.listdir() == []


def test_a_lock_that_is_removed_while_it_is_opened_is_opened_anew(here, monkeypatch):
    """Its owner ends between the two steps of another process."""
    open_file, handles = os.open, []
    first = [FileLocks(['a'])]

    def open_and_end(*arguments):
        handles.append(open_file(*arguments))
        first.clear()
        return handles[-1]

    with monkeypatch.context() as patch:
        patch.setattr('src.system.file_locks.os.open', open_and_end)
        patch.setattr('src.system.file_locks.check_unlocked', lambda paths: None)
        second = FileLocks(['a'])
    assert len(handles) >= 2
    assert_refused('a')
    del second


def test_file_systems_without_locks(here, monkeypatch):
    """Then nobody watches, and it is known of which files."""
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('src.system.file_locks.fcntl.flock', refuse)
    (here / 'link').symlink_to('elsewhere')
    locks = FileLocks(['a', 'link'], ['states'])
    assert locks.unwatched == ['a', 'link', 'states']
    assert FileLocks(['a']).unwatched == ['a']


def test_a_place_where_no_lock_can_be_written_is_named(here):
    (here / 'blocked').touch()
    (here / '.a.lock').mkdir()
    with pytest.raises(OSError, match='cannot write into the folder .*blocked'):
        FileLocks(['blocked/a'])
    with pytest.raises(OSError, match='cannot write .*.a.lock: Is a directory'):
        FileLocks(['a'])


def test_locks_can_be_released_before_their_object_ends(tmp_path):
    locks = FileLocks([str(tmp_path / 'w')])
    locks.release()
    assert os.listdir(tmp_path) == []
    again = FileLocks([str(tmp_path / 'w')])
    locks.release()
    assert os.listdir(tmp_path) == ['.w.lock'] and again.handles
