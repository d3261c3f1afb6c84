"""Communication among the processes of a job outside the training step; it also works with a single process."""
import zlib
from typing import Dict, List

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from .device import Processes


class _Gather(nn.Cell):
    def __init__(self):
        super().__init__(auto_prefix=False)
        self.gather = ops.AllGather()

    def construct(self, values):
        return self.gather(values)


class _BroadcastFirst(nn.Cell):
    def __init__(self):
        super().__init__(auto_prefix=False)
        self.broadcast = ops.Broadcast(0)

    def construct(self, values):
        return self.broadcast((values,))[0]


def gather_rows(rows: np.ndarray, processes: Processes) -> List[np.ndarray]:
    """Return the `rows` (n, ...) of every process, in the order of the ranks. n may differ among the processes, but not
    the dtype or the other axes.

    The values are sent as int32, whatever their dtype is, so their bits do not change.

    Args:
        rows: any dtype of 4 or 8 bytes.
    """
    rows = np.ascontiguousarray(rows)
    if processes.size == 1:
        return [rows]
    gather = _Gather()
    counts = gather(Tensor(np.array([len(rows)], np.int32))).asnumpy()
    width = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize // 4
    # All processes have to send the same number of rows, so all pad to the largest.
    sent = np.zeros((max(1, counts.max()), max(1, width)), np.int32)
    sent[:len(rows), :width] = rows.reshape(len(rows), -1).view(np.int32) if rows.size else 0
    parts = gather(Tensor(sent)).asnumpy().reshape(processes.size, *sent.shape)
    return [np.ascontiguousarray(part[:count, :width]).view(rows.dtype).reshape(count, *rows.shape[1:])
            for part, count in zip(parts, counts)]


def wait_for_all(processes: Processes) -> None:
    """Wait until all processes have called this function."""
    gather_rows(np.zeros((1, 1), np.int32), processes)


def broadcast_parameters(parameters: Dict[str, Parameter], processes: Processes) -> None:
    """Set `parameters` to the values of rank 0 on every process; all processes must have them in the same order."""
    if processes.size == 1:
        return
    for kind in sorted({str(parameter.dtype) for parameter in parameters.values()}):
        group = [parameter for parameter in parameters.values() if str(parameter.dtype) == kind]
        # One message instead of a thousand small ones.
        flat = np.concatenate([parameter.asnumpy().ravel() for parameter in group])
        flat = _BroadcastFirst()(Tensor(flat)).asnumpy()
        ends = np.cumsum([parameter.size for parameter in group])
        for parameter, values in zip(group, np.split(flat, ends[:-1])):
            parameter.set_data(Tensor(np.ascontiguousarray(values).reshape(parameter.shape)))


def digest(parameters: Dict[str, Parameter]) -> int:
    """Return a checksum (CRC-32) of names and values."""
    value = 0
    for name, parameter in parameters.items():
        value = zlib.crc32(np.ascontiguousarray(parameter.asnumpy()).tobytes(), zlib.crc32(name.encode(), value))
    return value
