"""Writing files atomically, and reading regular files."""
import contextlib
import errno
import gc
import glob
import hashlib
import json
import os
import stat
import tempfile
from functools import cached_property
from typing import IO, Any, Collection, Iterator, Optional, Union

from .errors import PoseError

# Absolute values of integers have to be below this, to fit int64; COCO's ids of crowds have twelve digits.
MAX_INTEGER = 2 ** 63


def write_bytes(path: str, content: bytes) -> None:
    """Write a file through a temporary one in the same folder, so that no reader ever sees half of it.

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
    """Yield the name of a temporary file beside `path`, with the same ending, which the block has to write.

    After the block it is synced and renamed to `path`. If the block fails it is removed, and `path` is not changed.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    folder, name = os.path.split(os.path.abspath(path))
    _remove_orphans(folder, name)
    stem = f'.{name}.{os.getpid()}.tmp'
    temporary = os.path.join(folder, stem + os.path.splitext(name)[1])
    try:
        yield temporary
        # MindSpore makes its files read-only, but users should be able to overwrite ours.
        os.chmod(temporary, 0o644)
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)
    finally:
        # The code that wrote the file may have left temporary files of its own.
        for leftover in glob.glob(os.path.join(glob.escape(folder), f'{glob.escape(stem)}*')):
            os.remove(leftover)


def _remove_orphans(folder: str, name: str) -> None:
    """Remove the temporary files of `atomic_file` for this name whose processes no longer run on this machine."""
    for path in glob.glob(os.path.join(glob.escape(folder), f'.{glob.escape(name)}.[0-9]*.tmp*')):
        number = os.path.basename(path)[len(name) + 2:].partition('.')[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                os.remove(path)
        except (ValueError, OverflowError, OSError):
            # Not a process id, or a running process of another user.
            pass


def open_regular(path: Union[str, bytes], mode: str = 'rb', encoding: Optional[str] = None) -> IO:
    """Open a file for reading. Named pipes and devices are refused, because reading them might never end.

    Raises:
        OSError: it is missing, unreadable or not a regular file (or a link to one).
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise OSError(errno.EINVAL, 'it is a named pipe, a socket or a device, not a regular file', path)
    return open(path, mode, encoding=encoding)


def read_json(path: str, unused_keys: Collection[str] = ()) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Args:
        unused_keys: keys that are left out of all objects, so that they take no memory.

    Raises:
        PoseError: the file is missing, unreadable, not a regular file or not JSON; the message names it and the place.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
        text = content.decode(json.detect_encoding(content))
        del content
        with without_garbage_collector():
            return parse_json(text, unused_keys)
    except OSError as error:
        raise PoseError(f'cannot read {path}: {error.strerror or error}') from None
    except ValueError as error:
        raise PoseError(f'{path} is not a JSON file: {error}') from None


@contextlib.contextmanager
def without_garbage_collector() -> Iterator[None]:
    """Turn the garbage collector off within the block, for creating millions of small objects that are all kept: its
    repeated search for cycles would take half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class JsonFile:
    """A JSON file that is read once, when `content` is first used.

    Attributes:
        unused_keys: keys that nobody needs.

    Raises (on `content`):
        PoseError: see `read_json`.
    """

    unused_keys: Collection[str] = ()

    def __init__(self, path: str):
        self.path = path

    @cached_property
    def content(self) -> Any:
        return read_json(self.path, self.unused_keys)


def as_json_file(file: Union[str, JsonFile]) -> JsonFile:
    """Return a `JsonFile` for a path; a `JsonFile` is returned as it is."""
    return file if isinstance(file, JsonFile) else JsonFile(file)


def parse_json(text: str, unused_keys: Collection[str] = ()) -> Any:
    """Return the value of a JSON text. Like Python's own parser, it accepts NaN, and reads 1e400 as infinity.

    Args:
        unused_keys: keys that are left out of all objects.

    Raises:
        PoseError: it is nested too deeply, or holds a number of thousands of digits.
        json.JSONDecodeError: it is not JSON.
    """
    def shorten(entry: dict) -> dict:
        for key in unused_keys:
            entry.pop(key, None)
        return entry

    try:
        # The parser calls it at the end of each object: what is left out is gone before the next object is read.
        return json.loads(text, object_hook=shorten if unused_keys else None)
    except RecursionError:
        raise PoseError('its lists and objects are nested too deeply') from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to convert numbers with so many digits.
        raise PoseError('it holds a number of thousands of digits') from None


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that fits an array, including NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < MAX_INTEGER


def write_json(path: str, content: Any) -> None:
    """Write a JSON file atomically.

    Raises:
        OSError: the folder is missing or cannot be written; the message names the path.
    """
    # NaN is not valid JSON: other programs could not read the file.
    write_bytes(path, json.dumps(content, allow_nan=False).encode('utf-8'))


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for chunk in iter(lambda: file.read(1 << 20), b''):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folder(path: str) -> None:
    """Sync a folder, so that renamed files survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: str) -> None:
    """Make a folder with its parents, if it does not exist, and check that it is writable.

    Raises:
        OSError: it cannot be made or written to; the message names the path.
    """
    try:
        os.makedirs(path, exist_ok=True)
        # A name of its own: another process may check the same folder at this moment.
        descriptor, probe = tempfile.mkstemp(prefix='.writable_', dir=path)
        os.close(descriptor)
        os.remove(probe)
    except OSError as error:
        raise OSError(f'cannot write into the folder {path}: {error.strerror or error}') from None


def check_writable(path: str) -> None:
    """Make the folder of `path` if needed, and check that a file can be written there, before a long training starts.

    Raises:
        OSError: it cannot; the message names the path.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        # Files are written beside `path` and renamed, which for root would replace a device such as /dev/null.
        raise OSError(f'{path} should be a file to write, is a {"folder" if os.path.isdir(path) else "pipe or device"}')
    make_folder(os.path.dirname(os.path.abspath(path)))
