"""Writing files whole or not at all."""
import contextlib
import glob
import json
import os
from typing import Any, Iterator


def write_bytes(path: str, content: bytes) -> None:
    """Write a file through a temporary one in the same folder, so that nobody ever reads half of it.

    Raises:
        OSError: the folder is missing or cannot be written; the message names the path.
    """
    temporary_path = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary_path, 'wb') as file:
            file.write(content)
        os.replace(temporary_path, path)
    except OSError as error:
        raise OSError(f'cannot write {path}: {error.strerror or error}') from error
    finally:
        if os.path.exists(temporary_path):
            os.remove(temporary_path)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yield the name of a temporary file beside `path`, with the same ending, for somebody else's code to write.

    After the block it is synced and takes the name `path`; when the block fails it is removed, and `path` stays as it
    was.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    _remove_orphans(folder, name)
    stem = f'.{name}.{os.getpid()}.tmp'
    temporary = os.path.join(folder, stem + os.path.splitext(name)[1])
    try:
        yield temporary
        # MindSpore writes read-only files; a user should be able to move and overwrite ours.
        os.chmod(temporary, 0o644)
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)
    finally:
        # The other code may have left temporary files of its own.
        for leftover in glob.glob(os.path.join(glob.escape(folder), f'{glob.escape(stem)}*')):
            os.remove(leftover)


def _remove_orphans(folder: str, name: str) -> None:
    """Remove temporary files of `whole_file` for this name that processes of this machine left when they died."""
    for path in glob.glob(os.path.join(glob.escape(folder), f'.{glob.escape(name)}.[0-9]*.tmp*')):
        number = os.path.basename(path)[len(name) + 2:].partition('.')[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                os.remove(path)
        except (ValueError, OverflowError, OSError):
            # No number of a process, or one of somebody else that lives.
            pass


def write_json(path: str, content: Any) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        OSError: the folder is missing or cannot be written; the message names the path.
    """
    # NaN is no JSON; it would fail at whoever reads the file.
    write_bytes(path, json.dumps(content, allow_nan=False).encode('utf-8'))


def sync_folder(path: str) -> None:
    """Make sure that renamed files survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: str) -> None:
    """Make a folder, with its parents, unless it is there.

    Raises:
        OSError: it cannot be made or written to; the message names the path.
    """
    try:
        os.makedirs(path, exist_ok=True)
        write_bytes(os.path.join(path, '.writable'), b'')
        os.remove(os.path.join(path, '.writable'))
    except OSError as error:
        raise OSError(f'cannot write into the folder {path}: {error.strerror or error}') from None


def check_writable(path: str) -> None:
    """Make the folder of `path` if need be, and prove that a file can be written there.

    Raises:
        OSError: it cannot; the message names the path. Better now than after days of training.
    """
    if os.path.isdir(path):
        raise OSError(f'{path} should be a file to write, is a folder')
    make_folder(os.path.dirname(os.path.abspath(path)))
