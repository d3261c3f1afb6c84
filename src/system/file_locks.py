"""Locks that keep two processes from writing to the same files. They end with the process, however it ends."""
import contextlib
import fcntl
import glob
import os
import weakref
from typing import Dict, Iterable, List, Optional

from .errors import PoseError
from .files import make_folder


class FileInUseError(PoseError):
    """Another process has locked a file.

    Attributes:
        path: path of the file, as the caller gave it.
    """

    def __init__(self, path: str):
        super().__init__(f'another process writes to {path}')
        self.path = path


class FileLocks:
    """Exclusive locks of files and folders, which need not exist yet. Different paths to the same file share its lock.

    The lock of a file is an empty file beside it, `.<name>.lock`, which is removed with the lock; a process that is
    killed leaves it behind, unlocked. The lock of a folder is `.lock` inside it, and stays there. Forked processes do
    not inherit locks.

    Args:
        files: paths of files; a folder may be at such a path as well.
        folders: created if they are missing.

    Attributes:
        unwatched: the paths on a file system without locks, where another process would not be noticed.

    Raises:
        FileInUseError: another process has locked one of them, the folder around it, or a file inside; then nothing is
            locked.
        OSError: a lock cannot be written; the message names it.
    """

    def __init__(self, files: Iterable[str], folders: Iterable[str] = ()):
        files, folders = list(files), list(folders)
        # A check before anything is created: a refused process does not even make a folder.
        check_unlocked([*files, *folders])
        self.unwatched: List[str] = []
        self.handles: Dict[str, int] = {}
        self._release = weakref.finalize(self, _release, self.handles, os.getpid())
        _LIVING.add(self)
        locks = {path: lock_names(path) for path in files}
        locks.update({path: [_lock_inside(path)] for path in folders})
        try:
            for path, names in locks.items():
                make_folder(path if path in folders else os.path.dirname(names[0]))
                for name in names:
                    self._take(path, name, must=name == names[0])
            # And a check after locking: of two processes that start at the same time, at least one sees the other.
            for path in locks:
                check_surroundings(path, own=self.handles)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release all locks. It happens by itself when this object is no longer used."""
        self._release()

    def _take(self, path: str, name: str, *, must: bool) -> None:
        if name in self.handles:
            return
        try:
            handle = _open_locked(path, name, os.O_CREAT)
        except OSError as error:
            # The folder of a link's target may be read-only. That is no error, because the link itself is replaced.
            if must:
                raise OSError(f'cannot write {name}: {error.strerror or error}') from None
            return
        if handle is None:
            self.unwatched += [path] * (path not in self.unwatched)
        else:
            self.handles[name] = handle


# Locks that forked processes have to close: a lock lasts until the last process that holds it open has closed it.
_LIVING: 'weakref.WeakSet[FileLocks]' = weakref.WeakSet()


def _forget_in_child() -> None:
    for locks in list(_LIVING):
        for handle in locks.handles.values():
            os.close(handle)
        locks.handles.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def lock_names(path: str) -> List[str]:
    """Return the lock files of a file: beside it and, where it is a link, beside its target too."""
    folder, name = os.path.split(path.rstrip(os.sep))
    # The first place does not follow a link of the file itself: it stays the same when a file replaces the link.
    places = [os.path.join(os.path.realpath(folder), name), os.path.realpath(path)]
    return [os.path.join(os.path.dirname(place), f'.{os.path.basename(place)}.lock') for place in dict.fromkeys(places)]


def _lock_inside(folder: str) -> str:
    return os.path.join(os.path.realpath(folder), '.lock')


def check_unlocked(paths: Iterable[str]) -> None:
    """Check, without writing anything, that no other process has locked files or folders.

    Raises:
        FileInUseError: another process has.
    """
    for path in paths:
        for name in [*lock_names(path), _lock_inside(path)]:
            _look(path, name)
        check_surroundings(path)


def check_surroundings(path: str, own: Iterable[str] = ()) -> None:
    """Check that no other process has locked the folder around a path, or a file inside it.

    Args:
        own: lock files that this process holds.

    Raises:
        FileInUseError: another process has.
    """
    around = os.path.dirname(os.path.realpath(path))
    inside = glob.glob(os.path.join(glob.escape(os.path.realpath(path)), '.*.lock'))
    for name in [*lock_names(around), _lock_inside(around), *inside]:
        if name not in own:
            _look(path, name)


def _look(path: str, name: str) -> None:
    with contextlib.suppress(OSError):
        handle = _open_locked(path, name)
        if handle is not None:
            os.close(handle)


def _open_locked(path: str, name: str, flags: int = 0) -> Optional[int]:
    """Open and lock a lock file; return its handle, or None on a file system without locks."""
    while True:
        handle = os.open(name, os.O_RDWR | flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise FileInUseError(path) from None
        except OSError:
            os.close(handle)
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(name)):
                return handle
        # The lock file was removed or replaced since it was opened: try again.
        os.close(handle)


def _release(handles: Dict[str, int], owner: int) -> None:
    for name, handle in handles.items():
        if os.getpid() == owner and os.path.basename(name) != '.lock':
            # Removed before it is unlocked, so that no other process can hold this lock file.
            with contextlib.suppress(OSError):
                os.remove(name)
        os.close(handle)
    handles.clear()
