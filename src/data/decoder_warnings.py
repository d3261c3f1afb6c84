"""Catches the warnings of OpenCV's JPEG decoder about damaged pictures, which it only prints, without a file name."""
import contextlib
import ctypes
import os
import re
import sys
import threading
from functools import lru_cache
from typing import Callable, Iterator, Tuple, TypeVar

Result = TypeVar('Result')
# About bytes between the last row and the end marker.
SUPERFLUOUS = re.compile('Corrupt JPEG data: [0-9]+ extraneous bytes before marker 0xd9')
# How libjpeg's warnings begin, about damaged data for which it fills in something else.
STARTS = (b'Corrupt JPEG data', b'Premature end of JPEG', b'Invalid JPEG file', b'Inconsistent progression')


@lru_cache(maxsize=1)
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None)


class _ErrorStream:
    """Replaces the C library's `stderr` by a file in memory while pictures are decoded.

    Only the pointer `stderr` of the C library is changed: Python, and code that writes to the file descriptor, is not
    affected. Other text that is written to the pointer meanwhile is printed afterwards. If the C library does not have
    this pointer, warnings are not caught.

    Attributes:
        decoding: number of threads that are decoding; negative while one decodes alone.
        begun: number of decodings that were ever started.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._forget()

    def _forget(self) -> None:
        self.decoding, self.begun, self._file, self._original = 0, 0, None, None

    def after_fork(self) -> None:
        """Let a forked child open its own file, since that of the parent is shared."""
        if self._original is not None:
            self._pointer().value = self._original
        self._changed = threading.Condition()
        self._forget()

    @staticmethod
    def _pointer() -> ctypes.c_void_p:
        return ctypes.c_void_p.in_dll(_c_library(), 'stderr')

    def _open(self) -> bool:
        """Open the file in memory; return False if that is not possible."""
        if self._file is None:
            try:
                library = _c_library()
                # In other C libraries the pointer may be in read-only memory.
                if not hasattr(library, 'gnu_get_libc_version'):
                    raise OSError
                descriptor = os.memfd_create('decoder')
                library.fdopen.restype, library.fdopen.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_char_p]
                library.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
                stream = library.fdopen(descriptor, b'a+')
                unbuffered = 2
                if not stream or library.setvbuf(stream, None, unbuffered, 0) or not self._pointer().value:
                    raise OSError
                self._file = descriptor, stream
            except (AttributeError, ValueError, OSError):
                self._file = ()
        return bool(self._file)

    def can_hear(self) -> bool:
        with self._changed:
            return self._open()

    @property
    def heard(self) -> int:
        """Number of bytes in the file in memory."""
        return os.fstat(self._file[0]).st_size

    def since(self, start: int) -> bytes:
        return os.pread(self._file[0], self.heard - start, start)

    @contextlib.contextmanager
    def listening(self, *, alone: bool = False) -> Iterator[bool]:
        """Catch what decoders print, for several threads at a time or for one `alone`; yield whether that is
        possible."""
        with self._changed:
            self._changed.wait_for(lambda: self.decoding == 0 if alone else self.decoding >= 0)
            can_hear = self._open()
            if can_hear and self.decoding == 0:
                self._original = self._pointer().value
                self._pointer().value = self._file[1]
            self.decoding += -1 if alone else 1
            self.begun += 1
        try:
            yield can_hear
        finally:
            with self._changed:
                self.decoding += 1 if alone else -1
                if can_hear and self.decoding == 0:
                    self._pointer().value, self._original = self._original, None
                    self._let_out()
                self._changed.notify_all()

    def _let_out(self) -> None:
        """Print the text that does not come from the decoder, and empty the file."""
        if self.heard:
            others = b''.join(line for line in self.since(0).splitlines(True) if not line.startswith(STARTS))
            os.ftruncate(self._file[0], 0)
            if others:
                os.write(2, others)


_STREAM = _ErrorStream()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_STREAM.after_fork)


def can_listen() -> bool:
    """Whether warnings of the decoder are caught here; else they appear on standard error."""
    return sys.platform.startswith('linux') and _STREAM.can_hear()


def decode_and_listen(decode: Callable[[], Result]) -> Tuple[Result, str]:
    """Return the result of `decode` and the warning that the JPEG decoder printed, '' if none.

    Several threads may decode at the same time. If a warning may have come from another thread, this one decodes once
    more, alone.
    """
    if not sys.platform.startswith('linux'):
        return decode(), ''
    with _STREAM.listening() as can_hear:
        start, others, begun = _STREAM.heard if can_hear else 0, _STREAM.decoding, _STREAM.begun
        result = decode()
        warning = _warning_in(_STREAM.since(start)) if can_hear else ''
        was_alone = others == 1 and _STREAM.begun == begun
    if not warning or was_alone:
        return result, warning
    with _STREAM.listening(alone=True):
        start = _STREAM.heard
        result = decode()
        return result, _warning_in(_STREAM.since(start))


def _warning_in(text: bytes) -> str:
    lines = [line for line in text.splitlines() if line.startswith(STARTS)]
    return lines[0].decode('ascii', 'backslashreplace').strip() if lines else ''
