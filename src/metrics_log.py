"""The metrics of a run as JSON lines: one object per step and per evaluation; also as events for TensorBoard."""
import contextlib
import json
import math
import os
from typing import Any, Dict, Optional

from src.command_line import say
from src.curves import load_metrics
from src.files import write_bytes


class MetricsLog:
    """Append rows to a metrics file. A disk that is full costs rows, not the run.

    Args:
        path: '' for a process that writes nothing.
        keep: (epoch, step, whether the evaluation after it was made) up to which rows of an earlier start are kept;
            None starts the file anew. What a killed process wrote after its last state would be there twice otherwise.
        tensorboard_folder: folder of TensorBoard events, '' for none.

    Raises:
        ImportError: events are wanted and tensorboardX is missing.
        OSError: the file cannot be written; the message names it.
    """

    def __init__(self, path: str, *, keep: Optional[tuple] = None, tensorboard_folder: str = ''):
        self.path, self._file, self._events, self._is_warned, self._count = path, None, None, False, 0
        if not path:
            return
        kept = []
        if keep is not None and os.path.isfile(path):
            kept = [row for row in load_metrics(path)
                    if (row.get('epoch', 0), row.get('step', 0), 'loss' not in row) <= tuple(keep)]
        write_bytes(path, b''.join(map(_line, kept)))
        self._count = sum('loss' in row for row in kept)
        # Without a buffer: what is written is there, and what fails to be written fails here.
        self._file = open(path, 'ab', buffering=0)  # noqa: SIM115  closed by close()
        if tensorboard_folder:
            self._events = _open_events(tensorboard_folder, self._count)

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, **row: Any) -> None:
        """Append one row; NaN and infinity become null, which JSON knows."""
        if self._file is None:
            return
        row = {key: None if isinstance(value, float) and not math.isfinite(value) else value
               for key, value in row.items()}
        end = None
        try:
            end = os.fstat(self._file.fileno()).st_size
            line = _line(row)
            if self._file.write(line) != len(line):
                raise OSError('no space left on the device')
            self._is_warned = False
        except OSError as error:
            # Half a line would spoil the file for whoever reads it.
            with contextlib.suppress(OSError):
                if end is not None:
                    os.ftruncate(self._file.fileno(), end)
            if not self._is_warned:
                say(f'warning: cannot write {self.path}: {error.strerror or error}; the run goes on')
            self._is_warned = True
        self._count += 'loss' in row
        if self._events is not None:
            for key, value in row.items():
                if key not in ('epoch', 'step') and value is not None:
                    self._events.add_scalar(key, value, self._count)

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


def _line(row: Dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b'\n'


def _open_events(folder: str, first_step: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError('TRAIN.TENSORBOARD needs tensorboardX: pip install -r requirements-extra.txt') from error
    return SummaryWriter(folder, purge_step=first_step + 1)
