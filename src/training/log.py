"""The metrics of a run as JSON lines, one object per step and per evaluation, and as TensorBoard events."""
import contextlib
import json
import math
import os
import socket
import struct
import time
from typing import Any, Dict, Optional

from ..system.command_line import say
from ..system.errors import MissingPackageError
from ..system.files import write_bytes
from .curve_parts import load_metrics


class MetricsLog:
    """Append rows to a metrics file. If the disk is full rows are lost, but the run goes on.

    Args:
        path: '' for a process that writes nothing.
        keep: (epoch, step, whether the evaluation after it was done): the rows of an earlier start up to there are
            kept; None starts an empty file. Rows after the last saved state are dropped, since those steps run again.
        tensorboard_folder: folder of TensorBoard events, '' for none.

    Raises:
        ImportError: TensorBoard events are wanted and tensorboardX is not installed.
        OSError: the file cannot be written; the message names it.
    """

    def __init__(self, path: str, *, keep: Optional[tuple] = None, tensorboard_folder: str = ''):
        self.path, self._count = path, 0
        self._file: Optional[_GrowingFile] = None
        self._events: Optional[_Events] = None
        if not path:
            return
        kept = []
        if keep is not None and os.path.isfile(path):
            kept = [row for row in load_metrics(path)
                    if (row.get('epoch', 0), row.get('step', 0), 'loss' not in row) <= tuple(keep)]
        write_bytes(path, b''.join(map(_line, kept)))
        self._count = sum('loss' in row for row in kept)
        self._file = _GrowingFile(path)
        if tensorboard_folder:
            self._events = _Events(tensorboard_folder, self._count + 1)

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, **row: Any) -> None:
        """Append one row; NaN and infinity become null, because JSON has no such numbers."""
        if self._file is None:
            return
        row = {key: None if isinstance(value, float) and not math.isfinite(value) else value
               for key, value in row.items()}
        self._file.append(_line(row))
        self._count += 'loss' in row
        if self._events is not None:
            self._events.add({key: value for key, value in row.items()
                              if key not in ('epoch', 'step') and value is not None}, self._count)

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


def _line(row: Dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b'\n'


class _GrowingFile:
    """A file to which pieces are appended whole; one that cannot be written is left out, with one warning."""

    def __init__(self, path: str):
        # Without a buffer, so that a failed write raises an error here and not later.
        self.path, self._file = path, open(path, 'ab', buffering=0)  # noqa: SIM115  closed by close()
        self._is_warned = False

    def append(self, piece: bytes) -> None:
        end = None
        try:
            end = os.fstat(self._file.fileno()).st_size
            if self._file.write(piece) != len(piece):
                raise OSError('no space left on the device')
            self._is_warned = False
        except OSError as error:
            # Half a piece would make the file unreadable.
            with contextlib.suppress(OSError):
                if end is not None:
                    os.ftruncate(self._file.fileno(), end)
            if not self._is_warned:
                say(f'warning: cannot write {self.path}: {error.strerror or error}; the run goes on')
            self._is_warned = True

    def close(self) -> None:
        # Some network file systems report a full disk only on closing; a finished run must not fail because of that.
        with contextlib.suppress(OSError):
            self._file.close()


class _Events:
    """The metrics of a run as TensorBoard events, in TensorBoard's record format.

    tensorboardX's own writer uses a thread: on a full disk the thread dies and the training waits for it for ever.

    Args:
        folder: created if it is missing.
        first_step: TensorBoard discards what an earlier start has written from this step on.
    """

    def __init__(self, folder: str, first_step: int):
        try:
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.record_writer import masked_crc32c
            from tensorboardX.summary import scalar
        except ImportError as error:
            raise MissingPackageError(
                'TRAIN.TENSORBOARD needs tensorboardX: pip install -r requirements-extra.txt') from error
        self._event, self._checksum, self._scalar = Event, masked_crc32c, scalar
        os.makedirs(folder, exist_ok=True)
        # TensorBoard recognises its files by this name, and reads them in alphabetical order.
        self._file = _GrowingFile(os.path.join(
            folder, f'events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}'))
        self._append(Event(wall_time=time.time(), file_version='brain.Event:2'))
        self._append(Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, numbers: Dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._append(self._event(wall_time=time.time(), step=step, summary=self._scalar(name, value)))

    def _append(self, event) -> None:
        content = event.SerializeToString()
        length = struct.pack('<Q', len(content))
        self._file.append(b''.join([length, struct.pack('<I', self._checksum(length)), content,
                                    struct.pack('<I', self._checksum(content))]))

    def close(self) -> None:
        self._file.close()
