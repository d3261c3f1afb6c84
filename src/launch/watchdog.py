"""A process beside the launcher that ends the job if the launcher is killed, and shows a log as it is written."""
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Optional

from ..system.command_line import print_traceback
from .processes import Deadline, kill_job, rank_processes
from .signals import STOP_SIGNALS

_LOOK_SECONDS = 0.1


class Watchdog:
    """A child process, started with this object. It ends on `dismiss`; if the launcher dies without calling that, it
    first ends the whole job.

    Args:
        mark: the mark of the job's processes, see `processes.py`.
        stop_seconds: how long its ranks may take to save.
        shown_log: file whose content is copied to stdout, None for none. A slow reader of stdout delays only this
            process.
    """

    def __init__(self, mark: str, stop_seconds: int, shown_log: Optional[str]):
        # Only the launcher holds the writing end open: when it dies, however, the watchdog reads the end of the pipe.
        reader, self._writer = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writer)
                _watch(reader, mark, stop_seconds, shown_log)
            except BaseException:
                print_traceback()
            finally:
                os._exit(0)
        os.close(reader)

    def dismiss(self) -> None:
        """Tell the process to show the rest of the log and to end, and wait for that."""
        # The watchdog may have been killed.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, b'.')
        os.close(self._writer)
        os.waitpid(self._pid, 0)


def _watch(reader: int, mark: str, stop_seconds: int, shown_log: Optional[str]) -> None:
    signal.set_wakeup_fd(-1)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    is_over = threading.Event()
    viewer = threading.Thread(target=_show, args=(shown_log, is_over), daemon=True) if shown_log else None
    if viewer:
        viewer.start()
    if not os.read(reader, 1):
        print('error: the launcher was killed; ending the job', file=sys.stderr, flush=True)
        _end_job(mark, stop_seconds)
    is_over.set()
    if viewer:
        viewer.join()


def _end_job(mark: str, stop_seconds: int) -> None:
    """Send SIGTERM once to every rank, and SIGKILL to all that is left after `stop_seconds`."""
    deadline = Deadline(stop_seconds)
    told = set()
    ranks = rank_processes(mark)
    while ranks and not deadline.is_past:
        for pid in set(ranks) - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told.update(ranks)
        time.sleep(_LOOK_SECONDS)
        ranks = rank_processes(mark)
    kill_job(mark)


def _show(path: str, is_over: threading.Event) -> None:
    with open(path, 'rb') as file, contextlib.suppress(OSError):
        while True:
            # Checked before reading, so that the last lines are shown too.
            is_last_look = is_over.is_set()
            text = file.read()
            while text:
                text = text[os.write(sys.stdout.fileno(), text):]
            if is_last_look:
                return
            is_over.wait(_LOOK_SECONDS)
