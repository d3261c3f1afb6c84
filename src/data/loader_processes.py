"""Loader processes: they make the items of a source ahead of time and in order; if one dies, it is noticed at once.

MindSpore's own loader processes are not used: when one of them dies, MindSpore sends SIGTERM to the main process, which
looks like an ordinary request to stop; and where /dev/shm is small (64 MB in Docker), they wait forever. Here arrays
are passed through memory that forked processes share with their parent. This needs no /dev/shm, and counts as memory of
the job.
"""
import atexit
import contextlib
import mmap
import multiprocessing
import re
import signal
import time
import traceback
import warnings
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..system.errors import PoseError

STOP_SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))
# Linux's oom_score_adj, from -1000 to 1000: if memory runs out, a loader is killed before the main process, which holds
# the trained weights.
OOM_SCORE = 500
CONTROL_GROUPS = Path('/sys/fs/cgroup')


class WorkerDiedError(ChildProcessError):
    """A loader process ended before its work was done."""


class SourceDefectError(Exception):
    """An item could not be made because of a bug, not because of the user's input; the message is the traceback."""


class Source(Protocol):
    """What the loader processes make items from. An item is one large uint8 array and some small ones.

    Attributes:
        largest_shape: shape of the largest such array; that of an item may have fewer rows.
    """

    largest_shape: Sequence[int]

    def __len__(self) -> int: ...

    def make(self, number: int, out: np.ndarray) -> tuple:
        """Fill the first rows of `out` and return the other arrays of item `number`; the last of them has as many rows
        as were filled."""

    def describe(self, number: int) -> str:
        """Name the inputs of item `number`, for messages."""


def largest_bytes(source: Source) -> int:
    """Return the size in bytes of the largest array of an item."""
    return max(1, int(np.prod(source.largest_shape, dtype=np.int64)))


def can_fork() -> bool:
    """Whether this system can fork processes, which share memory with their parent (Windows cannot)."""
    return 'fork' in multiprocessing.get_all_start_methods()


class _Reply(NamedTuple):
    """What a worker sends: the small arrays of an item, or the text of an error and whether the user's input caused it.
    """

    rest: tuple = ()
    error: str = ''
    is_users: bool = False


class _Worker:
    """A process that makes items in the order in which they are requested; the slots of its memory are used in turn.

    Args:
        siblings: workers that were started before; the new process must not keep their pipes open.

    Raises:
        OSError: there is not enough memory, or no further process can be started.
    """

    def __init__(self, source: Source, num_slots: int, siblings: Sequence['_Worker']):
        self.source, self.asked = source, []
        self.slots = np.frombuffer(mmap.mmap(-1, num_slots * largest_bytes(source)), np.uint8).reshape(
            num_slots, *source.largest_shape)
        self._count, self._taken = 0, 0
        self.pipe, self._its_pipe = multiprocessing.get_context('fork').Pipe()
        self.process = multiprocessing.get_context('fork').Process(
            target=self._work, args=([each.pipe for each in siblings] + [self.pipe],), name='loader', daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns if a process with threads forks; the child does not use these threads.
            warnings.simplefilter('ignore', DeprecationWarning)
            self.process.start()
        self._its_pipe.close()
        # Otherwise Python would wait at exit for this process, which ignores SIGTERM.
        atexit.register(self.end)

    def ask(self, number: int) -> None:
        """Request item `number`. If the process has died, `take` notices it."""
        self.asked.append(number)
        with contextlib.suppress(OSError):
            self.pipe.send((number, self._count % len(self.slots)))
        self._count += 1

    def take(self, sentinels: Sequence[int]) -> tuple:
        """Wait for the item that was requested first, and return it.

        Args:
            sentinels: process sentinels of all workers, so that the death of any of them ends the waiting.

        Raises:
            WorkerDiedError: a process has ended.
            PoseError: the item cannot be made; the message says why.
            SourceDefectError: the item cannot be made because of a bug.
        """
        if self.pipe not in wait([self.pipe, *sentinels]):
            raise WorkerDiedError
        try:
            reply = self.pipe.recv()
        except (EOFError, OSError):
            raise WorkerDiedError from None
        if reply.error:
            raise (PoseError if reply.is_users else SourceDefectError)(reply.error)
        slot = self.slots[self._taken % len(self.slots)]
        self._taken += 1
        self.asked.pop(0)
        # A copy, since the slot is filled again while the item is in use.
        return (slot[:len(reply.rest[-1])].copy(), *reply.rest)

    def end(self) -> None:
        """Kill the process, whatever it is doing; nothing is lost with it."""
        atexit.unregister(self.end)
        self.process.kill()
        # Not even SIGKILL ends a process whose file server does not answer.
        self.process.join(timeout=5)
        self.pipe.close()

    def _work(self, strangers: List[Connection]) -> None:
        # Ctrl-C and job schedulers send a signal to the whole process group. It must not end a loader while the current
        # step still needs it: the parent ends it or, if the parent has died, the closed pipe does.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        with contextlib.suppress(OSError), open('/proc/self/oom_score_adj', 'w', encoding='ascii') as file:
            file.write(str(OOM_SCORE))
        for pipe in strangers:
            pipe.close()
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, slot = self._its_pipe.recv()
                self._its_pipe.send(self._make(number, slot))

    def _make(self, number: int, slot: int) -> _Reply:
        try:
            return _Reply(self.source.make(number, self.slots[slot]))
        except (PoseError, OSError, MemoryError) as error:
            return _Reply(error=str(error) or repr(error), is_users=True)
        except Exception:  # noqa: BLE001  the main process raises it, whatever it is
            return _Reply(error=traceback.format_exc())


def iterate_in_processes(source: Source, *, num_workers: int, num_slots: int,
                         on_death: Callable[[WorkerDiedError], None]) -> Iterator[tuple]:
    """Start processes, and return an iterator over all items of `source` in order, each (array, *rest).

    Args:
        num_workers: number of processes; worker w makes the items w, w + num_workers, and so on.
        num_slots: number of items that each of them makes ahead.
        on_death: is called with the first process that dies. The main process then makes the remaining items itself, so
            that the caller can finish properly.

    Raises:
        OSError: there is not enough memory, or no further process can be started.
        PoseError: during the iteration: an item cannot be made; the message comes from the worker.
        SourceDefectError: during the iteration: an item cannot be made because of a bug.
    """
    workers: List[_Worker] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        for _ in range(num_workers):
            workers.append(_Worker(source, num_slots, workers))
    except OSError:
        _end(workers)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _iterate(source, workers, num_workers * num_slots, on_death)


def _iterate(source: Source, workers: List[_Worker], ahead: int,
             on_death: Callable[[WorkerDiedError], None]) -> Iterator[tuple]:
    done, death = 0, None
    sentinels = [worker.process.sentinel for worker in workers]
    try:
        for number in range(min(ahead, len(source))):
            workers[number % len(workers)].ask(number)
        for number in range(len(source)):
            item = workers[number % len(workers)].take(sentinels)
            if number + ahead < len(source):
                workers[number % len(workers)].ask(number + ahead)
            done = number + 1
            yield item
    except WorkerDiedError:
        death = _describe_death(workers)
    finally:
        _end(workers)
    if death is not None:
        on_death(death)
        yield from (make_here(source, number) for number in range(done, len(source)))


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.end()


def make_here(source: Source, number: int) -> tuple:
    """Return item `number`, made in the calling process."""
    array = np.empty(source.largest_shape, np.uint8)
    rest = source.make(number, array)
    return (array[:len(rest[-1])], *rest)


def _describe_death(workers: Sequence[_Worker]) -> WorkerDiedError:
    number, worker = _find_dead(workers)
    status, advice = worker.process.exitcode, ''
    if status == -signal.SIGKILL:
        free = free_memory()
        now = '' if free is None else f' ({free / 1e6:.0f} MB are free now)'
        how = 'was killed (SIGKILL)'
        advice = (f'; the system does that where memory runs out{now}: fewer TRAIN.NUM_PARALLEL_WORKERS or a smaller '
                  'batch need less')
    elif status < 0:
        how, advice = f'crashed ({signal.Signals(-status).name})', '; is one of the pictures damaged?'
    else:
        how = f'ended with status {status}'
    at = f' while it read {worker.source.describe(worker.asked[0])}' if worker.asked else ''
    return WorkerDiedError(f'loader process {number} of {len(workers)} (pid {worker.process.pid}) {how}{at}{advice}')


def _find_dead(workers: Sequence[_Worker]) -> Tuple[int, _Worker]:
    """Return the number (from 1) of the worker that has died, and the worker.

    Its pipe closes a moment before the process has an exit code, so this may wait.
    """
    end = time.monotonic() + 10
    while True:
        for number, worker in enumerate(workers, 1):
            if worker.process.exitcode is not None:
                return number, worker
        if time.monotonic() > end:
            raise SourceDefectError('a loader process has closed its pipe, but lives')
        time.sleep(0.01)


def fit_into_memory(num_workers: int, num_slots: int, item_bytes: int, free_bytes: Optional[int]) -> Tuple[int, int]:
    """Return how many workers, and how many items ahead of each, fit into half of the free memory; 0 workers if not
    even one fits.

    Args:
        free_bytes: None if unknown; then everything is taken to fit.
    """
    while free_bytes is not None and num_workers and num_workers * num_slots * item_bytes > free_bytes // 2:
        if num_slots > 1:
            num_slots -= 1
        else:
            num_workers -= 1
    return num_workers, num_slots


def free_memory() -> Optional[int]:
    """Return how many bytes this process can still allocate, by the system and by its control group; None if
    unknown."""
    found = []
    with contextlib.suppress(OSError, TypeError, ValueError):
        text = Path('/proc/meminfo').read_text(encoding='ascii')
        found.append(1024 * int(re.search(r'^MemAvailable:\s*(\d+) kB', text, re.M)[1]))
    # In a container, its control group appears as the root. The file names of cgroup version 2, then of version 1.
    for limit, used in (('memory.max', 'memory.current'),
                        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes')):
        with contextlib.suppress(OSError, ValueError):
            found.append(int((CONTROL_GROUPS / limit).read_text()) - int((CONTROL_GROUPS / used).read_text()))
    return max(0, min(found)) if found else None
