"""Downloads over HTTPS: continued where they broke off, verified, and given their name only when whole."""
import contextlib
import http.client
import ipaddress
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Callable, Iterator, NamedTuple, Optional, Sequence
from urllib.parse import urlsplit

from tqdm import tqdm

from .command_line import say
from .errors import PoseError
from .file_locks import FileInUseError, FileLocks
from .files import make_folder, read_json, sha256_of, sync_folder, write_json

# Seconds without a single byte after which a connection counts as broken.
TIMEOUT = 30.0
# Seconds to wait before each further attempt; an attempt that brought PROGRESS bytes starts the count anew.
PAUSES = (1.0, 2.0, 4.0, 8.0)
PROGRESS = 1_000_000
CHUNK = 1 << 18
# Largest file that is accepted, in bytes. The largest published checkpoint of a pose network has half of that.
MAX_BYTES = 1 << 30
# Room that is left free on the disk beside the download, in bytes.
SPARE_BYTES = 64_000_000
# Status codes after which another attempt may succeed.
TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
STAND_INS = ((b'<!doctype', 'a web page'), (b'<html', 'a web page'), (b'version https://git-lfs', 'a Git LFS pointer'))


class DownloadError(PoseError):
    """A file could not be downloaded; the message says why, for every address that was tried."""


class _BrokenTransferError(Exception):
    """A transfer broke off; another attempt may succeed."""


class _Part(NamedTuple):
    """An unfinished download: its file, and the file with what is known about it."""

    path: str
    note: str

    @property
    def size(self) -> int:
        return os.path.getsize(self.path) if os.path.isfile(self.path) else 0

    def remove(self) -> None:
        for path in self:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)


def check_address(url: str) -> None:
    """Check that an address may be downloaded from: https, or http on this machine itself.

    Raises:
        DownloadError: it may not.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise DownloadError(f'{url} is no address') from None
    if parts.username is not None:
        raise DownloadError(f'the address of {parts.hostname} should be without a user name and a password')
    if not parts.hostname or not (parts.scheme == 'https' or (parts.scheme == 'http' and _is_loopback(url))):
        raise DownloadError(f'the address {url} should begin with https:// (http:// is for this machine only)')


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ''
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == 'localhost'


@contextlib.contextmanager
def alone_with(path: str, tell: Callable[[str], None] = say) -> Iterator[FileLocks]:
    """Hold the lock of a file within the block; wait as long as another process or thread holds it."""
    locks, has_told = None, False
    while locks is None:
        try:
            locks = FileLocks([path])
        except FileInUseError:
            if not has_told:
                tell(f'another process writes {path}; waiting for it')
            has_told = True
            time.sleep(0.1)
    try:
        yield locks
    finally:
        locks.release()


def download(urls: Sequence[str], path: str, *, sha256: str = '', timeout: float = TIMEOUT,
             pauses: Sequence[float] = PAUSES, tell: Callable[[str], None] = say) -> None:
    """Download a file, unless it is there; it gets its name only when it is whole and verified.

    A transfer that breaks is continued, also by a later call. Two calls at once share one transfer. The proxy is that
    of the usual environment variables. Nothing that the server says decides where the file is written.

    Args:
        urls: addresses of the same file, tried in this order.
        sha256: the hexadecimal digits with which the file's SHA-256 begins; '' if unknown.
        pauses: seconds to wait before each further attempt at an address.

    Raises:
        DownloadError: no address gave the file; the message gives the reason for each host.
        PoseError: there is not enough room, or the file cannot be written; the message names the folder.
    """
    for url in urls:
        check_address(url)
    folder, name = os.path.split(os.path.abspath(path))
    make_folder(folder)
    with alone_with(path, tell) as locks:
        if os.path.isfile(path):
            return
        # Without locks another process could write the same file.
        stem = os.path.join(folder, f'.{name}.{os.getpid()}' if locks.unwatched else f'.{name}')
        part, reasons = _Part(f'{stem}.part', f'{stem}.part.json'), []
        for url in urls:
            try:
                _fetch_verified(url, part, sha256, timeout, pauses, tell)
            except DownloadError as error:
                reasons.append(f'{urlsplit(url).netloc}: {error}')
                continue
            os.replace(part.path, path)
            part.remove()
            sync_folder(folder)
            return
    raise DownloadError('; '.join(reasons))


def _fetch_verified(url: str, part: _Part, sha256: str, timeout: float, pauses: Sequence[float], tell) -> None:
    """Complete `part` from an address and verify it."""
    tell(f'downloading {url}')
    is_in_pieces = _fetch(url, part, sha256, timeout, pauses)
    problem = _content_problem(part.path, sha256)
    if problem and is_in_pieces:
        # The pieces may be of two versions of the file: once more, from the start.
        part.remove()
        _fetch(url, part, sha256, timeout, pauses)
        problem = _content_problem(part.path, sha256)
    if problem:
        part.remove()
        raise DownloadError(problem)


def _content_problem(path: str, sha256: str) -> str:
    """Return what is wrong with a complete download, or ''."""
    with open(path, 'rb') as file:
        start = file.read(64).lstrip().lower()
    stand_in = next((what for mark, what in STAND_INS if start.startswith(mark)), '')
    found = sha256_of(path)
    if stand_in:
        return f'it is {stand_in}, not the file'
    if not found.startswith(sha256.lower()):
        return (f'its SHA-256 begins with {found[:max(8, len(sha256))]} instead of {sha256}: it is damaged or another '
                'file')
    return '' if os.path.getsize(path) else 'it is empty'


def _fetch(url: str, part: _Part, sha256: str, timeout: float, pauses: Sequence[float]) -> bool:
    """Complete `part` from an address, in several attempts if needed; return whether it came in several pieces."""
    failures, is_in_pieces = 0, part.size > 0
    while True:
        before = part.size
        try:
            _attempt(url, part, timeout, can_continue=bool(sha256))
            return is_in_pieces
        except _BrokenTransferError as error:
            is_in_pieces = True
            failures = 1 if part.size >= before + PROGRESS else failures + 1
            if failures > len(pauses):
                raise DownloadError(f'{error} ({failures} attempts)') from None
            time.sleep(pauses[failures - 1])


def _attempt(url: str, part: _Part, timeout: float, *, can_continue: bool) -> None:
    """Make one request and write what it brings.

    Args:
        can_continue: whether a beginning from elsewhere may be continued, because the whole will be verified.
    """
    request = urllib.request.Request(url, headers={'User-Agent': 'mindspore-pose', 'Accept-Encoding': 'identity'})
    start = part.size
    if start:
        note = _read_note(part)
        is_same_address = note.get('url') == url and note.get('validator')
        if not is_same_address and not can_continue:
            start = 0
        else:
            request.add_header('Range', f'bytes={start}-')
            if is_same_address:
                request.add_header('If-Range', note['validator'])
    try:
        with _opener(url).open(request, timeout=timeout) as response:
            _receive(response, url, part, start)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # The part is as long as the file or longer, and not of this version of it.
            part.remove()
        if error.code in (416, *TRANSIENT_STATUS):
            raise _BrokenTransferError(f'the server answers {error.code} {error.reason}') from None
        raise DownloadError(f'the server answers {error.code} {error.reason}') from None
    except PoseError:
        raise
    except ValueError as error:
        # urllib splits the address of a redirect before `_SafeRedirects` sees it.
        raise DownloadError(f'it is redirected to what is no address: {error}') from None
    except (http.client.HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        text = f'{type(reason).__name__}: {reason}' if str(reason) else type(reason).__name__
        if isinstance(reason, (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)):
            raise DownloadError(text) from None
        raise _BrokenTransferError(text) from None


def _read_note(part: _Part) -> dict:
    with contextlib.suppress(PoseError):
        note = read_json(part.note)
        if isinstance(note, dict) and all(isinstance(value, str) for value in note.values()):
            return note
    return {}


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that may be downloaded from, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # noqa: PLR0913  the signature of urllib
        check_address(newurl)
        if urlsplit(req.full_url).scheme == 'https' != urlsplit(newurl).scheme:
            raise DownloadError(f'it is redirected from https to {newurl}')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    # A proxy would make another machine of "this machine".
    handlers = [urllib.request.ProxyHandler({})] if _is_loopback(url) else []
    return urllib.request.build_opener(_SafeRedirects, *handlers)


def _receive(response, url: str, part: _Part, start: int) -> None:
    """Write the body of a response to `part`, from byte `start` on if the server continues there."""
    length = response.headers.get('Content-Length', '')
    expected = int(length) if length.isascii() and length.isdigit() else None
    if response.status == 206:
        found = re.fullmatch(r'bytes (\d+)-(\d+)/(\d+)', response.headers.get('Content-Range', ''))
        if not found or int(found[1]) != start or int(found[2]) != int(found[3]) - 1:
            part.remove()
            raise _BrokenTransferError('the server continues at another place than asked')
        expected = int(found[3]) - start
    elif response.status == 200:
        start = 0
    else:
        raise DownloadError(f'the server answers {response.status}')
    if response.headers.get('Content-Encoding', 'identity') != 'identity':
        raise DownloadError(f'the server sends it encoded ({response.headers["Content-Encoding"]})')
    if expected is None and response.headers.get('Transfer-Encoding', '').lower() != 'chunked':
        raise DownloadError('the server does not say how long it is')
    _check_size(part, expected, start)
    validator = response.headers.get('ETag', '')
    if not validator or validator.startswith('W/'):
        validator = response.headers.get('Last-Modified', '')
    write_json(part.note, {'url': url, 'validator': validator})
    _copy(response, part, start, expected)


def _check_size(part: _Part, expected: Optional[int], start: int) -> None:
    if (expected or 0) + start > MAX_BYTES:
        raise DownloadError(f'it has {(expected or 0) + start:,} bytes, more than the {MAX_BYTES:,} that are accepted')
    folder = os.path.dirname(part.path)
    free = shutil.disk_usage(folder).free
    needed = (expected or 0) + SPARE_BYTES
    if free < needed:
        raise PoseError(f'no room for the download: {needed / 1e6:.0f} MB are needed in {folder}, {free / 1e6:.0f} MB '
                        'are free')


def _copy(response, part: _Part, start: int, expected: Optional[int]) -> None:
    total = None if expected is None else start + expected
    bar = tqdm(total=total, initial=start, unit='B', unit_scale=True, disable=not sys.stderr.isatty())
    with bar, open(part.path, 'rb+' if start else 'wb') as file:
        file.seek(start)
        received = 0
        while True:
            chunk = response.read(CHUNK)
            if not chunk:
                break
            received += len(chunk)
            if start + received > MAX_BYTES:
                raise DownloadError(f'it has more than the {MAX_BYTES:,} bytes that are accepted')
            try:
                file.write(chunk)
            except OSError as error:
                raise PoseError(f'cannot write {part.path}: {error.strerror or error}') from None
            bar.update(len(chunk))
        try:
            file.truncate()
            os.fsync(file.fileno())
        except OSError as error:
            raise PoseError(f'cannot write {part.path}: {error.strerror or error}') from None
    if expected is not None and received < expected:
        raise _BrokenTransferError(f'it ends after {start + received:,} of {start + expected:,} bytes')
