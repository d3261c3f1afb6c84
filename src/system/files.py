"""Writing files whole or not at all, and reading those that have an end."""
import contextlib
import errno
import gc
import glob
import json
import os
import stat
from functools import cached_property
from typing import IO, Any, Iterator, Optional, Union

from .errors import PoseError

# What fits int64; COCO's ids of crowds have twelve digits.
MAX_INTEGER = 2 ** 63


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
def atomic_file(path: str) -> Iterator[str]:
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
    """Remove temporary files of `atomic_file` for this name that processes of this machine left when they died."""
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


def open_regular(path: Union[str, bytes], mode: str = 'rb', encoding: Optional[str] = None) -> IO:
    """Open a file to read it. A named pipe or a device, which might never end or never begin, is refused.

    Raises:
        OSError: it is missing, unreadable or no regular file (nor a link to one).
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise OSError(errno.EINVAL, 'it is a named pipe, a socket or a device, not a regular file', path)
    return open(path, mode, encoding=encoding)


def read_json(path: str) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Raises:
        PoseError: the file is missing, unreadable, no regular file or not JSON; the message names it and the place.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        text = content.decode(json.detect_encoding(content))
        del content
        with without_garbage_collector():
            return parse_json(text)
    except OSError as error:
        raise PoseError(f'cannot read {path}: {error.strerror or error}') from None
    except ValueError as error:
        raise PoseError(f'{path} is not a JSON file: {error}') from None


@contextlib.contextmanager
def without_garbage_collector() -> Iterator[None]:
    """Make millions of small objects that all stay: to search them for cycles again and again takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class JsonFile:
    """A JSON file that is read once, when its content is first asked for.

    Raises (on `content`):
        PoseError: see `read_json`.
    """

    def __init__(self, path: str):
        self.path = path

    @cached_property
    def content(self) -> Any:
        return read_json(self.path)


def as_json_file(file: Union[str, JsonFile]) -> JsonFile:
    """Return a path as a file that is read once; one that is that already stays the same."""
    return file if isinstance(file, JsonFile) else JsonFile(file)


def parse_json(text: str) -> Any:
    """Return what a text of JSON says. As Python's own parser does, it takes NaN, and 1e400 for infinity.

    Raises:
        PoseError: it is no JSON, is nested too deeply, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise PoseError('its lists and objects are nested too deeply') from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to read so many digits.
        raise PoseError('it holds a number of thousands of digits') from None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that fits an array; NaN and infinity are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < MAX_INTEGER


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
        # Another process may have tried the same folder, and removed it.
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(path, '.writable'))
    except OSError as error:
        raise OSError(f'cannot write into the folder {path}: {error.strerror or error}') from None


def check_writable(path: str) -> None:
    """Make the folder of `path` if need be, and prove that a file can be written there.

    Raises:
        OSError: it cannot; the message names the path. Better now than after days of training.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        # A file is written beside it and renamed: whoever may do that to /dev/null would take it from everybody.
        raise OSError(f'{path} should be a file to write, is a {"folder" if os.path.isdir(path) else "pipe or device"}')
    make_folder(os.path.dirname(os.path.abspath(path)))
