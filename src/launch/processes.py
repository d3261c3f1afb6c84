"""The processes of a job, found through /proc by a word of their own in their environment.

Every process of a job inherits `POSE_LAUNCH=<mark>`, which is how none is missed at the end: neither the loaders of a
rank nor what they have started.
"""
import contextlib
import os
import signal
import time
from typing import List

MARK_VARIABLE = 'POSE_LAUNCH'
_SCHEDULER = b'MS_ROLE=MS_SCHED'
# Rounds of SIGKILL, a tenth of a second apart: some processes may be about to start others.
_ROUNDS = 50


def _environment(pid: int) -> List[bytes]:
    """Return the variables that a process was started with, none where it has gone or is somebody else's."""
    try:
        with open(f'/proc/{pid}/environ', 'rb') as file:
            return file.read().split(b'\0')
    except OSError:
        return []


def job_processes(mark: str) -> List[int]:
    """Return the ids of all living processes of a job."""
    wanted = f'{MARK_VARIABLE}={mark}'.encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir('/proc'))) if wanted in _environment(pid)]


def rank_processes(mark: str) -> List[int]:
    """Return the ids of the living ranks of a job: each leads a session, and the scheduler, which does too, is none."""
    ranks = []
    for pid in job_processes(mark):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid and _SCHEDULER not in _environment(pid):
                ranks.append(pid)
    return ranks


def kill_job(mark: str) -> None:
    """End all that is left of a job by SIGKILL."""
    for _ in range(_ROUNDS):
        left = job_processes(mark)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class Deadline:
    """So many seconds from now, by a clock that nobody can set."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    @property
    def is_past(self) -> bool:
        return self.seconds_left == 0
